"""The contract of a prior, over every prior of `examples.PRIORS`, and what each of them is in its limits."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import assert_gradients_reach_everything, assert_survives_a_file
from examples import PAIRS, PRIORS, small_mlp, stirred, vae
from goodness_of_fit import assert_sampler_fits_density, assert_within_standard_errors
from pyro.infer import Trace_ELBO
from torch import nn

from pyro_vae import (
    LARS,
    AutoregressiveFlow,
    AutoregressivePrior,
    CouplingFlow,
    DiagonalNormal,
    ExemplarPrior,
    GaussianEncoder,
    GaussianMixture,
    LaplacePrior,
    SplineFlow,
    StandardNormal,
    StudentTPrior,
    VampPrior,
    log_marginal,
    priors,
)
from pyro_vae.compiled.elbo import CompiledELBO
from pyro_vae.distributions.mixture import mixture
from pyro_vae.distributions.scale import unit_scale
from pyro_vae.distributions.spline import spline
from pyro_vae.pairs.modules import announcing
from pyro_vae.runs import parts as settings

FLOWS = (AutoregressiveFlow, CouplingFlow, SplineFlow)


@pytest.fixture(params=PRIORS)
def make(request):
    return PRIORS[request.param]


def test_batch_is_empty_and_event_is_a_vector(make):
    pz = make(3)()
    assert (pz.batch_shape, pz.event_shape) == ((), (3,))
    assert pz.sample((7, 5)).shape == (7, 5, 3)
    assert pz.log_prob(torch.randn(7, 5, 3)).shape == (7, 5)


def test_particles_are_scored_one_by_one(make):
    pz, z = stirred(make(3))(), torch.randn(4, 5, 3)
    one_by_one = torch.stack([torch.stack([pz.log_prob(row) for row in particle]) for particle in z])
    torch.testing.assert_close(pz.log_prob(z), one_by_one)


def test_expands_inside_a_plate(make):
    pz = stirred(make(2))()
    with pyro.plate("particles", 4, dim=-2), pyro.plate("data", 5, dim=-1):
        z = pyro.sample("z", pz)
    assert z.shape == (4, 5, 2)
    assert len(z.reshape(20, 2).unique(dim=0)) == 20  # a draw for each, not one copied
    torch.testing.assert_close(pz.expand([4, 5]).log_prob(z), pz.log_prob(z))


def test_sampler_fits_density(make):
    prior = make(2)
    # Each step of a flow multiplies what the one before it did: a small move of its parameters goes a long way.
    prior = stirred(prior, scale=0.1 if isinstance(prior, FLOWS) else 0.5)
    if isinstance(prior, LARS):  # its density integrates to 1 as closely as Z is known
        quantiles = dist.Normal(0.0, 1.0).icdf((torch.arange(1000) + 0.5) / 1000)
        prior.evaluation_sample = torch.cartesian_prod(quantiles, quantiles)
    fine = 30 if isinstance(prior, StudentTPrior) else 15  # whose draws span a hundred times its scale
    assert_sampler_fits_density(prior.eval()(), fine=fine)  # in training, some are estimates or bounds


def test_gradients_reach_every_parameter(make):
    prior = stirred(make(3))
    assert_gradients_reach_everything(prior, prior().log_prob(torch.randn(50, 3)).sum())


def test_survives_a_file(make):
    def log_prob(prior):
        return prior.eval()().log_prob(torch.linspace(-1, 2, 12).reshape(4, 3))

    assert_survives_a_file(lambda: stirred(make(3)), log_prob)


def test_follows_to_double_precision(make):
    prior = make(3).eval()
    single = prior().log_prob(torch.ones(3))
    double = prior.double()().log_prob(torch.ones(3).double())
    assert prior().sample().dtype == double.dtype == torch.float64
    assert double.item() == pytest.approx(single.item(), rel=1e-5)


def three_steps(name, elbo):
    """Losses, and gradients and buffers after three steps of a VAE with that prior."""
    torch.manual_seed(0)
    pair = vae(name)
    owner, announced, losses = pair.model.__self__, announcing(pair.model, pair.guide), []
    with pyro.get_param_store().scope():
        for step in range(3):  # plainly, then recording, then from the graph
            torch.manual_seed(step)
            losses.append(float(elbo.loss_and_grads(*announced, pair.x)))
    return losses, {key: p.grad for key, p in owner.named_parameters()} | dict(owner.named_buffers())


@pytest.mark.parametrize("name", [name for name in PRIORS if f"VAE, {name}" not in PAIRS])
def test_compiled_steps_of_a_vae_equal_the_plain_ones(name):
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    torch.testing.assert_close(three_steps(name, elbo), three_steps(name, Trace_ELBO()))
    assert elbo.num_graphs == 1


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")  # untrained
@pytest.mark.parametrize("name", ["ExemplarPrior", "LARS"])
def test_estimates_of_priors_that_differ_in_training_repeat(name):
    """They leave training's averages and stored codes alone, and do not depend on chunks."""
    pair = vae(name)
    before = {key: value.clone() for key, value in pair.model.__self__.named_buffers()}
    one, other = (
        log_marginal(pair.model, pair.guide, pair.x, num_samples=200, chunk_size=size, estimator="guide")
        for size in (200 * 24, 300)
    )
    torch.testing.assert_close(one.log_prob, other.log_prob, rtol=1e-5, atol=1e-5)
    for key, value in pair.model.__self__.named_buffers():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize(
    ("prior", "text"),
    [
        (StandardNormal(3), "StandardNormal(dim=3)"),
        (DiagonalNormal(3), "DiagonalNormal(dim=3)"),
        (LaplacePrior(3), "LaplacePrior(dim=3)"),
        (StudentTPrior(3), "StudentTPrior(dim=3)"),
        (
            StudentTPrior(3, learn_degrees_of_freedom=False),
            "StudentTPrior(dim=3, degrees_of_freedom=5, learn_degrees_of_freedom=False)",
        ),
        (GaussianMixture(3, 4), "GaussianMixture(dim=3, num_components=4)"),
        (GaussianMixture(3, 4, "full"), "GaussianMixture(dim=3, num_components=4, covariance='full')"),
    ],
)
def test_repr(prior, text):
    assert repr(prior) == text


