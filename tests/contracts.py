"""What holds of every part that is a module: gradients reach its parameters, and it survives being saved."""

import safetensors.torch
import torch

from pyro_vae.pairs.particles import in_particle_plate
from pyro_vae.pairs.scoring import score, score_traces, traces


def assert_gradients_reach_everything(module, loss):
    """Each parameter has a gradient that is finite and not zero everywhere."""
    if any(True for _ in module.parameters()):
        loss.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def assert_survives_a_file(make, output):
    """Another instance gives the same output once it has loaded what the first one saved, and not before."""
    first, second = make(), make()
    learned = any(True for _ in first.parameters())
    assert torch.equal(output(first), output(second)) != learned
    second.load_state_dict(safetensors.torch.load(safetensors.torch.save(first.state_dict())))
    assert torch.equal(output(first), output(second))


def score_particles(model, guide, x, num_particles):
    """`Scores` of shape (K, B) from one pass over all particles, or (B,) without any."""
    if num_particles is None:
        return score(model, guide, x)
    plated = in_particle_plate(model, num_particles), in_particle_plate(guide, num_particles)
    return score_traces(*traces(*plated, x), shape=(num_particles, len(x)))
