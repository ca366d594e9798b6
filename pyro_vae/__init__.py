"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

import types
import typing

from . import data as data
from . import plots as plots
from .compiled import *  # noqa: F403 (each room says itself what is public)
from .encoders import *  # noqa: F403
from .evidence import *  # noqa: F403
from .likelihoods import *  # noqa: F403
from .models import *  # noqa: F403
from .networks import *  # noqa: F403
from .objectives import *  # noqa: F403
from .pairs import *  # noqa: F403
from .priors import *  # noqa: F403
from .training import *  # noqa: F403
from .uses import *  # noqa: F403
from .version import __version__ as __version__

if not typing.TYPE_CHECKING:  # which knows it from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
    __all__ += ["__version__", "data", "plots"]
