"""Data sets as tensors, each with its protocol in words."""

from .arrays import array_file as array_file
from .binarization import Binarization as Binarization
from .binarization import binarize as binarize
from .csv_parquet import table_file as table_file
from .dequantization import dequantize as dequantize
from .dequantization import dequantized as dequantized
from .digits import digits as digits
from .image_folder import image_folder as image_folder
from .protocol import Data as Data
from .sources import NAMES as NAMES
from .sources import load as load
from .splits import Order as Order
from .splits import Splits as Splits
from .splits import random_split as random_split
from .static_mnist import static_mnist as static_mnist
from .torchvision_sets import fashion_mnist as fashion_mnist
from .torchvision_sets import mnist as mnist
