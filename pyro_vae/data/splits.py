"""Three splits of one array, how they are drawn, and the words that say so."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Order = Literal["random", "ordered", "whole"]


class Splits(NamedTuple):
    """One tensor for each of the three splits."""

    train: Tensor
    validation: Tensor
    test: Tensor

    def __repr__(self) -> str:
        return f"Splits({', '.join(f'{part}: {tuple(x.shape)}' for part, x in self._asdict().items())})"


def random_split(
    x: Tensor, sizes: tuple[int, int, int] | None = None, *, seed: int = 0, order: Order = "random"
) -> Splits:
    """Split x along its first dimension at random: the same permutation for the same length and seed.

    Args:
        x: (N, ...).
        sizes: items for train, validation and test, N in all; by default 80%, 10% and 10% of N.
        seed: of a generator of its own; the global one is left alone.
        order: "ordered" takes the first items for train and the last for test: for series and videos, whose neighbours
            are alike. "whole" gives all items as each of the three: for data that a trained model is used on.

    Raises:
        ValueError: the sizes do not add up to N, or N is below 10 and no sizes are given.

    Example:
        >>> [len(part) for part in random_split(torch.arange(25))]
        [21, 2, 2]
    """
    if order == "whole":
        return Splits(x, x, x)
    if sizes is None:
        if len(x) < 10:
            raise ValueError(
                f"Expected at least 10 items to split 80/10/10; got {len(x)}. "
                "Add more, or give train, validation and test yourself."
            )
        sizes = (len(x) - 2 * (len(x) // 10), len(x) // 10, len(x) // 10)
    if sum(sizes) != len(x):
        raise ValueError(f"Expected split sizes that add up to {len(x):,}; got {sizes}.")
    if order == "random":
        x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))]
    return Splits(*x.split(sizes))


def describe_sizes(splits: Splits) -> str:
    """Say how many items each split holds.

    Example:
        >>> describe_sizes(Splits(torch.ones(1200), torch.ones(3), torch.ones(3)))
        '1,200 train / 3 validation / 3 test'
    """
    return " / ".join(f"{len(x):,} {part}" for part, x in splits._asdict().items())


def describe_split(splits: Splits, order: Order, *, seed: int) -> str:
    """Say how `random_split` has split.

    Example:
        >>> describe_split(random_split(torch.ones(20)), "random", seed=0)
        '16 train / 2 validation / 2 test, random split with seed 0'
        >>> describe_split(random_split(torch.ones(20), order="whole"), "whole", seed=0)
        'all 20, not split'
    """
    if order == "whole":
        return f"all {len(splits.test):,}, not split"
    return f"{describe_sizes(splits)}, {'in their order' if order == 'ordered' else f'random split with seed {seed}'}"
