"""Data sets by name."""

from pathlib import Path

from ..arguments.nearest import did_you_mean
from .arrays import array_file
from .dequantization import dequantized
from .digits import digits
from .image_folder import image_folder
from .protocol import Binarization, Data, check_binarization
from .static_mnist import static_mnist
from .torchvision_sets import fashion_mnist, mnist

NAMES = ("digits", "mnist", "fashion_mnist", "static_mnist")


def load(
    name: str | Path,
    root: str | Path | None = None,
    *,
    binarization: Binarization = "none",
    download: bool = False,
    seed: int = 0,
    dequantize: bool = False,
    missing: bool = False,
) -> Data:
    """Load a data set by its name, or a user's own by its path.

    Args:
        name: `digits`, `mnist`, `fashion_mnist` or `static_mnist`, or the path of an .npy or .npz file or
            of a folder of images. (A file or folder called like a set is reached as `./mnist`.)
        root: for the named sets, the folder that holds their files, by default `data` in the working
            directory; for paths, what a relative one starts from, by default the working directory.
        binarization: see `pyro_vae.data.binarize`; `static_mnist` is binary already and stays as it is.
        download: fetch the missing files of a named set into `root`.
        seed: of random splits, and of the binarization or dequantization.
        dequantize: add uniform noise within grey levels, see `pyro_vae.data.dequantized`.
        missing: NaN in an .npy or .npz file marks values that are missing.

    Raises:
        ValueError: an unknown name or binarization, ``dequantize`` or ``missing`` where the data do not allow it, or
            files that do not hold what they should.
        FileNotFoundError: files are missing and `download` is False.
        ImportError: torchvision does not fit the installed torch.
        ConnectionError: the download failed.

    Example:
        >>> print(load("digits", binarization="static").protocol)  # doctest: +NORMALIZE_WHITESPACE
        scikit-learn digits, intensity / 16; 1,197 train / 300 validation / 300 test,
        random split with seed 0; binarization static: every split drawn once with seed 0
    """
    check_binarization(binarization)
    if missing and Path(name).suffix.lower() not in (".npy", ".npz"):
        raise ValueError(f"Expected an .npy or .npz file, where NaN can mark missing values; got {str(name)!r}.")
    if dequantize:
        if binarization != "none":
            raise ValueError(
                f"Expected binarization 'none' to dequantize; got {binarization!r}. Use a likelihood of real values, "
                f"such as Gaussian, ContinuousBernoulli or Beta, or no dequantization."
            )
        grey = load(name, root, download=download, seed=seed, missing=missing)
        return dequantized(grey, seed=seed)
    folder = Path("data" if root is None else root).expanduser()
    match name:
        case "digits":
            return digits(binarization=binarization, seed=seed)
        case "mnist":
            return mnist(folder, binarization=binarization, download=download, seed=seed)
        case "fashion_mnist":
            return fashion_mnist(folder, binarization=binarization, download=download, seed=seed)
        case "static_mnist":
            return static_mnist(folder, download=download)
    path = Path("" if root is None else root).expanduser() / Path(name).expanduser()
    if path.is_dir():
        return image_folder(path, binarization=binarization, seed=seed)
    if path.suffix.lower() in (".npy", ".npz"):
        return array_file(path, binarization=binarization, seed=seed, missing=missing)
    raise ValueError(
        f"Expected one of {', '.join(NAMES)}, or the path of an .npy or .npz file or of a folder of images; "
        f"got {str(name)!r}, which is none of them.{did_you_mean(str(name), NAMES)}"
    )
