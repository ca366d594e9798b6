"""Does resampling help annealed chains? python experiments/evidence/resampling.py --weights RUN/weights.safetensors

Annealed importance sampling lets each chain carry its weight to the end; sequential Monte Carlo (`resample=0.5`) draws
the chains of a data point anew by weight where they have grown uneven. Both are asked for the same data with the same
numbers of chains and temperatures: pairs whose log p(x) is known, each data point many times, from the prior; and
images of static MNIST, from the guide and from the prior, beside many temperatures from the guide.
"""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import torch
from escalation_on_mnist import mnist_vae
from known_truth import five_of_forty, funnel, linear_gaussian
from setting import digits_vae, parsed, parser, save
from torch import Tensor

from pyro_vae import HeavyTail, LogMarginal, annealed_log_marginal

CHAINS = 32
TEMPERATURES = (30, 100, 300)
OF_REFERENCE = 1000
SHARE = 0.5
COPIES = 50  # of each data point of a pair whose log p(x) is known
KNOWN = {
    "linear-Gaussian, 10 latents": linear_gaussian,
    "funnel, 4 latents": funnel,
    "40 latents, 5 active": five_of_forty,
}


def row_of(result: LogMarginal, truth: Tensor) -> dict[str, Any]:
    """What is missing to log p(x), in nats, and what the result says of itself."""
    below = truth - result.log_prob
    return {
        "below": below.mean().item(),
        "error_of_below": below.std().item() / len(below) ** 0.5,
        "rms": below.square().mean().sqrt().item(),
        "rms_of_errors": result.standard_error.square().mean().sqrt().item(),
        "median_ess": result.ess.median().item(),
        "share_flagged": result.unreliable.double().mean().item(),
    }


def main() -> None:
    """Estimate, save."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--weights", type=Path, help="of a VAE as escalation_on_mnist.py takes them")
    options.add_argument("--root", default="data", help="folder of the data sets")
    options.add_argument("--num-images", type=int, default=50)
    chosen = parsed(options, "evidence_resampling")
    warnings.simplefilter("ignore", HeavyTail)  # counted
    counts = (3, 4) if chosen.smoke else TEMPERATURES
    settings: dict[str, Any] = {"num_chains": 4 if chosen.smoke else CHAINS, "compile": False}
    rows: list[dict[str, Any]] = []

    def compare(name: str, start: str, model: Any, guide: Any, x: Tensor, truth: Tensor) -> None:
        for count, resample in itertools.product(counts, (0.0, SHARE)):
            how = {"start": start, "num_temperatures": count, "resample": resample}
            result = annealed_log_marginal(model, guide, x, **settings, **how)
            rows.append({"name": name, **how, **row_of(result, truth)})
            print(rows[-1], flush=True)

    for name, make in KNOWN.items():
        known, copies = make(), 1 if chosen.smoke else COPIES
        x = known.x.repeat(copies, *[1] * (known.x.dim() - 1))
        compare(name, "prior", known.model, known.guide, x, known.log_prob.repeat(copies))
    vae, dataset = digits_vae(epochs=1) if chosen.smoke else mnist_vae(chosen.weights, chosen.root)
    order = torch.randperm(len(dataset.test), generator=torch.Generator().manual_seed(0))
    x = dataset.test[order[: 3 if chosen.smoke else chosen.num_images]]
    long = {"num_temperatures": 5 if chosen.smoke else OF_REFERENCE, "seed": 1}
    best = annealed_log_marginal(vae.model, vae.guide, x, **settings, **long)
    print(f"reference: {best}", flush=True)
    for start in ("guide", "prior"):
        compare(f"{len(x)} images", start, vae.model, vae.guide, x, best.log_prob)
    reference = {"num_temperatures": OF_REFERENCE, "mean": best.mean.value, "error": best.mean.monte_carlo_error}
    about = {"copies": COPIES, "protocol": dataset.protocol, "num_chains": CHAINS, "reference": reference}
    save(chosen, {**about, "rows": rows})


if __name__ == "__main__":
    main()
