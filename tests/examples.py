"""THE list: every contract test runs over the parts and pairs named here. A new part is one line."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import ELBO, RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule, PyroParam, pyro_method
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae import (
    MLP,
    VAE,
    Bernoulli,
    CategoricalEncoder,
    CategoricalPrior,
    DirichletEncoder,
    DiscretizedLogistic,
    GaussianEncoder,
    LogisticNormalPrior,
    VonMisesFisherEncoder,
    VonMisesFisherPrior,
    annealed_log_marginal,
    bidirectional,
    encoders,
    evidence,  # noqa: F401 (for what a stranger adds)
    likelihoods,
    log_marginal,
    networks,
    objectives,  # noqa: F401
    priors,
)

small_mlp = partial(MLP, hidden=(7,))

# name: (encoder, images) -> prior, of those that hold the encoder of the same model
PRIORS_WITH_ENCODER: dict[str, Callable[[Any, Tensor], nn.Module]] = {
    "VampPrior": partial(priors.VampPrior, num_components=4),
    "VampPrior, frozen": partial(priors.VampPrior, num_components=4, learn_inputs=False),
    "VampPrior, random": partial(priors.VampPrior, num_components=4, start="random", learn_weights=False),
    "ExemplarPrior": partial(priors.ExemplarPrior, num_neighbors=3),
}

# name: (dim) -> prior
PRIORS: dict[str, Callable[[int], nn.Module]] = {
    "StandardNormal": priors.StandardNormal,
    "DiagonalNormal": priors.DiagonalNormal,
    "LaplacePrior": priors.LaplacePrior,
    "StudentTPrior": priors.StudentTPrior,
    "StudentTPrior, fixed": partial(priors.StudentTPrior, degrees_of_freedom=4.0, learn_degrees_of_freedom=False),
    "GaussianMixture": partial(priors.GaussianMixture, num_components=3),
    "GaussianMixture, low-rank": partial(priors.GaussianMixture, num_components=3, covariance="low-rank"),
    "GaussianMixture, full": partial(priors.GaussianMixture, num_components=3, covariance="full"),
    "CouplingFlow": partial(priors.CouplingFlow, num_transforms=3, hidden=(8,)),
    "AutoregressiveFlow": partial(priors.AutoregressiveFlow, num_transforms=2, hidden=(8,)),
    "SplineFlow": partial(priors.SplineFlow, num_transforms=2, num_bins=4, bound=2.0, hidden=(8,)),
    "LARS": partial(priors.LARS, hidden=(8,), truncation=3, num_samples=64, num_evaluation_samples=4096),
    "LARS, untruncated": partial(priors.LARS, hidden=(8,), truncation=None, num_evaluation_samples=4096),
    "AutoregressivePrior": partial(priors.AutoregressivePrior, num_components=2, hidden=(8,)),
}


def with_encoder(make: Callable[[Any, Tensor], nn.Module], dim: int) -> nn.Module:
    return make(encoders.GaussianEncoder(3, dim, network=small_mlp), torch.randn(6, 3))


PRIORS |= {name: partial(with_encoder, make) for name, make in PRIORS_WITH_ENCODER.items()}

# name: (event_shape) -> likelihood
LIKELIHOODS: dict[str, Callable[[Any], nn.Module]] = {
    "Bernoulli": likelihoods.Bernoulli,
    "ContinuousBernoulli": likelihoods.ContinuousBernoulli,
    "Beta": likelihoods.Beta,
    "Gaussian, fixed": partial(likelihoods.Gaussian, scale=0.7),
    "Gaussian, shared": partial(likelihoods.Gaussian, scale="shared"),
    "Gaussian, per pixel": partial(likelihoods.Gaussian, scale="per-pixel"),
    "LowRankGaussian": partial(likelihoods.LowRankGaussian, rank=2, min_scale=0.2),
    "Laplace": partial(likelihoods.Laplace, scale="per-pixel", min_scale=0.3),
    "StudentT": partial(likelihoods.StudentT, scale="per-pixel", min_scale=0.3),
    "StudentT, fixed df": partial(likelihoods.StudentT, df=30.0),
    "DiscretizedLogistic": likelihoods.DiscretizedLogistic,
    "DiscretizedLogistic, 5 levels": partial(likelihoods.DiscretizedLogistic, levels=5),
    "DiscretizedGaussian": likelihoods.DiscretizedGaussian,
    "DiscretizedLogisticMixture": partial(likelihoods.DiscretizedLogisticMixture, components=3, levels=17),
    "Categorical": partial(likelihoods.Categorical, levels=17),
    "Binomial": likelihoods.Binomial,
    "Binomial, counts": partial(likelihoods.Binomial, total_count=6, data="counts"),
    "Poisson": likelihoods.Poisson,
    "NegativeBinomial": likelihoods.NegativeBinomial,
    "NegativeBinomial, per pixel": partial(likelihoods.NegativeBinomial, dispersion="per-pixel"),
    "ZeroInflatedNegativeBinomial": likelihoods.ZeroInflatedNegativeBinomial,
    "VonMises": likelihoods.VonMises,
}

# name: (event_shape) -> likelihood, and the event_shape it is tried with: values that belong together
JOINT_LIKELIHOODS: dict[str, tuple[Callable[[Any], nn.Module], tuple[int, ...]]] = {
    "Categorical, one-hot": (partial(likelihoods.Categorical, data="one-hot"), (2, 4)),
    "DiscretizedLogisticMixture, colour": (partial(likelihoods.DiscretizedLogisticMixture, components=2), (3, 2, 2)),
    "ZeroInflatedNegativeBinomial, exposure": (partial(likelihoods.ZeroInflatedNegativeBinomial, exposure=True), (4,)),
    "PixelCNN": (partial(likelihoods.PixelCNN, channels=4, num_layers=2, kernel_size=3), (1, 2, 3)),
    "Masked": (lambda event_shape: likelihoods.Masked(likelihoods.Gaussian(event_shape)), (2, 3)),
}

# name: (event_shape, latent_dim) -> encoder
ENCODERS: dict[str, Callable[[Any, int], nn.Module]] = {
    "GaussianEncoder": partial(encoders.GaussianEncoder, network=small_mlp),
    "GaussianEncoder, gated": partial(encoders.GaussianEncoder, network=partial(networks.GatedMLP, hidden=(7,))),
    "FullRankEncoder": partial(encoders.FullRankEncoder, network=small_mlp),
    "LowRankEncoder": partial(encoders.LowRankEncoder, network=small_mlp),
    "StudentTEncoder": partial(encoders.StudentTEncoder, network=small_mlp, df=12.0),
    "MixtureEncoder": partial(encoders.MixtureEncoder, network=small_mlp, num_components=3),
    "HouseholderFlow": partial(encoders.HouseholderFlow, network=small_mlp, num_transforms=2),
    "PlanarFlow": partial(encoders.PlanarFlow, network=small_mlp, num_transforms=2),
    "SylvesterFlow": partial(encoders.SylvesterFlow, network=small_mlp, num_transforms=2),
    "IAF": partial(encoders.IAF, network=small_mlp, hidden=(8,)),
}

# Latents that are no vectors: codes, proportions, directions

# name: (dim) -> prior, and the dim it is tried with
LATENT_PRIORS: dict[str, tuple[Callable[[int], nn.Module], int]] = {
    "CategoricalPrior": (partial(priors.CategoricalPrior, num_categories=3), 6),
    "CategoricalPrior, learned": (partial(priors.CategoricalPrior, num_categories=2, learned=True), 6),
    "BernoulliPrior": (priors.BernoulliPrior, 6),
    "BernoulliPrior, learned": (partial(priors.BernoulliPrior, learned=True), 6),
    "DirichletPrior": (priors.DirichletPrior, 4),
    "DirichletPrior, learned": (partial(priors.DirichletPrior, concentration=0.7, learned=True), 4),
    "LogisticNormalPrior": (priors.LogisticNormalPrior, 4),
    "UniformSphere": (priors.UniformSphere, 5),
    "UniformSphere, circle": (priors.UniformSphere, 2),
    "VonMisesFisherPrior": (priors.VonMisesFisherPrior, 5),
    "VonMisesFisherPrior, circle": (priors.VonMisesFisherPrior, 2),
}

# name: (event_shape, latent_dim) -> encoder, and the latent_dim it is tried with
LATENT_ENCODERS: dict[str, tuple[Callable[[Any, int], nn.Module], int]] = {
    "CategoricalEncoder": (partial(encoders.CategoricalEncoder, num_categories=3, network=small_mlp), 6),
    "BernoulliEncoder": (partial(encoders.BernoulliEncoder, network=small_mlp), 6),
    "DirichletEncoder": (partial(encoders.DirichletEncoder, network=small_mlp), 4),
    "LogisticNormalEncoder": (partial(encoders.LogisticNormalEncoder, network=small_mlp), 4),
    "VonMisesFisherEncoder": (partial(encoders.VonMisesFisherEncoder, network=small_mlp), 5),
    "VonMisesFisherEncoder, circle": (partial(encoders.VonMisesFisherEncoder, network=small_mlp), 2),
}

# name: (in_shape, out_shape) -> network, and the shapes it is tried with
NETWORKS: dict[str, tuple[Callable[[Any, Any], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "MLP": (small_mlp, (1, 3, 5), (2, 4)),
    "MLP, linear": (partial(networks.MLP, hidden=()), (6,), (3,)),
    "GatedMLP": (partial(networks.GatedMLP, hidden=(9, 7)), (2, 6), (3, 2)),
    "ConvEncoder": (partial(networks.ConvEncoder, channels=(3, 4)), (2, 9, 6), (2, 5)),
    "ConvEncoder, leading size": (partial(networks.ConvEncoder, channels=(3,)), (2, 3, 4, 6), (5,)),
    "ConvDecoder": (partial(networks.ConvDecoder, channels=(4, 3)), (5,), (2, 9, 6)),
    "ConvDecoder, leading size": (partial(networks.ConvDecoder, channels=(4,)), (2, 3), (2, 1, 5, 4)),
    "ResNetEncoder": (partial(networks.ResNetEncoder, channels=(3, 4)), (2, 9, 6), (2, 5)),
    "ResNetDecoder": (partial(networks.ResNetDecoder, channels=(4, 3), num_blocks=2), (5,), (2, 9, 6)),
}

# name: () -> objective
OBJECTIVES: dict[str, Callable[[], ELBO]] = {
    "Trace_ELBO": Trace_ELBO,
    "TraceMeanField_ELBO": TraceMeanField_ELBO,
    "TraceGraph_ELBO": TraceGraph_ELBO,
    "TraceEnum_ELBO": partial(TraceEnum_ELBO, strict_enumeration_warning=False),  # nothing is enumerated here
    "RenyiELBO": partial(RenyiELBO, alpha=0.0, num_particles=3),
}

# name: (model, guide, x) -> estimates of log p(x), quick ones
SHORT_CHAINS = {"num_chains": 4, "num_temperatures": 8, "num_leapfrog": 2}
ESTIMATORS: dict[str, Callable[..., Any]] = {
    "guide": partial(log_marginal, num_samples=50),
    "annealed": partial(annealed_log_marginal, **SHORT_CHAINS),
    "bidirectional": partial(bidirectional, **SHORT_CHAINS),
}


@torch.no_grad()
def stirred(module: nn.Module, *, scale: float = 0.2) -> nn.Module:
    """The module with all its parameters moved away from where they start, where much is zero or symmetric."""
    for parameter in module.parameters():
        parameter += scale * torch.randn_like(parameter)
    return module


# Pairs


@dataclass
class Pair:
    """A model/guide pair with images for it, and log p(x) of each where it is known."""

    model: Callable[[Tensor], Any]
    guide: Callable[[Tensor], Any]
    x: Tensor
    log_prob: Tensor | None = None


def patterns(count: int, event_shape: tuple[int, ...]) -> Tensor:
    """Binary images (count, *event_shape) of three kinds, with a few pixels flipped: something to learn."""
    kinds = (torch.rand(3, *event_shape) < 0.5).float()
    flipped = (torch.rand(count, *event_shape) < 0.05).float()
    return (kinds[torch.arange(count) % 3] - flipped).abs()


class Own(nn.Module):
    """A user's model: it inherits nothing of this library."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4))
        self.decode = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 12))

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Bernoulli(logits=self.decode(z)).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = self.encode(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Dropping(Own):
    """One whose steps depend on its training mode."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(12, 16), nn.Dropout(0.1), nn.Tanh(), nn.Linear(16, 4))


class TwoLevel(nn.Module):
    """z2 -> z1 -> x, with the guide q(z1|x) q(z2|z1)."""

    def __init__(self):
        super().__init__()
        self.p1, self.px = nn.Linear(2, 6), nn.Linear(3, 12)
        self.q1, self.q2 = nn.Linear(12, 6), nn.Linear(3, 4)

    def normal(self, h):
        loc, log_scale = h.chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", self.normal(self.p1(z2)))
            return pyro.sample("x", dist.Bernoulli(logits=self.px(z1)).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z1 = pyro.sample("z1", self.normal(self.q1(x)))
            pyro.sample("z2", self.normal(self.q2(z1)))


class Pyronic(PyroModule):
    """A PyroModule whose methods are decorated as Pyro's documentation says."""

    def __init__(self):
        super().__init__()
        self.encode = PyroModule[nn.Linear](12, 4)
        self.decode = nn.Linear(2, 12)
        self.width = PyroParam(torch.tensor(0.5), constraint=constraints.positive)

    @pyro_method
    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Bernoulli(logits=self.decode(z)).to_event(1), obs=x)

    @pyro_method
    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = self.encode(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, self.width * log_scale.exp()).to_event(1))