@pytest.mark.parametrize(
    ("prior", "text"),
    [
        (CouplingFlow(4, num_transforms=2), "dim=4, num_transforms=2"),
        (SplineFlow(4, num_transforms=2), "(chain): Chain(\n    dim=4, num_transforms=2"),
        (LARS(3, truncation=None), "dim=3, truncation=None"),
        (AutoregressivePrior(3), "dim=3, num_components=5"),
        (VampPrior(GaussianEncoder(3, 2), torch.ones(5, 3)), "num_components=5"),
        (
            VampPrior(GaussianEncoder(3, 2), torch.ones(5, 3), learn_inputs=False, learn_weights=False),
            "num_components=5, learn_inputs=False, learn_weights=False",
        ),
        (ExemplarPrior(GaussianEncoder(3, 2), torch.ones(5, 3), num_neighbors=2), "num_exemplars=5, num_neighbors=2"),
    ],
)
def test_repr_of_priors_with_modules_inside(prior, text):
    assert repr(prior).startswith(f"{type(prior).__name__}(\n  {text}\n")


@pytest.mark.parametrize("name", sorted({*priors.__all__} - {"FlatPrior"}))  # which has no draws
def test_settings_build_it_by_name(name):
    names = {
        "prior": name,
        "model": "VAE",
        "likelihood": "Bernoulli",
        "encoder": "GaussianEncoder",
        "network": "GatedMLP",
    }
    parts = {part: {"class_path": name} for part, name in names.items()}
    images = torch.rand(20, 1, 4, 4)
    vae = settings.build(parts, event_shape=(1, 4, 4), latent_dim=3, mean=images.mean(0), pseudo_inputs=images, seed=0)
    assert repr(vae.prior).startswith(name)
    prior = vae.prior()
    assert prior.log_prob(prior.sample()).isfinite()


