"""MNIST as Larochelle and Murray binarized it once and for all."""

import os
import tempfile
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch

from ..disk.reading import read_whole
from ..disk.writing import written_whole
from .binarization import binarize
from .numpy_files import read_arrays
from .protocol import Data, check_sha256
from .splits import Splits, describe_sizes
from .torchvision_sets import torchvision_datasets

URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist_{}.amat"
LARGEST = 2**28  # bytes of an .amat file; the published ones have at most 78,400,000
CURE = "Delete it and load again with download=True (--download)."
SHA256 = {  # of the pixels as uint8, in C order
    "train": "43490d4d6ac9002727af4426d8748609fdb7e4094fa65ad8d681ea60082a7a5a",
    "valid": "069b4f0beb389b776478c3e872b4df71c95ac4be64d7cbe6d32e24ebac8e6d5e",
    "test": "ca0294c3b8d984c7a1dc891015a8eea6f37bae59a34e35ea0fc8c47110a8dd86",
}


def static_mnist(root: str | Path, *, download: bool = False) -> Data:
    """Larochelle's fixed binarization of MNIST, (1, 28, 28), zeros and ones: 50,000 / 10,000 / 10,000.

    Read from `mnist_static.npz` (arrays train, valid, test of shape (N, 784)) or else from the published
    `binarized_mnist_{train,valid,test}.amat`, in `root` or `root/MNIST_static`. The content is
    verified. The .npz is written beside the .amat files, because it is read several times faster.

    The images are in no random order: a subset to evaluate on must be a random one.

    Args:
        root: where to look for the files.
        download: fetch missing .amat files into `root/MNIST_static`.

    Raises:
        FileNotFoundError: files are missing and `download` is False.
        ValueError: a file is truncated, unreadable or not the published one.
        ConnectionError: the download failed.

    Reference:
        Larochelle and Murray, 2011, The Neural Autoregressive Distribution Estimator; pixels drawn by
        Salakhutdinov and Murray, 2008.
    """
    root = Path(root)
    npz = _find(root, "mnist_static.npz")
    if npz is not None:
        pixels = read_arrays(npz)
        if not pixels.keys() >= SHA256.keys():
            raise ValueError(f"Expected arrays train, valid and test in {npz}; got {', '.join(pixels)}. {CURE}")
        for part, sha256 in SHA256.items():
            check_sha256(pixels[part], sha256, what=f"the {part} array of {npz}", cure=CURE)
    else:
        pixels = _read_amat(root, download)
    images = Splits(*(torch.from_numpy(pixels[part]).float().reshape(-1, 1, 28, 28) for part in SHA256))
    how = "MNIST, fixed binarization (Larochelle & Murray 2011), content verified"
    protocol = f"{how}; {describe_sizes(images)}, as published"
    data = Data(name="static_mnist", **images._asdict(), protocol=protocol)
    return binarize(data, "none")  # adds to the protocol that the pixels are 0 or 1 already


def parse_amat(text: bytes) -> np.ndarray:
    """Parse lines of 784 zeros and ones, separated by blanks, into uint8 of shape (N, 784).

    Example:
        >>> parse_amat((b"0 1 " * 392 + b"\\n") * 2).shape
        (2, 784)
    """
    characters = np.frombuffer(text, dtype=np.uint8)
    is_bit = (characters == ord("0")) | (characters == ord("1"))
    if not (is_bit | np.isin(characters, np.frombuffer(b" \t\r\n", dtype=np.uint8))).all():
        raise ValueError("Expected only 0, 1 and white space; got other characters.")
    bits = characters[is_bit] - np.uint8(ord("0"))
    if bits.size == 0 or bits.size % 784:
        raise ValueError(f"Expected a multiple of 784 pixels; got {bits.size:,}.")
    return bits.reshape(-1, 784)


def _find(root: Path, file: str) -> Path | None:
    return next((path for path in (root / "MNIST_static" / file, root / file) if path.is_file()), None)


def _read_amat(root: Path, download: bool) -> dict[str, np.ndarray]:
    found = {part: _find(root, f"binarized_mnist_{part}.amat") for part in SHA256}
    missing = [f"binarized_mnist_{part}.amat" for part, path in found.items() if path is None]
    if missing and not download:
        raise FileNotFoundError(
            f"Expected mnist_static.npz, or the published .amat files, in {root} or {root / 'MNIST_static'}; "
            f"missing: {', '.join(missing)}. Fetch them with download=True (--download), "
            "or give as root (--root) the folder that holds them."
        )
    pixels = {}
    for part, sha256 in SHA256.items():
        path = found[part] or _download(URL.format(part), root / "MNIST_static")
        try:
            pixels[part] = parse_amat(read_whole(path, limit=LARGEST))
        except ValueError as error:
            raise ValueError(f"Expected the published content in {path}; got an error: {error} {CURE}") from error
        check_sha256(pixels[part], sha256, what=str(path), cure=CURE)
    # A folder that cannot be written only costs the speed of the next load.
    with suppress(OSError), written_whole(path.with_name("mnist_static.npz")) as file:
        np.savez_compressed(file, train=pixels["train"], valid=pixels["valid"], test=pixels["test"])
    return pixels


def _download(url: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = url.rsplit("/", 1)[1]
    try:
        # Moved when whole, so that an interrupted download is never read.
        with tempfile.TemporaryDirectory(dir=folder) as partial:
            torchvision_datasets().utils.download_url(url, partial)
            os.replace(Path(partial, name), folder / name)
    except (OSError, RuntimeError, HTTPException) as error:
        raise ConnectionError(
            f"Expected to download {url}; got an error: {error}. Try again, or put the file into {folder} yourself."
        ) from error
    return folder / name
