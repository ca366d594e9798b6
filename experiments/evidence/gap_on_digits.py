"""How tight are bounds of log p(x) on a trained model? python experiments/evidence/gap_on_digits.py

The VAE that `pyro-vae train --data digits` trains by default. Bidirectional Monte Carlo bounds log p(x) from both sides
on images simulated from the model; the forward chains, at the same settings, are then compared with importance sampling
on real test digits.
"""

from __future__ import annotations

import warnings

from setting import arguments, digits_vae, save, timed

from pyro_vae import HeavyTail, annealed_log_marginal, bidirectional, log_marginal

NUM_IMAGES = 40
NUM_SAMPLES = 5000  # of importance sampling
SETTINGS = (
    {"start": "guide", "num_temperatures": 10, "num_leapfrog": 3},
    {"start": "guide", "num_temperatures": 30, "num_leapfrog": 5},
    {"start": "prior", "num_temperatures": 100, "num_leapfrog": 5},
)
NUM_CHAINS = 32  # enough for k-hat


def main() -> None:
    """Bound, compare, save."""
    chosen = arguments("evidence_gap", __doc__.splitlines()[0])
    warnings.simplefilter("ignore", HeavyTail)  # counted in the record
    vae, digits = digits_vae(epochs=1 if chosen.smoke else 100)
    x = digits.test[: 3 if chosen.smoke else NUM_IMAGES]
    num_samples = 100 if chosen.smoke else NUM_SAMPLES
    with timed() as time:
        plain = log_marginal(vae.model, vae.guide, x, num_samples=num_samples, estimator="guide")
    importance = {
        "num_samples": num_samples,
        "mean": plain.mean.value,
        "monte_carlo_error": plain.mean.monte_carlo_error,
        "share_with_khat_above_0.7": (plain.khat > 0.7).double().mean().item(),
        "smallest_ess": plain.ess.min().item(),
        **time,
    }
    print(f"importance sampling: {plain}", flush=True)
    rows = []
    for settings in SETTINGS[:1] if chosen.smoke else SETTINGS:
        options = {**settings, "num_chains": 4 if chosen.smoke else NUM_CHAINS}
        with timed() as time:
            both = bidirectional(vae.model, vae.guide, x, **options)
        with timed() as forward_time:
            forward = annealed_log_marginal(vae.model, vae.guide, x, **options)
        difference = forward.log_prob - plain.log_prob
        rows.append(
            {
                "settings": options,
                "mean_gap": both.mean_gap.value,
                "mean_gap_standard_error": both.mean_gap.standard_error,
                "largest_gap": both.gap.max().item(),
                **time,
                "acceptance": both.lower.details["acceptance"].mean().item(),
                "forward_mean": forward.mean.value,
                "forward_monte_carlo_error": forward.mean.monte_carlo_error,
                "forward_minus_importance": difference.mean().item(),
                "forward_minus_importance_rms": difference.square().mean().sqrt().item(),
                "forward_share_with_khat_above_0.7": (forward.khat > 0.7).double().mean().item(),
                "forward_core_seconds": forward_time["core_seconds"],
            }
        )
        print(f"{options}: {both}, {time['core_seconds']:.0f} s; forward on digits: {forward}", flush=True)
    save(chosen, {"num_images": len(x), "protocol": digits.protocol, "importance": importance, "rows": rows})


if __name__ == "__main__":
    main()
