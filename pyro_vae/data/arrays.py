"""A user's own NumPy file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments.nearest import did_you_mean, file_nearest
from .binarization import Binarization, binarize
from .categories import Categories, check_as_in_training, without_texts
from .categories import described as in_words
from .entries import as_entry
from .names import KNOWN, some
from .numpy_files import read_arrays, read_sparse
from .protocol import Data
from .splits import Order, Splits, describe_sizes, describe_split, random_split

CHANNELS = (1, 3, 4)
SCALED = "uint8 / 255"
PARTS = ("train", "validation", "valid", "test")
SPLIT = re.compile(f"({'|'.join(PARTS)})(?:_(.+))?")
EXACT = 1 << 24  # the largest whole number up to which float32 has them all


def array_file(
    path: str | Path,
    inputs: Mapping[str, str] | None = None,
    *,
    binarization: Binarization = "none",
    seed: int = 0,
    missing: bool = False,
    order: Order = "random",
    categories: Categories | None = None,
    beside: Sequence[str] = (),
) -> Data:
    """An .npy or .npz file: one array, or arrays train, validation (or valid) and test; several with names.

    - A sparse matrix that ``scipy.sparse.save_npz`` has saved is one array, (N, D), which becomes dense in memory.
    - One array is split 80/10/10. Of several, ``images`` and ``labels``, or those that ``inputs`` name, are split
      alike; ``train_images``, ``validation_images``, ``test_images`` and so on are splits that are given. Other arrays
      of the file are left out, which the protocol says.
    - uint8 holds grey levels and is divided by 255, unless it holds only zeros and ones; numbers of all other types
      stay as they are: counts are saved as int64, for instance.
    - Texts beside x (N,) become whole numbers 0, 1, ... in the sorted order of those that occur, which
      `Data.categories` has.
    - (N, D) stays flat; (N, H, W) becomes (N, 1, H, W). Of four dimensions the second is taken for the
      channels, unless it is none of 1, 3, 4 and the last one is: then the last one is moved there.

    Args:
        path: the file.
        inputs: arrays by the pair's argument, x first: ``{"x": "counts", "y": "batch"}``, see `Data.with_inputs`.
            Without, x is the only array, or ``images``.
        binarization: see `pyro_vae.data.binarize`.
        seed: of the split and of the binarization.
        missing: NaN marks values that are missing; without, it is an error. An encoder and a likelihood for such data
            are ``ZeroImputed(encoder)`` and ``Masked(likelihood)``.
        order: see `random_split`.
        categories: names of the numbers of such an array, by its name: those of the data that a model was trained on.
        beside: arrays that are kept though ``inputs`` do not name them; with order "whole" those that are there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, holds more than memory can or Python objects; the arrays' names, types or
            shapes do not fit; values are infinite, whole numbers that float32 does not hold, NaN without ``missing``,
            or outside [0, 1] where they are to be binarized.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/squares.npy", np.zeros((20, 5, 5), dtype=np.uint8))
        ...     array_file(f"{folder}/squares.npy").event_shape
        (1, 5, 5)
    """
    path = Path(path)
    if not path.is_file():
        there = "a folder, pipe, socket or device" if path.exists() else "no such file"
        raise FileNotFoundError(f"Expected an .npy or .npz file at {path}; got {there}.{file_nearest(path)}")
    arrays = read_arrays(path)
    if {"format", "shape"} <= set(arrays):
        arrays = {path.stem: read_sparse(path)}
    how: dict[str, Any] = {"binarization": binarization, "seed": seed, "missing": missing, "order": order}
    return data_of_arrays(arrays, path, inputs, **how, categories=categories, beside=beside)


def data_of_arrays(
    arrays: dict[str, np.ndarray],
    path: Path,
    inputs: Mapping[str, str] | None = None,
    *,
    binarization: Binarization = "none",
    seed: int = 0,
    missing: bool = False,
    order: Order = "random",
    categories: Categories | None = None,
    beside: Sequence[str] = (),
) -> Data:
    """The arrays of a file as `array_file` describes them."""
    groups = _by_split(arrays)
    whole = {name: [name] for name in arrays if SPLIT.fullmatch(name) is None or not groups}
    names = groups or whole
    found = {name: [arrays[each] for each in of_parts] for name, of_parts in names.items()}
    kept = kept_beside(beside, found, path, order)
    main = _main({name: found[name] for name in found if inputs or name not in kept}, inputs, path, arrays)
    values, scaling = _to_float(found[main], path)

    def split(tensors: list[Tensor]) -> Splits:
        return Splits(*tensors) if groups else random_split(tensors[0], seed=seed, order=order)

    parts = split(values)
    used = {name for name in found if name in (inputs or {}).values() or name in ("labels", *kept)} - {main}
    others, categories_there = {}, dict[str, tuple[str, ...]]()
    for name in sorted(used):
        where = f"{name} of {path}"
        numbers, names_there = without_texts(found[name], (categories or {}).get(name), where=where)
        entries = [as_entry(where, array) for array in numbers]
        if [*map(len, entries)] != [*map(len, values)]:
            raise ValueError(
                f"Expected {name} in {path} for as many items as {main}, {', '.join(str(len(x)) for x in values)}; "
                f"got {', '.join(str(len(x)) for x in entries)}."
            )
        others[name] = split(entries)
        if names_there is not None:
            categories_there[name] = tuple(names_there)
    check_as_in_training(path, categories_there, categories, inputs)
    how = f"{describe_sizes(parts)}, as given" if groups else describe_split(parts, order, seed=seed)
    described = f"{path.name}, {scaling}; {how}"
    read = {each for name in (main, *used) for each in names[name]}
    if left_out := [name for name in arrays if name not in read]:
        described += f"; left out: {', '.join(left_out)}"
    if missing:
        counted = parts[:1] if order == "whole" and not groups else parts  # there each split is all of them
        count, total = sum(int(x.isnan().sum()) for x in counted), sum(x.numel() for x in counted)
        described += f"; {count:,} of {total:,} values missing, log p is that of the others"
    labels = others.pop("labels", None)
    if labels is not None and (labels.train.dim() > 1 or labels.train.is_floating_point()):
        others["labels"], labels = labels, None  # of another kind: an input like others
    if labels is not None and "labels" not in categories_there:
        described += f"; labels of {len(torch.cat(labels).unique()):,} classes"
    described += "".join(f"; {in_words(name, names)}" for name, names in categories_there.items())
    if kept:
        described += f"; beside: {', '.join(kept)}"
    data = Data(
        name=path.stem,
        **parts._asdict(),
        protocol=described,
        levels=256 if scaling == SCALED else None,
        missing=missing,
        is_whole=order == "whole" and not groups,
        labels=labels,
        rows=None if groups else split([torch.arange(len(values[0]))]),
        others=others,
        main=main,
        categories=categories_there,
    )
    return binarize(data, binarization, seed=seed)


def kept_beside(beside: Sequence[str], known: Iterable[str], path: Path, order: Order) -> list[str]:
    """The arrays or columns of a file that are to be kept, and are there: all of them, in data to train on."""
    known = [*known]
    if order != "whole" and (unknown := [name for name in beside if name not in known]):
        near = did_you_mean(unknown[0], known)
        raise ValueError(f"Expected what is beside x among {some(known, KNOWN)} of {path}; got {unknown[0]!r}.{near}")
    return [name for name in beside if name in known]


def _by_split(arrays: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """The names of arrays for the three splits, by what is left of them without that of the split."""
    found: dict[str, dict[str, str]] = {}
    for name in arrays:
        if match := SPLIT.fullmatch(name):
            part = "validation" if match[1] == "valid" else match[1]
            of_parts = found.setdefault(match[2] or "images", {})
            if match[1] != "valid" or part not in of_parts:
                of_parts[part] = name
    return {name: [parts[part] for part in Splits._fields] for name, parts in found.items() if len(parts) == 3}


def _main(
    found: Mapping[str, Any], inputs: Mapping[str, str] | None, path: Path, arrays: Mapping[str, np.ndarray]
) -> str:
    """The name of the array that x is: the first that inputs name, else the only one, or the one called images."""
    if inputs:
        for name in inputs.values():
            if name not in found:
                raise ValueError(
                    f"Expected inputs out of the arrays of {path}, {', '.join(found) or 'none'}; got {name!r}."
                    f"{did_you_mean(name, found)}"
                )
        return next(iter(inputs.values()))
    if len(found) == 1:
        return next(iter(found))
    if "images" in found:
        return "images"
    cure = "Of several, say which are inputs: --inputs x=NAME y=NAME."
    if {"data", "indices", "indptr"} <= set(arrays):
        cure = "Make the sparse matrix of its parts, and save it by scipy.sparse.save_npz."
    raise ValueError(
        f"Expected arrays train, validation (or valid) and test in {path}, or one array; got "
        f"{', '.join(arrays) or 'none'}. {cure}"
    )


def _to_float(arrays: list[np.ndarray], path: Path) -> tuple[list[Tensor], str]:
    kinds = {array.dtype for array in arrays}
    kind = arrays[0].dtype
    if len(kinds) > 1 or kind.kind not in "biuf":
        raise ValueError(
            f"Expected numbers of one type in {path}; got {', '.join(sorted(map(str, kinds)))}. "
            "Convert with `.astype`; uint8 is read as grey levels 0..255, all other types as stored."
        )
    if kind.kind in "iu" and any(array.size and (array.max() > EXACT or array.min() < -EXACT) for array in arrays):
        raise ValueError(
            f"Expected whole numbers from {-EXACT:,} to {EXACT:,} in {path}, which float32 holds exactly; got others. "
            "Scale them, and save them as float32."
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and `Data` refuses it
        values = [_channels_first(torch.from_numpy(array.astype(np.float32)), path) for array in arrays]
    if kind == np.uint8 and max(int(array.max(initial=0)) for array in arrays) > 1:
        return [x.div_(255) for x in values], SCALED
    return values, f"{kind.name} values as stored"


def _channels_first(x: Tensor, path: Path) -> Tensor:
    if x.dim() not in (2, 3, 4):
        raise ValueError(
            f"Expected shape (N, D), (N, H, W), (N, C, H, W) or (N, H, W, C) in {path}; got {tuple(x.shape)}."
        )
    if x.dim() == 3:
        return x.unsqueeze(1)
    if x.dim() == 4 and x.shape[1] not in CHANNELS and x.shape[-1] in CHANNELS:
        return x.permute(0, 3, 1, 2).contiguous()
    return x
