"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error.

Rooms are imported when something of theirs is asked for: the command line answers before torch is there.
"""

from typing import TYPE_CHECKING

from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import data as data
    from . import plots as plots
    from .compiled import *  # noqa: F403 (each room says itself what is public)
    from .compression import *  # noqa: F403
    from .encoders import *  # noqa: F403
    from .evidence import *  # noqa: F403
    from .likelihoods import *  # noqa: F403
    from .models import *  # noqa: F403
    from .networks import *  # noqa: F403
    from .objectives import *  # noqa: F403
    from .pairs import *  # noqa: F403
    from .priors import *  # noqa: F403
    from .runs import *  # noqa: F403
    from .training import *  # noqa: F403
    from .uses import *  # noqa: F403
else:
    from importlib import import_module as _import_module

    _PUBLIC = ["compiled", "compression", "encoders", "evidence", "likelihoods", "models", "networks", "objectives"]
    _PUBLIC += ["pairs", "priors", "runs", "training", "uses"]
    _ROOMS = [*_PUBLIC, "arguments", "commands", "data", "disk", "distributions", "output", "plots"]

    def __getattr__(name):
        if name in _ROOMS:
            return _import_module(f"{__name__}.{name}")
        if name == "__all__":
            return ["__version__", "data", "plots", *(name for room in _PUBLIC for name in __getattr__(room).__all__)]
        for room in () if name.startswith("_") else _PUBLIC:
            if name in (module := __getattr__(room)).__all__:
                return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*__getattr__("__all__"), *_ROOMS})