class Undecorated(PyroModule):
    """A PyroModule with plain methods, which Pyro's own SVI silently does not train."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(12, 4), nn.Linear(2, 12)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Bernoulli(logits=self.decode(z)).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = self.encode(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class OnlyMatrices(nn.Module):
    """A pair that does not broadcast over particles: its convolution takes four dimensions and no more."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Conv2d(1, 4, kernel_size=(3, 4))
        self.decode = nn.ConvTranspose2d(2, 1, kernel_size=(3, 4))

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            logits = self.decode(z[:, :, None, None])
            return pyro.sample("x", dist.Bernoulli(logits=logits).to_event(3), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = self.encode(x)[:, :, 0, 0].chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class FirstColumn(nn.Module):
    """A pair that runs under a particle plate, but takes particles for columns there: wrong without any error."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.5, -0.7]))

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z[:, :1] * self.weight, 1.0).to_event(1), obs=x)

    def guide(self, x):
        precision = 1 + self.weight.square().sum()
        loc = torch.stack([x @ self.weight / precision, x.new_zeros(len(x))], -1)
        scale = torch.stack([precision.rsqrt(), x.new_ones(())])
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    def log_prob(self, x):
        weight = self.weight.detach()
        return dist.MultivariateNormal(torch.zeros(2), torch.eye(2) + weight.outer(weight)).log_prob(x)


class InnerPlate(nn.Module):
    """Pixels in a plate of their own at dim -2, left of the images, where the estimators' particles would stand."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(12, 2), nn.Linear(1, 12)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            with pyro.plate("pixels", 12, dim=-2):
                return pyro.sample("x", dist.Bernoulli(logits=self.decode(z[..., None]).mT), obs=x.mT)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = self.encode(x).unbind(-1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()))


