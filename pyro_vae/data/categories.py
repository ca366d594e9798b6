"""Named categories: the names of the whole numbers 0, 1, ... that stand for the classes of a folder or the texts of a
column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from ..arguments.nearest import did_you_mean
from .names import KNOWN, short, some
from .splits import Splits

Categories = Mapping[str, Sequence[str]]  # names of the whole numbers of an array, by the array's name

FEWEST = 10  # rows, from which on texts that nearly all differ are names of the rows
ROW_NAMES = 0.9  # of the rows, that have texts of their own where these are such names


def codes_of(texts: Sequence[str], known: Sequence[str] | None = None, *, where: str) -> tuple[np.ndarray, list[str]]:
    """The whole numbers (N,) of texts, and the names of 0, 1, ...: known ones, not all of which need to occur, else
    those that occur, sorted. ``where`` the texts are, is for an error.

    Example:
        >>> codes_of(["T", "B", "T"], where="celltype")
        (array([1, 0, 1]), ['B', 'T'])
        >>> codes_of(["T"], ["B", "T"], where="celltype")
        (array([1]), ['B', 'T'])
    """
    names = sorted(set(texts)) if known is None else list(known)
    numbers = {name: number for number, name in enumerate(names)}
    if (other := next((text for text in texts if text not in numbers), None)) is not None:
        raise ValueError(
            f"Expected one of the categories of training in {where}, {some(names, KNOWN)}; got {short(other)!r}."
            f"{did_you_mean(other, names)} Drop those data points, or train on data that have all categories."
        )
    return np.array([numbers[text] for text in texts], dtype=np.int64), names


def without_texts(
    arrays: Sequence[np.ndarray], known: Sequence[str] | None = None, *, where: str
) -> tuple[list[np.ndarray], list[str] | None]:
    """Arrays (N,) of texts as those of their numbers, which all of them share, and the names of the numbers.

    Blanks around a text do not count. Others stay as they are, without names.
    """
    if any(array.ndim != 1 or array.dtype.kind not in "OUT" for array in arrays):
        return list(arrays), None
    values = [value.strip() if isinstance(value, str) else value for array in arrays for value in array.tolist()]
    known_values = [value for value in values if not (value is None or value == "" or value != value)]
    if all(not isinstance(value, str) for value in known_values):
        return list(arrays), None
    if (other := next((value for value in known_values if not isinstance(value, str)), None)) is not None:
        raise ValueError(
            f"Expected texts in {where}, which has some; got {other!r:.40} among them. Write all as texts, or all as "
            f"numbers."
        )
    if missing := len(values) - len(known_values):
        raise ValueError(
            f"Expected a category for each data point in {where}; got none for {missing:,} of {len(values):,}. Drop "
            f"these, or give them a name, such as unknown. (Empty fields, NA, None and NaN of a file are missing.)"
        )
    if known is None:
        _check_are_categories(values, where)
    codes, names = codes_of(values, known, where=where)
    return np.split(codes, np.cumsum([len(array) for array in arrays])[:-1]), names


def _check_are_categories(texts: Sequence[str], where: str) -> None:
    """Raise a ValueError where texts name data points, or are numbers with a few texts among them."""
    count = len(set(texts))
    if len(texts) >= FEWEST and count > ROW_NAMES * len(texts):
        raise ValueError(
            f"Expected categories that data points have in common in {where}; got {count:,} texts for {len(texts):,} "
            f"data points, as if they were their names. Take another column, or leave this one out."
        )
    others = [text for text in texts if not _is_number(text)]
    if 0 < len(others) < len(texts) / 2:
        raise ValueError(
            f"Expected numbers alone or names of categories in {where}; got numbers, and texts such as "
            f"{short(others[0])!r} for {len(others):,} of {len(texts):,}. Mend or drop these; or, if the numbers are "
            f"names, write c1 for 1."
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_categories(categories: Categories, arrays: Mapping[str, Splits]) -> None:
    """Raise a ValueError unless each array that has names of categories holds whole numbers of these alone."""
    for array, names in categories.items():
        if array not in arrays:
            raise ValueError(f"Expected categories of {', '.join(arrays) or 'no array'}; got those of {array!r}.")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"Expected different names of the categories of {array}; got {some(names) or 'none'}.")
        for part, codes in arrays[array]._asdict().items():
            is_whole = codes.dim() == 1 and not codes.is_floating_point()
            if not is_whole or codes.min() < 0 or codes.max() >= len(names):
                got = f"{codes.min()} to {codes.max()}" if is_whole else f"{codes.dtype} of shape {tuple(codes.shape)}"
                raise ValueError(
                    f"Expected whole numbers (N,) from 0 to {len(names) - 1} as the {part} {array}, by its categories "
                    f"{some(names)}; got {got}."
                )


def check_as_in_training(
    source: object, there: Categories, wanted: Categories | None, inputs: Mapping[str, str] | None
) -> None:
    """Raise a ValueError where data have numbers for what had names in training, or the other way round; nothing is
    wanted where it is not known what was there in training."""
    if wanted is None:
        return
    for name, names in wanted.items():
        if name not in there:
            raise ValueError(
                f"Expected {name} of {source} by the names of training, {some(names)}; got none. Write names: which of "
                f"them a number stands for is not known."
            )
    for name, names in there.items():
        if name in (inputs or {}).values() and name not in wanted:
            raise ValueError(
                f"Expected whole numbers as {name} of {source}, as in training; got {described(name, names)}. Write "
                f"the numbers of training."
            )


def described(array: str, names: Sequence[str]) -> str:
    """How many categories an array has, and which.

    Example:
        >>> described("celltype", ["B", "NK", "T"])
        'celltype: 3 categories (B, NK, T)'
    """
    return f"{array}: {len(names):,} {'category' if len(names) == 1 else 'categories'} ({some(names)})"


def names_of(codes: Tensor, names: Sequence[str] | None) -> np.ndarray:
    """The names of whole numbers (N,); these themselves where they have none.

    Example:
        >>> import torch
        >>> names_of(torch.tensor([1, 1, 0]), ["B", "T"])
        array(['T', 'T', 'B'], dtype='<U1')
    """
    numbers = codes.cpu().numpy()
    return numbers if names is None else np.array(names)[numbers]
