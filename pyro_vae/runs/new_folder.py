"""A folder for results: claimed, filled, published. The program removes from it only what it wrote there itself."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from ..disk.json_files import read_json
from ..disk.lock import locked
from ..disk.reading import read_whole
from ..disk.writing import PART, require_regular, saying, write_text, write_whole
from ..training.checkpoint_files import FILES as CHECKPOINT
from ..training.checkpoint_files import saved_epochs
from . import __doc__ as CONTENTS
from .estimators import ESTIMATORS

Kind = Literal["run", "comparison"]
SETTINGS = "settings.yaml"
MARK = "README.txt"  # its first line says that the folder is ours
RESULTS: dict[Kind, str] = {"run": "run.json", "comparison": "comparison.json"}  # the last file to be written
UNFINISHED = "unfinished"  # folder inside that of the run, where its files are until training ends
COPY = re.compile(r"source\.(?P<module>\w+(\.\w+)*)\.py")  # of a user's module; a package's is PACKAGE.__init__
RESERVED = "reserved"  # as many bytes as the weights have, so that they find room at the end

FIGURES = (".png", "_khat.png", "_convergence.png", "_dimensions.png")  # of an evaluation, after its name
# All that the program writes into the folder of a run; nothing of another name is ever removed.
EVALUATION = re.compile(
    rf"evaluation_({'|'.join(map(re.escape, ESTIMATORS))})_(\d+x)?\d+(of\d+)?(__[\w.+-]+)?"
    rf"({'|'.join(map(re.escape, ('.json', '.npz', *FIGURES)))})"
)
NAMES = {
    *("settings.yaml", "weights.safetensors", "params.safetensors", "run.json", "metrics.jsonl", "training.png"),
    *("diagnostics.json", "diagnostics.png", "samples.png", "reconstructions.png", "traversals.png", "manifold.png"),
    *("interpolations_linear.png", "interpolations_sphere.png", "codes.npz"),
    *("calibration.json", "calibration.png", "bracket.json", "bracket.png"),
    *("rate_distortion.json", "rate_distortion.png"),
}


@contextlib.contextmanager
def new_run(folder: str | Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """A folder to train into, locked. What is written there becomes the run when the block ends.

    The files of an earlier run stay as they are until then, and for good if the block writes no run.json, or one that
    says that training did not finish: then what it wrote stays in the folder "unfinished", if there are weights.

    Args:
        folder: of the run.
        overwrite: whether a run, or the checkpoint of one, that is there may be replaced.
        resume: whether checkpoints that are there are those to go on from, which are brought into the folder.

    Raises:
        OSError: as `claimed` says, also where a checkpoint would be lost.
    """
    with claimed(folder, "run", overwrite=overwrite or resume) as run:
        unfinished, place = run / UNFINISHED, checkpointed(run) if resume else None
        kept = [SETTINGS, *_to_go_on_from(unfinished)] if resume else []
        _remove(unfinished, but=kept)  # what was written by a process that was killed or stopped
        with saying(unfinished):
            unfinished.mkdir(exist_ok=True)
        if place == run:
            for name in _to_go_on_from(run):
                (unfinished / name).parent.mkdir(exist_ok=True)
                write_whole(unfinished / name, read_whole(run / name, limit=None))
        try:
            yield unfinished
        finally:
            _publish(run)
            if not (unfinished / "weights.safetensors").exists() and not saved_epochs(unfinished):
                _remove(unfinished)


def checkpointed(folder: Path) -> Path | None:
    """Where the checkpoints lie that `train --resume` goes on from: of a training that was stopped, else of the run.

    None where there are none. Those of the run are not for a training with other settings that was killed beside it,
    before its first one.
    """
    unfinished = folder / UNFINISHED
    place = unfinished if saved_epochs(unfinished) or (unfinished / SETTINGS).exists() else folder
    return place if saved_epochs(place) else None


def settings_to_resume(folder: Path) -> Path | None:
    """The settings file of a training in a folder that was stopped, or left a checkpoint; None of one that is over.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: the run was stopped and has no checkpoint.
    """
    if _is_ours(folder, "run") and (folder / UNFINISHED / RESULTS["run"]).exists():
        with claimed(folder, "run", overwrite=True):
            pass  # what a process has finished that was killed then, is the run now
    for place in (folder / UNFINISHED, folder):
        if (place / SETTINGS).exists() and (place != folder or saved_epochs(place)):
            return place / SETTINGS
    if not _is_ours(folder, "run"):
        raise FileNotFoundError(
            f"Expected the folder of a run that was stopped; got {folder}, which holds none. Give the command of the "
            f"training again."
        )
    if not (folder / RESULTS["run"]).exists():
        raise ValueError(
            f"Expected settings and a checkpoint in {folder}; got none: its training was stopped before it had begun. "
            f"Give the command of the training again."
        )
    if not read_json(folder / RESULTS["run"], kind="run")["finished"]:
        raise ValueError(
            f"Expected a checkpoint in {folder}, to go on from; got none. Train anew: pyro-vae train --config "
            f"{folder / SETTINGS} --out {folder} --overwrite."
        )
    return None


@contextlib.contextmanager
def claimed(folder: str | Path, kind: Kind, *, overwrite: bool) -> Iterator[Path]:
    """A folder for results of one kind, locked; made if it is not there, and taken away if nothing came into it.

    Raises:
        FileExistsError: it holds results already and overwrite is False, or files of others; or a link is in the way.
        BlockingIOError: another process makes results there.
        OSError: it cannot be written.
    """
    folder = Path(folder)
    with saying(folder):
        begun = (folder / MARK).exists() and (folder / f".{kind}.lock").exists()
    if not begun:  # else the lock says who is at work there
        _require_free(folder, kind, overwrite=overwrite)
    made = not folder.exists()
    with saying(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MARK).exists():
        write_text(folder / MARK, _readme(kind))
    with locked(folder / f".{kind}", doing=f"writing the {kind} in {folder}"):
        try:
            _publish(folder)  # of a process that was killed while it did so
            _require_free(folder, kind, overwrite=overwrite)
            yield folder
        finally:
            ours = {MARK, f".{kind}.lock", f".{kind}.holder"}
            with contextlib.suppress(OSError):  # whoever took the folder away meanwhile hears of what that has ended
                if made and {path.name for path in folder.iterdir()} <= ours:
                    for name in ours:
                        (folder / name).unlink(missing_ok=True)
                    folder.rmdir()


def _require_free(folder: Path, kind: Kind, *, overwrite: bool) -> None:
    with saying(folder):
        empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if empty:
        return
    if not folder.is_dir() or not _is_ours(folder, kind):
        raise FileExistsError(
            f"Expected an empty or new folder for the results; got {folder}, which is no {kind} of pyro-vae. Choose "
            f"another --out."
        )
    if (folder / RESULTS[kind]).exists() and not overwrite:
        raise FileExistsError(
            f"Expected a folder without results; {folder} holds some already.{_hint(folder)} Add --overwrite to "
            f"replace them, or choose another --out."
        )
    if saved_epochs(folder / UNFINISHED) and not overwrite:
        raise FileExistsError(
            f"Expected a folder without results; {folder} holds a training that was stopped.{_hint(folder)} Add "
            f"--overwrite to begin anew, or choose another --out."
        )
    if folder.is_symlink():
        raise FileExistsError(f"Expected a folder of its own for the results; got a link, {folder}. Name its target.")
    evaluations = {path.name for path in folder.iterdir() if EVALUATION.fullmatch(path.name)}
    for name in (MARK, *(NAMES | evaluations if kind == "run" else RESULTS.values())):
        require_regular(folder / name)
    for link in (folder / UNFINISHED, folder / "tensorboard"):
        if link.is_symlink():
            raise FileExistsError(f"Expected a folder or nothing at {link}; got a link. Move it away.")


def _hint(folder: Path) -> str:
    """How to go on with a training that was stopped, if one was."""
    stopped = saved_epochs(folder) or saved_epochs(folder / UNFINISHED)
    return f" Go on with it by pyro-vae train --resume {folder}." if stopped else ""


def _is_ours(folder: Path, kind: Kind) -> bool:
    with contextlib.suppress(FileNotFoundError, ValueError):
        return read_whole(folder / MARK).decode().startswith(_readme(kind).splitlines()[0])
    return False


def _readme(kind: Kind) -> str:
    results = "comparison.md, .tex and .json hold the results, runs/ what was trained for them.\n"
    what = CONTENTS if kind == "run" else results
    return f"This folder holds a {kind} of pyro-vae, format 1.\n\n{what}"


def _written(folder: Path) -> list[Path]:
    """What the program has written into a folder of a run; a link is never among it."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    scalars = folder / "tensorboard"
    patterns = PART, COPY, EVALUATION, CHECKPOINT
    paths = [
        path
        for path in folder.iterdir()
        if path.name in (*NAMES, RESERVED) or any(pattern.fullmatch(path.name) for pattern in patterns)
    ]
    paths += [] if scalars.is_symlink() else scalars.glob("events.out.tfevents.*")
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def _to_go_on_from(folder: Path) -> list[str]:
    """Names of the checkpoints in a folder, the newest first, of each the file with its digest last, and of the files
    of TensorBoard."""
    written = _written(folder)
    names = (path.name for path in written if CHECKPOINT.fullmatch(path.name))
    checkpoints = sorted((name for name in names if not name.startswith(".")), reverse=True)
    return checkpoints + [str(path.relative_to(folder)) for path in written if path.parent != folder]


