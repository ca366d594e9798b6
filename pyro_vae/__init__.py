"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

from .encoders import GaussianEncoder
from .likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
from .models import VAE
from .networks import MLP, ConvDecoder, ConvEncoder, GatedMLP
from .priors import FlowPrior, GaussianMixture, StandardNormal, VampPrior
