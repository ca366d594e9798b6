"""From the folder of a run to Python: `load`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..data import Data
from ..pairs.modules import Callee
from ..training.device import choose_device
from .evaluations import evaluations_of, in_a_line
from .folder import require_run
from .loading import data_of, load_run
from .own_classes import trusting
from .parts import PARTS
from .settings import read_yaml


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained run, as `load` gives it.

    Attributes:
        folder: where it lies.
        module: the trained module, in evaluation mode.
        settings: those that it was trained with, as settings.yaml has them.
        about: what it saw and reached, as run.json has it: data protocol, best epoch, validation ELBO in nats per data
            point, versions, device.
        root, trust: as they were given.
    """

    folder: Path
    module: Any
    settings: dict[str, Any]
    about: dict[str, Any]
    root: str | None = None
    trust: bool = False

    @property
    def model(self) -> Callee:
        """p(x, z), for `log_marginal`, `sample` and all else that takes a pair."""
        return self.module.model

    @property
    def guide(self) -> Callee:
        """q(z|x)."""
        return self.module.guide

    @cached_property
    def data(self) -> Data:
        """The data that it was trained on, read when they are first asked for; on the CPU.

        Raises:
            FileNotFoundError: they are not where they were.
            ValueError: they have changed since.
        """
        with trusting(self.trust):
            return data_of(self.folder, root=self.root)

    def save_pretrained(self, folder: str | Path, *, license: str | None = None) -> None:
        """Write a new folder with what others need of it: weights, settings, evaluations, copies of own classes, and a
        model card.

        The card, README.md, states the data protocol, and log p(x) of each evaluation with its errors;
        `from_pretrained` reads such a folder.

        Args:
            folder: a new or empty one.
            license: of the weights, as the Hugging Face Hub names it, such as "apache-2.0"; it is yours to say.

        Raises:
            FileExistsError: the folder holds something.
            ValueError: a file of the run is damaged or was changed.
        """
        from .pretrained import save_pretrained

        save_pretrained(self.folder, folder, license=license)

    def push_to_hub(
        self, name: str, *, private: bool | None = None, token: str | None = None, license: str | None = None
    ) -> str:
        """Upload it to the Hugging Face Hub, as `save_pretrained` writes it; returns the address.

        Args:
            name: on the Hub, "user/model"; made if it is not there.
            private: whether only you see it, if it is made now.
            token: of the Hub; by default that of ``hf auth login``.
            license: as in `save_pretrained`.

        Raises:
            ImportError: huggingface_hub is not installed.
        """
        from .pretrained import push_to_hub

        return push_to_hub(self.folder, name, private=private, token=token, license=license)

    def __repr__(self) -> str:
        about = self.about
        parts = ", ".join(self.settings[part]["class_path"] for part in PARTS if part in self.settings)
        epochs = f"after {about['epochs']} of {about['epochs_asked_for']} epochs, not finished"
        if about["finished"]:
            epochs = f"best epoch {about['best_epoch']} of {about['epochs']}"
        elbo = about["best_validation_elbo"]
        known = "" if elbo is None else f", validation ELBO {elbo:.2f} nats per data point"
        evaluations = evaluations_of(self.folder).values()
        logged = "".join(f"\n  {each.get('quantity', 'log p(x)'):<11} {in_a_line(each)}" for each in evaluations)
        return (
            f"Run {self.folder}\n  model       {parts}; {about['num_parameters']:,} parameters\n"
            f"  data        {about['protocol']}\n  trained     {epochs}{known}{logged}"
        )


def load(
    run: str | Path, *, root: str | Path | None = None, device: str | torch.device = "auto", trust: bool = False
) -> Run:
    """Load a run of ``pyro-vae train``: the trained pair, its data and its settings.

    Classes of your own are imported from the files that they came from, if these are as they were. Else the copy of
    their source in the run, source.*.py, can be: it is code, which runs when it is imported, so look at it first.

    Args:
        run: its folder.
        root: folder of the data sets, if it has moved since.
        device: where the module goes; "auto" is CUDA where there is one.
        trust: whether the copies of source in the run may be imported.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: one of its files is damaged or was changed, the source of its own classes is not what it was and
            there is no consent to import the copy, or a device that this machine does not have.

    Example:
        >>> run = load("runs/digits-StandardNormal-seed0")  # doctest: +SKIP
        >>> log_marginal(run.model, run.guide, run.data.test)  # doctest: +SKIP
        LogMarginal(log p(x): mean -22.9 nats per data point, ...)
    """
    if (Path(run) / "fit.json").exists() and not (Path(run) / "run.json").exists():
        raise ValueError(
            f"Expected a run of pyro-vae train; {run} holds what Fit.save has saved. Make the pair, then write "
            f"Fit.load({str(run)!r}, model, guide)."
        )
    if (Path(run) / "comparison.json").exists():
        raise ValueError(
            f"Expected a run of pyro-vae train; {run} holds a comparison. Write Comparison.load({str(run)!r}), or give "
            f"one of its runs, {run}/runs/NAME."
        )
    folder, where = require_run(run), choose_device(device)
    with trusting(trust):
        module, about = load_run(folder, where)
    settings = read_yaml(folder / "settings.yaml")
    return Run(folder, module.eval(), settings, about, None if root is None else str(root), trust)
