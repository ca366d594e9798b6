"""What each rung of the default estimate costs and misses, on models of several kinds, against annealing.

python experiments/evidence/escalation_by_model.py RUN... --root data --device cuda

The runs are trained on static MNIST, each for itself:

cd experiments/evidence && pyro-vae train --data static_mnist --batch-size 100 --learning-rate 5e-4 --kl-warmup 30 MODEL

with MODEL one of

--prior VampPrior --prior.num_components 500
--model two_level.TwoLevelVAE --binarization none
--latent-dim 2
--network ConvEncoder --decoder ConvDecoder

All estimators see the same random test images. What they cost is counted in evaluations of the model for an image,
which any device spends alike (a gradient counts as three). Annealing stands for the truth: a lower bound, too, and
annealing both ways on simulated images bounds how far.
"""

from __future__ import annotations

import functools
import json
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from escalation_on_mnist import mnist_vae
from setting import digits_vae, parsed, parser, save, timed
from torch import Tensor

import pyro_vae
from pyro_vae import VAE, HeavyTail, LogMarginal, annealed_log_marginal, bidirectional, log_marginal, widened

GRADIENT = 3  # evaluations of the model that a gradient costs
LEAPFROG = 5


def estimates(
    model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, *, num_chains: int, num_temperatures: int
) -> Iterator[tuple[str, LogMarginal, Tensor, dict[str, float]]]:
    """Name, result, evaluations of the model for each image, seconds; annealing first."""
    chunk = {} if x.device.type == "cpu" else {"chunk_size": len(x) * num_chains}
    chains = {"num_chains": num_chains, "num_temperatures": num_temperatures, "num_leapfrog": LEAPFROG, **chunk}
    guided = functools.partial(log_marginal, model, guide, x, estimator="guide", compile=False)
    wide = functools.partial(log_marginal, model, widened(guide, 1.2), x, estimator="guide", compile=False)
    for name, estimate, evaluations in (
        ("annealed", functools.partial(annealed_log_marginal, model, guide, x, **chains), None),
        ("guide, 1,000", functools.partial(guided, num_samples=1000), 1000),
        ("guide, 5,000", functools.partial(guided, num_samples=5000), 5000),
        ("guide, 20,000", functools.partial(guided, num_samples=20_000), 20_000),
        ("guide widened by 1.2, 5,000", functools.partial(wide, num_samples=5000), 5000),
        ("default, 1,000", functools.partial(log_marginal, model, guide, x, compile=False), None),
        ("default, 5,000", functools.partial(log_marginal, model, guide, x, num_samples=5000, compile=False), None),
    ):
        with timed() as seconds:
            result = estimate()
        if name == "annealed":
            evaluations = num_chains * num_temperatures * LEAPFROG * GRADIENT
        counts = result.details.get("evaluations", evaluations)
        counts = torch.as_tensor(counts, dtype=torch.float64).expand(len(x))
        yield name, result, counts, seconds


