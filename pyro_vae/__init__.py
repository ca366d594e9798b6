"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

from . import (
    compiled,
    data,
    encoders,
    evidence,
    likelihoods,
    models,
    networks,
    objectives,
    pairs,
    plots,
    priors,
    training,
    uses,
)
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
from .version import __version__

__all__ = ["__version__", "data", "plots"]
__all__ += compiled.__all__
__all__ += encoders.__all__
__all__ += evidence.__all__
__all__ += likelihoods.__all__
__all__ += models.__all__
__all__ += networks.__all__
__all__ += objectives.__all__
__all__ += pairs.__all__
__all__ += priors.__all__
__all__ += training.__all__
__all__ += uses.__all__
