"""Data sets by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ..arguments.nearest import did_you_mean, file_nearest
from .arrays import array_file
from .binarization import Binarization, check_binarization
from .categories import Categories, check_as_in_training
from .csv_parquet import SUFFIXES as TABLES
from .csv_parquet import table_file
from .digits import digits
from .image_folder import image_folder
from .protocol import Data
from .splits import Order
from .static_mnist import static_mnist
from .torchvision_sets import fashion_mnist, mnist

ARRAYS = (".npy", ".npz")
NAMES = ("digits", "mnist", "fashion_mnist", "static_mnist")


def load(
    name: str | Path,
    root: str | Path | None = None,
    *,
    binarization: Binarization = "none",
    download: bool = False,
    seed: int = 0,
    missing: bool = False,
    inputs: Mapping[str, str] | None = None,
    order: Order = "random",
    columns: Sequence[str] | None = None,
    categories: Categories | None = None,
    beside: Sequence[str] = (),
    resize: Sequence[int] = (),
) -> Data:
    """Load a data set by its name, or a user's own by its path.

    Args:
        name: `digits`, `mnist`, `fashion_mnist` or `static_mnist`, or the path of an .npy, .npz, .csv, .tsv or .parquet
            file or of a folder of images. (A file or folder called like a set is reached as `./mnist`.)
        root: for the named sets, the folder that holds their files, by default `data` in the working
            directory; for paths, what a relative one starts from, by default the working directory.
        binarization: see `pyro_vae.data.binarize`; `static_mnist` is binary already and stays as it is.
        download: fetch the missing files of a named set into `root`.
        seed: of random splits and subsets, and of the binarization.
        missing: NaN in a file of arrays or a table marks values that are missing.
        inputs: arrays by the argument of a pair that is called with more than x: ``{"x": "images", "y": "labels"}``,
            see `Data.with_inputs`. Of a file of arrays the first of them is x; of a table columns are named.
        order: "ordered" takes the first items of data without splits for training and the last for the test; "whole"
            takes all of them, in their order, for each of the three: to use a trained model on.
        columns: of a table, names of the columns that x has, in their order: the ``columns`` of the data that a model
            was trained on, into whose order those of the file are brought.
        categories: names of the whole numbers of arrays beside x, by the names of these: the ``categories`` of the data
            that a model was trained on, of those that ``inputs`` name. By default texts of a column and classes of a
            folder are numbered in the sorted order of those that occur.
        beside: arrays of a file, or columns of a table, that belong to each data point and that the pair is not called
            with: `Data.others` has them, and texts have `Data.categories`. With order "whole" those that are there.
        resize: height and width that the images of a folder are brought to, or one number for both; other data are left
            as they are with order "whole".

    Raises:
        ValueError: an unknown name or binarization; ``missing``, ``columns``, ``beside`` or ``resize``
            where the data do not allow it; other ``categories``, or files that do not hold what they
            should.
        FileNotFoundError: files are missing and `download` is False.
        ImportError: torchvision does not fit the installed torch.
        ConnectionError: the download failed.

    Example:
        >>> print(load("digits", binarization="static").protocol)  # doctest: +NORMALIZE_WHITESPACE
        scikit-learn digits, intensity / 16; 1,197 train / 300 validation / 300 test,
        random split with seed 0; binarization static: every split drawn once with seed 0
    """
    check_binarization(binarization)
    if order not in get_args(Order):
        raise ValueError(f"Expected order 'random', 'ordered' or 'whole'; got {order!r}.")
    is_array, is_table = (Path(name).suffix.lower() in suffixes for suffixes in (ARRAYS, TABLES))
    if missing and not is_array and not is_table:
        raise ValueError(f"Expected a file of arrays or a table, where NaN can mark missing values; got {str(name)!r}.")
    if columns is not None and not is_table:
        raise ValueError(f"Expected a table, whose columns have names; got {str(name)!r}. Leave columns out.")
    if beside and not is_array and not is_table:
        raise ValueError(
            f"Expected a file of arrays or a table, which can hold {', '.join(beside)} beside x; got {str(name)!r}."
        )
    if order == "ordered" and name in NAMES:
        raise ValueError(f"Expected data without splits of their own to take in order; got {name}. Leave that out.")
    folder = Path("data" if root is None else root).expanduser()
    path = Path("" if root is None else root).expanduser() / Path(name).expanduser()
    how: dict[str, Any] = {"binarization": binarization, "seed": seed, "order": order, "categories": categories}
    is_folder = name not in NAMES and _is_folder(path)
    if resize and not is_folder and order != "whole":  # that is used on a trained model, as it is
        raise ValueError(f"Expected a folder of images to resize; got {str(name)!r}. Leave resize out.")
    if name == "digits":
        found = digits(binarization=binarization, seed=seed)
    elif name == "static_mnist":
        found = static_mnist(folder, download=download)
    elif name in NAMES:
        read = mnist if name == "mnist" else fashion_mnist
        found = read(folder, binarization=binarization, download=download, seed=seed)
    elif is_folder:
        found = image_folder(path, **how, resize=resize)
    elif is_array:
        found = array_file(path, inputs, **how, missing=missing, beside=beside)
    elif is_table:
        found = table_file(path, inputs, **how, missing=missing, columns=columns, beside=beside)
    else:
        near = did_you_mean(str(name), NAMES) or file_nearest(path)
        raise ValueError(
            f"Expected one of {', '.join(NAMES)}, or the path of an .npy, .npz, .csv, .tsv or .parquet file or of a "
            f"folder of images; got {str(name)!r}, which is none of them.{near}"
        )
    check_as_in_training(name, found.categories, categories, inputs)
    return found.with_inputs(**inputs) if inputs else found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ValueError(f"Expected the name of a data set or a path; got an error: {error!s:.90}.") from error
