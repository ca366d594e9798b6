"""What `fit` returns."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ..arguments.memory import physical_memory
from ..disk.json_files import read_json, write_json
from ..disk.reading import read_whole
from ..disk.tensor_files import tensors_of
from ..disk.writing import saying, write_whole
from ..output.frames import frame, html
from ..pairs.modules import Callee, modules_of
from ..pairs.state import loaded_pair

Metrics = dict[str, float]
STATE = "fit.safetensors"
NUMBER = (int, float, type(None))
SAVED = {"history": [{str: NUMBER}], "best_epoch": int, "stopped_early": bool, "warmed_up": bool, "summed_over": [str]}


@dataclass(frozen=True, repr=False)
class Fit:
    """What happened in `fit`.

    Attributes:
        model, guide: the trained pair, ready for `log_marginal`: the callables that were given, where they are methods
            of modules; for plain functions, the same functions bound to the trained parameters.
        history: one entry for each epoch, nats per data point: "epoch", "step", "loss" (mean training loss at the
            epoch's KL weight), "kl_weight" (at its end), "learning_rate", "grad_norm", "seconds", and, with validation
            data, "validation_elbo", "validation_rate", "validation_distortion"; elbo = -(rate + distortion). An
            epoch in which steps were compiled, mostly the first, has "compile_seconds", part of its "seconds".
        state: the best state, by name: parameters and buffers of the modules behind the pair ("pair.decoder...") and
            parameters of the param store that belong to none ("param.NAME", unconstrained).
        best_epoch: the epoch of that state: the lowest validation loss at full KL weight; the last one without
            validation data; 0 is the state at the start, where no epoch was finished.
        stopped_early: whether patience ran out, or ``on_step`` stopped the run, before the epochs were over.
        warmed_up: whether the KL weight reached its final value. After a run that is shorter than its warm-up it did
            not, so that the state was trained for another objective than the one asked for.
        summed_over: names of the discrete sites that the objective, a `TraceEnum_ELBO`, sums over.
    """

    model: Callee
    guide: Callee
    history: list[Metrics]
    state: dict[str, Tensor]
    best_epoch: int
    stopped_early: bool
    warmed_up: bool
    summed_over: tuple[str, ...] = ()

    def to_frame(self) -> Any:
        """A `pandas.DataFrame` of the history: a row for each epoch, nats per data point.

        Raises:
            ImportError: pandas is not installed.
        """
        names = list(dict.fromkeys(name for entry in self.history for name in entry if name != "epoch"))
        columns = {name: [entry.get(name) for entry in self.history] for name in names}
        return frame(columns, index=[int(entry["epoch"]) for entry in self.history], index_name="epoch")

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Save as FOLDER/fit.safetensors (the state) and FOLDER/fit.json (everything else).

        The pair itself is code, which is yours to keep: `load` puts the state into a pair of the same shape. A number
        of the history that is infinite comes back as nan.

        Args:
            folder: made if it is not there.
            overwrite: replace a result that the folder holds.

        Raises:
            FileExistsError: the folder holds one and ``overwrite`` is False.

        Example:
            >>> import tempfile, torch
            >>> from pyro_vae import MLP, Bernoulli, Fit, GaussianEncoder, StandardNormal, VAE, fit
            >>> def make():
            ...     px = Bernoulli((1, 2, 2))
            ...     return VAE(StandardNormal(2), GaussianEncoder((1, 2, 2), 2), MLP(2, px.feature_shape), px)
            >>> vae, again, x = make(), make(), torch.rand(20, 1, 2, 2).round()
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     fit(vae.model, vae.guide, x, epochs=1, progress=False).save(folder)
            ...     result = Fit.load(folder, again.model, again.guide)
            >>> all(torch.equal(a, b) for a, b in zip(vae.parameters(), again.parameters()))
            True
        """
        folder = Path(folder)
        if not overwrite and any((folder / name).exists() for name in (STATE, "fit.json")):
            raise FileExistsError(
                f"Expected a folder without a Fit; {folder} holds one. Give another, or overwrite=True to replace it."
            )
        with saying(folder):
            folder.mkdir(parents=True, exist_ok=True)
        content = safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in self.state.items()})
        write_whole(folder / STATE, content)
        about = {name: getattr(self, name) for name in SAVED} | {"state_sha256": hashlib.sha256(content).hexdigest()}
        write_json(folder / "fit.json", about, kind="Fit")

    @staticmethod
    def load(folder: str | Path, model: Callee, guide: Callee) -> Fit:
        """What `save` has saved, put into a pair of the same shape, whose modules are in evaluation mode then.

        Args:
            folder: where it was saved.
            model, guide: the pair, as it was given to `fit`; its modules take the state, on the device they are on.

        Returns:
            The result, with ``model`` and ``guide`` ready for `log_marginal`: for plain functions, bound to the
            parameters of ``pyro.param``.

        Raises:
            FileNotFoundError: fit.json or fit.safetensors is not there.
            ValueError: one of them is damaged, they do not belong together, or the pair has another shape.
        """
        about = read_json(Path(folder) / "fit.json", kind="Fit", types=SAVED | {"state_sha256": str})
        content = read_whole(Path(folder) / STATE, limit=physical_memory() // 2)
        if hashlib.sha256(content).hexdigest() != about["state_sha256"]:
            raise ValueError(f"Expected {STATE} of the same time as fit.json in {folder}; it is damaged, or another.")
        state = tensors_of(content, Path(folder) / STATE)
        pair = loaded_pair(model, guide, state)
        for module in modules_of(model, guide).values():
            module.eval()
        numbers = {name: about[name] for name in SAVED}
        # JSON has no numbers that are not finite: those of the history came out as null.
        if not all({"epoch", "loss", "kl_weight"} <= entry.keys() for entry in about["history"]):
            raise ValueError(f"Expected a history of epochs in {folder}/fit.json; got {about['history']!r:.90}.")
        if not 0 <= about["best_epoch"] <= len(about["history"]):
            raise ValueError(f"Expected the best of the epochs in {folder}/fit.json; got {about['best_epoch']}.")
        numbers["history"] = [{k: math.nan if v is None else v for k, v in entry.items()} for entry in about["history"]]
        numbers["summed_over"] = tuple(about["summed_over"])
        return Fit(*pair, state=state, **numbers)

    def _repr_html_(self) -> str:
        shown = {name: f"{value:.4g}" for name, value in self._best().items() if name not in ("epoch", "step")}
        return html(repr(self), [(name.replace("_", " "), text) for name, text in shown.items()])

    def _best(self) -> Metrics:
        return self.history[self.best_epoch - 1] if self.best_epoch else {}

    def __repr__(self) -> str:
        if not self.best_epoch:
            return f"Fit(the state at the start; {len(self.history)} epochs finished)"
        best, early = self._best(), ", stopped early" if self.stopped_early else ""
        elbo = f", validation ELBO {best['validation_elbo']:.2f}" if "validation_elbo" in best else ""
        of = f"best epoch {self.best_epoch} of {len(self.history)}{early}"
        weight = "" if self.warmed_up else f"; KL weight {self.history[-1]['kl_weight']:.3g}, still in its warm-up"
        over = f"; TraceEnum_ELBO sums over {', '.join(self.summed_over)}" if self.summed_over else ""
        return f"Fit({of}: loss {best['loss']:.2f}{elbo} nats per data point{weight}{over})"


def in_words(metrics: Metrics) -> str:
    """An epoch in a line.

    Example:
        >>> in_words({"epoch": 3, "loss": 101.234, "validation_elbo": -99.1})
        'epoch 3, loss 101.23, validation ELBO -99.10 nats per data point'
    """
    elbo = f", validation ELBO {metrics['validation_elbo']:.2f}" if "validation_elbo" in metrics else ""
    return f"epoch {metrics['epoch']:.0f}, loss {metrics['loss']:.2f}{elbo} nats per data point"


def attach(error: BaseException, result: Fit) -> None:
    """Let an error or an interrupt of a training carry what happened so far."""
    error.fit = result  # type: ignore[attr-defined]
    error.add_note(
        f"The pair is in its best state so far, {result!r}. It is the attribute fit of this error: write "
        f"'except {type(error).__name__} as error: result = error.fit', or after the fact import sys; "
        f"sys.last_value.fit."
    )
