"""Networks: deterministic maps between shapes, any leading dimensions."""

from types import ModuleType as _Module

from .conv import ConvDecoder as ConvDecoder
from .conv import ConvEncoder as ConvEncoder
from .gated_mlp import GatedMLP as GatedMLP
from .mlp import MLP as MLP
from .network import Network as Network
from .network import Shape as Shape
from .network import as_shape as as_shape
from .network import count_parameters as count_parameters
from .resnet import ResNetDecoder as ResNetDecoder
from .resnet import ResNetEncoder as ResNetEncoder

__all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], _Module))]
