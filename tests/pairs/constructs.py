"""What people write in Pyro models, each in a pair whose log p(x) is known.

Most are ways to write one thing, a linear-Gaussian pair with the exact posterior as guide, its scale times `stretch`:
z ~ N(0, 1) and x_j | z, y ~ N(w_j z + y, s_j^2), with a covariate y that may be given beside x.
"""

from __future__ import annotations

import pyro
import pyro.contrib.autoname
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide
from pyro.infer.reparam import LocScaleReparam
from pyro.nn import PyroModule, PyroParam, PyroSample
from pyro.nn.module import to_pyro_module_
from torch import nn
from torch.distributions import constraints
from torch.nn.utils.rnn import pack_padded_sequence

X = 3
W, S = torch.tensor([1.0, -0.5, 2.0]), torch.tensor([0.7, 1.0, 1.5])
STANDARD = dist.Normal(0.0, 1.0)


def law(x, y=None, w=W, s=S):
    """p(x|y) of each data point, where `w` is (X,), or (X, D) with D latents."""
    w = w if w.dim() == 2 else w[:, None]
    return dist.MultivariateNormal(shift(x, y).expand(-1, len(w)), w @ w.T + torch.diag(s**2))


def shift(x, y):
    return torch.zeros(len(x), 1) if y is None else y[:, None]


def mean(z, x, y):
    """E[x | z, y], (..., N, X)."""
    return z[..., None] * W + shift(x, y)


