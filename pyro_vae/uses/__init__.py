"""What a trained pair is used for."""

from .diagnostics import Diagnostics, diagnose
from .generate import decode, encode, interpolate, reconstruct, sample
from .inference_gaps import InferenceGaps, inference_gaps

__all__ = [
    "Diagnostics",
    "InferenceGaps",
    "decode",
    "diagnose",
    "encode",
    "inference_gaps",
    "interpolate",
    "reconstruct",
    "sample",
]
