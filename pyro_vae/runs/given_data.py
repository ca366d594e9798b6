"""The data that a trained run is used on: a split of its own, or others of the same kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import data
from ..data import Data
from ..data.categories import names_of
from ..data.names import KNOWN, some
from ..data.protocol import Splits
from ..pairs.batch import Points, taking
from ..pairs.checks import check_data
from ..pairs.contexts import evaluating, seeded, unvalidated
from ..training.batches import transforming
from .loading import data_of, load_data, points_of, read_run
from .named_inputs import categories_of, columns_of
from .options import add_root_option
from .parser import Parser

Split = Literal["train", "validation", "test"]
CHECKED_TOGETHER = 1000  # data points


@dataclass(frozen=True, eq=False)
class GivenData:
    """Data points for the pair of a run.

    Attributes:
        points: what the pair is called with, in the order of the file.
        data: that they are from.
        split: which of its splits they are.
    """

    points: Points
    data: Data
    split: Split

    def rows(self) -> dict[str, np.ndarray]:
        """Their numbers in the file as ``row``, (N,), where a split was drawn from it, to join what else is known of
        them."""
        rows = self.data.rows
        return {} if rows is None or self.data.is_whole else {"row": getattr(rows, self.split).numpy()}

    def labels(self) -> dict[str, np.ndarray]:
        """What the source says of each data point, (N,), by the column of a table: its label as ``label``, categories
        of an array, and what is no input, as ``label_ARRAY``; by their names, where they have some."""
        beside = {} if self.data.labels is None else {"labels": self.data.labels}
        beside |= {array: splits for array, splits in self.data.others.items() if self._says_something(array, splits)}
        return {
            "label" if array == "labels" else f"label_{array}": names_of(
                getattr(splits, self.split), self.data.categories.get(array)
            )
            for array, splits in beside.items()
        }

    def _says_something(self, array: str, splits: Splits) -> bool:
        inputs = self.data.inputs or ()
        is_input = array in (inputs.values() if isinstance(inputs, Mapping) else inputs)
        return array in self.data.categories or (not is_input and splits.test.dim() == 1)

    def labels_among(self, wanted: Sequence[str]) -> np.ndarray:
        """The labels (N,), as texts, of the one array in which all the wanted classes occur."""
        labels = self.labels()
        found = [texts for values in labels.values() if set(wanted) <= set(texts := values.astype(str))]
        if len(found) != 1:
            known = "; ".join(some(list(map(str, np.unique(values))), KNOWN) for values in labels.values())
            where = f"of one of {' and '.join(labels)} alone" if found else f"of {self.data.name}"
            raise ValueError(f"Expected a class among the labels {where}, {known or 'none'}; got {', '.join(wanted)}.")
        return found[0]

    @property
    def protocol(self) -> str:
        """What they are, in one line."""
        return self.data.protocol if self.data.is_whole else f"{self.split} split of {self.data.protocol}"


def add_given_options(parser: Parser) -> None:
    """RUN, DATA, --split, --root and --trust, for `given_data`."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    text = (
        f"Data to use it on: {', '.join(data.NAMES)}, or an array, a table or a folder of images, of which all data "
        f"points are taken; by default those that it was trained on."
    )
    parser.add_argument("data", metavar="DATA", nargs="?", type=str | None, help=text)
    text = "Which data points, of data that have splits."
    parser.add_argument("--split", type=Split, default="test", help=text)
    add_root_option(parser)


def given_data(folder: Path, source: str | None, split: Split, *, root: str | None = None) -> GivenData:
    """The data points of a source, read as those of the run are: binarized or dequantized as they, the same inputs.

    Training data that are drawn anew at each visit are drawn once. The columns of a table are brought into the order of
    the table that the run was trained on, if it was one, and categories of an input are numbered as there.

    Args:
        folder: of the run.
        source: name of a data set, or the path of a file or folder, of which all data points are taken, in its order,
            unless it has splits; None for the run's own.
        split: which split, where there are any.
        root: folder of the data.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: they cannot be read, or are of another shape, or of columns or categories of other names, than those
            of the run.
    """
    found = data_of(folder, root=root) if source is None else _alike(folder, source, root)
    points = points_of(found, split)
    if split == "train":
        with seeded(0):  # as training saw them: binarized, say
            points = transforming(found.transform)(points)
    return GivenData(points, found, split)


def _alike(folder: Path, source: str, root: str | None) -> Data:
    """Data of another source than those of the run, read as these."""
    config, about = read_run(folder)
    categories = categories_of(config, about)
    if categories is None:
        categories = categories_of(config, {"categories": data_of(folder).categories})
    config = config.clone()
    config.num_train = None
    if source in data.NAMES and root is None:
        root = str(Path(about.get("working_directory", ".")) / (config.root or "data"))
    config.data, config.root, config.order = source, root, "random" if source in data.NAMES else "whole"
    found = load_data(config, columns=columns_of(about, source), categories=categories)
    if found.event_shape != (wanted := tuple(about["event_shape"])):
        raise ValueError(
            f"Expected data points of shape {wanted}, as {folder} was trained on; got {found.event_shape} in {source}."
        )
    return found


def check_given(module: Any, points: Points) -> None:
    """Raise a ValueError unless all data points are such as the model of a run can have: in the supports of its sites,
    and no NaN where nothing is missing."""
    model, guide = taking(points, module.model, module.guide)
    with evaluating(model, guide), unvalidated():
        check_data(model, guide, points.split(CHECKED_TOGETHER))
