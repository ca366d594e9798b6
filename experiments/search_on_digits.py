"""What is a search worth, and what would its own best value have claimed? python experiments/search_on_digits.py

`pyro-vae tune` on the digits: learning rate, latent size, batch size and prior, by validation ELBO; then the best
settings and those as given are trained anew with three fresh seeds each, and compared by log p(x) of the test data.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections import Counter
from pathlib import Path

from pyro_vae.commands.main import main as pyro_vae

RESULTS = Path(__file__).parent / "results"
SEARCH = ["learning_rate=1e-4..1e-2", "latent_dim=4..32", "batch_size=32,64,128", "prior=StandardNormal,VampPrior"]
SMALL = ["--epochs", "1", "--kl-warmup", "0", "--seeds", "1", "--num-samples", "20", "--num-images", "5"]


def main() -> None:
    """Search, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--smoke", action="store_true", help="does it work? two trials of an epoch")
    parser.add_argument("--out", type=Path, default=RESULTS / "search_on_digits.json")
    chosen = parser.parse_args()
    small = [*SMALL, "--trials", "2"] if chosen.smoke else ["--trials", str(chosen.trials)]
    with tempfile.TemporaryDirectory() as folder:
        pyro_vae(["tune", "--search", *SEARCH, *small, "--out", folder])
        search, final = (json.loads(Path(folder, f"{name}.json").read_text()) for name in ("tuning", "comparison"))
    trained = [trial for trial in search["trials"] if trial["outcome"] == "trained"]
    best = max(trained, key=lambda trial: trial["validation_elbo"])
    rows = [{"name": name, **estimate} for name, estimate in final["log_marginal"].items()]
    result = {name: final[name] for name in ("protocol", "num_samples", "num_data_points", "differences", "seconds")}
    result |= {name: final[name] for name in ("versions", "device", "threads", "date")}
    result |= {"search": SEARCH, "outcomes": Counter(trial["outcome"] for trial in search["trials"]), "best": best}
    result |= {"given_elbo": search["trials"][0]["validation_elbo"], "rows": rows, "smoke": chosen.smoke}
    line = shlex.join(["python", "experiments/search_on_digits.py", *sys.argv[1:]])
    chosen.out.write_text(json.dumps(result | {"command": line}, indent=2) + "\n")


if __name__ == "__main__":
    main()