class LinearGaussian(nn.Module):
    """z ~ Normal(0, I), x ~ Normal(W z + b, s^2 I): posterior and log p(x) are known in closed form."""

    def __init__(self, dim=5, latent_dim=2, *, width=1.4):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, latent_dim))
        self.bias = nn.Parameter(torch.randn(dim))
        self.log_scale = nn.Parameter(torch.tensor(-0.4))
        self.width = width

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.weight.shape[1]), 1.0).to_event(1))
            px = dist.Normal(z @ self.weight.T + self.bias, self.log_scale.exp()).to_event(1)
            return pyro.sample("x", px, obs=x)

    def posterior(self, x):
        noise = (2 * self.log_scale).exp()
        precision = torch.eye(self.weight.shape[1]).to(x.device) + self.weight.T @ self.weight / noise
        loc = torch.linalg.solve(precision, (x - self.bias) @ self.weight / noise, left=False)
        return dist.MultivariateNormal(loc, precision_matrix=precision)

    def mediocre_posterior(self, x):
        """Right mean, no correlations, and too wide."""
        exact = self.posterior(x)
        return dist.Normal(exact.loc, self.width * exact.variance.sqrt()).to_event(1)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.posterior(x))

    def mediocre_guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.mediocre_posterior(x))

    @torch.no_grad()
    def log_prob(self, x):
        """log p(x) in float64."""
        weight, bias, noise = self.weight.double(), self.bias.double(), (2 * self.log_scale.double()).exp()
        covariance = weight @ weight.T + noise * torch.eye(len(bias)).double()
        return dist.MultivariateNormal(bias, covariance).log_prob(x.double())

    @torch.no_grad()
    def elbo(self, x):
        """E[ELBO] of the mediocre guide: log p(x) - KL(q || posterior)."""
        q, exact = self.mediocre_posterior(x), self.posterior(x)
        full = dist.MultivariateNormal(q.base_dist.loc, torch.diag_embed(q.base_dist.scale.square()))
        return self.log_prob(x) - torch.distributions.kl_divergence(full, exact).double()


