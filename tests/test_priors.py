"""The contract of a prior, over every prior of `examples.PRIORS`, and what each of them is in its limits."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import assert_gradients_reach_everything, assert_survives_a_file
from examples import PRIORS, small_mlp, stirred
from goodness_of_fit import assert_sampler_fits_density
from torch import nn

from pyro_vae import CouplingFlow, GaussianEncoder, GaussianMixture, StandardNormal, VampPrior
from pyro_vae.priors.mixture import mixture
from pyro_vae.priors.scale import positive_scale


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
    # Each coupling of a flow multiplies what the one before it did: a small move of its parameters goes a long way.
    prior = stirred(prior, scale=0.1 if isinstance(prior, CouplingFlow) else 0.5)
    assert_sampler_fits_density(prior.eval()())  # in training, some are estimates or bounds


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


@pytest.mark.parametrize(
    ("prior", "text"),
    [
        (StandardNormal(3), "StandardNormal(dim=3)"),
        (GaussianMixture(3, 4), "GaussianMixture(dim=3, num_components=4)"),
    ],
)
def test_repr(prior, text):
    assert repr(prior) == text


def test_repr_of_priors_with_modules_inside():
    assert repr(CouplingFlow(4, num_transforms=2)).startswith("CouplingFlow(\n  dim=4, num_transforms=2\n")
    vamp = VampPrior(GaussianEncoder(3, 2), torch.randn(5, 3))
    assert repr(vamp).startswith("VampPrior(\n  num_components=5\n")


# Limits, and the slow obvious way


def test_standard_normal_is_the_formula():
    z = torch.randn(9, 3)
    expected = -0.5 * z.square().sum(-1) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(StandardNormal(3)().log_prob(z), expected)


def test_a_mixture_of_one_is_that_gaussian():
    prior, z = stirred(GaussianMixture(3, 1)), torch.randn(9, 3)
    gaussian = dist.Normal(prior.loc[0], positive_scale(prior.raw_scale[0])).to_event(1)
    torch.testing.assert_close(prior().log_prob(z), gaussian.log_prob(z))


def test_a_mixture_is_the_sum_over_its_components():
    prior, z = stirred(GaussianMixture(2, 3)).double(), torch.randn(9, 2).double()
    density = sum(
        weight * dist.Normal(loc, positive_scale(raw)).to_event(1).log_prob(z).exp()
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


def test_a_flow_of_no_transforms_is_the_standard_normal():
    z = torch.randn(9, 3)
    assert torch.equal(CouplingFlow(3, num_transforms=0)().log_prob(z), StandardNormal(3)().log_prob(z))


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_a_flow_obeys_the_change_of_variables(dim):
    pz = stirred(CouplingFlow(dim, num_transforms=3, hidden=(8,))).double()()

    def forward(e):
        for transform in pz.transforms:
            e = transform(e)
        return e

    for e in torch.randn(5, dim).double():
        z = forward(e)
        log_det = torch.autograd.functional.jacobian(forward, e).slogdet().logabsdet
        expected = StandardNormal(dim).double()().log_prob(e) - log_det
        # Through the inverse of the transforms, not their cache: another tensor of the same values.
        torch.testing.assert_close(pz.log_prob(z.detach().clone()), expected)


def test_a_flow_moves_every_dimension():
    pz = stirred(CouplingFlow(4, num_transforms=2, hidden=(8,)))()
    e = z = torch.randn(100, 4)
    for transform in pz.transforms:
        z = transform(z)
    # Two couplings with a reversal after each: the order is the first one again.
    assert ((z - e).abs().amax(0) > 1e-3).all()


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
        (lambda: GaussianMixture(0), r"Expected dim >= 1 and num_components >= 1; got 0 and 10\."),
        (lambda: GaussianMixture(2, 0), r"Expected dim >= 1 and num_components >= 1; got 2 and 0\."),
        (lambda: CouplingFlow(1), r"Expected dim >= 2, .* got 1\. Take GaussianMixture instead\."),
        (lambda: CouplingFlow(3, num_transforms=-1), r"Expected num_transforms >= 0; got -1\."),
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
