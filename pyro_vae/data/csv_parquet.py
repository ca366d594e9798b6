"""Tables of numbers in CSV and Parquet files, read by pandas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .arrays import data_of_arrays
from .protocol import Data, Order

SUFFIXES = (".csv", ".parquet")


def table_file(
    path: str | Path,
    inputs: Mapping[str, str] | None = None,
    *,
    seed: int = 0,
    missing: bool = False,
    order: Order = "random",
) -> Data:
    """A CSV (with a line of column names) or Parquet file: a data point in each row, a value in each column.

    The columns are x, (N, D), called ``table``, but for those that ``inputs`` name: ``{"x": "table", "y": "batch"}``
    calls a pair with all columns but ``batch``, and with that. Else as `array_file`.

    Raises:
        ImportError: pandas is not installed (for Parquet: or nothing that reads it).
        FileNotFoundError: there is no such file.
        ValueError: a column of x that holds no numbers, a name that no column has, or as `array_file`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a CSV or Parquet file at {path}; got no such file.")
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f'Expected pandas, to read {path}; got none. Run pip install "pyro-vae[tables]".') from error
    frame = pandas.read_csv(path) if path.suffix.lower() == ".csv" else pandas.read_parquet(path)
    named = [name for name in (inputs or {}).values() if name != "table"]
    if unknown := [name for name in named if name not in frame.columns]:
        raise ValueError(f"Expected inputs out of table and the columns of {path}; got {unknown[0]!r}.")
    table = frame.drop(columns=named)
    if wrong := [str(name) for name in table.columns if not pandas.api.types.is_numeric_dtype(table[name])]:
        raise ValueError(
            f"Expected numbers in all columns of {path}; got others in {', '.join(wrong[:5])}. Replace categories by "
            f"whole numbers, or drop the columns."
        )
    values = table.to_numpy()
    arrays = {"table": values.astype(float) if values.dtype == object else values}
    return data_of_arrays(
        arrays | {name: np.asarray(frame[name]) for name in named},
        path,
        inputs,
        seed=seed,
        missing=missing,
        order=order,
    )
