"""The contract of an encoder, over every encoder of `examples.ENCODERS`."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from contracts import assert_gradients_reach_everything, assert_survives_a_file
from examples import ENCODERS, NETWORKS, LinearGaussian, stirred
from goodness_of_fit import assert_sampler_fits_density, assert_within_standard_errors
from pyro.infer import Trace_ELBO
from torch import nn
from torch.nn import functional

from pyro_vae import (
    IAF,
    MLP,
    VAE,
    Bernoulli,
    CompiledELBO,
    FullRankEncoder,
    GaussianEncoder,
    HouseholderFlow,
    LowRankEncoder,
    MixtureEncoder,
    PlanarFlow,
    StudentTEncoder,
    SylvesterFlow,
    VampPrior,
    annealed_log_marginal,
    encoders,
    log_marginal,
)
from pyro_vae.distributions.implicit_mixture import ImplicitMixture
from pyro_vae.pairs.modules import announcing
from pyro_vae.runs import parts as settings

EVENT_SHAPE = (1, 3, 4)
linear = functools.partial(MLP, hidden=())


@pytest.fixture(params=ENCODERS)
def encoder(request):
    return stirred(ENCODERS[request.param](EVENT_SHAPE, 2))


def test_batch_is_the_images_and_event_a_vector(encoder):
    qz = encoder(torch.randn(5, *EVENT_SHAPE))
    assert (qz.batch_shape, qz.event_shape) == ((5,), (2,))
    assert qz.rsample().shape == (5, 2)


def test_images_are_encoded_one_by_one_under_particles(encoder):
    x, z = torch.randn(4, 5, *EVENT_SHAPE), torch.randn(4, 5, 2)
    qz = encoder(x)
    assert qz.batch_shape == (4, 5)
    one_by_one = [[encoder(x[k, b]).log_prob(z[k, b]) for b in range(5)] for k in range(4)]
    torch.testing.assert_close(qz.log_prob(z), torch.stack([torch.stack(row) for row in one_by_one]))


def test_broadcasts_in_a_particle_plate(encoder):
    x = torch.randn(5, *EVENT_SHAPE)
    with pyro.plate("particles", 4, dim=-2), pyro.plate("data", 5, dim=-1):
        z = pyro.sample("z", encoder(x))
    assert z.shape == (4, 5, 2)
    assert len(z.reshape(20, 2).unique(dim=0)) == 20


def test_sampler_fits_density(encoder):
    assert_sampler_fits_density(encoder(torch.randn(EVENT_SHAPE)))


def test_gradients_reach_every_parameter(encoder):
    qz = encoder(torch.randn(20, *EVENT_SHAPE))
    z = qz.rsample()
    # Through the draw, as the ELBO needs them, and through the density.
    assert_gradients_reach_everything(encoder, z.square().sum() + qz.log_prob(z.detach() + 0.1).sum())


@pytest.mark.parametrize("name", ENCODERS)
def test_survives_a_file(name):
    def log_prob(encoder):
        return encoder(torch.linspace(0, 1, 12).reshape(1, *EVENT_SHAPE)).log_prob(torch.tensor([0.3, -0.2]))

    assert_survives_a_file(lambda: stirred(ENCODERS[name](EVENT_SHAPE, 2)), log_prob)


def test_own_draws_are_scored_like_any_other_point(encoder):
    encoder = encoder.double()
    qz = encoder(torch.randn(5, *EVENT_SHAPE).double()).expand((3, 5))
    z = qz.rsample()
    torch.testing.assert_close(qz.log_prob(z), qz.log_prob(z.clone()), rtol=0, atol=1e-8)


def test_the_density_of_a_sample_has_its_gradient(encoder):
    """Also where the sample was drawn without gradients, and what was computed for it then knows none."""
    encoder = encoder.double()
    qz = encoder(torch.randn(5, *EVENT_SHAPE).double())
    z = qz.sample()
    drawn, given = (
        torch.autograd.grad(qz.log_prob(v).sum(), [*encoder.parameters()], retain_graph=True) for v in (z, z.clone())
    )
    for one, other in zip(drawn, given, strict=True):
        torch.testing.assert_close(one, other)


def test_mean_is_that_of_the_draws_where_it_is_known(encoder):
    qz = encoder(torch.randn(EVENT_SHAPE))
    if isinstance(encoder, (IAF, PlanarFlow, SylvesterFlow)):
        with pytest.raises(NotImplementedError, match=r"Average draws of rsample\."):
            qz.mean  # noqa: B018
    else:
        draws = qz.expand((7,)).sample((3000,)).reshape(-1, 2)
        for d in range(2):
            assert_within_standard_errors(draws[:, d].detach(), qz.mean[d].item())


def test_serves_the_vamp_prior(encoder):
    prior, z = VampPrior(encoder, torch.randn(4, *EVENT_SHAPE)), torch.randn(6, 5, 2)
    each = torch.stack([encoder(u).log_prob(z) for u in prior.pseudo_inputs], -1)
    expected = (each + prior.logits.log_softmax(-1)).logsumexp(-1)
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=1e-4, atol=1e-4)


class LinearPair(LinearGaussian):
    """A model whose log p(x) is known, with any encoder as its guide."""

    def __init__(self, encoder):
        super().__init__(12, 2)
        self.encoder, self.log_scale.data = encoder, torch.tensor(0.8)  # much noise: a posterior not too narrow

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.encoder(x))


@pytest.fixture(params=ENCODERS)
def pair(request):
    return LinearPair(stirred(ENCODERS[request.param](12, 2), scale=0.1))


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
def test_estimates_of_log_p_are_right(pair):
    x = pair.bias.detach() + torch.randn(2, 12)
    weighted = log_marginal(pair.model, pair.guide, x, num_samples=1000, estimator="guide")
    short = {"num_chains": 60, "num_temperatures": 8, "num_leapfrog": 1, "num_warmup_chains": 2}
    annealed = annealed_log_marginal(pair.model, pair.guide, x, **short)
    for result in (weighted, annealed):
        assert result.ess.min() > 10
        assert ((result.log_prob - pair.log_prob(x)).abs() < 5 * result.standard_error + 1e-5).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_recorded_step_equals_the_plain_one(name):
    """Draws and, for the prior, the densities of other points."""
    qz, px = stirred(ENCODERS[name](12, 2)), Bernoulli((12,))
    module = VAE(VampPrior(qz, torch.randn(4, 12)), qz, MLP(2, px.feature_shape, hidden=(7,)), px)
    x, compiled = torch.rand(6, 12).round(), CompiledELBO(Trace_ELBO(), backend="eager")
    found, announced = [], announcing(module.model, module.guide)
    with pyro.get_param_store().scope():
        for elbo in (Trace_ELBO(), compiled, compiled, compiled):
            module.zero_grad()
            torch.manual_seed(1)
            loss = torch.tensor(float(elbo.loss_and_grads(*announced, x)))
            found.append([loss, *(parameter.grad.clone() for parameter in module.parameters())])
    assert compiled.num_graphs == 1
    for recorded in found[1:]:
        for one, other in zip(recorded, found[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ENCODERS)
def test_repr_shows_options_and_network(name):
    encoder = ENCODERS[name](3, 2)
    assert repr(encoder).startswith(f"{type(encoder).__name__}(\n  ")
    assert "(network): " in repr(encoder)
    if "num_transforms" in settings.options(type(encoder)):
        assert "num_transforms=2" in repr(encoder)


@pytest.mark.parametrize("name", settings.short_names("encoder"))
def test_every_option_has_help(name):
    assert all(text for _, _, text in settings.options(getattr(encoders, name)).values())


@pytest.mark.parametrize("name", settings.short_names("encoder"))
def test_takes_any_network(name):
    for network, in_shape, _ in (NETWORKS[n] for n in NETWORKS if "Decoder" not in n):
        assert getattr(encoders, name)(in_shape, 3, network=network)(torch.randn(5, *in_shape)).event_shape == (3,)


# The Gaussian encoder


def test_mean_and_scale_are_the_networks_outputs():
    encoder, x = GaussianEncoder(3, 2), torch.randn(5, 3)
    loc, raw = encoder.network(x)[:, 0], encoder.network(x)[:, 1]
    expected = dist.Normal(loc, 1e-4 + functional.softplus(raw)).to_event(1)
    z = torch.randn(7, 5, 2)
    torch.testing.assert_close(encoder(x).log_prob(z), expected.log_prob(z))


def test_the_scale_has_a_floor():
    encoder = GaussianEncoder(3, 2, network=functools.partial(MLP, hidden=()))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.fill_(-1e6)
    assert encoder(torch.ones(5, 3)).base_dist.scale.min() >= 1e-4


def test_takes_a_network_of_the_users_own():
    class Flat(nn.Module):
        def __init__(self, in_shape, out_shape):
            super().__init__()
            self.linear = nn.Linear(3, 4)
            self.out_shape = out_shape

        def forward(self, x):
            return self.linear(x).unflatten(-1, self.out_shape)

    assert GaussianEncoder(3, 2, network=Flat)(torch.randn(5, 3)).event_shape == (2,)


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match=r"Expected latent_dim >= 1; got 0\."):
        GaussianEncoder(3, 0)
    with pytest.raises(ValueError, match=r"Expected input of shape \(\.\.\., 3\) for MLP; got \(5, 4\)\."):
        GaussianEncoder(3, 2)(torch.randn(5, 4))


# The others, against what they must equal


def test_full_rank_finds_the_exact_posterior():
    """With the right parameters one sample gives log p(x)."""
    pair = LinearPair(FullRankEncoder(12, 3, network=linear)).double()
    pair.weight = nn.Parameter(torch.randn(12, 3).double())
    x = pair.bias.detach() + 2 * torch.randn(4, 12).double()
    posterior, layer = pair.posterior(x), pair.encoder.network.layers[-1]
    tril = posterior.scale_tril[0]
    scale = tril.diagonal()
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:3] = posterior.covariance_matrix[0] @ pair.weight.T / (2 * pair.log_scale).exp()
        layer.bias[:3] = -layer.weight[:3] @ pair.bias
        layer.bias[3:6] = (scale - 1e-4).expm1().log()
        layer.bias[6:] = (tril / scale[:, None])[tuple(pair.encoder.below)]
    result = log_marginal(pair.model, pair.guide, x, num_samples=1, estimator="guide")
    torch.testing.assert_close(result.log_prob, pair.log_prob(x))


def test_low_rank_equals_the_full_covariance():
    encoder, x = stirred(LowRankEncoder(3, 4, network=linear, rank=2)), torch.randn(5, 3)
    loc, raw, *factors = encoder.network(x).unbind(-2)
    factor, scale = torch.stack(factors, -1), torch.diag_embed(1e-4 + functional.softplus(raw))
    full = dist.MultivariateNormal(loc, scale @ (torch.eye(4) + factor @ factor.mT) @ scale)
    z = torch.randn(7, 5, 4)
    torch.testing.assert_close(encoder(x).log_prob(z), full.log_prob(z), rtol=1e-4, atol=1e-4)


def same_network(make, *, rows=slice(None)):
    """An encoder and a GaussianEncoder, with the same outputs of their networks; rows of the last layer say which."""
    encoder, gaussian = make(3, 2).double(), GaussianEncoder(3, 2, network=linear).double()
    state = {name: value[rows] for name, value in encoder.network.state_dict().items()}
    gaussian.network.load_state_dict(state)
    return encoder, gaussian


@pytest.mark.parametrize("flow", [IAF, PlanarFlow, HouseholderFlow, SylvesterFlow])
def test_a_flow_without_steps_is_the_gaussian_encoder(flow):
    assert_same_density(*same_network(functools.partial(flow, network=linear, num_transforms=0)), tolerance=1e-12)


def test_a_mixture_of_one_is_the_gaussian_encoder():
    make = functools.partial(MixtureEncoder, network=linear, num_components=1)
    assert_same_density(*same_network(make, rows=slice(1, None)), tolerance=1e-12)


def test_draws_of_a_mixture_have_exact_gradients():
    """E cos(a.z + b) is known in closed form, and so are its derivatives in weights, means and scales."""
    logits, loc = torch.tensor([0.2, -0.3, 0.5]), torch.tensor([[0.0, 1.0], [2.0, -1.0], [-1.0, 0.5]])
    scale, a = torch.tensor([[0.5, 1.0], [1.0, 0.7], [0.8, 0.1]]), torch.tensor([0.7, -0.4])

    def expected(logits, loc, scale):
        return (logits.softmax(-1) * torch.cos(loc @ a + 0.3) * torch.exp(-(scale.square() @ a.square()) / 2)).sum()

    exact = torch.autograd.functional.jacobian(expected, (logits, loc, scale))
    each = [v.expand(100_000, *v.shape).clone().requires_grad_() for v in (logits, loc, scale)]  # a draw from each
    z = ImplicitMixture(dist.Categorical(logits=each[0]), dist.Normal(*each[1:]).to_event(1)).rsample()
    for found, truth in zip(torch.autograd.grad(torch.cos(z @ a + 0.3).sum(), each), exact, strict=True):
        for draws, value in zip(found.flatten(1).T, truth.flatten(), strict=True):
            assert_within_standard_errors(draws, value.item())


def test_gradients_of_a_mixture_are_finite_far_apart():
    logits = torch.zeros(1000, 2, requires_grad=True)
    loc = torch.tensor([[0.0, 0.0], [0.0, 60.0]]).expand(1000, 2, 2)
    z = ImplicitMixture(dist.Categorical(logits=logits), dist.Normal(loc, 1.0).to_event(1)).rsample()
    (found,) = torch.autograd.grad(z.tanh().sum(), logits)
    assert found.isfinite().all()


def test_student_t_tends_to_the_gaussian_encoder():
    for df in (1e5, 1e7):
        make = functools.partial(StudentTEncoder, network=linear, df=df)
        assert_same_density(*same_network(make), tolerance=1e4 / df)


def assert_same_density(encoder, gaussian, *, tolerance):
    x, z = torch.randn(5, 3).double(), torch.randn(7, 5, 2).double()
    torch.testing.assert_close(encoder(x).log_prob(z), gaussian(x).log_prob(z), rtol=0, atol=tolerance)
    torch.testing.assert_close(encoder(x).mean, gaussian(x).mean)


def test_student_t_has_its_degrees_of_freedom():
    encoder, x = StudentTEncoder(3, 2, network=linear, df=3.0), torch.randn(5, 3)
    loc, raw = encoder.network(x).unbind(-2)
    z = torch.randn(7, 5, 2)
    expected = scipy.stats.t(3.0, loc.detach(), 1e-4 + functional.softplus(raw).detach()).logpdf(z).sum(-1)
    torch.testing.assert_close(encoder(x).log_prob(z).double(), torch.as_tensor(expected), rtol=1e-4, atol=1e-4)


def test_householder_rotates_the_covariance():
    encoder, x = stirred(HouseholderFlow(3, 4, network=linear, num_transforms=3)), torch.randn(5, 3)
    loc, raw, *normals = encoder.network(x).unbind(-2)
    rotation = torch.eye(4)
    for v in normals:
        reflection = torch.eye(4) - 2 * v[..., None] * v[..., None, :] / v.square().sum(-1)[..., None, None]
        rotation = reflection @ rotation
    scale = 1e-4 + functional.softplus(raw)
    covariance = rotation @ torch.diag_embed(scale.square()) @ rotation.mT
    expected = dist.MultivariateNormal((rotation @ loc[..., None]).squeeze(-1), covariance)
    z = torch.randn(7, 5, 4)
    torch.testing.assert_close(encoder(x).log_prob(z), expected.log_prob(z), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(encoder(x).mean, expected.mean)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FullRankEncoder(3, 0), r"latent_dim >= 1; got 0\."),
        (lambda: LowRankEncoder(3, 4, rank=5), r"rank from 1 to latent_dim, 4; got 5\. .* use GaussianEncoder"),
        (lambda: StudentTEncoder(3, 2, df=2.0), r"df > 2, else KL.* infinite; got 2\.0\. Use df=3\."),
        (lambda: StudentTEncoder(3, 2, df=float("inf")), r"finite df > 2, .*; got inf\."),
        (lambda: StudentTEncoder(3, 0), r"latent_dim >= 1; got 0\."),
        (lambda: MixtureEncoder(3, 2, num_components=0), r"num_components >= 1; got 0\."),
        (lambda: IAF(3, 1), r"latent_dim >= 2, .*; got 1\. Use GaussianEncoder"),
        (lambda: IAF(3, 8, hidden=(7,)), r"hidden widths of at least latent_dim, 8; got \[7\]"),
        (lambda: IAF(3, 2, num_features=0), r"num_features >= 1; got 0\."),
        (lambda: HouseholderFlow(3, 1), r"latent_dim >= 2 to rotate; got 1\. Use GaussianEncoder"),
        (lambda: HouseholderFlow(3, 2, num_transforms=-1), r"num_transforms >= 0; got -1\."),
        (lambda: PlanarFlow(3, 2, num_transforms=-1), r"num_transforms >= 0; got -1\."),
        (lambda: SylvesterFlow(3, 2, num_transforms=-1), r"num_transforms >= 0; got -1\."),
        (lambda: SylvesterFlow(3, 2, num_units=3), r"num_units from 1 to latent_dim, 2; got 3\."),
    ],
)
def test_errors_name_the_cure(make, message):
    with pytest.raises(ValueError, match=f"^Expected .*{message}"):
        make()