# Limits, and the slow obvious way


def test_standard_normal_is_the_formula():
    z = torch.randn(9, 3)
    expected = -0.5 * z.square().sum(-1) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(StandardNormal(3)().log_prob(z), expected)


def test_a_diagonal_normal_starts_as_the_standard_normal():
    z = torch.randn(9, 3)
    torch.testing.assert_close(DiagonalNormal(3)().log_prob(z), StandardNormal(3)().log_prob(z))


@torch.no_grad()
def test_the_tails_of_laplace_and_student_t_are_what_they_say():
    """-|z| / s, and -(df + 1) log |z|, far out."""
    far, farther = torch.tensor([[1e4], [2e4]]).double()
    laplace, student = stirred(LaplacePrior(1)).double(), stirred(StudentTPrior(1, degrees_of_freedom=3.0)).double()
    slope = (laplace().log_prob(farther) - laplace().log_prob(far)) / 1e4
    torch.testing.assert_close(slope, -1 / unit_scale(laplace.raw_scale)[0])
    power = (student().log_prob(farther) - student().log_prob(far)) / math.log(2)
    torch.testing.assert_close(power, -(student.log_degrees_of_freedom.exp()[0] + 1), rtol=1e-6, atol=0)


def test_student_t_with_many_degrees_of_freedom_is_the_normal():
    """Also in single precision, where the normalizer would be off by 0.08 for each dimension."""
    z = torch.randn(9, 3)
    student = StudentTPrior(3, degrees_of_freedom=1e6)
    torch.testing.assert_close(student().log_prob(z), StandardNormal(3)().log_prob(z), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("covariance", ["low-rank", "full"])
def test_covariances_are_torchs_multivariate_normal(covariance):
    prior, z = stirred(GaussianMixture(4, 1, covariance)).double(), torch.randn(9, 4).double()
    scale = unit_scale(prior.raw_scale[0])
    if covariance == "full":
        triangle = torch.diag(scale)
        triangle[1, 0], triangle[2, 0], triangle[2, 1], triangle[3, 0], triangle[3, 1], triangle[3, 2] = prior.lower[0]
        matrix = triangle @ triangle.T
    else:
        matrix = prior.factor[0] @ prior.factor[0].T + torch.diag(scale**2)
    expected = torch.distributions.MultivariateNormal(prior.loc[0], matrix)
    torch.testing.assert_close(prior().log_prob(z), expected.log_prob(z))


@torch.no_grad()
def test_without_correlations_all_covariances_are_the_diagonal_one():
    diagonal, low, full = (GaussianMixture(3, 5, kind) for kind in ("diagonal", "low-rank", "full"))
    low.factor.zero_()
    for prior in (low, full):
        prior.loc.copy_(diagonal.loc)
        z = torch.randn(9, 3)
        torch.testing.assert_close(prior().log_prob(z), diagonal().log_prob(z))


def test_a_mixture_of_one_is_that_gaussian():
    prior, z = stirred(GaussianMixture(3, 1)), torch.randn(9, 3)
    gaussian = dist.Normal(prior.loc[0], unit_scale(prior.raw_scale[0])).to_event(1)
    torch.testing.assert_close(prior().log_prob(z), gaussian.log_prob(z))


def test_a_mixture_is_the_sum_over_its_components():
    prior, z = stirred(GaussianMixture(2, 3)).double(), torch.randn(9, 2).double()
    density = sum(
        weight * dist.Normal(loc, unit_scale(raw)).to_event(1).log_prob(z).exp()
        for weight, loc, raw in zip(prior.logits.softmax(0), prior.loc, prior.raw_scale, strict=True)
    )
    torch.testing.assert_close(prior().log_prob(z), density.log())


def test_a_mixture_starts_near_the_standard_normal():
    prior = GaussianMixture(4, 6)
    twin = dist.MixtureSameFamily(dist.Categorical(torch.ones(6)), dist.Normal(prior.loc, 1.0).to_event(1))
    z = torch.randn(9, 4)
    torch.testing.assert_close(prior().log_prob(z), twin.log_prob(z), rtol=1e-2, atol=0)
    assert prior.loc.abs().max() < 0.5 * 5


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_the_fast_mixture_is_torchs_own(scale, shift):
    """Also for narrow components far from the origin, where squared distances lose their digits."""
    logits, loc = nn.Parameter(torch.randn(7)), nn.Parameter(shift + torch.randn(7, 3))
    scales = nn.Parameter(scale * (0.5 + torch.rand(7, 3)))
    components = dist.Normal(loc, scales).to_event(1)
    z = components.sample((5,)).detach()  # (5, 7, 3): near each of the components
    fast, plain = mixture(logits, components), dist.MixtureSameFamily(dist.Categorical(logits=logits), components)
    torch.testing.assert_close(fast.log_prob(z), plain.log_prob(z), rtol=1e-5, atol=1e-4)
    gradients = [torch.autograd.grad(d.log_prob(z).sum(), (logits, loc, scales)) for d in (fast, plain)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_the_fast_mixture_checks_what_it_is_given():
    with pytest.raises(ValueError, match="within the support"):
        GaussianMixture(3)().log_prob(torch.tensor([0.0, math.nan, 0.0]))
    with pytest.raises(ValueError, match="scale"):
        mixture(torch.zeros(2), dist.Normal(torch.zeros(2, 3), -1.0, validate_args=False).to_event(1))


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_of_no_transforms_is_the_standard_normal(flow):
    z = torch.randn(9, 3)
    assert torch.equal(flow(3, num_transforms=0)().log_prob(z), StandardNormal(3)().log_prob(z))


def forward_of(flow):
    """The map from e to z, in double precision."""

    def forward(e):
        if isinstance(flow, CouplingFlow):
            for transform in flow().transforms:
                e = transform(e)
        else:
            for step in flow.chain.steps:
                e = step(e).flip(-1)
        return e

    return forward


@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_obeys_the_change_of_variables(flow, dim):
    prior = stirred(flow(dim, num_transforms=3, hidden=(8,))).double()
    pz, forward = prior(), forward_of(prior)
    for e in torch.randn(5, dim).double():
        z = forward(e)
        log_det = torch.autograd.functional.jacobian(forward, e).slogdet().logabsdet
        expected = StandardNormal(dim).double()().log_prob(e) - log_det
        # Through the inverse of the transforms, not their cache: another tensor of the same values.
        torch.testing.assert_close(pz.log_prob(z.detach().clone()), expected)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_moves_every_dimension(flow):
    prior, e = stirred(flow(4, num_transforms=2, hidden=(8,))), torch.randn(100, 4)
    # Two steps with a reversal after each: the order is the first one again.
    assert ((forward_of(prior)(e) - e).abs().amax(0) > 1e-3).all()


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_has_finite_gradients_far_out(flow):
    prior, z = stirred(flow(3, hidden=(8,))), torch.tensor([[1e3, -1e3, 0.0], [5.0, -5.0, 5.0]], requires_grad=True)
    prior().log_prob(z).sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in (z, *prior.parameters()))


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
def test_a_spline_increases_is_inverted_and_knows_its_slope(scale):
    x = torch.linspace(-4, 4, 801).double().requires_grad_()
    raw = scale * torch.randn(11).double().expand(801, 11)
    y, log_slope = spline(x, raw, bound=3.0)
    back, back_log_slope = spline(y, raw, bound=3.0, inverse=True)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope, slope.log())
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(back_log_slope, -log_slope, atol=1e-6, rtol=1e-6)
    assert (y.diff() > 0).all()
    outside = x.abs() >= 3
    assert torch.equal(y[outside], x[outside])
    assert (torch.equal(y, x) or (y - x).abs().max() > 0.1) or scale == 0


