"""Annealing from the prior against importance sampling from poor guides.

python experiments/evidence/annealed_vs_importance.py

A VAE with 2 latents and a nonlinear decoder, trained on scikit-learn's digits. The truth is importance sampling with
10^6 samples from the trained guide, widened, checked by a grid over the two latents. Annealed importance sampling from
the prior never sees a guide; importance sampling with 5,000 samples, and with as many passes through the decoder as the
annealing takes, gets guides that are poor in three ways.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pyro.distributions as dist
import torch
from setting import arguments, digits_vae, save, timed
from torch import Tensor

from pyro_vae import VAE, HeavyTail, LogMarginal, annealed_log_marginal, log_marginal, widened

NUM_IMAGES = 8
TRUTH_SAMPLES, TRUTH_SCALE = 1_000_000, 1.5
EPOCHS = 100
ANNEALING = {"start": "prior", "num_chains": 32, "num_temperatures": 100, "num_leapfrog": 5}
PASSES = 32 * 99 * 5 * 3  # through the decoder, of one image's chains; a gradient counts as three
SAMPLES = (5000, PASSES)
GRID = (8.0, 400)  # half its width, and points along one side


def grid(vae: VAE, x: Tensor) -> Tensor:
    """log p(x) by quadrature over the two latents."""
    axis = torch.linspace(-GRID[0], GRID[0], GRID[1])
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        prior = dist.Normal(0.0, 1.0).log_prob(z).sum(-1).double()
        likelihood = vae.likelihood(vae.decoder(z))
        total = [(likelihood.log_prob(image).double() + prior).logsumexp(0) for image in x]
    return torch.stack(total) + 2 * (axis[1] - axis[0]).double().log()


def poor_guides(vae: VAE, untrained: VAE) -> dict[str, Callable[[Tensor], None]]:
    """Of another image, far too narrow, and one that has not been trained."""
    return {
        "trained": vae.guide,
        "of the image mirrored": lambda x: vae.guide(x.flip(-1)),
        "trained, scale x 0.3": widened(vae.guide, 0.3),
        "untrained": untrained.guide,
    }


def compared(method: str, guide: str, result: LogMarginal, truth: Tensor, time: dict[str, float]) -> dict:
    """Errors of each image's log p(x) in nats, and in standard errors."""
    error = result.log_prob - truth
    row = {
        "method": method,
        "guide": guide,
        "num_samples": int(result.num_samples[0]),
        "rms_error": error.square().mean().sqrt().item(),
        "mean_error": error.mean().item(),
        "worst_error": error.abs().max().item(),
        "mean_standard_error": result.standard_error.mean().item(),
        "largest_deviation": (error / result.standard_error).abs().max().item(),
        "share_with_khat_above_0.7": (result.khat > 0.7).double().mean().item(),
        "smallest_ess": result.ess.min().item(),
        **time,
    }
    print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}, flush=True)
    return row


def main() -> None:
    """Compare, save."""
    chosen = arguments("evidence_annealed", __doc__.splitlines()[0])
    warnings.simplefilter("ignore", HeavyTail)  # poor guides are the point
    vae, digits = digits_vae(latent_dim=2, epochs=1 if chosen.smoke else EPOCHS)
    untrained, _ = digits_vae(latent_dim=2, epochs=0)
    x = digits.test[: 2 if chosen.smoke else NUM_IMAGES]
    count = 2000 if chosen.smoke else TRUTH_SAMPLES
    with timed() as time:
        reference = log_marginal(
            vae.model, widened(vae.guide, TRUTH_SCALE), x, num_samples=count, seed=10, estimator="guide"
        )
    truth = reference.log_prob
    off_grid = (grid(vae, x) - truth).abs().max().item()
    print(f"truth: {reference}, {time['core_seconds']:.0f} s; the grid differs by {off_grid:.4f} at most", flush=True)
    annealing = {**ANNEALING, "num_chains": 4, "num_temperatures": 5} if chosen.smoke else ANNEALING
    rows = []
    with timed() as seconds:
        result = annealed_log_marginal(vae.model, vae.guide, x, **annealing)
    rows.append(compared("annealed from prior", "", result, truth, seconds))
    for name, guide in poor_guides(vae, untrained).items():
        for samples in (100,) if chosen.smoke else SAMPLES:
            with timed() as seconds:
                result = log_marginal(vae.model, guide, x, num_samples=samples, estimator="guide")
            rows.append(compared("importance", name, result, truth, seconds))
    about = {
        "protocol": digits.protocol,
        "num_images": len(x),
        "truth": {
            "num_samples": count,
            "mean": reference.mean.value,
            "largest_standard_error": reference.standard_error.max().item(),
            "largest_khat": reference.khat.max().item(),
            "largest_difference_to_grid": off_grid,
            **time,
        },
    }
    save(chosen, {**about, "annealing": annealing, "rows": rows})


if __name__ == "__main__":
    main()
