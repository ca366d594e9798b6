"""Write the tables of both READMEs anew from the results in experiments/results:

python experiments/readme_tables.py
"""

import json
import re
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"


def static_mnist_table() -> str:
    """log p(x) of runs on static MNIST, from the evaluation.json of each."""
    rows = []
    for path in sorted(RESULTS.glob("static_mnist_*.json")):
        run = json.loads(path.read_text())
        rows.append(
            [
                path.stem.removeprefix("static_mnist_").replace("_", " "),
                f"{run['log_marginal_nats_per_image']:.2f}",
                f"{run['standard_error_over_images']:.2f}",
                f"{run['monte_carlo_error']:.3f}",
                f"{run['num_samples']:,} x {run['num_images']:,}",
                f"{run['median_ess']:.1f}, {run['images_with_ess_below_10']:,} images below 10",
            ]
        )
    headers = ["prior", "log p(x), nats", "SE over images", "Monte Carlo SE", "samples x images", "median ESS"]
    training = run["training"]
    about = (
        f"Data: {run['protocol']}. Trained with `{training['command']}`: {training['epochs']} epochs in "
        f"{training['seconds'] / 60:.0f} minutes on {training['device']} ({training['threads']} threads). Evaluated "
        f"with `{run['command']}`, {run['date']}."
    )
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{about}"


def step_time_table() -> str:
    """Milliseconds of a training step by method and case, fp32 and bf16."""
    result = json.loads((RESULTS / "step_time.json").read_text())
    cases: dict[str, dict[str, str]] = {}
    for row in result["rows"]:
        case = f"{row['network']}, {row['prior']}, batch {row['batch_size']}"
        shown = f"{row['milliseconds']:.2f}" if "milliseconds" in row else row["missing"]
        cases.setdefault(row["method"], {})[case] = shown
    headers = list(dict.fromkeys(case for columns in cases.values() for case in columns))
    rows = [[method, *[columns.get(case, "") for case in headers]] for method, columns in cases.items()]
    rates = ", ".join(f"{rate / 1e12:.2f} TFLOP/s in {name}" for name, rate in result["product_rate"].items())
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    about = (
        f"Milliseconds a step, medians of alternating repetitions in one run. {result['device']}, {result['threads']} "
        f"threads, matrix products at {rates}; {versions}; {result['date']}. `{result['command']}`"
    )
    return tabulate(rows, ["method", *headers], tablefmt="github", disable_numparse=True) + f"\n\n{about}"


def evidence_time_table() -> str:
    """Nanoseconds for each image and sample by method."""
    result = json.loads((RESULTS / "evidence_time.json").read_text())
    rows = []
    for row in result["rows"]:
        if "missing" in row:
            rows.append([row["method"], row["missing"], "", ""])
            continue
        bias = f"{row['bias_nats']:.4f} +- {row['bias_standard_error']:.4f}" if "bias_nats" in row else ""
        rows.append([row["method"], f"{row['nanoseconds']:,.0f}", f"{row['log_marginal']:.3f}", bias])
    headers = ["method", "ns per image and sample", "mean log p(x), nats", "bias of bf16, nats"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['num_images']} images, {result['num_samples']:,} samples each; {result['device']}, "
        f"{result['threads']} threads, {result['date']}. `{result['command']}`"
    )


def source(result: dict[str, Any]) -> str:
    """Where the numbers of a study come from."""
    return f"{result['device']}, {result['threads']} thread, {result['date']}. `{result['command']}`"


def agreement_table() -> str:
    """Estimates of log p(x) against the truth, in their own standard errors."""
    result = json.loads((RESULTS / "evidence_coverage.json").read_text())
    rows = [
        [
            row["method"],
            f"{row['num_images']:,} x {row['num_samples']:,}",
            f"{row['mean_error']:+.4f}",
            f"{row['mean_standard_error']:.3f}",
            f"{row['rms_deviation']:.2f}",
            f"{row['largest_deviation']:.1f}",
            f"{row['share_within_1.96']:.1%}",
        ]
        for row in result["agreement"]
    ]
    headers = [
        "estimator",
        "images x samples or chains",
        "mean error, nats",
        "mean SE, nats",
        "rms of error / SE",
        "largest",
        "within 1.96 SE",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{source(result)}"


def coverage_table() -> str:
    """How often nominal 95% intervals hold the truth, by guide."""
    result = json.loads((RESULTS / "evidence_coverage.json").read_text())
    rows = [
        [
            row["guide"],
            f"{row['num_samples']:,}",
            f"{row['coverage']:.1%} +- {row['coverage_standard_error']:.1%}",
            f"{row['mean_khat']:.2f}",
            f"{row['share_with_khat_above_0.7']:.0%}",
            f"{row['median_ess']:,.0f}",
            f"{row['bias']:+.4f} +- {row['bias_standard_error']:.4f}",
            f"{row['mean_standard_error']:.3f} / {row['true_standard_error']:.3f}",
        ]
        for row in sorted(result["rows"], key=lambda row: row["num_samples"])
    ]
    headers = [
        "guide",
        "samples",
        "coverage",
        "mean k-hat",
        "k-hat > 0.7",
        "median ESS",
        "bias, nats",
        "SE: reported / true",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['rows'][0]['repetitions']:,} repetitions each. {source(result)}"
    )


