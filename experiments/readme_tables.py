"""Write the tables of README.md anew from the results in experiments/results: python experiments/readme_tables.py"""

import functools
import inspect
import json
import re
from pathlib import Path

from tabulate import tabulate

from pyro_vae import encoders, likelihoods, models, networks, priors

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


def parts_table(kind: str) -> str:
    """Every prior or encoder on the digits, best first."""
    result = json.loads((RESULTS / f"{kind}_on_digits.json").read_text())
    rows = []
    for row in sorted(result["rows"], key=lambda row: -row["log_marginal"]["value"]):
        gap = row.get("difference")
        rows.append(
            [
                row["name"],
                f"{row['log_marginal']['value']:.2f} +- {row['log_marginal']['standard_error']:.2f}",
                f"{gap['value']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]" if gap else "",
                f"{row['monte_carlo_error']:.3f}",
                f"{100 * row['khat_above_0.7']:.0f}%",
                f"{row['seconds_per_epoch']:.2f}",
            ]
        )
    headers = [kind[:-1], "log p(x), nats", f"less {result['first']}", "Monte Carlo error", "k-hat > 0.7", "s/epoch"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + (
        f"\n\n{result['rows'][0]['num_seeds']} seed each, {result['num_samples']:,} importance samples for each of "
        f"{result['num_images']:,} images. Intervals and errors: {result['intervals']}. Seconds: of the quickest "
        f"epoch, its validation included, on a machine shared with other work. {result['device']}, "
        f"{result['threads']} thread, {result['date']}. `{result['command']}`. Data: {result['protocol']}."
    )


TABLES = {
    "priors_on_digits.md": functools.partial(parts_table, "priors"),
    "encoders_on_digits.md": functools.partial(parts_table, "encoders"),
    "static_mnist.md": static_mnist_table,
    "step_time.md": step_time_table,
    "evidence_time.md": evidence_time_table,
}


def gallery() -> str:
    """Every part of the library and when to take it: the first sentence of its docstring."""
    tables = []
    for kind in (models, priors, likelihoods, encoders, networks):
        public = [getattr(kind, name) for name in sorted(kind.__all__, key=str.lower)]
        classes = [cls for cls in public if inspect.isclass(cls) and not cls.__subclasses__()]  # no abstract ones
        rows = [[f"`{cls.__name__}`", first_sentence(cls)] for cls in classes]
        tables.append(tabulate(rows, [kind.__name__.rpartition(".")[2], "what, and when"], tablefmt="github"))
    return "\n\n".join(tables)


def first_sentence(cls: type) -> str:
    """The first paragraph of a docstring, in markdown."""
    text = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    return text.replace("``", "`").replace("|", "\\|")


def write(readme: str) -> str:
    """The README with each table between its markers replaced by the present content of its file."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{(ROOT / match[2]).read_text().strip()}\n\n<!-- end of table -->"

    written = re.sub(r"(<!-- table: (\S+) -->\n).*?<!-- end of table -->", table, readme, flags=re.DOTALL)
    start, end = "<!-- gallery -->\n", "<!-- end of gallery -->"
    before, found, rest = written.partition(start)
    return before + start + f"\n{gallery()}\n\n" + end + rest.partition(end)[2] if found else written


READMES = ROOT / "README.md", ROOT / "experiments" / "README.md"

if __name__ == "__main__":
    for name, table in TABLES.items():
        (RESULTS / name).write_text(table() + "\n")
    for path in READMES:
        path.write_text(write(path.read_text()))
        print(f"tables of {path.relative_to(ROOT)} written")
