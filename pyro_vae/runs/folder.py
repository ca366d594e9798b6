"""What the folder of a run holds, checked against the digests in its run.json."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..data import Data
from ..disk.json_files import null_for_nan, read_json, write_json
from ..disk.reading import MEBIBYTE, read_whole
from ..disk.tensor_files import require_finite, tensors_of
from ..disk.writing import saying, write_text, write_whole, written_whole
from ..pairs.state import with_store
from .new_folder import CHECKPOINT, RESERVED

PARAMS = "params.safetensors"  # parameters of ``pyro.param`` that belong to no module
NAME = re.compile(r"[\w][\w.-]*")  # of a file of the run: in its folder, and in no other
TYPES: dict[str, Any] = {  # of what is read from run.json again
    "files": {str: {"bytes": int, "sha256": str}},
    **{key: {str: str} for key in ("sources", "versions")},
    **dict.fromkeys(("protocol", "data_sha256", "command", "working_directory"), str),
    **dict.fromkeys(("num_train", "num_parameters", "epochs", "epochs_asked_for"), int),
    "best_epoch": (int, type(None)),
    "best_validation_elbo": (int, float, type(None)),
    **dict.fromkeys(("finished", "warmed_up", "keeps_checkpoint"), bool),
    "kl_weight": (int, float),
    "event_shape": [int],
    "columns": [str],
    "categories": {str: [str]},
}


def require_run(folder: str | Path) -> Path:
    """The folder of a run, its settings and its run.json as they were written.

    Raises:
        FileNotFoundError: it is not there, or holds no run.
        ValueError: settings.yaml or run.json is damaged or was changed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a run folder made by pyro-vae train; there is no folder {folder}.")
    known = ["settings.yaml", "run.json", "weights.safetensors"]
    if (folder / "run.json").exists():
        known += read_about(folder)["files"]
    for name in known:
        if not (folder / name).exists():
            if any((folder / each).exists() for each in known):
                raise FileNotFoundError(
                    f"Expected a whole run; {folder} has no {name}, which its training wrote. Put the file back, or "
                    f"train the run again."
                )
            raise FileNotFoundError(
                f"Expected a run folder made by pyro-vae train; {folder} has no {name}. "
                f"Give the folder itself, or train the run (again)."
            )
    read_checked(folder, "settings.yaml")
    return folder


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a run that was trained to its end."""
    try:
        return bool(read_about(require_run(folder))["finished"])
    except (FileNotFoundError, ValueError):
        return False


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write run.json, with sizes and digests of the settings and of all tensors that it belongs to."""
    paths = [*folder.glob("*.safetensors"), *folder.glob("source.*.py")]
    paths = [path for path in paths if not CHECKPOINT.fullmatch(path.name)]  # these have their own digests
    contents = {path.name: read_whole(path, limit=None) for path in paths}
    contents["settings.yaml"] = read_whole(folder / "settings.yaml")
    files = {name: {"bytes": len(content), "sha256": _sha256(content)} for name, content in sorted(contents.items())}
    write_json(folder / "run.json", {**about, "files": files}, kind="run")


def read_about(folder: Path) -> dict[str, Any]:
    """run.json: what the run saw and reached.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is damaged or was changed.
    """
    path = folder / "run.json"
    about = read_json(path, kind="run", types=TYPES)
    for name, file in about["files"].items():
        if not NAME.fullmatch(name):
            raise ValueError(f"Expected size and digest of files in {path}; got {name!r:.50}: {file!r:.90}.")
    sizes = [*about.get("event_shape", []), about.get("num_train", 1)]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"Expected sizes of at least 1 in {path}; got {sizes!r:.90}.")
    names = about.get("columns", [])
    if names and about.get("event_shape") != [len(names)]:
        raise ValueError(f"Expected names of the columns of x in {path}; got {names!r:.90}. Train the run again.")
    for array, names in about.get("categories", {}).items():
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"Expected different names of the categories of {array!r:.50} in {path}; got {names!r:.90}. Train the "
                f"run again."
            )
    return about


def title_of(folder: Path, *, name: str = "") -> str:
    """What a figure of a run is about, in a line: its data, its name (by default that of the folder), the epoch whose
    weights it has."""
    about = read_about(folder)
    best = about.get("best_epoch")
    epoch = f"epoch {best} of {about['epochs']}" if best else f"stopped after {about['epochs']} epochs"
    if best and not about["finished"]:
        epoch += ", then stopped"
    parts = [about["protocol"].partition(",")[0], name or folder.resolve().name, epoch]
    if about.get("warmed_up") is False:
        parts.append("KL weight still in its warm-up")
    return " \u00b7 ".join(part.replace(" ", "\u00a0") for part in parts)  # a line breaks between the parts


def doubts_of(about: Mapping[str, Any]) -> list[str]:
    """What speaks against a run by its run.json: training that was stopped, and a KL weight still in its warm-up."""
    found = []
    if not about["finished"]:
        found.append(f"Not trained to the end: after {about['epochs']} of {about['epochs_asked_for']} epochs.")
    if about.get("warmed_up") is False:
        found.append(
            f"KL weight of {about['kl_weight']:.3g} at the end of training, still in its warm-up: trained for another "
            f"objective than the one asked for."
        )
    return found