def annealed_table() -> str:
    """Annealing from the prior against importance sampling from poor guides."""
    result = json.loads((RESULTS / "evidence_annealed.json").read_text())
    rows = [
        [
            row["method"],
            row["guide"],
            f"{row['num_samples']:,}",
            f"{row['rms_error']:.3f}",
            f"{row['mean_error']:+.3f}",
            f"{row['mean_standard_error']:.3f}",
            f"{row['share_with_khat_above_0.7']:.0%}",
            f"{row['core_seconds'] / result['num_images']:.2f}",
        ]
        for row in result["rows"]
    ]
    headers = [
        "estimator",
        "guide",
        "samples or chains",
        "rms error, nats",
        "mean error",
        "mean SE",
        "k-hat > 0.7",
        "core seconds per image",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['num_images']} images; truth by {result['truth']['num_samples']:,} samples, standard error at "
        f"most {result['truth']['largest_standard_error']:.4f}; it differs from a grid by at most "
        f"{result['truth']['largest_difference_to_grid']:.4f} nats. {source(result)}"
    )


def gap_table() -> str:
    """Bounds of log p(x) from both sides, and the forward chains on real digits."""
    result = json.loads((RESULTS / "evidence_gap.json").read_text())
    rows = [
        [
            f"{row['settings']['start']}, {row['settings']['num_temperatures']} temperatures, "
            f"{row['settings']['num_chains']} chains, {row['settings']['num_leapfrog']} leapfrog steps",
            f"{row['mean_gap']:.3f} +- {row['mean_gap_standard_error']:.3f}",
            f"{row['core_seconds']:.0f}",
            f"{row['forward_minus_importance']:+.3f}",
            f"{row['forward_minus_importance_rms']:.3f}",
            f"{row['forward_share_with_khat_above_0.7']:.0%}",
        ]
        for row in result["rows"]
    ]
    headers = [
        "start and settings",
        "mean gap, nats per image",
        "core seconds",
        "forward on digits minus importance",
        "rms",
        "k-hat > 0.7",
    ]
    plain = result["importance"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['num_images']} simulated images and as many test digits; importance sampling with "
        f"{plain['num_samples']:,} samples: {plain['mean']:.3f} +- {plain['monte_carlo_error']:.3f} nats per image, "
        f"k-hat above 0.7 for {plain['share_with_khat_above_0.7']:.0%}. {source(result)}"
    )


def defaults_table() -> str:
    """Error against cost of all that was tried."""
    result = json.loads((RESULTS / "evidence_defaults.json").read_text())
    lines: dict[str, list[str]] = {}
    for i, panel in enumerate(result["panels"]):
        for row in panel["rows"]:
            chosen = row["settings"]
            if row["method"] == "importance":
                name = f"importance, {chosen['proposal']}, {chosen['num_samples']:,}"
            else:
                name = (
                    f"annealed from {chosen['start']}, {chosen['num_chains']} x {chosen['num_temperatures']:,}, "
                    f"{chosen['schedule']}, {chosen['num_leapfrog']} steps, acceptance {chosen['target_acceptance']}"
                )
            line = lines.setdefault(name, [f"{row['passes_per_image']:,}", *[""] * 2 * len(result["panels"])])
            line[1 + 2 * i] = f"{row['rms_error']:.3f}"
            line[2 + 2 * i] = f"{row['core_seconds_per_image']:.2f}"
    headers = ["estimator", "passes"]
    headers += [f"{what}, {panel['images']}" for panel in result["panels"] for what in ("rms error", "core seconds")]
    rows = [[name, *line] for name, line in lines.items()]
    references = ", ".join(f"{panel['reference_error']:.3f} ({panel['images']})" for panel in result["panels"])
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\nOf each image, {result['panels'][0]['num_images']} images; standard error of the reference {references} "
        f"nats. {source(result)}"
    )


TABLES = {
    "static_mnist.md": static_mnist_table,
    "step_time.md": step_time_table,
    "evidence_time.md": evidence_time_table,
    "evidence_agreement.md": agreement_table,
    "evidence_coverage.md": coverage_table,
    "evidence_annealed.md": annealed_table,
    "evidence_gap.md": gap_table,
    "evidence_defaults.md": defaults_table,
}


def write(readme: str) -> str:
    """The README with each table between its markers replaced by the present content of its file."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{(ROOT / match[2]).read_text().strip()}\n\n<!-- end of table -->"

    return re.sub(r"(<!-- table: (\S+) -->\n).*?<!-- end of table -->", table, readme, flags=re.DOTALL)


if __name__ == "__main__":
    for name, table in TABLES.items():
        (RESULTS / name).write_text(table() + "\n")
    for path in (ROOT / "README.md", ROOT / "experiments" / "README.md"):
        path.write_text(write(path.read_text()))
        print(f"tables of {path.relative_to(ROOT)} written")
