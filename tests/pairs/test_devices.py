"""Every part keeps to the device of its inputs, tried on stand-ins for CUDA tensors: they know where they are, and
refuse company from elsewhere, but hold no numbers."""

import functools

import pyro
import pytest
import torch
from contracts import score_particles
from examples import ENCODERS, LIKELIHOODS, PAIRS, PRIORS, PRIORS_WITH_ENCODER, bound, small_mlp, vae
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from pyro_vae import VAE, Bernoulli
from pyro_vae.pairs.contexts import unvalidated
from pyro_vae.pairs.modules import is_bound, modules_of


def has_stand_ins():
    """Whether this torch makes them: not one without CUDA, nor an old one that asks for its driver."""
    try:
        with FakeTensorMode():
            return torch.zeros(1).to("cuda").is_cuda
    except (AssertionError, RuntimeError):
        return False


pytestmark = pytest.mark.skipif(not has_stand_ins(), reason="this torch has no stand-ins for CUDA tensors here")


def encoded(encoder):
    px = Bernoulli((3, 4))
    return bound(
        VAE(PRIORS["StandardNormal"](2), ENCODERS[encoder]((3, 4), 2), small_mlp(2, px.feature_shape), px), (3, 4)
    )


CASES = {
    **PAIRS,
    **{f"prior {name}": functools.partial(vae, name) for name in [*PRIORS, *PRIORS_WITH_ENCODER]},
    **{
        f"likelihood {name}": functools.partial(vae, "StandardNormal", likelihood=px)
        for name, px in LIKELIHOODS.items()
    },
    **{f"encoder {name}": functools.partial(encoded, name) for name in ENCODERS},
}
LEFT_OUT = {("raw convolution", 3), ("inner plate", 3)}  # they stop at particles on every device


def to_cuda(module, mode):
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                moved = mode.from_tensor(parameter.detach().clone()).to("cuda")
                part._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = mode.from_tensor(buffer.clone()).to("cuda")


@pytest.mark.parametrize("particles", [None, 3])
@pytest.mark.parametrize("case", CASES)
def test_scores_are_where_the_images_are(case, particles):
    pair = CASES[case]()
    if (case, particles) in LEFT_OUT or not is_bound(pair.model, pair.guide):
        pytest.skip("not to be tried with stand-ins")
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    with mode, unvalidated(), pyro.get_param_store().scope():
        for module in modules_of(pair.model, pair.guide).values():
            to_cuda(module, mode)
        try:
            scores = score_particles(pair.model, pair.guide, mode.from_tensor(pair.x[:6]).to("cuda"), particles)
        except RuntimeError as error:
            if "Found no NVIDIA driver" not in str(error):
                raise
            pytest.skip("this torch has no stand-in for one of its draws, such as a Dirichlet's")
        assert {term.device.type for term in (scores.log_likelihood, scores.log_prior, scores.log_guide)} == {"cuda"}
