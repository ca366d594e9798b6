"""What a trained pair is used for."""

from typing import TYPE_CHECKING, Any

from .anomaly import AnomalyScores, score
from .calibration import Calibration, calibrate
from .detection import Detection, detect
from .diagnostics import Diagnostics, diagnose
from .directions import along, attribute_direction
from .fidelity import Fidelity, fidelity
from .generate import decode, encode, encode_with_scales, reconstruct, sample
from .inference_gaps import InferenceGaps, inference_gaps
from .latent_walks import interpolate
from .memorization import NearestShare, nearest, nearest_share
from .missing_values import missing_log_prob
from .observations import Denoising, Inpainting, SuperResolution
from .onnx_export import export_onnx
from .restoration import observing, restore
from .restored import Restoration
from .tempered import tempered

if TYPE_CHECKING:
    from .latent_features import LatentFeatures as LatentFeatures

__all__ = [
    "AnomalyScores",
    "Calibration",
    "Denoising",
    "Detection",
    "Diagnostics",
    "Fidelity",
    "InferenceGaps",
    "Inpainting",
    "LatentFeatures",
    "NearestShare",
    "Restoration",
    "SuperResolution",
    "along",
    "attribute_direction",
    "calibrate",
    "decode",
    "detect",
    "diagnose",
    "encode",
    "encode_with_scales",
    "export_onnx",
    "fidelity",
    "inference_gaps",
    "interpolate",
    "missing_log_prob",
    "nearest",
    "nearest_share",
    "observing",
    "reconstruct",
    "restore",
    "sample",
    "score",
    "tempered",
]


def __getattr__(name: str) -> Any:  # a second of import of scikit-learn, which the commands need not wait for
    if name != "LatentFeatures":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .latent_features import LatentFeatures

    return LatentFeatures
