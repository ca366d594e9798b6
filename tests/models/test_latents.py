"""What holds of every prior and encoder, whatever its latents are: codes, directions or proportions."""

import copy

import pyro
import pytest
import torch
from contracts import assert_gradients_reach_everything, assert_survives_a_file
from examples import (
    ENCODERS,
    JOINT_LIKELIHOODS,
    LATENT_ENCODERS,
    LATENT_PRIORS,
    LIKELIHOODS,
    NETWORKS,
    PRIORS,
    patterns,
    small_mlp,
    stirred,
)
from pyro.infer import Trace_ELBO

from pyro_vae import VAE, Bernoulli
from pyro_vae.compiled.elbo import CompiledELBO
from pyro_vae.pairs.modules import announcing
from pyro_vae.runs import parts as settings


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make", "dim"), LATENT_PRIORS.values(), ids=LATENT_PRIORS)
def test_a_prior_keeps_the_contract(make, dim, training):
    """Batch () and event (D,), a support for its draws, particles scored one by one, draws of their own in a plate."""
    prior = stirred(make(dim)).train(training)
    pz = prior()
    z = pz.sample((4, 5))
    assert (pz.batch_shape, pz.event_shape, z.shape) == ((), (dim,), (4, 5, dim))
    assert pz.support.check(z).all()
    assert not pz.support.check(-2 * z - 1).any()
    z = z.clone()  # without what a draw may carry along
    _assert_scores_one_by_one(pz.log_prob(z), [[prior().log_prob(z[k, b]) for b in range(5)] for k in range(4)])
    with pyro.plate("particles", 4, dim=-2), pyro.plate("data", 50, dim=-1):
        z = pyro.sample("z", prior())
    assert z.shape == (4, 50, dim)
    assert len(z.reshape(200, dim).unique(dim=0)) > 1
    torch.testing.assert_close(pz.expand([4, 50]).log_prob(z), pz.log_prob(z))
    if any(parameter.requires_grad for parameter in prior.parameters()):
        assert_gradients_reach_everything(prior, pz.log_prob(z.detach()).sum())
        assert_survives_a_file(lambda: stirred(make(dim)).train(training), lambda prior: prior().log_prob(z))
    double = copy.deepcopy(prior).double()()
    z = double.sample((50,)).clone()
    assert z.dtype == double.log_prob(z).dtype == torch.float64
    # The median: some draws of discrete latents' relaxations are rounded to the edge in single precision.
    assert (double.log_prob(z) - pz.log_prob(z.float())).abs().median() < 1e-3


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make", "dim"), LATENT_ENCODERS.values(), ids=LATENT_ENCODERS)
def test_an_encoder_keeps_the_contract(make, dim, training):
    """Batch (B,) and event (D,), images encoded one by one, pathwise gradients where draws are continuous."""
    encoder, x = stirred(make((1, 3, 4), dim)).train(training), torch.randn(4, 5, 1, 3, 4)
    qz = encoder(x)
    z = qz.sample()
    assert (qz.batch_shape, qz.event_shape, z.shape) == ((4, 5), (dim,), (4, 5, dim))
    assert qz.support.check(z).all()
    z = z.clone()
    _assert_scores_one_by_one(
        qz.log_prob(z), [[encoder(x[k, b]).log_prob(z[k, b]) for b in range(5)] for k in range(4)]
    )
    with pyro.plate("particles", 400, dim=-2), pyro.plate("data", 5, dim=-1):
        z = pyro.sample("z", encoder(x[0]))
    assert z.shape == (400, 5, dim)
    assert len(z[:, 0].unique(dim=0)) > 1
    torch.testing.assert_close(encoder(x[0]).expand([400, 5]).log_prob(z), encoder(x[0]).log_prob(z))
    assert qz.has_rsample != qz.support.is_discrete
    if qz.has_rsample:
        drawn = qz.rsample()
        (gradient,) = torch.autograd.grad((drawn * torch.randn(dim)).sum(), next(encoder.parameters()))
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
    assert_gradients_reach_everything(encoder, encoder(x[0]).log_prob(z.detach()).sum())
    fresh = make((1, 3, 4), dim).train(training)(torch.zeros(5, 1, 3, 4))  # features of black images start at zero
    assert fresh.log_prob(fresh.sample().clone()).isfinite().all()

    def log_prob(encoder):
        return encoder(x[0]).log_prob(z.detach())

    assert_survives_a_file(lambda: stirred(make((1, 3, 4), dim)).train(training), log_prob)


def _assert_scores_one_by_one(together, rows):
    torch.testing.assert_close(together, torch.stack([torch.stack(row) for row in rows]), rtol=1e-4, atol=1e-4)


TOGETHER = {
    "CategoricalPrior": "CategoricalEncoder",
    "BernoulliPrior, learned": "BernoulliEncoder",
    "DirichletPrior, learned": "LogisticNormalEncoder",
    "LogisticNormalPrior": "DirichletEncoder",
    "UniformSphere": "VonMisesFisherEncoder",
    "VonMisesFisherPrior": "VonMisesFisherEncoder",
}


@pytest.mark.parametrize("name", TOGETHER)
def test_recorded_steps_are_the_plain_ones(name):
    (make, dim), px = LATENT_PRIORS[name], Bernoulli((3, 4))
    encoder = LATENT_ENCODERS[TOGETHER[name]][0]((3, 4), dim)
    module, x = VAE(make(dim), encoder, small_mlp(dim, px.feature_shape), px), patterns(6, (3, 4))
    recorded, found = CompiledELBO(Trace_ELBO(), backend="eager"), []
    announced, learned = announcing(module.model, module.guide), [p for p in module.parameters() if p.requires_grad]
    with pyro.get_param_store().scope():
        for elbo in (Trace_ELBO(), recorded, recorded, recorded):
            module.zero_grad()
            torch.manual_seed(1)
            loss = torch.tensor(float(elbo.loss_and_grads(*announced, x)))
            found.append([loss, *(parameter.grad.clone() for parameter in learned)])
    assert recorded.num_graphs == 1
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=1e-4, atol=1e-5)


LISTS = {
    "prior": PRIORS | LATENT_PRIORS | {"FlatPrior": None},  # no density: test_autoencoders.py, and so the next one
    "encoder": ENCODERS | LATENT_ENCODERS | {"PointEncoder": None},
    "likelihood": LIKELIHOODS | JOINT_LIKELIHOODS | {"PixelCNN": None},  # needs x: test_pixel_cnn.py
    "network": NETWORKS,
}


@pytest.mark.parametrize("part", LISTS)
def test_every_part_of_the_library_is_in_the_lists(part):
    tried = {name.split(",")[0] for name in LISTS[part]}
    assert set(settings.short_names(part)) <= tried, "Add it to examples.py."
