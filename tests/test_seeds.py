"""Several seeds at once: each is what `fit` makes of it alone, and what cannot be batched is refused."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import Dropping, LinearGaussian, Own, functions_with_params, patterns, small_mlp
from torch import nn

from pyro_vae import MLP, VAE, GaussianEncoder, KLWarmup, NonFiniteLoss, VampPrior, adam, fit, fit_seeds
from pyro_vae.likelihoods import Bernoulli


class Sure(Own):
    """A guide without noise, so that the order of the images is all that is random; with running statistics."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 2))

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(self.encode(x)).to_event(1))


def alone(make_pair, x, *, seed, **settings):
    torch.manual_seed(seed)
    pair = make_pair()
    return fit(pair.model, pair.guide, x, seed=seed, compile=False, progress=False, **settings)


SCHEDULE = functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.05, total_steps=12)


def test_each_seed_is_trained_as_fit_trains_it():
    """Batch norm, clipping, schedule, warm-up and the last, smaller batch included; in float64, up to rounding."""
    x = patterns(48, (12,)).double()
    settings = {"epochs": 3, "batch_size": 12, "validation": x[40:], "scheduler": SCHEDULE, "clip_norm": 20.0}
    settings |= {"kl_weight": KLWarmup(epochs=1), "optimizer": adam(0.01, weight_decay=0.1)}
    found = fit_seeds(lambda: Sure().double(), x[:40], seeds=[3, 5], compile=False, **settings)
    for result, seed in zip(found, [3, 5], strict=True):
        expected = alone(lambda: Sure().double(), x[:40], seed=seed, **settings)
        torch.testing.assert_close(result.state, expected.state, rtol=1e-6, atol=1e-8)
        assert result.best_epoch == expected.best_epoch
        for mine, other in zip(result.history, expected.history, strict=True):
            shared = mine.keys() & other.keys() - {"seconds"}
            assert shared >= {"loss", "grad_norm", "learning_rate", "kl_weight", "validation_elbo"}
            assert [mine[k] for k in shared] == pytest.approx([other[k] for k in shared], rel=1e-5)


def test_bf16_is_near_and_not_the_same():
    x = patterns(24, (12,))
    losses = [
        fit_seeds(Own, x, seeds=[3, 5], precision=precision, epochs=1, batch_size=12)[1].history[0]["loss"]
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_compiled_program_does_the_same():
    """The noise is torch's own, so that even it is the same."""
    x = patterns(24, (12,))
    plain, compiled = (
        fit_seeds(Mediocre, x[:, :5], seeds=[3, 5], compile=compile, epochs=2, batch_size=12)
        for compile in (False, True)
    )
    assert plain[0].state["pair.bias"].ne(plain[1].state["pair.bias"]).all()
    for one, other in zip(plain, compiled, strict=True):
        torch.testing.assert_close(one.state, other.state, rtol=1e-4, atol=1e-5)


class Mediocre(LinearGaussian):
    """The same parameters for every seed."""

    def __init__(self):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            super().__init__()

    guide = LinearGaussian.mediocre_guide


def test_each_seed_draws_noise_of_its_own():
    """The loss is an unbiased draw of -ELBO, which is known here, and independent over seeds and images."""
    x, count = torch.randn(20, 5), 100
    found = fit_seeds(Mediocre, x, seeds=range(count), optimizer=adam(0.0), epochs=1, batch_size=20)
    losses = torch.tensor([result.history[0]["loss"] for result in found]).double()
    error = losses.std() / count**0.5
    assert abs(losses.mean() + Mediocre().elbo(x).mean()) < 5 * error
    svi = pyro.infer.Trace_ELBO()
    pair = Mediocre()
    plain = torch.tensor([svi.loss(pair.model, pair.guide, x) / 20 for _ in range(count)])
    assert 0.6 < losses.std() / plain.std() < 1.6  # variances of 100 draws each: 5 standard errors


def vamp():
    encoder = GaussianEncoder((12,), 2, network=small_mlp)
    return VAE(VampPrior(encoder, torch.eye(12), num_components=4), encoder, MLP(2, (12,)), Bernoulli((12,)))


@pytest.mark.parametrize("make_pair", [Own, Dropping, vamp])
def test_seeds_learn_as_well_as_alone(make_pair):
    x = patterns(240, (12,))
    settings = {"epochs": 8, "batch_size": 32, "validation": x[200:], "optimizer": adam(0.01)}
    found = fit_seeds(make_pair, (x[:200] * 0.9 + 0.05), visit=torch.bernoulli, seeds=[1, 2, 3], **settings)
    elbos = [result.history[-1]["validation_elbo"] for result in found]
    assert len(set(elbos)) == 3
    expected = alone(make_pair, (x[:200] * 0.9 + 0.05), visit=torch.bernoulli, seed=1, **settings)
    assert elbos == pytest.approx([expected.history[-1]["validation_elbo"]] * 3, abs=2.0)
    assert min(elbos) > expected.history[0]["validation_elbo"]
    state = {f"pair.{key}": value for key, value in found[0].model.__self__.state_dict().items()}
    torch.testing.assert_close(state, found[0].state)  # the pair holds what the result says


class Branching(Own):
    def guide(self, x):
        if x.sum() > 0:
            super().guide(x)


class Holding(Own):
    def __init__(self):
        super().__init__()
        self.loc = torch.randn(2)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))
            return pyro.sample("x", dist.Bernoulli(logits=self.decode(z)).to_event(1), obs=x)


SHARED = nn.Linear(2, 12)


class Sharing(Own):
    def __init__(self):
        super().__init__()
        self.decode = SHARED


@pytest.mark.parametrize(
    ("make_pair", "settings", "message"),
    [
        (functions_with_params, {}, "nn.Module with methods model and guide; got Pair"),
        (Branching, {}, "can be recorded; got: .* a value is read .* fit"),
        (Holding, {}, r"parameters or buffers; got others, of shapes \[\(2,\)\]. Register them"),
        (Sharing, {}, "two pairs share"),
        (Own, {"optimizer": lambda params: torch.optim.SGD(params, lr=0.1)}, "Adam or AdamW.*got SGD"),
        (Own, {"seeds": [1, 1]}, r"different seeds, at least one; got \[1, 1\]"),
        (Own, {"epochs": 0}, "epochs >= 1"),
    ],
)
def test_what_cannot_be_batched_is_refused(make_pair, settings, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fit_seeds(make_pair, patterns(24, (12,)), **{"seeds": [1, 2], "epochs": 1} | settings)


def test_a_loss_that_is_not_finite_names_seed_and_step():
    made = []

    def make_pair():
        made.append(Own())
        if len(made) == 2:  # of seed 8
            nn.init.constant_(made[-1].decode[0].weight, 1e38)
            nn.init.constant_(made[-1].decode[2].weight, 1e38)
        return made[-1]

    with pytest.raises(NonFiniteLoss, match="at step 1 got NaN or infinity with seed 8"):
        fit_seeds(make_pair, patterns(24, (12,)), seeds=[7, 8], epochs=1)


def test_random_numbers_go_on_as_if_nothing_happened():
    x = patterns(24, (12,))
    before = torch.get_rng_state()
    found = fit_seeds(Own, x, seeds=[1, 2], epochs=1)
    assert torch.equal(torch.get_rng_state(), before)
    again = fit_seeds(Own, x, seeds=[1, 2], epochs=1)
    torch.testing.assert_close(found[1].state, again[1].state, rtol=0, atol=0)