@torch.no_grad()
def test_conditionals_of_an_autoregressive_prior_see_only_what_comes_before():
    prior = stirred(AutoregressivePrior(4, num_components=2, hidden=(12,)))
    z, points = torch.randn(4), torch.randn(6, 4)
    log_prob = prior.conditionals(z).log_prob(points)
    for d in range(4):
        other = torch.cat([z[:d], torch.randn(4 - d)])
        changed = (prior.conditionals(other).log_prob(points) - log_prob).abs().amax(0) > 1e-6
        assert not changed[: d + 1].any()
        assert changed[d + 1 :].all()


def test_an_autoregressive_prior_is_the_product_of_its_conditionals():
    prior, z = stirred(AutoregressivePrior(3, num_components=2, hidden=(12,))), torch.randn(7, 3)
    expected = torch.zeros(7)
    for d in range(3):
        known = torch.cat([z[:, :d], torch.zeros(7, 3 - d)], -1)
        expected = expected + prior.conditionals(known).log_prob(z)[:, d]
    torch.testing.assert_close(prior().log_prob(z), expected)


@torch.no_grad()
@pytest.mark.parametrize("truncation", [None, 2, 100])
@pytest.mark.parametrize("logit", [-8.0, 0.0, 8.0, 200.0])
def test_lars_that_accepts_all_alike_is_its_base(truncation, logit):
    prior, z = LARS(3, hidden=(4,), truncation=truncation).eval(), torch.randn(9, 3)
    prior.network.layers[-1].weight.zero_()
    prior.network.layers[-1].bias.fill_(logit)
    torch.testing.assert_close(prior().log_prob(z), StandardNormal(3)().log_prob(z), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_normalizer_of_lars_is_within_its_standard_error():
    """E[sigmoid(w z)] = 1/2 by symmetry, so that p(z) = 2 Normal(z; 0, 1) sigmoid(w z): a skew-logistic normal."""
    prior, z = LARS(2, hidden=(), truncation=None).eval(), torch.randn(9, 2)
    prior.network.layers[-1].weight.copy_(torch.tensor([[1.0, 2.0]]))
    prior.network.layers[-1].bias.zero_()
    truth = StandardNormal(2)().log_prob(z) + math.log(2) + (z[:, 0] + 2 * z[:, 1]).sigmoid().log()
    off = prior().log_prob(z) - truth
    error = prior.log_normalizer_standard_error
    assert (error.shape, error.dtype) == ((), torch.float32)
    torch.testing.assert_close(off, off[:1].expand(9))
    assert 0 < off[0].abs() < 5 * error
    estimates = torch.stack([(torch.randn(32_768, 2) @ torch.tensor([1.0, 2.0])).sigmoid().mean() for _ in range(200)])
    assert error.item() == pytest.approx(estimates.log().std().item(), rel=5 / math.sqrt(2 * 200))


def test_the_normalizer_of_lars_is_a_moving_average_in_training():
    prior, z = stirred(LARS(2, hidden=(4,), truncation=None, num_samples=50)), torch.randn(9, 2)
    before = prior.average.clone()
    torch.manual_seed(3)
    pz = prior()
    torch.manual_seed(3)
    latest = prior.network(torch.randn(50, 2)).sigmoid().mean()
    torch.testing.assert_close(prior.average, 0.9 * before + 0.1 * latest.detach())
    gradients = torch.autograd.grad(pz.log_prob(z).sum(), list(prior.parameters()))
    accepted = prior.network(z)[:, 0].sigmoid()
    loss = accepted.log().sum() - 9 * latest / prior.average
    for ours, expected in zip(gradients, torch.autograd.grad(loss, list(prior.parameters())), strict=True):
        torch.testing.assert_close(ours, expected)
    with torch.no_grad():
        expected = StandardNormal(2)().log_prob(z) + accepted.log() - prior.average.log()
        torch.testing.assert_close(pz.log_prob(z), expected)
    prior.eval()()
    torch.testing.assert_close(prior.average, 0.9 * before + 0.1 * latest.detach())


@torch.no_grad()
def test_lars_gives_up_where_nothing_is_accepted(monkeypatch):
    monkeypatch.setattr("pyro_vae.priors.lars.MAX_PROPOSALS", 50)
    prior = LARS(2, hidden=(), truncation=None)
    prior.network.layers[-1].bias.fill_(-100.0)
    with pytest.raises(RuntimeError, match=r"3 were not in 50 proposals\. Set a truncation"):
        prior().sample((3,))


@pytest.fixture
def encoder():
    return stirred(GaussianEncoder(3, 2, network=small_mlp))


def test_a_vamp_prior_of_one_is_the_encoders_q(encoder):
    image, z = torch.randn(1, 3), torch.randn(9, 2)
    torch.testing.assert_close(VampPrior(encoder, image)().log_prob(z), encoder(image).log_prob(z))


def test_a_vamp_prior_is_the_weighted_sum_of_qs(encoder):
    images, z = torch.randn(4, 3), torch.randn(9, 2)
    prior = VampPrior(encoder, images)
    with torch.no_grad():
        prior.logits += torch.tensor([0.0, 1.0, -1.0, 2.0])
    weights = [math.exp(a) / sum(map(math.exp, (0, 1, -1, 2))) for a in (0, 1, -1, 2)]
    # The pseudo-inputs stand in random order; the weights belong to the rows as they stand.
    density = sum(w * encoder(u[None]).log_prob(z).exp() for w, u in zip(weights, prior.pseudo_inputs, strict=True))
    torch.testing.assert_close(prior().log_prob(z), density.log())


def test_a_vamp_prior_takes_an_encoder_of_any_distribution():
    def encoder(x):
        return dist.MultivariateNormal(x[:, :2], 0.5 * torch.eye(2) + 0.2)

    assert_sampler_fits_density(VampPrior(encoder, torch.randn(4, 3))())


def test_a_vamp_prior_has_at_most_500_components_unless_told(encoder):
    images = torch.randn(600, 3)
    assert len(VampPrior(encoder, images).logits) == 500
    assert len(VampPrior(encoder, images[:499]).logits) == 499
    assert len(VampPrior(encoder, images, num_components=600).logits) == 600


def test_a_vamp_prior_shares_its_encoder_and_copies_its_images(encoder):
    images = torch.randn(4, 3)
    prior = VampPrior(encoder, images)
    assert prior.encoder is encoder
    with torch.no_grad():
        prior.pseudo_inputs.zero_()
    assert images.abs().sum() > 0


def test_what_a_vamp_prior_does_not_learn_is_kept_but_no_parameter(encoder):
    images = torch.randn(6, 3)
    prior = VampPrior(encoder, images, num_components=3, learn_inputs=False, learn_weights=False)
    assert len(list(prior.parameters())) == len(list(encoder.parameters()))
    assert {"pseudo_inputs", "logits"} <= prior.state_dict().keys()
    weights = torch.full((3,), 1 / 3)
    plain = dist.MixtureSameFamily(dist.Categorical(weights), encoder(prior.pseudo_inputs))
    z = torch.randn(9, 2)
    torch.testing.assert_close(prior().log_prob(z), plain.log_prob(z))


def test_random_pseudo_inputs_look_like_the_images_pixel_by_pixel(encoder):
    images = torch.tensor([2.0, 0.0, -1.0]) + torch.tensor([1.0, 0.0, 3.0]) * torch.randn(500, 3)
    state = torch.get_rng_state()
    first, again, other = (
        VampPrior(encoder, images, num_components=2000, start="random", seed=s).pseudo_inputs for s in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for pixel in (0, 2):
        assert_within_standard_errors(first[:, pixel].detach(), images[:, pixel].mean().item())
        assert first[:, pixel].std().item() == pytest.approx(images[:, pixel].std().item(), rel=5 / math.sqrt(4000))
    assert (first[:, 1] == 0).all()


# Exemplars


def code_mixture(prior, images, z):
    """log of the mean over images of Normal(z; mean of q(z|image), s^2), the slow way."""
    scale = unit_scale(prior.raw_scale)
    terms = torch.stack([dist.Normal(prior.encoder(x[None]).mean, scale).to_event(1).log_prob(z) for x in images])
    return terms.logsumexp(0) - math.log(len(images))


@torch.no_grad()
def test_an_exemplar_prior_is_the_mixture_over_all_images(encoder, monkeypatch):
    images, z = torch.randn(20, 3), torch.randn(4, 5, 2)
    prior = ExemplarPrior(encoder, images, num_neighbors=3).eval()
    prior.raw_scale.fill_(-1.5)
    expected = code_mixture(prior, images, z)
    torch.testing.assert_close(prior().log_prob(z), expected)
    monkeypatch.setattr("pyro_vae.priors.exemplar.BLOCK", 7)
    torch.testing.assert_close(prior().log_prob(z), expected)
    stirred(prior)  # it follows the encoder
    torch.testing.assert_close(prior().log_prob(z), code_mixture(prior, images, z))


@torch.no_grad()
@pytest.mark.parametrize("num_neighbors", [3, 19])
def test_in_training_an_exemplar_prior_bounds_the_mixture_without_any_one_image(encoder, num_neighbors):
    images, z = torch.randn(20, 3), 0.5 * torch.randn(30, 2)
    prior = ExemplarPrior(encoder, images, num_neighbors=num_neighbors)
    prior.raw_scale.fill_(-1.5)
    found = prior().log_prob(z)
    left_out = torch.stack([code_mixture(prior, torch.cat([images[:i], images[i + 1 :]]), z) for i in range(20)])
    assert (found <= left_out.amin(0) + 1e-4).all()
    if num_neighbors == 19:
        torch.testing.assert_close(found, left_out.amin(0))


@torch.no_grad()
def test_in_training_an_image_is_left_out_of_its_own_prior(encoder):
    images = torch.randn(20, 3)
    prior = ExemplarPrior(encoder, images, num_neighbors=19)
    prior.raw_scale.fill_(-1.5)
    for i, x in enumerate(images):
        expected = code_mixture(prior, torch.cat([images[:i], images[i + 1 :]]), encoder(x[None]).mean)
        torch.testing.assert_close(prior().log_prob(encoder(x[None]).mean), expected)


@torch.no_grad()
def test_stored_codes_are_brought_up_to_date_in_turn(encoder, monkeypatch):
    monkeypatch.setattr("pyro_vae.priors.exemplar.REFRESHED", 8)
    prior = ExemplarPrior(encoder, torch.randn(20, 3), num_neighbors=3)
    before = prior.codes.clone()
    stirred(prior)
    now = encoder(prior.exemplars).mean
    prior.eval()()
    assert torch.equal(prior.codes, before)
    prior.train()
    for fresh in (8, 16, 20):
        prior()
        torch.testing.assert_close(prior.codes, torch.cat([now[:fresh], before[fresh:]]))
    assert prior.oldest == 4


def test_exemplars_are_a_seeded_choice_that_is_kept_with_the_weights(encoder):
    images = torch.arange(60.0).reshape(20, 3)
    first, again, other = (
        ExemplarPrior(encoder, images, num_exemplars=8, num_neighbors=2, seed=s).exemplars for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert {tuple(row) for row in first.tolist()} <= {tuple(row) for row in images.tolist()}
    assert torch.equal(ExemplarPrior(encoder, images).exemplars, images)
    assert "exemplars" in ExemplarPrior(encoder, images).state_dict()


def test_pseudo_inputs_are_a_seeded_choice_of_different_images(encoder):
    images = torch.arange(60.0).reshape(20, 3)
    state = torch.get_rng_state()
    first, again, other = (VampPrior(encoder, images, num_components=8, seed=s).pseudo_inputs for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.unique(dim=0)) == 8
    assert {tuple(row) for row in first.tolist()} <= {tuple(row) for row in images.tolist()}


# Errors


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: StandardNormal(0), r"Expected dim >= 1; got 0\."),
        (lambda: GaussianMixture(0), r"Expected dim >= 1; got 0\."),
        (lambda: GaussianMixture(2, 0), r"Expected num_components >= 1; got 0\."),
        (lambda: CouplingFlow(1), r"Expected dim >= 2, .* got 1\. Use GaussianMixture instead\."),
        (lambda: CouplingFlow(3, num_transforms=-1), r"Expected num_transforms >= 0; got -1\."),
        (lambda: GaussianMixture(2, covariance="round"), r"Expected covariance 'diagonal', .* got 'round'\."),
        (lambda: GaussianMixture(2, covariance="low-rank", rank=3), r"Expected rank from 1 to 2, .* got 3\."),
        (lambda: DiagonalNormal(0), r"Expected dim >= 1; got 0\."),
        (lambda: LaplacePrior(0), r"Expected dim >= 1; got 0\."),
        (lambda: StudentTPrior(2, 0.0), r"Expected a finite degrees_of_freedom > 0; got 0\.0\."),
        (lambda: AutoregressiveFlow(1), r"Expected dim >= 2, .* got 1\. Use GaussianMixture instead\."),
        (lambda: AutoregressiveFlow(9, hidden=(8,)), r"at least as wide as the 9 .* got \[8\]\. Give .*\(36, 36\)\."),
        (lambda: AutoregressivePrior(1), r"Expected dim >= 2, .* got 1\. Use GaussianMixture instead\."),
        (lambda: AutoregressivePrior(2, 0), r"Expected num_components >= 1; got 0\."),
        (lambda: SplineFlow(1), r"Expected dim >= 2, .* got 1\. Use GaussianMixture instead\."),
        (lambda: SplineFlow(2, num_bins=1), r"Expected num_bins from 2 to 999; got 1\."),
        (lambda: SplineFlow(2, bound=0.0), r"Expected a finite bound > 0; got 0\.0\."),
        (lambda: LARS(2, truncation=1), r"Expected truncation >= 2, or None; got 1\. Use StandardNormal"),
        (lambda: LARS(2, num_samples=0), r"Expected num_samples >= 1; got 0\."),
        (lambda: LARS(2, num_evaluation_samples=1), r"Expected num_evaluation_samples >= 2; got 1\."),
        (
            lambda: ExemplarPrior(GaussianEncoder(3, 2), torch.randn(10, 3)),
            r"num_exemplars <= 10, .* got num_neighbors=10 and num_exemplars=10\. Give more pseudo_inputs",
        ),
        (lambda: VampPrior(GaussianEncoder(3, 2), torch.randn(4, 3), start="rest"), r"Expected start 'data' or 'rand"),
        (
            lambda: VampPrior(GaussianEncoder(3, 2), torch.randn(4, 3), num_components=5),
            r"Expected num_components from 1 to 4, the number of pseudo_inputs; got 5\. Give fewer",
        ),
        (lambda: VampPrior(GaussianEncoder(3, 2), torch.randn(4, 3), num_components=0), r"from 1 to 4, .* got 0\."),
        (lambda: VampPrior(GaussianEncoder(3, 2), torch.randn(0, 3)), r"Expected num_components from 1 to 0"),
    ],
)
def test_errors_say_what_was_expected(build, text):
    with pytest.raises(ValueError, match=text):
        build()
