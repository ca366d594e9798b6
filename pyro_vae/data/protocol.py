"""What every source shares: three checked splits, and the words that say what they are."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments.tensors import is_array
from .categories import check_categories
from .entries import Calls, as_entry, check_calls, describe_calls, place_of, separated, with_x_changed
from .splits import Splits


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """Three splits of one data set and the sentence that must travel with every number they give.

    Args:
        name: what the set is called.
        train, validation, test: x as float32, (N, C, H, W) for images or (N, D) for flat arrays; arrays become tensors.
            Or tuples or dicts of arrays, of which the first is x and the others go to ``others``; then a pair is called
            with all of them.
        protocol: one line: source, split sizes and how they were made, binarization and its seed.
        labels: integer labels of the three splits, each (N,), where the source has them.
        rows: numbers of the data points in the file, from 0, (N,) of the three splits, where these were drawn from one.
        others: further arrays of each data point by name, each (N, ...) for the three splits: covariates, lengths.
        inputs: what a pair is called with, see `with_inputs`; None for x alone.
        main: the name that x has among the inputs.
        columns: names of the D values of x, where the source has them; a table does.
        categories: names of the whole numbers 0, 1, ... of an array, by its name ("labels" or one of ``others``),
            where the source has them: classes of a folder, texts of a column.
        batch_transform: what a training batch goes through each time it is used, on the batch's own device, such as
            `torch.bernoulli` where binarization is dynamic, else None. `train` is grey in that case.
        levels: number of grey levels k / (levels - 1) that the values are; None where they are not known to be levels.
        is_dequantized: whether noise was added within the levels, see `pyro_vae.data.dequantized`.
        missing: whether NaN marks a value that is missing; without, NaN is an error.
        is_whole: whether each of the three splits holds all items, see `random_split`.

    Raises:
        ValueError: a split is empty, not float32, not finite, wholly missing, or its items differ in shape from the
            others'; the splits differ in their entries, or ``columns`` are not as many as the values of x;
            or numbers that are none of their ``categories``.

    Example:
        >>> x = torch.zeros(2, 1, 4, 4)
        >>> Data(name="blank", train=x, validation=x, test=x, protocol="all zero").event_shape
        (1, 4, 4)
    """

    name: str
    train: Tensor = field(repr=False)
    validation: Tensor = field(repr=False)
    test: Tensor = field(repr=False)
    protocol: str
    labels: Splits | None = field(default=None, repr=False)
    rows: Splits | None = field(default=None, repr=False)
    others: Mapping[str, Splits] = field(default_factory=dict, repr=False)
    inputs: Calls | None = None
    main: str = "images"
    columns: tuple[str, ...] | None = field(default=None, repr=False)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    batch_transform: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)
    levels: int | None = field(default=None, repr=False)
    is_dequantized: bool = field(default=False, repr=False)
    missing: bool = field(default=False, repr=False)
    is_whole: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        self._take_apart()
        for part, x in [(repr(self.name), self.test)] if self.is_whole else self.splits._asdict().items():
            if not isinstance(x, Tensor):
                raise ValueError(
                    f"Expected {part} as a tensor; got {type(x).__name__}. Convert it with `torch.tensor`."
                )
            if x.dim() < 2 or x.numel() == 0:
                raise ValueError(f"Expected {part} of shape (N, D) or (N, C, H, W) with N >= 1; got {tuple(x.shape)}.")
            if x.dtype != torch.float32:
                raise ValueError(f"Expected {part} in float32; got {x.dtype}. Convert it with `.float()`.")
            if x.shape[1:] != self.train.shape[1:]:
                raise ValueError(
                    f"Expected {part} items of shape {self.event_shape}, as in train; got {tuple(x.shape[1:])}."
                )
            where = part if self.is_whole else f"the {part} split of {self.name!r}"
            wrong = torch.isinf if self.missing else lambda values: ~values.isfinite()
            if not x.sum().isfinite() and (bad := int(wrong(x).sum())):  # the sum alone is ten times as quick
                cure = "" if self.missing else ", or, where NaN marks what is missing, add missing=True (--missing)"
                raise ValueError(
                    f"Expected finite values in {where}; got {bad:,} "
                    f"{'infinite' if self.missing else 'NaN or infinite'} among {x.numel():,}. Repair or drop those "
                    f"items{cure}."
                )
            if self.missing and x.isnan().all():
                raise ValueError(f"Expected known values in {where}; got {x.numel():,} that are all missing.")
            for what, splits in (("labels", self.labels), ("rows", self.rows)):
                each = None if splits is None else getattr(splits, "test" if self.is_whole else part)
                if each is not None and each.shape != x.shape[:1]:
                    raise ValueError(f"Expected {part} {what} of shape ({len(x)},); got {tuple(each.shape)}.")

        for name, splits in self.others.items():
            for part, entry in splits._asdict().items():
                if len(entry) != len(getattr(self, part)) or entry.shape[1:] != splits.train.shape[1:]:
                    wanted = ", ".join(map(str, (len(getattr(self, part)), *splits.train.shape[1:])))
                    raise ValueError(f"Expected {part} {name} of shape ({wanted}); got {tuple(entry.shape)}.")
        if self.columns is not None and (len(self.columns),) != tuple(self.train.shape[1:]):
            raise ValueError(
                f"Expected a name for each value of x, of shape {tuple(self.train.shape[1:])}, in columns; got "
                f"{len(self.columns):,}."
            )
        check_categories(self.categories, self._beside())
        if self.inputs is not None:
            check_calls(self.inputs, self._named(), self.main)

    def _take_apart(self) -> None:
        """Arrays as tensors, and tuples or dicts of them as x and others."""
        x, others, inputs = separated(self.splits._asdict())
        if inputs is not None:
            found = {
                name: Splits(**{p: as_entry(f"{p} {name}", e) for p, e in o.items()}) for name, o in others.items()
            }
            object.__setattr__(self, "others", {**self.others, **found})
            object.__setattr__(self, "inputs", inputs)
            object.__setattr__(self, "main", next(iter(inputs)))
        for part, values in x.items():
            is_own = isinstance(values, Tensor) or not is_array(values)
            object.__setattr__(self, part, values if is_own else as_entry(part, values, finite=False).float())

    def _named(self) -> list[str]:
        return [self.main, *self._beside()]

    def _beside(self) -> dict[str, Splits]:
        """The arrays beside x, by their names."""
        return {**({} if self.labels is None else {"labels": self.labels}), **self.others}

    def with_inputs(self, *args: str, **kwargs: str) -> Data:
        """The same data for a pair that is called with more than x.

        Args:
            args: names of arrays in the order of the pair's arguments: "images" (what ``main`` says) for x, "labels",
                those of ``others``.
            kwargs: names of arrays by the names of the pair's arguments, instead.

        Raises:
            ValueError: an array that there is not, or no x.

        Example:
            >>> x = torch.zeros(2, 3)
            >>> y = Splits(*3 * [torch.tensor([0, 1])])
            >>> data = Data(name="blank", train=x, validation=x, test=x, protocol="all zero", labels=y)
            >>> data.with_inputs(x="images", y="labels").given("test")["y"]
            tensor([0, 1])
        """
        if bool(args) == bool(kwargs):
            raise ValueError(f"Expected inputs by position or by name; got {'both' if args else 'none'}.")
        calls = args or kwargs
        check_calls(calls, self._named(), self.main)
        return replace(self, inputs=calls, protocol=f"{self.protocol}; {describe_calls(calls)}")

    def with_fewer(self, num_train: int, *, seed: int = 0) -> Data:
        """The same data with a random subset of the training data, for a quick look. Validation and test data stay as
        they are, so that what is trained on fewer can be compared.

        Args:
            num_train: how many are left; a smaller subset of the same seed is part of it.
            seed: of the choice.

        Raises:
            ValueError: there are fewer, or data that are not split.
        """
        total = len(self.train)
        if self.is_whole or not 1 <= num_train <= total:
            got = "data that are not split (order 'whole')" if self.is_whole else f"{num_train:,}"
            raise ValueError(f"Expected num_train from 1 to {total:,}, of the data of a training; got {got}.")
        rows = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:num_train]

        def fewer(splits: Splits) -> Splits:
            return splits._replace(train=splits.train[rows])

        return replace(
            self,
            train=self.train[rows],
            labels=self.labels and fewer(self.labels),
            rows=self.rows and fewer(self.rows),
            others={name: fewer(splits) for name, splits in self.others.items()},
            protocol=f"{self.protocol}; a random {num_train:,} (seed {seed}) of the training data",
        )

    def given(self, part: str) -> Any:
        """What a pair is called with for all of a split: x, or by ``inputs`` a tuple or a dict of tensors."""
        arrays = {self.main: self.splits, **self._beside()}

        def array(name: str) -> Tensor:
            return getattr(arrays[name], part)

        if self.inputs is None:
            return array(self.main)
        if isinstance(self.inputs, Mapping):
            return {argument: array(name) for argument, name in self.inputs.items()}
        return tuple(map(array, self.inputs))

    @property
    def place_of_x(self) -> str | int:
        """The argument of the pair that x is: its name, or its number."""
        return 0 if self.inputs is None else place_of(self.main, self.inputs)

    @property
    def transform(self) -> Callable[..., Any] | None:
        """``batch_transform`` for what a pair is called with, which x is a part of."""
        if self.batch_transform is None or self.inputs is None:
            return self.batch_transform
        return functools.partial(with_x_changed, self.batch_transform, self.place_of_x)

    @property
    def splits(self) -> Splits:
        """The three splits together."""
        return Splits(self.train, self.validation, self.test)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one x."""
        return tuple(self.train.shape[1:])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all arrays of all splits, in hexadecimal: equal for equal data in equal order alone."""
        sha256 = hashlib.sha256()
        further = (tensor for name in sorted(self.others) for tensor in self.others[name])
        for tensor in (*self.splits, *(self.labels or ()), *further):
            array = np.ascontiguousarray(tensor.cpu().numpy())
            sha256.update(f"{array.dtype} {array.shape} ".encode())
            sha256.update(array.data)
        return sha256.hexdigest()

    @property
    def mean(self) -> Tensor:
        """Mean of the training data as training sees them, of the shape of one x: where likelihoods may start.

        Missing values do not count; one that is missing in all images has the mean of all others.
        """
        mean = self.train.nanmean(0) if self.missing else self.train.mean(0)
        if mean.isnan().any():
            mean = mean.where(~mean.isnan(), self.train.nanmean())
        if self.is_dequantized and self.levels:  # training images are still on their levels: the middle of each bin
            mean = (mean * (self.levels - 1) + 0.5) / self.levels
        return mean


def check_sha256(pixels: np.ndarray, expected: str, *, what: str, cure: str) -> None:
    """Raise a ValueError unless the bytes of `pixels`, in C order, are the published ones."""
    got = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
    if got != expected:
        raise ValueError(
            f"Expected {what} with the published content (sha256 {expected[:12]}...); got sha256 "
            f"{got[:12]}... in shape {pixels.shape}. The file is incomplete or altered. {cure}"
        )
