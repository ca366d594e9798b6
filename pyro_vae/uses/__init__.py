"""What a trained pair is used for."""

import types
import typing

from .anomaly import AnomalyScores as AnomalyScores
from .anomaly import score as score
from .calibration import Calibration as Calibration
from .calibration import calibrate as calibrate
from .detection import Detection as Detection
from .detection import detect as detect
from .diagnostics import Diagnostics as Diagnostics
from .diagnostics import diagnose as diagnose
from .directions import along as along
from .directions import attribute_direction as attribute_direction
from .fidelity import Fidelity as Fidelity
from .fidelity import fidelity as fidelity
from .generate import decode as decode
from .generate import encode as encode
from .generate import encode_with_scales as encode_with_scales
from .generate import reconstruct as reconstruct
from .generate import sample as sample
from .inference_gaps import InferenceGaps as InferenceGaps
from .inference_gaps import inference_gaps as inference_gaps
from .latent_walks import interpolate as interpolate
from .memorization import NearestShare as NearestShare
from .memorization import nearest as nearest
from .memorization import nearest_share as nearest_share
from .missing_values import missing_log_prob as missing_log_prob
from .observations import Denoising as Denoising
from .observations import Inpainting as Inpainting
from .observations import SuperResolution as SuperResolution
from .onnx_export import export_onnx as export_onnx
from .restoration import observing as observing
from .restoration import restore as restore
from .restored import Restoration as Restoration
from .tempered import tempered as tempered

if typing.TYPE_CHECKING:
    from .latent_features import LatentFeatures as LatentFeatures
else:  # which knows the names from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
    __all__ += ["LatentFeatures"]


def __getattr__(name: str) -> typing.Any:  # a second of import of scikit-learn, which the commands need not wait for
    if name != "LatentFeatures":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .latent_features import LatentFeatures

    return LatentFeatures
