"""Networks: deterministic maps between shapes, any leading dimensions."""

import types
import typing

from .conv import ConvDecoder as ConvDecoder
from .conv import ConvEncoder as ConvEncoder
from .gated_mlp import GatedMLP as GatedMLP
from .mlp import MLP as MLP
from .network import MakeNetwork as MakeNetwork
from .network import Network as Network
from .network import Shape as Shape
from .network import as_shape as as_shape
from .network import count_parameters as count_parameters
from .resnet import ResNetDecoder as ResNetDecoder
from .resnet import ResNetEncoder as ResNetEncoder

if not typing.TYPE_CHECKING:  # which knows it from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