class Posterior(nn.Module):
    """q(z|x, y): the exact posterior given the values that are seen, its scale times `stretch`."""

    def __init__(self, stretch, *, name="z", seen=torch.ones_like):
        super().__init__()
        self.stretch, self.name, self.seen = nn.Parameter(torch.tensor(stretch)), name, seen

    def distribution(self, x, y=None):
        weights = torch.where(self.seen(x).bool(), W / S**2, 0.0)
        precision = 1 + (weights * W).sum(-1)
        return dist.Normal((weights * (x - shift(x, y))).sum(-1) / precision, self.stretch * precision**-0.5)

    def forward(self, x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample(self.name, self.distribution(x, y))


# Observed sites and terms


def plain(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(mean(pyro.sample("z", STANDARD), x, y), S).to_event(1), obs=x)


def inner_plate(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", STANDARD)
        with pyro.plate("features", X, dim=-2):
            pyro.sample("x", dist.Normal(z * W[:, None] + shift(x, y).T, S[:, None]), obs=x.T)


def inner_latents(x, y=None):
    """Half of the noise of each value is a latent of its own."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", STANDARD)
        with pyro.plate("features", X, dim=-2):
            a = pyro.sample("a", dist.Normal(z * W[:, None] + shift(x, y).T, S[:, None] * 0.5**0.5))
            pyro.sample("x", dist.Normal(a, S[:, None] * 0.5**0.5), obs=x.T)


class InnerLatentsGuide(Posterior):
    def forward(self, x, y=None):
        z = super().forward(x, y)
        with pyro.plate("data", len(x), dim=-1), pyro.plate("features", X, dim=-2):
            pyro.sample("a", dist.Normal((z * W[:, None] + shift(x, y).T + x.T) / 2, S[:, None] / 2))


def several_sites(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        pyro.sample("a", dist.Normal(loc[..., 0], S[0]), obs=x[:, 0])
        pyro.sample("b", dist.Normal(loc[..., 1:], S[1:]).to_event(1), obs=x[:, 1:])


def unsized(x, y=None):
    with pyro.plate("data"):
        pyro.sample("x", dist.Normal(mean(pyro.sample("z", STANDARD.expand([len(x)])), x, y), S).to_event(1), obs=x)


def opened_twice(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", STANDARD)
    loc = mean(z, x, y)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(loc, S).to_event(1), obs=x)


class UnsizedGuide(Posterior):
    def forward(self, x, y=None):
        with pyro.plate("data"):
            pyro.sample("z", self.distribution(x, y))


def sequential_plate(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        for j in pyro.plate("features", X):
            pyro.sample(f"x_{j}", dist.Normal(loc[..., j], S[j]), obs=x[:, j])


def factor(x, y=None):
    """All but one value as a factor."""
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        pyro.sample("a", dist.Normal(loc[..., 0], S[0]), obs=x[:, 0])
        pyro.factor("rest", dist.Normal(loc[..., 1:], S[1:]).to_event(1).log_prob(x[:, 1:]))


def deterministic(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = pyro.deterministic("loc", mean(pyro.sample("z", STANDARD), x, y), event_dim=1)
        pyro.sample("x", dist.Normal(loc, S).to_event(1), obs=x)


def conditioned(x, y=None):
    def free(x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(mean(pyro.sample("z", STANDARD), x, y), S).to_event(1))

    pyro.condition(free, data={"x": x})(x, y)


def transformed(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        half = dist.Normal(loc / 2, S / 2).to_event(1)
        pyro.sample("x", dist.TransformedDistribution(half, [dist.transforms.AffineTransform(0.0, 2.0)]), obs=x)


class FlowGuide(Posterior):
    def forward(self, x, y=None):
        q = self.distribution(x, y)
        flow = dist.transforms.AffineTransform(q.loc, q.scale)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.TransformedDistribution(STANDARD.expand([len(x)]), [flow]))


def without_noise(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        pyro.sample("x", dist.Delta(loc, event_dim=1), obs=x)


def of_few_bits(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        pyro.sample("x", dist.Normal(loc.bfloat16(), S.bfloat16()).to_event(1), obs=x.bfloat16())


# Values that are missing: all but the first, where that is negative


def seen(x):
    return (x[..., :1] > 0) | (torch.arange(X) == 0)


def log_masked_law(x, y=None):
    return torch.where(x[:, 0] > 0, law(x, y).log_prob(x), law(x, y, W[:1], S[:1]).log_prob(x[:, :1]))


def masked(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        pyro.sample("a", dist.Normal(loc[..., 0], S[0]), obs=x[:, 0])
        with poutine.mask(mask=x[:, 0] > 0):
            pyro.sample("b", dist.Normal(loc[..., 1:], S[1:]).to_event(1), obs=x[:, 1:])


def masked_distribution(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        pyro.sample("x", dist.Normal(loc, S).mask(seen(x)).to_event(1), obs=x)


def obs_mask(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        pyro.sample("a", dist.Normal(loc[..., 0], S[0]), obs=x[:, 0])
        pyro.sample("b", dist.Normal(loc[..., 1:], S[1:]).to_event(1), obs=x[:, 1:], obs_mask=x[:, 0] > 0)


class ObsMaskGuide(Posterior):
    """What is missing is a latent of its own, counted where it is missing: from p(b|z)."""

    def forward(self, x, y=None):
        loc = mean(super().forward(x, y), x, y)
        with pyro.plate("data", len(x), dim=-1), poutine.mask(mask=x[:, 0] <= 0):
            pyro.sample("b_unobserved", dist.Normal(loc[..., 1:], S[1:]).to_event(1))


# Parameters and networks


def without_initial_value(x, y=None):
    pyro.param("nowhere")
    plain(x, y)


def announced_too_early():
    """A lazy layer that is announced before its first call."""
    layer = nn.LazyLinear(X)

    def model(x, y=None):
        pyro.module("layer", layer)
        plain(x, y)

    return model


def params(x, y=None):
    scale = pyro.param("scale", S.clone(), constraint=constraints.positive)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(mean(pyro.sample("z", STANDARD), x, y), scale).to_event(1), obs=x)


class OfPyroModule(PyroModule):
    """A constrained parameter and a latent as attributes."""

    def __init__(self):
        super().__init__()
        self.scale = PyroParam(S.clone(), constraint=constraints.positive)
        self.z = PyroSample(STANDARD)

    def forward(self, x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(mean(self.z, x, y), self.scale).to_event(1), obs=x)


class Decoder(nn.Module):
    """The model with its mean from a network that is the linear map."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            loc = self.network(pyro.sample("z", STANDARD)[..., None]) + shift(x, y)
            pyro.sample("x", dist.Normal(loc, S).to_event(1), obs=x)


class Scaled(nn.Module):
    """A model with an argument that is bound beforehand."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(W / 3)

    def model(self, x, y=None, *, factor):
        with pyro.plate("data", len(x), dim=-1):
            loc = factor * pyro.sample("z", STANDARD)[..., None] * self.weight + shift(x, y)
            pyro.sample("x", dist.Normal(loc, S).to_event(1), obs=x)


class Known(nn.LazyLinear):
    """A linear layer that gets its weights W at its first call."""

    def reset_parameters(self):
        if not self.has_uninitialized_params():
            self.weight.data = W[:, None].clone()


class BuiltAtFirstCall(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = None

    def forward(self, z):
        if self.layer is None:
            self.layer = nn.Linear(1, X, bias=False)
            self.layer.weight.data = W[:, None].clone()
        return self.layer(z)


def lazy():
    return Known(X, bias=False)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm that stays the identity in evaluation mode, over all leading dimensions."""

    def __init__(self):
        super().__init__(X, eps=1e-12, momentum=0.0)

    def forward(self, h):
        return super().forward(h.reshape(-1, X)).view(h.shape)


class Recurrent(Posterior):
    """The posterior, corrected by a recurrent network of the sequence whose last layer is zero yet."""

    def __init__(self, stretch, kind):
        super().__init__(stretch)
        self.network, self.head = kind(1, 4, batch_first=True), nn.Linear(4, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def distribution(self, x, y=None):
        q = super().distribution(x, y)
        return dist.Normal(q.loc + self.head(self.network(x[..., None])[0][:, -1])[:, 0], q.scale)


class Packed(Recurrent):
    """The same of sequences of different lengths, by pack_padded_sequence."""

    def forward(self, x, lengths):
        self.seen = lambda x: torch.arange(X) < lengths[:, None]
        q = Posterior.distribution(self, x)
        packed = pack_padded_sequence(x[..., None], lengths.cpu(), batch_first=True, enforce_sorted=False)
        last = self.network(packed)[1]
        last = last[0] if isinstance(last, tuple) else last
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(q.loc + self.head(last[-1])[:, 0], q.scale))


def of_lengths(x, lengths):
    with pyro.plate("data", len(x), dim=-1):
        loc = pyro.sample("z", STANDARD)[..., None] * W
        pyro.sample("x", dist.Normal(loc, S).mask(torch.arange(X) < lengths[:, None]).to_event(1), obs=x)


def log_law_of_lengths(x, lengths):
    each = [law(x, None, W[:n], S[:n]).log_prob(x[:, :n]) for n in range(1, X + 1)]
    return torch.stack(each, 1).gather(1, lengths[:, None] - 1)[:, 0]


# Plates and handlers


def of_total_size(x, y=None):
    with pyro.plate("data", 1000, subsample=x, dim=-1) as batch:
        pyro.sample("x", dist.Normal(mean(pyro.sample("z", STANDARD), x, y), S).to_event(1), obs=batch)


A = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.64, 0.48, 0.6]])  # of z_t = 0.8 z_{t-1} + 0.6 e_t


