"""Scikit-learn's digits: 1,797 images of 8 x 8 pixels that come with a dependency."""

import functools

import torch
from torch import Tensor

from .binarization import Binarization, binarize
from .protocol import Data
from .splits import describe_sizes, random_split


def digits(*, binarization: Binarization = "none", seed: int = 0) -> Data:
    """Scikit-learn's handwritten digits, (1, 8, 8), nothing downloaded.

    Intensities 0..16 are divided by 16; 1,197 / 300 / 300 images, split at random with `seed`.

    Args:
        binarization: see `pyro_vae.data.binarize`.
        seed: of the split and of the binarization.

    Reference:
        Alpaydin and Kaynak, 1998, Optical Recognition of Handwritten Digits (its test part).

    Example:
        >>> data = digits(binarization="dynamic")
        >>> tuple(data.train.shape), data.event_shape
        ((1197, 1, 8, 8), (1, 8, 8))
    """
    images, targets = _read()
    split = (1197, 300, 300)
    parts = random_split(images, split, seed=seed)
    protocol = f"scikit-learn digits, intensity / 16; {describe_sizes(parts)}, random split with seed {seed}"
    labels = random_split(targets, split, seed=seed)
    data = Data(name="digits", **parts._asdict(), protocol=protocol, levels=17, labels=labels)
    return binarize(data, binarization, seed=seed)


@functools.cache
def _read() -> tuple[Tensor, Tensor]:
    """All images and labels. They are read from text, once; random splits copy them."""
    from sklearn.datasets import load_digits  # a second of import that other data need not wait for

    pixels, targets = load_digits(return_X_y=True)
    return torch.from_numpy(pixels).float().div(16).reshape(-1, 1, 8, 8), torch.from_numpy(targets).long()
