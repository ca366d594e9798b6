"""What an escalating estimate of log p(x) gains on static MNIST, against the protocol of the field and annealing.

python experiments/evidence/escalation_on_mnist.py --weights RUN/weights.safetensors --root data

The model is the VAE of the published protocol: gated 300-300, 40 latents, standard normal prior, trained with

pyro-vae train --data static_mnist --epochs 400 --batch-size 100 --learning-rate 5e-4 --kl-warmup 100 --patience 50

Each estimator sees the same random test images, on one thread. Annealing, by default with 32 chains and 300
temperatures, stands for the truth: it is a lower bound, too, and says so by its error; --both-ways bounds that error on
simulated images. Images on which an estimator lies below annealing by more than errors are in the result, with its
k-hat.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from setting import digits_vae, parsed, parser, save, timed
from torch import Tensor

from pyro_vae import (
    VAE,
    Bernoulli,
    GatedMLP,
    GaussianEncoder,
    HeavyTail,
    LogMarginal,
    StandardNormal,
    annealed_log_marginal,
    bidirectional,
    data,
    log_marginal,
    widened,
)


def mnist_vae(weights: Path, root: str) -> tuple[VAE, data.Data]:
    """The trained model, and its data."""
    mnist = data.load("static_mnist", root)
    px = Bernoulli(mnist.event_shape)
    network = functools.partial(GatedMLP, hidden=(300, 300))
    encoder = GaussianEncoder(mnist.event_shape, 40, network=network)
    vae = VAE(StandardNormal(40), encoder, network((40,), px.feature_shape), px)
    vae.load_state_dict(safetensors.torch.load_file(weights))
    return vae, mnist


def suspects(results: dict[str, LogMarginal], best: LogMarginal, order: Tensor) -> list[dict[str, Any]]:
    """Estimates that lie below annealing by more than three of their joint errors, the farthest first; what they say of
    themselves."""
    rows = []
    for name, result in results.items():
        below, error = best.log_prob - result.log_prob, torch.hypot(best.standard_error, result.standard_error)
        for i in (below > 3 * error).nonzero()[:, 0].tolist():
            row = {"estimator": name, "image": order[i].item(), "below": below[i].item(), "error": error[i].item()}
            row |= {"khat": result.khat[i].item(), "ess": result.ess[i].item(), "annealed": best.log_prob[i].item()}
            row |= {"annealed_khat": best.khat[i].item(), "flagged": bool(result.unreliable[i])}
            rows.append(row | ({"rung": int(result.details["rung"][i])} if "rung" in result.details else {}))
    return sorted(rows, key=lambda row: -row["below"])


def main() -> None:
    """Estimate, save."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--weights", type=Path, help="of the trained run")
    options.add_argument("--root", default="data", help="folder of the data sets")
    options.add_argument("--device", default="cpu")
    options.add_argument("--num-images", type=int, default=100)
    options.add_argument("--num-chains", type=int, default=32)
    options.add_argument("--num-temperatures", type=int, default=300)
    options.add_argument(
        "--protocols-alone", action="store_true", help="5,000 samples from the guide against the default, no annealing"
    )
    options.add_argument(
        "--both-ways", action="store_true", help="bound annealing's own error on simulated images, too"
    )
    chosen = parsed(options, "evidence_escalation")
    warnings.simplefilter("ignore", HeavyTail)  # what guides have is the point
    if chosen.smoke:
        vae, dataset = digits_vae(latent_dim=2, epochs=1)
    else:
        vae, dataset = mnist_vae(chosen.weights, chosen.root)
    vae.to(chosen.device)
    count = 4 if chosen.smoke else chosen.num_images
    order = torch.randperm(len(dataset.test), generator=torch.Generator().manual_seed(0))[:count]
    x = dataset.test[order].to(chosen.device)
    annealing = {"num_chains": chosen.num_chains, "num_temperatures": chosen.num_temperatures}
    annealing = {"num_chains": 4, "num_temperatures": 5} if chosen.smoke else annealing
    # On a GPU all chains at once, where each operation takes as long for many as for few.
    annealing |= {} if chosen.device == "cpu" else {"chunk_size": count * chosen.num_chains}
    guide = functools.partial(log_marginal, vae.model, vae.guide, x, estimator="guide", compile=False)
    wide = functools.partial(log_marginal, vae.model, widened(vae.guide, 1.2), x, estimator="guide", compile=False)
    annealed = f"annealed, {chosen.num_chains} chains x {chosen.num_temperatures:,} temperatures"
    estimates = {
        "guide, 1,000 samples": functools.partial(guide, num_samples=1000),
        "guide, 5,000 samples": functools.partial(guide, num_samples=5000),
        "guide widened by 1.2, 5,000 samples": functools.partial(wide, num_samples=5000),
        "auto, 1,000 samples": functools.partial(log_marginal, vae.model, vae.guide, x, compile=False),
        annealed: functools.partial(annealed_log_marginal, vae.model, vae.guide, x, **annealing),
    }
    if chosen.protocols_alone:
        estimates = {name: estimates[name] for name in ("guide, 5,000 samples", "auto, 1,000 samples")}
    results: dict[str, tuple[LogMarginal, dict[str, float]]] = {}
    for name, estimate in estimates.items():
        with timed() as seconds:
            result = estimate()
        results[name] = result, seconds
        print(f"{name}: {result}, {seconds['seconds']:.0f} s", flush=True)
    reference = list(estimates)[-1]  # annealing, where it runs
    best = results[reference][0]
    rows: list[dict[str, Any]] = []
    for name, (result, seconds) in results.items():
        difference = result.log_prob - best.log_prob
        rows.append(
            {
                "estimator": name,
                "log_marginal": result.mean.value,
                "standard_error_over_images": result.mean.standard_error,
                "monte_carlo_error": result.mean.monte_carlo_error,
                f"minus_{reference.split(',')[0]}": difference.mean().item(),
                f"worst_below_{reference.split(',')[0]}": -difference.min().item(),
                "share_with_khat_above_0.7": (result.khat > 0.7).double().mean().item(),
                "median_ess": result.ess.median().item(),
                **seconds,
            }
        )
    found = {}
    if not chosen.protocols_alone:
        found["suspects"] = suspects({name: result for name, (result, _) in results.items()}, best, order)
    save(chosen, {"protocol": dataset.protocol, "num_images": count, "rows": rows, **found})
    if chosen.both_ways:
        with timed() as seconds:
            both = bidirectional(vae.model, vae.guide, x, **annealing)
        print(f"{both}, {seconds['seconds']:.0f} s", flush=True)
        gap = {"mean": both.mean_gap.value, "standard_error": both.mean_gap.standard_error}
        found["gap"] = {**gap, "largest": both.gap.max().item(), **seconds}
        save(chosen, {"protocol": dataset.protocol, "num_images": count, "rows": rows, **found})


if __name__ == "__main__":
    main()
