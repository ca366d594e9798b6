"""Write the tables of README.md anew from the results in experiments/results: python experiments/readme_tables.py"""

import json
import re
from pathlib import Path

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


def write(readme: str) -> str:
    """The README with each table between its markers replaced by the present content of its file."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{(ROOT / match[2]).read_text().strip()}\n\n<!-- end of table -->"

    return re.sub(r"(<!-- table: (\S+) -->\n).*?<!-- end of table -->", table, readme, flags=re.DOTALL)


if __name__ == "__main__":
    (RESULTS / "static_mnist.md").write_text(static_mnist_table() + "\n")
    path = ROOT / "README.md"
    path.write_text(write(path.read_text()))
    print(f"tables of {path.name} written")
