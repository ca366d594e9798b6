"""What the experiments of this folder share: options, the run they look at, and how they keep what they find."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pyro_vae
from pyro_vae.runs.environment import environment

SMALL_RUN = ("--epochs", "2", "--latent-dim", "4", "--network", "MLP", "--network.hidden", "[16]", "--compile", "false")


class Record:
    """One experiment: what was asked for, and its result as JSON beside its figures.

    Args:
        name: of the result.
        about: what the experiment asks.
        run: whether it looks at a trained run, which --smoke replaces by a small one on the digits.
    """

    def __init__(self, name: str, about: str, *, run: bool) -> None:
        wanted = argparse.ArgumentParser(description=about)
        if run:
            wanted.add_argument("run", nargs="?", help="folder of a run of pyro-vae train")
        wanted.add_argument("--root", help="folder of the data sets")
        wanted.add_argument("--smoke", action="store_true", help="does it work? in seconds, numbers without meaning")
        wanted.add_argument("--out", type=Path, help="JSON; figures are written beside it")
        self.chosen = wanted.parse_args()
        if run and not self.chosen.smoke and self.chosen.run is None:
            wanted.error("give the folder of a run, or --smoke")
        self.smoke = self.chosen.smoke
        self.path = self.chosen.out or Path(__file__).parents[1] / "results" / f"{name}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.started = time.perf_counter()
        torch.set_num_threads(1)

    def run(self, *words: str) -> pyro_vae.Run:
        """The run that was given; in a smoke test a small one, trained with these further options."""
        if not self.smoke:
            return pyro_vae.load(self.chosen.run, root=self.chosen.root, device="cpu")
        folder = Path(tempfile.mkdtemp()) / "digits"
        subprocess.run([sys.executable, "-m", "pyro_vae", "train", *SMALL_RUN, *words, "--out", folder], check=True)
        return pyro_vae.load(folder)

    def figure(self, figure: Figure) -> None:
        """Save a figure beside the result."""
        path = self.path.with_suffix(".png")
        figure.savefig(path, dpi=120)
        print(f"drawn in {path}")

    def save(self, **content: Any) -> None:
        """Write JSON with all that its numbers need to be understood."""
        script = Path(sys.argv[0]).name
        result = {"command": f"python experiments/uses/{portable(script, *sys.argv[1:])}", "smoke": self.smoke}
        result |= environment(torch.device("cpu")) | {"minutes": round((time.perf_counter() - self.started) / 60, 1)}
        self.path.write_text(json.dumps(result | content, indent=1) + "\n")
        print(f"saved in {self.path}")


@contextlib.contextmanager
def lines(axes: Axes, x: str, y: str) -> Iterator[None]:
    """Axes that get lines with labels inside, and names of their quantities and a legend after."""
    yield
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False, fontsize=8)
    pyro_vae.plots.tidy(axes)


def portable(*words: str) -> str:
    """A command in which folders of this machine are named by their last part."""
    return " ".join(Path(word).name if Path(word).is_absolute() else word for word in words)


def trained(run: pyro_vae.Run) -> dict[str, Any]:
    """How a run came about."""
    kept = ("protocol", "epochs", "epochs_asked_for", "best_epoch", "device", "date")
    return {"command": portable(*run.about["command"].split()), **{name: run.about.get(name) for name in kept}}
