"""Tables of numbers in CSV and Parquet files, read by pandas."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments.memory import require_memory
from ..arguments.nearest import did_you_mean, file_nearest
from .arrays import data_of_arrays, kept_beside
from .binarization import Binarization
from .categories import Categories
from .names import short, some
from .protocol import Data
from .splits import Order

SUFFIXES = (".csv", ".tsv", ".parquet")
MOST_COLUMNS = 200_000
UNNAMED = "Unnamed: 0"  # what pandas calls a first column without a name
NUMBERED = ("id", "cell", "index", "row", "unnamed")  # names of columns whose whole numbers, if they differ, count rows
FEWEST = 10  # rows, from which on rising numbers are hardly chance


def table_file(
    path: str | Path,
    inputs: Mapping[str, str] | None = None,
    *,
    binarization: Binarization = "none",
    seed: int = 0,
    missing: bool = False,
    order: Order = "random",
    columns: Sequence[str] | None = None,
    categories: Categories | None = None,
    beside: Sequence[str] = (),
) -> Data:
    """A CSV or TSV (with a line of column names) or Parquet file: a data point in each row, a value in each column.

    Names or numbers of the rows are left out, which the protocol says: a first column whose own name is empty, or one
    of texts that all differ, or of whole numbers that rise from each row to the next; and a column of whole numbers
    that all differ, called id, cell, index, row or unnamed. (Numbers with a decimal point are always data.)

    The columns are x, (N, D), called ``table``, but for those that ``inputs`` name: ``{"x": "table", "y": "batch"}``
    calls a pair with all columns but ``batch``, and with that; texts of ``batch`` become whole numbers, whose names
    `Data.categories` has. Else as `array_file`.

    Args:
        columns: names of the columns that x has, in their order: the ``columns`` of the data that a model was trained
            on. Those of the file may be in another order. By default all, in the order of the file.
        categories, beside: as in `array_file`, by column; ``beside`` is no part of x.

    Raises:
        ImportError: pandas is not installed (for Parquet: or nothing that reads it).
        FileNotFoundError: there is no such file.
        ValueError: a column of x that holds no numbers, a name that no column has, other names than ``columns``, or as
            `array_file`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a CSV, TSV or Parquet file at {path}; got no such file.{file_nearest(path)}")
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f'Expected pandas, to read {path}; got none. Run pip install "pyro-vae[tables]".') from error
    called = [name for name in (inputs or {}).values() if name != "table"]
    frame = _read(pandas, path, named=[*called, *beside], texts=list(categories or ()))
    if not is_parquet(path) and not isinstance(frame.index, pandas.RangeIndex):
        raise ValueError(
            f"Expected a name for each column in the first line of {path}; got rows with more values than there are "
            f"names. Give the first column a name, too, or an empty one if it names the rows."
        )
    if unknown := [name for name in called if name not in frame.columns]:
        near = did_you_mean(unknown[0], ["table", *map(str, frame.columns)])
        raise ValueError(
            f"Expected inputs out of table and the columns of {path}; got {unknown[0]!r}, which it lacks.{near}"
            f"{'' if columns is None else ' A pair that was trained with it needs it for each data point.'}"
        )
    kept = kept_beside(beside, map(str, frame.columns), path, order)
    named = [*dict.fromkeys([*called, *kept])]
    table = frame.drop(columns=named).rename(columns=str)
    left_out = _left_out(table, first=str(frame.columns[0]), columns=columns)
    table = table.drop(columns=left_out)
    found = list(table.columns)
    if columns is not None:
        _check_columns(found, columns, path)
        table = table[list(columns)]
    if wrong := [name for name in table.columns if not pandas.api.types.is_numeric_dtype(table[name])]:
        calls = {**(inputs or {"x": "table"}), "y2" if "y" in (inputs or {}) else "y": wrong[0]}
        raise ValueError(
            f"Expected numbers in all columns of x in {path}; got others in {', '.join(wrong[:5])}. Keep such a column "
            f"beside x, as labels (--beside {' '.join(wrong[:5])}), or give its texts, as categories, to another input "
            f"of the model, such as --inputs {' '.join(map('='.join, calls.items()))}."
        )
    values = table.to_numpy()
    arrays = {"table": values.astype(float) if values.dtype == object else values}
    arrays |= {name: _beside(frame[name]) for name in named}
    how: dict[str, Any] = {"binarization": binarization, "seed": seed, "missing": missing, "order": order}
    data = data_of_arrays(arrays, path, inputs, **how, categories=categories, beside=kept)
    protocol = f"{data.protocol}; {_in_words(list(table.columns))}"
    if found != list(table.columns):
        protocol += ", brought into this order"
    if left_out:
        first = f"the first column, {'without a name' if left_out[0] == UNNAMED else repr(left_out[0])}"
        names = [first if name == str(frame.columns[0]) else repr(name) for name in left_out]
        protocol += f"; left out: {' and '.join(names)}, as names of the rows"
    return replace(data, columns=tuple(table.columns), protocol=protocol)