def _remove(folder: Path, *, but: Collection[str] = ()) -> None:
    """Remove what the program has written into a folder, some files aside, and the folder if it is empty then."""
    for path in _written(folder):
        if str(path.relative_to(folder)) not in but:
            path.unlink()
    for path in (folder / "tensorboard", folder):
        with contextlib.suppress(OSError):  # not there, or it holds files of others
            path.rmdir()


def _publish(folder: Path) -> None:
    """Let the files of a finished training take the place of those of the run before, run.json last.

    Those of a training that was stopped do so where there is no run.
    """
    unfinished, results = folder / UNFINISHED, RESULTS["run"]
    if not (unfinished / results).is_file() or unfinished.is_symlink():
        return
    about = read_json(unfinished / results, kind="run")
    if (folder / results).exists() and not about["finished"]:
        return
    needs_checkpoint = not about["finished"] or about.get("keeps_checkpoint")
    before = set(_written(folder))
    for path in sorted(_written(unfinished), key=lambda path: path.name == results):
        if path.name == RESERVED or PART.fullmatch(path.name):
            continue
        if CHECKPOINT.fullmatch(path.name) and not needs_checkpoint:
            path.unlink()
            continue
        target = folder / path.relative_to(unfinished)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        before.discard(target)
    for path in before:  # of the run before: its evaluations and pictures are not those of these weights
        path.unlink()