def unrolled(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        z = torch.zeros(())
        for t in pyro.markov(range(X)):
            z = pyro.sample(f"z_{t}", dist.Normal(0.8 * z, 0.6 if t else 1.0))
            pyro.sample(f"x_{t}", dist.Normal(z + shift(x, y)[:, 0], S[t]), obs=x[:, t])


class UnrolledGuide(Posterior):
    """The posterior of all z_t, one after the other: each step takes up the noise of those before."""

    def forward(self, x, y=None):
        covariance = torch.linalg.inv(torch.linalg.inv(A @ A.T) + torch.diag(S**-2))
        loc, root = ((x - shift(x, y)) / S**2) @ covariance, torch.linalg.cholesky(covariance)
        noise = []
        with pyro.plate("data", len(x), dim=-1):
            for t in pyro.markov(range(X)):
                given = loc[:, t] + sum(root[t, s] * noise[s] for s in range(t))
                z = pyro.sample(f"z_{t}", dist.Normal(given, self.stretch * root[t, t]))
                noise.append((z - given) / root[t, t])


@poutine.reparam(config={"z": LocScaleReparam(0.0)})
def reparameterized(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", dist.Normal(1.0, 2.0)) / 2 - 0.5, x, y)
        pyro.sample("x", dist.Normal(loc, S).to_event(1), obs=x)


def scoped(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        with pyro.contrib.autoname.scope(prefix="latents"):
            z = pyro.sample("z", STANDARD)
        with pyro.contrib.autoname.scope(prefix="decoder"):
            pyro.sample("x", dist.Normal(mean(z, x, y), S).to_event(1), obs=x)


class ByGroup(EasyGuide):
    """An amortized guide of all latents at once, from an auxiliary site."""

    def __init__(self, stretch):
        super().__init__(plain)
        self.posterior = Posterior(stretch)

    def guide(self, x, y=None):
        q = self.posterior.distribution(x, y)
        group = self.group(match="z")
        with self.plate("data", len(x), dim=-1):
            group.sample("all", dist.Normal(q.loc[..., None], q.scale[..., None]).to_event(1))


# What is refused, in some uses or in all


def shared_weights(x, y=None):
    w = pyro.sample("w", dist.Normal(torch.zeros(X), 1.0).to_event(1))
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", STANDARD)
        pyro.sample("x", dist.Normal(z[..., None] * w + shift(x, y), S).to_event(1), obs=x)


class SharedWeightsGuide(Posterior):
    def forward(self, x, y=None):
        pyro.sample("w", dist.Normal(W, 0.1).to_event(1))
        super().forward(x, y)


class BayesianLayer(PyroModule):
    """A layer with a prior over its weights."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, X, bias=False)
        to_pyro_module_(self.layer)
        self.layer.weight = PyroSample(dist.Normal(0.0, 1.0).expand([X, 1]).to_event(2))

    def forward(self, x, y=None):
        weight = self.layer.weight
        with pyro.plate("data", len(x), dim=-1):
            loc = pyro.sample("z", STANDARD)[..., None] @ weight.T + shift(x, y)
            pyro.sample("x", dist.Normal(loc, S).to_event(1), obs=x)


class BayesianLayerGuide(Posterior):
    def forward(self, x, y=None):
        pyro.sample("layer.weight", dist.Normal(W[:, None], 0.1).to_event(2))
        super().forward(x, y)


def subsampled(x, y=None):
    with pyro.plate("data", len(x), subsample_size=2, dim=-1) as i:
        z = pyro.sample("z", STANDARD)
        pyro.sample("x", dist.Normal(z[..., None] * W, S).to_event(1), obs=x[i])


class SubsampledGuide(Posterior):
    def forward(self, x, y=None):
        with pyro.plate("data", len(x), subsample_size=2, dim=-1) as i:
            pyro.sample("z", self.distribution(x[i]))


def masked_out(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = mean(pyro.sample("z", STANDARD), x, y)
        with poutine.mask(mask=False):
            pyro.sample("x", dist.Normal(loc, S).to_event(1), obs=x)


def by_place(x, y=None):
    """A mean for each place in a plate of 100, of which a batch takes the first."""
    with pyro.plate("data", 100, subsample=torch.arange(len(x)), dim=-1):
        z = pyro.sample("z", dist.Normal(pyro.param("means", torch.zeros(100), event_dim=0), 1.0))
        pyro.sample("x", dist.Normal(mean(z, x, y), S).to_event(1), obs=x)


def of_torch(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", torch.distributions.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(mean(z, x, y), S).to_event(1), obs=x)


def subsampled_features(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", STANDARD)
        with pyro.plate("features", X, subsample_size=2, dim=-2) as j:
            pyro.sample("x", dist.Normal(z * W[j, None] + shift(x, y).T, S[j, None]), obs=x.T[j])


def flat_prior(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.ImproperUniform(constraints.real, (), ()))
        pyro.sample("x", dist.Normal(mean(z, x, y), S).to_event(1), obs=x)


def empirical_prior(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample(
            "z", dist.Empirical(torch.linspace(-2.0, 2.0, 9), STANDARD.log_prob(torch.linspace(-2.0, 2.0, 9)))
        )
        pyro.sample("x", dist.Normal(mean(z, x, y), S).to_event(1), obs=x)


def point_mass_prior(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Delta(torch.zeros(())))
        pyro.sample("x", dist.Normal(mean(z, x, y), S).to_event(1), obs=x)


def uncounted_prior(x, y=None):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", STANDARD.mask(False))
        pyro.sample("x", dist.Normal(mean(z, x, y), S).to_event(1), obs=x)


def autoencoder_elbo(x, y=None):
    """log p(x|y) - E_q[log p(z)], for the prior that is not there."""
    q = Posterior(1.0).distribution(x, y)
    return law(x, y).log_prob(x) + (torch.tensor(2 * torch.pi).log() + q.mean**2 + q.variance) / 2


def teacher_forcing(x, y=None):
    """Each value has the one before as its mean, read off the argument."""
    with pyro.plate("data", len(x), dim=-1):
        before = torch.cat([torch.zeros(len(x), 1), x[:, :-1]], 1)
        pyro.sample("x", dist.Normal(mean(pyro.sample("z", STANDARD), x, y) + before, S).to_event(1), obs=x)


class TeacherForcingGuide(Posterior):
    def distribution(self, x, y=None):
        return super().distribution(x - torch.cat([torch.zeros(len(x), 1), x[:, :-1]], 1), y)


def log_law_of_steps(x, y=None):
    steps = x - torch.cat([torch.zeros(len(x), 1), x[:, :-1]], 1)
    return law(steps, y).log_prob(steps)