def is_parquet(path: Path) -> bool:
    """Whether a table is one by its name."""
    return path.suffix.lower() == ".parquet"


def _read(pandas: Any, path: Path, *, named: Sequence[str], texts: Sequence[str]) -> Any:
    """The table of a file, whose size is looked at before it is read. Named columns may hold texts: what a column holds
    is then told from all of it, not from parts; those of ``texts`` do, such as "01"."""
    how: dict[str, Any] = {"dtype": dict.fromkeys(texts, str), "low_memory": not named}
    tab = path.suffix.lower() == ".tsv"
    try:
        require_memory(_parquet_values(path) if is_parquet(path) else _text_values(path, b"\t" if tab else b","), path)
        return pandas.read_parquet(path) if is_parquet(path) else pandas.read_csv(path, sep="\t" if tab else ",", **how)
    except ImportError as error:
        raise ImportError(f'Expected pyarrow, to read {path}; got none. Run pip install "pyro-vae[tables]".') from error
    except Exception as error:  # of a broken table the readers raise any of a dozen kinds
        if str(error).startswith("Expected at most"):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Expected a whole table in {path}; got an error: {reason}. Save it again.") from error


def _beside(column: Any) -> np.ndarray:
    """The values of a column beside x; None for what is missing among texts."""
    values = np.array(column)
    if values.dtype.kind == "O":
        values[column.isna().to_numpy()] = None
    return values


def _text_values(path: Path, separator: bytes) -> int:
    """How many values a table of text holds at most: the places between separators and ends of lines."""
    count = 1
    with path.open("rb") as file:
        if (columns := file.readline(2**24).count(separator) + 1) > MOST_COLUMNS:
            raise ValueError(f"{columns:,} columns, above {MOST_COLUMNS:,}: turn it, if its rows are columns")
        file.seek(0)
        while block := file.read(2**20):
            count += block.count(separator) + block.count(b"\n") + block.count(b"\r")
    return count


def _parquet_values(path: Path) -> int:
    """How many values a table says that it holds; raises where its footer contradicts itself, of which a reader takes
    the one or the other number in silence."""
    import pyarrow.parquet

    about = pyarrow.parquet.read_metadata(path)
    rows = sum(about.row_group(number).num_rows for number in range(about.num_row_groups))
    if rows != about.num_rows:
        raise ValueError(f"{about.num_rows:,} rows by its footer, {rows:,} in its groups of rows")
    return max(about.num_rows, 0) * max(about.num_columns, 0)


def _left_out(table: Any, *, first: str, columns: Sequence[str] | None) -> list[str]:
    """The columns that name or number the rows, as data frames of Python and R are written, of those that could be x;
    none of which it is known that x has them."""
    x = set(columns or ())
    found = []
    for name in table.columns:
        if name in x or not (name == first or name.lower() in NUMBERED):
            continue
        column = table[name]
        is_first = name == first
        if column.dtype.kind not in "biufc":
            has_lists = not column.map(lambda value: isinstance(value, Hashable)).all()  # in Parquet; they name nothing
            names_rows = is_first and not has_lists and column.is_unique
        elif column.dtype.kind in "iu" and column.is_unique and len(table.columns) > 1:
            rises = columns is not None or (len(column) >= FEWEST and column.is_monotonic_increasing)
            names_rows = name.lower() in NUMBERED or rises
        else:
            names_rows = False
        if names_rows or (is_first and name == UNNAMED):
            found.append(name)
    return found


def _check_columns(found: list[str], columns: Sequence[str], path: Path) -> None:
    """Raise a ValueError unless the columns have these names, in any order."""
    there, wanted = set(found), set(columns)
    missing, surplus = [n for n in columns if n not in there], [n for n in found if n not in wanted]
    if missing or surplus:
        got = [f"{word} {some(names)}" for word, names in (("without", missing), ("with", surplus)) if names]
        raise ValueError(
            f"Expected the columns of x as in training in {path}, {_in_words(list(columns))}, in any order; got a "
            f"table {' and '.join(got)}. Give the columns their names of training, and drop those that x did not have."
        )


def _in_words(names: list[str]) -> str:
    """How many columns there are, from which to which.

    Example:
        >>> _in_words(["ACTB", "GAPDH", "MALAT1"]), _in_words(["height"])
        ('3 columns, from ACTB to MALAT1', '1 column, height')
    """
    if len(names) == 1:
        return f"1 column, {short(names[0])}"
    return f"{len(names):,} columns" + (f", from {short(names[0])} to {short(names[-1])}" if names else "")
