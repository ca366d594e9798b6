"""Likelihoods p(x|z): modules that turn decoder features into a distribution over x."""

from .bernoulli import Bernoulli
from .discretized_logistic import DiscretizedLogistic
from .gaussian import Gaussian
from .likelihood import Likelihood
from .pixel_cnn import PixelCNN

__all__ = ["Bernoulli", "DiscretizedLogistic", "Gaussian", "Likelihood", "PixelCNN"]
