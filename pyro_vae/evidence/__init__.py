"""Estimators of log p(x), and what is made of estimates: comparisons, bounds from both sides, tables."""

import types
import typing

from .annealed import annealed_log_marginal as annealed_log_marginal
from .bidirectional import BidirectionalGap as BidirectionalGap
from .bidirectional import bidirectional as bidirectional
from .bits import bits_per_dim as bits_per_dim
from .bracket import Bracket as Bracket
from .bracket import bracket as bracket
from .comparison import Comparison as Comparison
from .comparison import compare as compare
from .distortion_curve import RateDistortion as RateDistortion
from .distortion_curve import rate_distortion as rate_distortion
from .doubts import HeavyTail as HeavyTail
from .importance import log_marginal as log_marginal
from .measured import Measured as Measured
from .result import LogMarginal as LogMarginal

if not typing.TYPE_CHECKING:  # which knows it from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
