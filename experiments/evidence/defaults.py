"""The study behind the defaults of log p(x): error against cost, by estimator: python experiments/evidence/defaults.py

The VAE that `pyro-vae train --data digits` trains is asked for log p(x) of test digits, which its guide knows well, and
of the same digits inverted, which its guide has never seen. The error is the root mean square over images (and seeds)
of the difference to a reference that took many times longer. The cost is in passes through the decoder for each image,
a gradient counted as three; seconds of one core are recorded beside it.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from setting import arguments, digits_vae, save, timed
from torch import Tensor

from pyro_vae import VAE, HeavyTail, LogMarginal, annealed_log_marginal, log_marginal, widened

NUM_IMAGES = 8
SEEDS = 2  # of importance sampling; the chains of annealing are many and slow
SAMPLES = (10, 100, 1000, 10_000)
PROPOSALS = {
    "guide": {},
    "widened 1.1": {"widen": 1.1},
    "widened 1.2": {"widen": 1.2},
    "widened 1.5": {"widen": 1.5},
    "defensive 0.05": {"defensive": 0.05},
    "defensive 0.1": {"defensive": 0.1},
}
DEFAULT = {"schedule": "sigmoid", "num_chains": 16, "num_leapfrog": 5, "target_acceptance": 0.9}
ANNEALED: dict[str, dict[str, Sequence[Any]]] = {  # one family a line: all combinations, the rest as in DEFAULT
    "from guide": {"start": ["guide"], "num_temperatures": [10, 30, 100, 300]},
    "from prior": {"start": ["prior"], "num_temperatures": [10, 30, 100]},
    "leapfrog": {"start": ["guide"], "num_temperatures": [30, 100], "num_leapfrog": [2, 10]},
    "adaptive": {"start": ["guide", "prior"], "num_temperatures": [30, 100], "schedule": ["adaptive"]},
    "acceptance": {"start": ["guide"], "num_temperatures": [100], "target_acceptance": [0.65, 0.8, 0.95]},
    "few chains": {"start": ["guide"], "num_temperatures": [400], "num_chains": [4]},
    "many chains": {"start": ["guide"], "num_temperatures": [25], "num_chains": [64]},
    "long": {"start": ["guide"], "num_temperatures": [1000]},
}
ON_TEST_DIGITS = ("from guide", "from prior", "leapfrog", "adaptive")  # the other families on inverted digits alone
GRADIENT = 3  # passes
NUM_WARMUP_CHAINS, FIRST_TRANSITIONS, LEAST_TRANSITIONS = 4, 50, 100  # of annealing's warm-up, for its cost
BLUE, ORANGE, GREY, INK = "#2f6fb0", "#c8642b", "#9aa3ab", "#222222"


def annealing_settings(families: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What is tried of annealing."""
    for family in families:
        options = ANNEALED[family]
        for values in itertools.product(*options.values()):
            yield DEFAULT | dict(zip(options, values, strict=True))