def random_order(count: int) -> Tensor:
    """The same for all models."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def row_of(name: str, result: LogMarginal, best: LogMarginal, evaluations: Tensor) -> dict[str, Any]:
    """The numbers of an estimator on some images."""
    below = (best.log_prob - result.log_prob).double()
    # Both are estimates for the same images: what is uncertain about the mean difference is their Monte Carlo error.
    error = torch.hypot(best.standard_error, result.standard_error).double().square().sum().sqrt() / len(below)
    return {
        "estimator": name,
        "num_images": len(below),
        "log_marginal": result.mean.value,
        "standard_error_over_images": result.mean.standard_error,
        "monte_carlo_error": result.mean.monte_carlo_error,
        "below_annealed": below.mean().item(),
        "error_of_below": error.item(),
        "share_with_khat_above_0.7": (result.khat > 0.7).double().mean().item(),
        "median_ess": result.ess.median().item(),
        "evaluations_per_image": evaluations.mean().item(),
    }


def by_grid(module: Any, x: Tensor, *, side: int, limit: float = 6.0, finer: int = 6, within: float = 18.0) -> Tensor:
    """log p(x) of a model of two latents with a standard normal prior, by a sum over a grid.

    Cells of a coarse grid, side x side of them, whose joint density at the centre is within so many nats of the highest
    are cut into finer x finer ones for each x by itself; those left out hold at most side^2 exp(-within) of the most.
    """

    def joint(z: Tensor, of: Tensor) -> Tensor:
        """log p(x, z) at z (P, 2) of each x (N, ...), (P, N)."""
        parts = []
        for some in z.split(max(1, 2**24 // of.numel())):
            px = module.likelihood(module.decoder(some[:, None]))  # batch (P, 1)
            parts.append(px.log_prob(of).double() + module.prior().log_prob(some).double()[:, None])
        return torch.cat(parts)

    width = 2 * limit / side
    line = (torch.arange(side, device=x.device) + 0.5) * width - limit
    step = (torch.arange(finer, device=x.device) + 0.5) * width / finer - width / 2
    centres, offsets = torch.cartesian_prod(line, line), torch.cartesian_prod(step, step)
    with torch.no_grad():
        coarse = joint(centres, x)  # (cells, N)
        total = []
        for point, column in zip(x, coarse.T, strict=True):
            cells = centres[column > column.max() - within]
            total.append(joint((cells[:, None] + offsets).flatten(0, 1), point[None]).logsumexp((0, 1)))
    return torch.stack(total) + 2 * math.log(width / finer)


def study(module: Any, x: Tensor, *, num_chains: int, num_temperatures: int, side: int = 200) -> dict[str, Any]:
    """Every estimator on one model, the default by rung, annealing's own gap, and the truth where there are two
    latents."""
    rows, by_rung, best, default = [], [], None, None
    settings = {"num_chains": num_chains, "num_temperatures": num_temperatures}
    for name, result, evaluations, seconds in estimates(module.model, module.guide, x, **settings):
        best = best or result
        rows.append(row_of(name, result, best, evaluations) | seconds)
        print(f"  {name}: {result}, {seconds['seconds']:.0f} s", flush=True)
        if name == "default, 1,000":
            default = result
            rung = result.details["rung"]
            for number in rung.unique().tolist():
                which = (rung == number).nonzero()[:, 0].tolist()
                by_rung.append(
                    {"rung": number} | row_of(name, result[which], best[which], evaluations[torch.tensor(which)])
                )
    truth: dict[str, Any] = {}
    if isinstance(module, VAE) and module.prior().event_shape == (2,):
        log_prob = by_grid(module, x, side=side).cpu()
        difference = log_prob - default.log_prob
        truth["grid"] = {
            "log_marginal": log_prob.mean().item(),
            "annealed_below": (log_prob - best.log_prob).mean().item(),
            "default_below": difference.mean().item(),
            "largest_difference_from_default": difference.abs().max().item(),
        }
        print(f"  grid: {truth['grid']}", flush=True)
    chunk = {} if x.device.type == "cpu" else {"chunk_size": len(x) * num_chains}
    both = bidirectional(module.model, module.guide, x, num_leapfrog=LEAPFROG, **settings, **chunk)
    gap = {"mean": both.mean_gap.value, "standard_error": both.mean_gap.standard_error}
    print(f"  {both}", flush=True)
    return {"rows": rows, "by_rung": by_rung, "gap": gap | {"largest": both.gap.max().item()}, **truth}


def draw(panels: list[dict[str, Any]], path: Path) -> None:
    """Nats below annealing against evaluations of the model, a panel for each model."""
    size = 2.0 * len(panels) + 0.6, 2.6
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    styles = {"guide": ("C0", "o"), "guide widened": ("C1", "s"), "default": ("C2", "D")}
    for axis, panel in zip(axes[0], panels, strict=True):
        for row in panel["rows"]:
            kind = row["estimator"].split(",")[0].removesuffix(" by 1.2")
            if kind not in styles:
                continue
            color, marker = styles[kind]
            axis.errorbar(
                row["evaluations_per_image"],
                row["below_annealed"],
                yerr=2 * row["error_of_below"],
                color=color,
                marker=marker,
                markersize=4,
                capsize=2,
                linestyle="none",
                label=kind,
            )
        gap = panel["gap"]["mean"]
        axis.axhspan(-max(gap, 0.0), 0.0, color="0.85", linewidth=0)  # how far annealing itself may lie below
        axis.axhline(0.0, color="0.5", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_yscale("symlog", linthresh=0.1)
        axis.set_title(panel["name"], fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0][0].set_ylabel("nats below annealing", fontsize=8)
    figure.supxlabel("evaluations of the model for an image", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=len(found), fontsize=8, frameon=False)
    figure.savefig(path, dpi=200)


def main() -> None:
    """Estimate, save, draw."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="trained run folders")
    options.add_argument("--names", nargs="*", default=[], help="how the models are called; by default the folders'")
    options.add_argument("--join", nargs="*", type=Path, default=[], help="earlier results, other models: one figure")
    options.add_argument("--weights", type=Path, help="of a VAE as escalation_on_mnist.py takes them: a model more")
    options.add_argument("--root", default="data", help="folder of the data sets")
    options.add_argument("--device", default="cpu")
    options.add_argument("--num-images", type=int, default=100)
    options.add_argument("--num-chains", type=int, default=32)
    options.add_argument("--num-temperatures", type=int, default=500)
    chosen = parsed(options, "evidence_by_model")
    warnings.simplefilter("ignore", HeavyTail)  # what guides have is the point
    settings = {"num_chains": chosen.num_chains, "num_temperatures": chosen.num_temperatures}
    panels: list[dict[str, Any]] = []
    if chosen.smoke:
        vae, dataset = digits_vae(latent_dim=2, epochs=1)
        panels.append({"name": "VAE", **study(vae, dataset.test[:4], num_chains=4, num_temperatures=5, side=50)})
        protocol = dataset.protocol
    if chosen.weights:
        vae, dataset = mnist_vae(chosen.weights, chosen.root)
        protocol, order = dataset.protocol, random_order(len(dataset.test))[: chosen.num_images]
        print("VAE", flush=True)
        found = study(vae.to(chosen.device), dataset.test[order].to(chosen.device), **settings)
        panels.append({"name": "VAE", **found})
    for folder, name in zip(chosen.runs, chosen.names or [run.name for run in chosen.runs], strict=True):
        run = pyro_vae.load(folder, root=chosen.root, device=chosen.device, trust=True)
        protocol, test = run.data.protocol, run.data.test
        order = random_order(len(test))[: chosen.num_images]
        print(name, flush=True)
        found = study(run.module, test[order].to(chosen.device), **settings)
        training = {key: run.about[key] for key in ("epochs", "best_epoch") if key in run.about}
        panels.append({"name": name, "training": training, **found})
        save(chosen, {"protocol": protocol, **settings, "panels": panels})
    for path in chosen.join:
        earlier = json.loads(path.read_text())
        protocol = earlier["protocol"]
        made = {key: earlier[key] for key in ("command", "device", "date", *settings)}
        panels += [{**panel, **made} for panel in earlier["panels"]]
    save(chosen, {"protocol": protocol, **settings, "panels": panels})
    draw(panels, chosen.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
