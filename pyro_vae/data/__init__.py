"""Data sets as tensors, each with its protocol in words."""

from ..arguments.nearest import did_you_mean
from .arrays import array_file
from .dequantization import dequantize, dequantized
from .digits import digits
from .image_folder import image_folder
from .protocol import Binarization, Data, Splits, binarize, random_split
from .sources import NAMES, load
from .static_mnist import static_mnist
from .torchvision_sets import fashion_mnist, mnist

__all__ = [
    "NAMES",
    "Binarization",
    "Data",
    "Splits",
    "array_file",
    "binarize",
    "dequantize",
    "dequantized",
    "did_you_mean",
    "digits",
    "fashion_mnist",
    "image_folder",
    "load",
    "mnist",
    "random_split",
    "static_mnist",
]