def read_checked(folder: Path, name: str) -> bytes:
    """The bytes of a file of the run.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is not the one that run.json belongs to.
    """
    files = read_about(folder)["files"]
    if name not in files:
        raise ValueError(f"Expected size and digest of {name} in {folder / 'run.json'}; got none. Train the run again.")
    expected = files[name]
    path, limit = folder / name, expected["bytes"]
    longer = path.is_file() and path.stat().st_size > limit  # is not read
    content = b"" if longer else read_whole(path, limit=limit)
    if longer or expected["sha256"] != _sha256(content):
        raise ValueError(
            f"Expected {path} as the training wrote it; it is damaged or was changed. Put the file back, or "
            f"train the run again."
        )
    return content


def weights_digest(folder: Path) -> str:
    """SHA-256 of the digests of all tensors of a run, from its run.json."""
    files = read_about(folder)["files"]
    return _sha256(" ".join(files[name]["sha256"] for name in sorted(files) if name.endswith(".safetensors")).encode())


def require_same_data(folder: Path, data: Data) -> Data:
    """The data, if they are those that the run was trained on.

    Raises:
        ValueError: they are others.
    """
    about, names = read_about(folder), {array: list(names) for array, names in data.categories.items()}
    if data.digest != about["data_sha256"] or names != about.get("categories", names):
        raise ValueError(
            f"Expected the data that {folder} was trained on; got other values, the same in another order, or "
            f"categories of other names, from {data.name}: images of its training could be among those to test on. "
            f"Put the files back as they were (--root says where they are); where the splits or the binarization are "
            f"drawn, another version of torch can draw others. Or train the run again."
        )
    return data


def save_weights(folder: Path, module: nn.Module, state: Mapping[str, Tensor] | None = None) -> None:
    """Parameters and buffers of a module, tensors that are shared inside it stored once; in a file of their own those
    among a state of `fit` that belong to no module, unconstrained, if there are any."""
    tensors = {name: t.clone(memory_format=torch.contiguous_format) for name, t in _tensors(module).items()}
    with saying(path := folder / "weights.safetensors"):
        (folder / RESERVED).unlink(missing_ok=True)
    write_whole(path, safetensors.torch.save(tensors))
    if params := {name.removeprefix("param."): t for name, t in (state or {}).items() if name.startswith("param.")}:
        write_whole(folder / PARAMS, safetensors.torch.save(params))


def load_weights(folder: Path, module: nn.Module) -> None:
    """Put the weights of a run into a module of the same shape.

    Raises:
        ValueError: the file is damaged, belongs to another model, or has parameters that are not finite.
    """
    path = folder / "weights.safetensors"
    found = tensors_of(read_checked(folder, path.name), path)
    wanted = _tensors(module)
    kinds = ({name: (t.dtype, t.shape) for name, t in tensors.items()} for tensors in (found, wanted))
    if differing := sorted({name for name, _ in set.symmetric_difference(*(set(kind.items()) for kind in kinds))}):
        raise ValueError(
            f"Expected weights of this model in {path}; names, types or shapes differ: "
            f"{', '.join(differing[:5])}. Use the classes that the run was trained with, or train it again."
        )
    require_finite(found, (name for name, _ in module.named_parameters()), path)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])


def load_params(folder: Path, module: Any, device: torch.device) -> None:
    """Let the methods model and guide of a module run with a run's parameters that belong to none, on a device."""
    if PARAMS not in read_about(folder)["files"]:
        return
    params = tensors_of(read_checked(folder, PARAMS), folder / PARAMS)
    require_finite(params, params, folder / PARAMS)
    params = {name: param.to(device) for name, param in params.items()}
    module.model, module.guide = with_store(module.model, module.guide, {"params": params, "constraints": {}})


def reserve_space(folder: Path, module: nn.Module) -> None:
    """Take as much of the disk as `save_weights` will need, so that a full one is noticed before training."""
    with written_whole(folder / RESERVED) as file:
        for tensor in _tensors(module).values():
            file.write(bytes(tensor.numel() * tensor.element_size()))
        file.write(bytes(MEBIBYTE))  # for the header, run.json and the metrics


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each once, under the first of its names."""
    distinct: dict[Any, tuple[str, Tensor]] = {}
    for name, tensor in module.state_dict().items():
        where = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name
        distinct.setdefault(where, (name, tensor))
    return dict(distinct.values())


def append_metrics(folder: Path, metrics: dict[str, float]) -> None:
    """Add one line to metrics.jsonl."""
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(_line(metrics))


def write_metrics(folder: Path, history: Sequence[dict[str, float]]) -> None:
    """Write all of metrics.jsonl."""
    write_text(folder / "metrics.jsonl", "".join(map(_line, history)))


def _line(metrics: dict[str, float]) -> str:
    return json.dumps(null_for_nan(metrics)) + "\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