def annealing_cost(settings: dict[str, Any]) -> int:
    """Passes through the decoder for each image, warm-up included."""
    inner = settings["num_temperatures"] - 1
    warm_up = FIRST_TRANSITIONS + inner * max(1, LEAST_TRANSITIONS // inner)
    transitions = settings["num_chains"] * inner + NUM_WARMUP_CHAINS * warm_up
    return transitions * (GRADIENT * settings["num_leapfrog"] + 1)


def reference(vae: VAE, x: Tensor, name: str, *, smoke: bool) -> LogMarginal:
    """A long run: importance sampling where the guide is good, annealing where it is not."""
    if name == "test digits":
        return log_marginal(
            vae.model,
            widened(vae.guide, 1.1),
            x,
            num_samples=1000 if smoke else 100_000,
            seed=10,
            compile=False,
            estimator="guide",
        )
    settings = {"num_chains": 4, "num_temperatures": 10} if smoke else {"num_chains": 32, "num_temperatures": 1000}
    return annealed_log_marginal(vae.model, vae.guide, x, **settings, seed=10, compile=False)


def row(method: str, settings: dict[str, Any], cost: float, seconds: float, results: Any, truth: Tensor) -> dict:
    """One line of the record."""
    errors = [result.log_prob - truth for result in results]
    squares = [error.square().mean().item() for error in errors]
    return {
        "method": method,
        "settings": settings,
        "passes_per_image": cost,
        "core_seconds_per_image": seconds / len(results) / len(truth),
        "rms_error": math.sqrt(sum(squares) / len(squares)),
        "mean_error": sum(error.mean().item() for error in errors) / len(errors),
        "mean_standard_error": sum(r.standard_error.mean().item() for r in results) / len(results),
        "share_with_khat_above_0.7": sum((r.khat > 0.7).double().mean().item() for r in results) / len(results),
    }


def study(vae: VAE, x: Tensor, truth: Tensor, families: Sequence[str], *, smoke: bool) -> Iterator[dict]:
    """All estimators on some images."""
    for (name, proposal), count in itertools.product(PROPOSALS.items(), SAMPLES[:2] if smoke else SAMPLES):
        options = dict(proposal)
        guide = widened(vae.guide, options.pop("widen")) if "widen" in options else vae.guide
        options |= {"num_samples": count, "compile": False}
        with timed() as time:
            results = [
                log_marginal(vae.model, guide, x, seed=seed, **options, estimator="guide") for seed in range(SEEDS)
            ]
        yield row("importance", {"proposal": name, "num_samples": count}, count, time["core_seconds"], results, truth)
    for settings in annealing_settings(families):
        if smoke and settings["num_temperatures"] > 10:
            continue
        with timed() as time:
            result = annealed_log_marginal(vae.model, vae.guide, x, compile=False, **settings)
        yield row("annealed", settings, annealing_cost(settings), time["core_seconds"], [result], truth)


def curve(rows: list[dict], **wanted: Any) -> tuple[list[float], list[float]]:
    """Cost and error of the rows with these settings, cheapest first."""
    found = [r for r in rows if all(r["settings"].get(key) == value for key, value in wanted.items())]
    found.sort(key=lambda r: r["passes_per_image"])
    return [r["passes_per_image"] for r in found], [r["rms_error"] for r in found]


def figure(panels: list[dict]) -> Figure:
    """Error against cost, one panel for each kind of image."""
    drawn = Figure(figsize=(11, 4.8), layout="constrained")
    lines = {  # label: colour, style, rows, which point is labelled and where, in points from it
        "importance, guide": (INK, "-", {"proposal": "guide"}, 2, (-6, -12), "right"),
        "widened 1.2": (GREY, "-", {"proposal": "widened 1.2"}, 1, (4, 5), "left"),
        "widened 1.5": (GREY, ":", {"proposal": "widened 1.5"}, 1, (4, 5), "left"),
        "defensive 0.1": (GREY, "--", {"proposal": "defensive 0.1"}, -1, (6, -6), "left"),
        "annealed from guide": (BLUE, "-", {"start": "guide", **DEFAULT}, 2, (8, 0), "left"),
        "annealed from prior": (ORANGE, "-", {"start": "prior", **DEFAULT}, 0, (4, 5), "left"),
    }
    for axes, panel in zip(drawn.subplots(1, len(panels), sharex=True, squeeze=False)[0], panels, strict=True):
        rows = panel["rows"]
        for start, colour in (("guide", BLUE), ("prior", ORANGE)):
            axes.plot(*curve(rows, start=start), ".", color=colour, alpha=0.35, markersize=6)
        for label, (colour, style, wanted, point, shift, side) in lines.items():
            cost, error = curve(rows, **wanted)
            axes.plot(cost, error, style, color=colour, linewidth=1.6)
            if cost and panel is panels[0]:
                point = min(point, len(cost) - 1)  # fewer in a smoke run
                at = cost[point], error[point]
                axes.annotate(label, at, shift, textcoords="offset points", color=colour, fontsize=9, ha=side)
        axes.axhline(panel["reference_error"], color=GREY, linewidth=0.8)
        axes.annotate("error of the reference", (8, panel["reference_error"] * 1.05), color=GREY, fontsize=8)
        long = curve(rows, start="guide", **DEFAULT, num_temperatures=1000)
        axes.plot(*long, "o", markerfacecolor="white", color=BLUE, markersize=8)
        if long[0]:
            shift = {"xytext": (-9, -8), "textcoords": "offset points", "ha": "right"}
            axes.annotate("1,000 temperatures", (long[0][0], long[1][0]), color=BLUE, fontsize=8, **shift)
        axes.set(xscale="log", yscale="log", xlabel="passes through the decoder for each image (a gradient is 3)")
        axes.set_title(panel["images"], color=INK, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    drawn.axes[0].set_ylabel("rms error of log p(x), nats")
    drawn.supxlabel("dots: other schedules, leapfrog steps, acceptance, chains", fontsize=8)
    return drawn


def main() -> None:
    """Study, draw, save."""
    chosen = arguments("evidence_defaults", __doc__.splitlines()[0])
    warnings.simplefilter("ignore", HeavyTail)  # counted in the record
    vae, digits = digits_vae(epochs=1 if chosen.smoke else 100)
    x = digits.test[: 2 if chosen.smoke else NUM_IMAGES]
    panels = []
    for name, images in (("test digits", x), ("inverted test digits", 1 - x))[1 if chosen.smoke else 0 :]:
        with timed() as time:
            truth = reference(vae, images, name, smoke=chosen.smoke)
        print(f"{name}: {truth}, {time['core_seconds']:.0f} s", flush=True)
        panel: dict[str, Any] = {
            "images": name,
            "num_images": len(images),
            "reference_mean": truth.mean.value,
            "reference_error": truth.standard_error.square().mean().sqrt().item(),
            "reference_core_seconds": time["core_seconds"],
            "rows": [],
        }
        panels.append(panel)
        families = ON_TEST_DIGITS if name == "test digits" else tuple(ANNEALED)
        families = families[:1] if chosen.smoke else families
        for line in study(vae, images, truth.log_prob, families, smoke=chosen.smoke):
            panel["rows"].append(line)
            print(line["settings"], f"rms {line['rms_error']:.3f}, {line['core_seconds_per_image']:.2f} s", flush=True)
        save(chosen, {"seeds_of_importance_sampling": SEEDS, "panels": panels})
    figure(panels).savefig(chosen.out.with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
