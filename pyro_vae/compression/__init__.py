"""Data in as few bits as a trained pair needs for them, and back."""

from .lossless import compress, decompress
from .lossy import compress_lossy, decompress_lossy

__all__ = ["compress", "compress_lossy", "decompress", "decompress_lossy"]
