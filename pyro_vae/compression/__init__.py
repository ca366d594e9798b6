"""Data in as few bits as a trained pair needs for them, and back."""

from .lossless import compress, decompress

__all__ = ["compress", "decompress"]
