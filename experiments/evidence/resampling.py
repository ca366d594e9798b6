"""Does resampling help annealed chains? python experiments/evidence/resampling.py --weights RUN/weights.safetensors

Annealed importance sampling lets each chain carry its weight to the end; sequential Monte Carlo (`resample=0.5`) draws
the chains of a data point anew by weight where they have grown uneven. Both are asked for the same images of static
MNIST, with the same numbers of chains and temperatures, from the guide and from the prior. All of them are lower bounds
in expectation, so the higher one is nearer to log p(x); many temperatures from the guide stand for the truth.
"""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import torch
from escalation_on_mnist import mnist_vae
from setting import digits_vae, parsed, parser, save

from pyro_vae import HeavyTail, LogMarginal, annealed_log_marginal

CHAINS = 32
TEMPERATURES = (30, 100, 300)
OF_REFERENCE = 1000
SHARE = 0.5


def row_of(result: LogMarginal, best: LogMarginal) -> dict[str, Any]:
    """What is missing to the reference, in nats, and what the result says of itself."""
    below = best.log_prob - result.log_prob
    return {
        "below_reference": below.mean().item(),
        "error_of_below": below.std().item() / len(below) ** 0.5,
        "rms": below.square().mean().sqrt().item(),
        "monte_carlo_error": result.mean.monte_carlo_error,
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
    vae, dataset = digits_vae(epochs=1) if chosen.smoke else mnist_vae(chosen.weights, chosen.root)
    order = torch.randperm(len(dataset.test), generator=torch.Generator().manual_seed(0))
    x = dataset.test[order[: 3 if chosen.smoke else chosen.num_images]]

    def estimate(start: str, num_temperatures: int, resample: float, seed: int = 0) -> LogMarginal:
        chains = {"num_chains": 4 if chosen.smoke else CHAINS, "num_temperatures": num_temperatures, "seed": seed}
        return annealed_log_marginal(vae.model, vae.guide, x, start=start, resample=resample, compile=False, **chains)

    best = estimate("guide", 5 if chosen.smoke else OF_REFERENCE, 0.0, seed=1)
    print(f"reference: {best}", flush=True)
    rows: list[dict[str, Any]] = []
    counts = (3, 4) if chosen.smoke else TEMPERATURES
    for start, count, resample in itertools.product(("guide", "prior"), counts, (0.0, SHARE)):
        result = estimate(start, count, resample)
        rows.append({"start": start, "num_temperatures": count, "resample": resample, **row_of(result, best)})
        print(f"{start}, {count} temperatures, resample {resample}: {rows[-1]}", flush=True)
    reference = {"num_temperatures": OF_REFERENCE, "mean": best.mean.value, "error": best.mean.monte_carlo_error}
    about = {"num_images": len(x), "protocol": dataset.protocol, "num_chains": CHAINS, "reference": reference}
    save(chosen, {**about, "rows": rows})


if __name__ == "__main__":
    main()
