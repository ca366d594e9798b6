"""What a trained pair is used for."""

from .calibration import Calibration, calibrate
from .diagnostics import Diagnostics, diagnose
from .generate import decode, encode, encode_with_scales, reconstruct, sample
from .inference_gaps import InferenceGaps, inference_gaps
from .latent_walks import interpolate

__all__ = [
    "Calibration",
    "Diagnostics",
    "InferenceGaps",
    "calibrate",
    "decode",
    "diagnose",
    "encode",
    "encode_with_scales",
    "inference_gaps",
    "interpolate",
    "reconstruct",
    "sample",
]
