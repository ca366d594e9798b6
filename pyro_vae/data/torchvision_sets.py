"""MNIST and Fashion-MNIST, read (and downloaded when allowed) by torchvision."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from urllib.error import URLError

from .binarization import Binarization, binarize
from .protocol import Data, check_sha256
from .splits import Splits, describe_sizes

IDX_BYTES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 784,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}


def mnist(root: str | Path, *, binarization: Binarization = "none", download: bool = False, seed: int = 0) -> Data:
    """MNIST, (1, 28, 28), grey levels / 255: 50,000 / 10,000 / 10,000, as published.

    The last 10,000 of the 60,000 training images are the validation split.

    Args:
        root: the folder that holds `MNIST/raw` with the four IDX files.
        binarization: see `pyro_vae.data.binarize`.
        download: fetch missing files into `root`.
        seed: of the binarization.

    Raises:
        FileNotFoundError: files are missing and `download` is False.
        ValueError: a file is truncated, unreadable or not the published one.
        ImportError: torchvision does not fit the installed torch.
        ConnectionError: the download failed.

    Reference:
        LeCun, Bottou, Bengio and Haffner, 1998.
    """
    sha256 = {
        "training images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "training labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "test images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "test labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    }
    return binarize(_read("mnist", "MNIST", Path(root), sha256, download), binarization, seed=seed)


def fashion_mnist(
    root: str | Path, *, binarization: Binarization = "none", download: bool = False, seed: int = 0
) -> Data:
    """Fashion-MNIST, (1, 28, 28), in every other way as `mnist`; `root` holds `FashionMNIST/raw`.

    Reference:
        Xiao, Rasul and Vollgraf, 2017.
    """
    sha256 = {
        "training images": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        "training labels": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        "test images": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "test labels": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    }
    return binarize(_read("fashion_mnist", "FashionMNIST", Path(root), sha256, download), binarization, seed=seed)


def _read(name: str, title: str, root: Path, sha256: dict[str, str], download: bool) -> Data:
    source = getattr(torchvision_datasets(), title)
    raw = root / title / "raw"
    missing = [file for file in IDX_BYTES if not (raw / file).is_file()]
    if missing and not download:
        raise FileNotFoundError(
            f"Expected the {title} files in {raw}; missing: {', '.join(missing)}. "
            "Fetch them with download=True (--download), or give as root (--root) the folder that holds "
            f"{title}/raw."
        )
    cure = f"Delete {raw} and load again with download=True (--download)."
    try:
        if missing:
            source(root, download=True)
    except (RuntimeError, URLError) as error:
        raise ConnectionError(
            f"Expected to download {title} into {raw}; got an error: {error}. "
            "Check the connection and try again, or put the four extracted IDX files there."
        ) from error
    for file, expected in IDX_BYTES.items():
        got = (raw / file).stat().st_size
        if got != expected:
            raise ValueError(f"Expected {expected:,} bytes in {raw / file}; got {got:,}. {cure}")
    try:
        train, test = source(root, train=True), source(root, train=False)
    except Exception as error:  # its reader asserts, indexes and reshapes whatever it finds
        raise ValueError(f"Expected readable IDX files in {raw}; got an error: {error!r}. {cure}") from error
    contents = (train.data, train.targets, test.data, test.targets)
    for (what, expected_sha256), content in zip(sha256.items(), contents, strict=True):
        check_sha256(content.byte().numpy(), expected_sha256, what=f"{title} {what} in {raw}", cure=cure)
    parts = (train.data[:50_000], train.data[50_000:], test.data)
    images = Splits._make(x.float().div_(255).unsqueeze(1) for x in parts)
    protocol = f"{title}, grey level / 255; {describe_sizes(images)}, validation is the last 10,000 training images"
    labels = Splits(train.targets[:50_000], train.targets[50_000:], test.targets)
    return Data(name=name, **images._asdict(), protocol=protocol, levels=256, labels=labels)


def torchvision_datasets() -> ModuleType:
    """Import `torchvision.datasets` only when asked: one that does not fit torch stops nobody with other data."""
    # A first attempt raises RuntimeError or OSError, a second one AttributeError.
    try:
        import torchvision.datasets
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise ImportError(
            f"Expected torch and torchvision builds that fit each other; got torch {_version('torch')} and "
            f"torchvision {_version('torchvision')}: {str(error).splitlines()[0]}. "
            "Install both from the same index: `pip install --force-reinstall torch torchvision` "
            "(and the same --index-url, if you gave one)."
        ) from error
    return torchvision.datasets


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