def bound(module: nn.Module, event_shape: tuple[int, ...] = (12,)) -> Pair:
    return Pair(module.model, module.guide, patterns(24, event_shape))


def some_pairs(first: Iterable[str], second: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names in which each of the first meets one of the second, and the other way round."""
    first, second = [*first], [*second]
    longest = max(len(first), len(second))
    return sorted({(first[i % len(first)], second[i % len(second)]) for i in range(longest)})


def vae(prior: str, *, likelihood: Any = Bernoulli, latent_dim: int = 2) -> Pair:
    """A VAE with the prior of that name."""
    encoder = GaussianEncoder((3, 4), latent_dim, network=small_mlp)
    x = patterns(24, (3, 4))
    shares = PRIORS_WITH_ENCODER.get(prior)
    pz = shares(encoder, x) if shares else PRIORS[prior](latent_dim)
    px = likelihood((3, 4))
    return bound(VAE(pz, encoder, small_mlp(latent_dim, px.feature_shape), px), (3, 4))


def latents(prior: Any, encoder: Any, latent_dim: int) -> Pair:
    """A VAE whose latents are no vectors."""
    qz, px = encoder((3, 4), latent_dim, network=small_mlp), Bernoulli((3, 4))
    return bound(VAE(prior(latent_dim), qz, small_mlp(latent_dim, px.feature_shape), px), (3, 4))


def functions_with_modules() -> Pair:
    """Plain functions that announce their modules themselves."""
    encode, decode = nn.Linear(12, 4), nn.Linear(2, 12)

    def model(x):
        pyro.module("decode", decode)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encode", encode)
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = encode(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return Pair(model, guide, patterns(24, (12,)))


def functions_with_params() -> Pair:
    """Plain functions whose parameters live in the param store alone, one of them under a constraint."""

    def model(x):
        weight = pyro.param("weight", lambda: 0.1 * torch.randn(2, 12))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Bernoulli(logits=z @ weight).to_event(1), obs=x)

    def guide(x):
        weight = pyro.param("q_weight", lambda: 0.1 * torch.randn(12, 2))
        scale = pyro.param("q_scale", torch.tensor([0.5, 2.0]), constraint=constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x @ weight, scale).to_event(1))

    return Pair(model, guide, patterns(24, (12,)))


def linear_gaussian(guide: str = "guide") -> Pair:
    module = LinearGaussian()
    x = module.bias.detach() + 2 * torch.randn(24, 5)
    return Pair(module.model, getattr(module, guide), x, module.log_prob(x))


def first_column() -> Pair:
    module = FirstColumn()
    x = 1.5 * torch.randn(24, 2)
    return Pair(module.model, module.guide, x, module.log_prob(x).double())


def separate_modules() -> Pair:
    """Model and guide as methods of two modules."""
    first, second = Own(), Own()
    del first.encode, second.decode
    return Pair(first.model, second.guide, patterns(24, (12,)))


# name: () -> Pair
PAIRS: dict[str, Callable[[], Pair]] = {
    # One prior of each kind: what holds of a pair is slow to test. All others are tried in a VAE by test_priors.py.
    "VAE, StandardNormal": lambda: vae("StandardNormal"),
    "VAE, GaussianMixture": lambda: vae("GaussianMixture"),
    "VAE, VampPrior": lambda: vae("VampPrior"),
    "VAE, CouplingFlow": lambda: vae("CouplingFlow"),
    "VAE, one-hot": lambda: latents(CategoricalPrior, CategoricalEncoder, 3),
    "VAE, sphere": lambda: latents(VonMisesFisherPrior, VonMisesFisherEncoder, 3),
    "VAE, simplex": lambda: latents(LogisticNormalPrior, DirichletEncoder, 3),
    "VAE, grey levels": lambda: vae("StandardNormal", likelihood=DiscretizedLogistic),
    "own module": lambda: bound(Own()),
    "two levels": lambda: bound(TwoLevel()),
    "two modules": separate_modules,
    "PyroModule": lambda: bound(Pyronic()),
    "PyroModule, undecorated": lambda: bound(Undecorated()),
    "functions with pyro.module": functions_with_modules,
    "functions with pyro.param": functions_with_params,
    "linear Gaussian, exact guide": linear_gaussian,
    "linear Gaussian, mediocre guide": lambda: linear_gaussian("mediocre_guide"),
    "first column": first_column,
    "raw convolution": lambda: bound(OnlyMatrices(), (1, 3, 4)),
    "inner plate": lambda: bound(InnerPlate()),
}

# Hamiltonian transitions, which need coordinates, cannot move these.
NOT_ANNEALED = ("VAE, one-hot", "VAE, sphere")
