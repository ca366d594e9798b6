"""Networks: deterministic maps between shapes, any leading dimensions."""

from .conv import ConvDecoder, ConvEncoder
from .gated_mlp import GatedMLP
from .mlp import MLP
from .network import Network, Shape, as_shape, count_parameters
from .resnet import ResNetDecoder, ResNetEncoder

__all__ = [
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "GatedMLP",
    "Network",
    "ResNetDecoder",
    "ResNetEncoder",
    "Shape",
    "as_shape",
    "count_parameters",
]
