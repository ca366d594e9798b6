"""How far do the prior and the encoder matter on small digits? Every continuous prior, then every encoder, in one VAE.

python experiments/parts_on_digits.py priors (or encoders) trains them by ``pyro-vae compare``, which goes on where it
stopped, and writes results/priors_on_digits.json and .png. --smoke tries all of it in a minute, and keeps nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from pyro_vae import LogMarginal, compare

SEEDS = 3
NUM_SAMPLES = 1000
# The first of each is what the others are compared with. A plus joins what only works together.
CANDIDATES = {
    "priors": [
        "StandardNormal",
        "DiagonalNormal",
        "LaplacePrior",
        "StudentTPrior",
        "GaussianMixture",
        "GaussianMixture:covariance=low-rank",
        "GaussianMixture:covariance=full",
        "VampPrior",
        "ExemplarPrior",
        "CouplingFlow",
        "AutoregressiveFlow",
        "SplineFlow",
        "LARS",
        "AutoregressivePrior",
        "UniformSphere+VonMisesFisherEncoder",
        "VonMisesFisherPrior+VonMisesFisherEncoder",
        "DirichletPrior+DirichletEncoder",
        "LogisticNormalPrior+LogisticNormalEncoder",
    ],
    "encoders": [
        "GaussianEncoder",
        "FullRankEncoder",
        "LowRankEncoder",
        "StudentTEncoder",
        "MixtureEncoder",
        "HouseholderFlow",
        "PlanarFlow",
        "SylvesterFlow",
        "IAF",
        "GaussianEncoder+SemiAmortizedVAE",
        "VonMisesFisherEncoder+UniformSphere",
        "DirichletEncoder+DirichletPrior",
        "LogisticNormalEncoder+LogisticNormalPrior",
        "BernoulliEncoder+BernoulliPrior",
        "CategoricalEncoder:num_categories=4+CategoricalPrior:num_categories=4",
    ],
}
HEAVY = 0.7  # k-hat above which an estimate is not to be trusted
RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent


def train(kind: str, folder: Path, *, smoke: bool) -> None:
    """Train and evaluate all candidates, with all that is not said here as `pyro-vae compare` has it."""
    options = ["--seeds", str(SEEDS), "--num-samples", str(NUM_SAMPLES), "--out", str(folder)]
    if smoke:
        small = "--seeds 1 --num-samples 30 --num-images 30 --epochs 1 --kl-warmup 0"
        options = [*small.split(), "--out", str(folder)]
    command = [sys.executable, "-m", "pyro_vae", "compare", f"--{kind}", *CANDIDATES[kind], *options]
    subprocess.run(command, check=True)


def collect(kind: str, folder: Path) -> dict[str, object]:
    """One row a candidate: log p(x), its difference to the first, k-hat, and seconds."""
    comparison = json.loads((folder / "comparison.json").read_text())
    found = {name: [LogMarginal.load(path) for path in paths] for name, paths in comparison["evaluations"].items()}
    result = compare(found)
    first = next(iter(found))
    rows = []
    for name, evaluations in found.items():
        lines = [
            json.loads(line)
            for run in comparison["runs"][name]
            for line in (Path(run) / "metrics.jsonl").read_text().splitlines()
        ]
        khat = [value for evaluation in evaluations for value in evaluation.khat.tolist()]
        row = {"name": name, "log_marginal": vars(result.log_marginal[name]), "num_seeds": len(evaluations)}
        row["monte_carlo_error"] = result.log_marginal[name].monte_carlo_error
        row["smallest_ess"] = result.smallest_ess[name]
        if name != first:  # of this one over the first
            of_pair = result.differences[first, name]
            row["difference"] = {"value": -of_pair.value, "low": -of_pair.high, "high": -of_pair.low}
        row["khat_above_0.7"] = sum(value > HEAVY for value in khat) / len(khat)
        row["seconds_per_epoch"] = min(line["seconds"] for line in lines)
        rows.append(row)
    kept = ("protocol", "likelihood", "num_samples", "intervals", "versions", "device", "threads", "date")
    about = {"num_images": comparison["num_data_points"], **{key: comparison[key] for key in kept}}
    return {"command": f"python experiments/parts_on_digits.py {kind}", "first": first, "rows": rows, **about}


def figure(result: dict[str, object]) -> Figure:
    """Differences to the first with their intervals, and the share of images with a heavy tail of weights."""
    rows = sorted(result["rows"], key=lambda row: row["log_marginal"]["value"])
    page = Figure(figsize=(10, 1.4 + 0.4 * len(rows)), layout="constrained")
    left, right = page.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    for place, row in enumerate(rows):
        gap = row.get("difference", {"value": 0.0, "low": 0.0, "high": 0.0})
        error = [[gap["value"] - gap["low"]], [gap["high"] - gap["value"]]]
        left.errorbar([gap["value"]], [place], xerr=error, fmt="o", color="#2f6fb0", capsize=3)
        right.barh(place, 100 * row["khat_above_0.7"], color="#9aa3ab")
    left.set_yticks(range(len(rows)), [row["name"].replace("+", "\n+ ") for row in rows])
    left.axvline(0, color="#9aa3ab", linewidth=1, zorder=0)
    left.set_xlabel(f"nats above {result['first']},\n95% interval")
    right.set_xlabel("% of images with\nk-hat above 0.7")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=list(CANDIDATES))
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "runs" if chosen.smoke else ROOT / "runs" / f"{chosen.kind}_on_digits"
        train(chosen.kind, folder, smoke=chosen.smoke)
        result = collect(chosen.kind, folder)
        target = Path(temporary) if chosen.smoke else RESULTS
        path = target / f"{chosen.kind}_on_digits.json"
        path.write_text(json.dumps(result, indent=2) + "\n")
        figure(result).savefig(path.with_suffix(".png"), dpi=120)
        print(f"written: {path}")


if __name__ == "__main__":
    main()
