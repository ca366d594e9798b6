"""Tables of numbers in CSV and Parquet files, read by pandas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments.memory import require_memory
from ..arguments.nearest import did_you_mean, file_nearest
from .arrays import data_of_arrays
from .binarization import Binarization
from .protocol import Data, Order

SUFFIXES = (".csv", ".tsv", ".parquet")
MOST_COLUMNS = 200_000
UNNAMED = "Unnamed: 0"  # what pandas calls a first column without a name


def table_file(
    path: str | Path,
    inputs: Mapping[str, str] | None = None,
    *,
    binarization: Binarization = "none",
    seed: int = 0,
    missing: bool = False,
    order: Order = "random",
) -> Data:
    """A CSV or TSV (with a line of column names) or Parquet file: a data point in each row, a value in each column.

    Names or numbers of the rows are left out, which the protocol says: a first column whose own name is empty, or one
    of texts that all differ.

    The columns are x, (N, D), called ``table``, but for those that ``inputs`` name: ``{"x": "table", "y": "batch"}``
    calls a pair with all columns but ``batch``, and with that. Else as `array_file`.

    Raises:
        ImportError: pandas is not installed (for Parquet: or nothing that reads it).
        FileNotFoundError: there is no such file.
        ValueError: a column of x that holds no numbers, a name that no column has, or as `array_file`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a CSV, TSV or Parquet file at {path}; got no such file.{file_nearest(path)}")
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f'Expected pandas, to read {path}; got none. Run pip install "pyro-vae[tables]".') from error
    frame = _read(pandas, path)
    if not is_parquet(path) and not isinstance(frame.index, pandas.RangeIndex):
        raise ValueError(
            f"Expected a name for each column in the first line of {path}; got rows with more values than there are "
            f"names. Give the first column a name, too, or an empty one if it names the rows."
        )
    named = [name for name in (inputs or {}).values() if name != "table"]
    if unknown := [name for name in named if name not in frame.columns]:
        near = did_you_mean(unknown[0], ["table", *map(str, frame.columns)])
        raise ValueError(f"Expected inputs out of table and the columns of {path}; got {unknown[0]!r}.{near}")
    table = frame.drop(columns=named)
    names_of_rows = [name for name in table.columns[:1] if name in frame.columns[:1] and _names_rows(frame[name])]
    table = table.drop(columns=names_of_rows)
    if wrong := [str(name) for name in table.columns if not pandas.api.types.is_numeric_dtype(table[name])]:
        raise ValueError(
            f"Expected numbers in all columns of {path}; got others in {', '.join(wrong[:5])}. Replace categories by "
            f"whole numbers, or drop the columns."
        )
    values = table.to_numpy()
    arrays = {"table": values.astype(float) if values.dtype == object else values}
    data = data_of_arrays(
        arrays | {name: np.asarray(frame[name]) for name in named},
        path,
        inputs,
        binarization=binarization,
        seed=seed,
        missing=missing,
        order=order,
    )
    if not names_of_rows:
        return data
    called = "without a name" if str(names_of_rows[0]) == UNNAMED else repr(names_of_rows[0])
    return replace(data, protocol=f"{data.protocol}; left out: the first column, {called}, as names of the rows")


def is_parquet(path: Path) -> bool:
    """Whether a table is one by its name."""
    return path.suffix.lower() == ".parquet"


def _read(pandas: Any, path: Path) -> Any:
    """The table of a file, whose size is looked at before it is read."""
    tab = path.suffix.lower() == ".tsv"
    try:
        require_memory(_parquet_values(path) if is_parquet(path) else _text_values(path, b"\t" if tab else b","), path)
        return pandas.read_parquet(path) if is_parquet(path) else pandas.read_csv(path, sep="\t" if tab else ",")
    except ImportError as error:
        raise ImportError(f'Expected pyarrow, to read {path}; got none. Run pip install "pyro-vae[tables]".') from error
    except Exception as error:  # of a broken table the readers raise any of a dozen kinds
        if str(error).startswith("Expected at most"):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Expected a whole table in {path}; got an error: {reason}. Save it again.") from error


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
    """How many values a table says that it holds."""
    import pyarrow.parquet

    about = pyarrow.parquet.read_metadata(path)
    return max(about.num_rows, 0) * max(about.num_columns, 0)


def _names_rows(column: Any) -> bool:
    """Whether the first column names or numbers the rows, as data frames of Python and R are written."""
    return str(column.name) == UNNAMED or (column.dtype.kind not in "biufc" and column.is_unique)
