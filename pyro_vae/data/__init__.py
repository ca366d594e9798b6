"""Data sets as tensors, each with its protocol in words."""

from pyro_vae.arguments.nearest import did_you_mean
from pyro_vae.data.arrays import array_file
from pyro_vae.data.dequantization import dequantize, dequantized
from pyro_vae.data.digits import digits
from pyro_vae.data.image_folder import image_folder
from pyro_vae.data.protocol import Binarization, Data, Splits, binarize, random_split
from pyro_vae.data.sources import NAMES, load
from pyro_vae.data.static_mnist import static_mnist
from pyro_vae.data.torchvision_sets import fashion_mnist, mnist

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
