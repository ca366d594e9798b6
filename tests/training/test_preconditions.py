"""What `fit` takes, what it refuses in a sentence before the first step, and batches that a pair refuses."""

import functools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import Own, bound, patterns
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule, PyroParam
from torch import nn
from torch.distributions import constraints

from pyro_vae import (
    MLP,
    VAE,
    CompiledELBO,
    Gaussian,
    GaussianEncoder,
    KLWarmup,
    OneOptimizer,
    Poisson,
    StandardNormal,
    adam,
    fit,
)
from pyro_vae.data import Data
from pyro_vae.training.device import choose_device

train = functools.partial(fit, progress=False, batch_size=8)


def eager():
    return CompiledELBO(Trace_ELBO(), backend="eager")


def losses(pair, **arguments):
    return [entry["loss"] for entry in train(pair.model, pair.guide, pair.x, epochs=2, **arguments).history]


# Arguments


@pytest.mark.parametrize("name", ["data", "validation"])
@pytest.mark.parametrize(
    ("make", "text"),
    [(lambda x: x.tolist(), r"list\."), (lambda x: x.to_sparse(), r"layout torch.sparse_coo\.")],
)
def test_other_containers_are_refused(name, make, text):
    pair = bound(Own())
    given = {"data": pair.x, "validation": pair.x} | {name: make(pair.x)}
    with pytest.raises(TypeError, match=rf"Expected {name} to be a tensor or an array of numbers .*; got {text}"):
        train(pair.model, pair.guide, **given)


def test_validation_data_are_one_split():
    pair = bound(Own())
    digits = Data(name="", train=pair.x, validation=pair.x, test=pair.x, protocol="")
    with pytest.raises(TypeError, match=r"got pyro_vae\.data\.protocol\.Data\. Use what one of its splits "):
        train(pair.model, pair.guide, pair.x, validation=digits)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"epochs": 0}, r"Expected epochs >= 1; got 0\."),
        ({"epochs": 2.5}, r"Expected epochs to be a whole number >= 1; got 2\.5\."),
        ({"batch_size": 0}, r"Expected batch_size >= 1; got 0\."),
        ({"batch_size": "8"}, r"Expected batch_size to be a whole number >= 1; got '8'\."),
        ({"patience": 2}, r"Expected validation data with patience=2; got none\. Give validation=\.\.\., or leave"),
        ({"patience": 0}, r"Expected patience >= 1; got 0\."),
        (
            {"validation": torch.zeros(0, 12)},
            r"Expected validation to hold at least one data point",
        ),
        ({"validation": torch.zeros(2, 3)}, r"validation data points of shape \(12,\), as in training; got \(3,\)\."),
        ({"validation": torch.full((2, 12), math.inf)}, "finite values in validation; got 24 NaN or infinite ones"),
        ({"clip_norm": 0.0}, r"Expected clip_norm > 0, or None for no clipping; got 0\.0\."),
        ({"kl_weight": -1.0}, r"Expected a finite KL weight >= 0; got -1\.0\."),
        ({"device": "no_such_device"}, "got 'no_such_device': this machine has no such device"),
    ],
)
def test_errors_say_what_was_expected(arguments, text):
    pair = bound(Own())
    with pytest.raises(ValueError, match=text):
        train(pair.model, pair.guide, pair.x, **arguments)


def test_no_data_and_data_with_nan_are_errors():
    pair = bound(Own())
    with pytest.raises(ValueError, match=r"Expected data to hold at least one data point"):
        train(pair.model, pair.guide, pair.x[:0])
    pair.x[3, 4] = math.nan
    with pytest.raises(ValueError, match=r"finite values in data; got 1 NaN or infinite ones\. Remove or replace"):
        train(pair.model, pair.guide, pair.x)


def test_an_optimizer_of_pyro_is_taken_where_its_meaning_is_plain():
    given = [
        adam(0.03),
        pyro.optim.AdamW({"lr": 0.03, "weight_decay": 0.0}),
        functools.partial(torch.optim.Adam, lr=0.03),
    ]
    runs = []
    for optimizer in given:
        torch.manual_seed(0)
        runs.append(losses(bound(Own()), optimizer=optimizer))
    assert runs[1] == pytest.approx(runs[0], rel=1e-5)
    assert runs[2] == pytest.approx(runs[0], rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda pair: torch.optim.Adam(pair.model.__self__.parameters()),
        lambda pair: pyro.optim.Adam({"lr": 1e-3}, {"clip_norm": 1.0}),
        lambda pair: pyro.optim.Adam(lambda name: {"lr": 1e-3}),
        lambda pair: pyro.optim.ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {}, "gamma": 0.1}),
        lambda pair: OneOptimizer(adam(), clip_norm=1.0),
        lambda pair: "adam",
    ],
)
def test_other_optimizers_are_refused(make):
    pair = bound(Own())
    with pytest.raises(TypeError, match=r"Expected optimizer to be a function that makes .* Give adam\(lr=1e-3\)"):
        train(pair.model, pair.guide, pair.x, optimizer=make(pair))


def test_a_scheduler_is_a_function_too():
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    made = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    pair = bound(Own())
    with pytest.raises(TypeError, match=r"Expected a function that makes a scheduler .* got ExponentialLR"):
        train(pair.model, pair.guide, pair.x, scheduler=made)


@pytest.mark.parametrize("kl_weight", ["0.5", KLWarmup, torch.ones(2), None])
def test_a_kl_weight_is_a_number(kl_weight):
    pair = bound(Own())
    with pytest.raises(TypeError, match=r"a number or a KLWarmup; got .*\. Give 1\.0, or"):
        train(pair.model, pair.guide, pair.x, kl_weight=kl_weight)


def test_gradients_that_the_caller_switched_off_are_switched_on():
    pair = bound(Own())
    before = pair.model.__self__.decode[0].weight.detach().clone()
    with torch.no_grad():
        train(pair.model, pair.guide, pair.x, epochs=1)
        assert not torch.is_grad_enabled()
    assert not torch.equal(pair.model.__self__.decode[0].weight, before)


@pytest.mark.parametrize("lr", [-1e-3, math.nan, math.inf])
def test_a_learning_rate_is_a_finite_number(lr):
    with pytest.raises(ValueError, match=rf"Expected a finite learning rate >= 0; got lr={lr}\."):
        adam(lr)


def test_an_objective_may_be_given_as_its_class():
    runs = []
    for objective in (TraceMeanField_ELBO, TraceMeanField_ELBO()):
        torch.manual_seed(0)
        runs.append(losses(bound(Own()), objective=objective))
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("cuda", "movable", "expected"), [(True, True, "cuda"), (True, False, "meta"), (False, True, "meta")]
)
def test_auto_is_cuda_where_there_is_one_and_the_pair_can_be_moved(monkeypatch, cuda, movable, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    where = {"otherwise": torch.device("meta"), "movable": movable}
    assert choose_device("auto", **where).type == expected
    assert choose_device("cpu", **where) == choose_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_a_gpu_cuda_is_refused_in_a_sentence():
    pair = bound(Own())
    with pytest.raises(ValueError, match=r"Expected device cpu, cuda or auto; got 'cuda': this machine"):
        train(pair.model, pair.guide, pair.x, device="cuda")


# Something to train


def constant_model(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(0.0, 1.0).expand([12]).to_event(1), obs=x)


@pytest.mark.parametrize("kind", ["functions", "frozen"])
def test_nothing_to_train_is_an_error(kind):
    x, model, guide = patterns(8, (12,)), constant_model, lambda x: None
    if kind == "frozen":
        module = Own().requires_grad_(False)
        model, guide = module.model, module.guide
    with pytest.raises(ValueError, match="Expected something to train; got a model and a guide without trainable"):
        train(model, guide, x)


class Rate(PyroModule):
    """Its one parameter is constrained."""

    def __init__(self):
        super().__init__()
        self.rate = PyroParam(torch.tensor(3.0), constraint=constraints.positive)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Exponential(self.rate), obs=x)

    def guide(self, x):
        pass


def rate_model(x):
    rate = pyro.param("rate", torch.tensor(3.0), constraint=constraints.positive)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Exponential(rate), obs=x)


@pytest.mark.parametrize("kind", ["functions", "PyroModule"])
def test_constrained_parameters_alone_are_trained(kind):
    """Towards the most likely rate, 1 / mean."""
    x = torch.distributions.Exponential(0.5).sample((64,))
    module = Rate()
    pair = (rate_model, lambda x: None) if kind == "functions" else (module.model, module.guide)
    result = train(*pair, x, batch_size=64, epochs=300, optimizer=adam(0.05))
    (log_rate,) = result.state.values()
    assert log_rate.exp().item() == pytest.approx(1 / x.mean().item(), rel=1e-3)


# Supports


@pytest.mark.parametrize("where", ["data", "validation"])
@pytest.mark.parametrize("objective", [Trace_ELBO, eager])
def test_one_value_outside_the_support_anywhere_is_refused_before_the_first_step(where, objective):
    pair = bound(Own())
    given = {"data": pair.x.clone(), "validation": pair.x.clone()}
    given[where][-1, 4] = 7.5  # in the last batch
    before = {name: p.detach().clone() for name, p in pair.model.__self__.named_parameters()}
    with pytest.raises(ValueError, match=r"support of site 'x', 0 or 1; got values such as 7\.5\. Grey pixels"):
        train(pair.model, pair.guide, **given, objective=objective(), on_step=lambda *_: pytest.fail("a step"))
    assert all(torch.equal(p, before[name]) for name, p in pair.model.__self__.named_parameters())


def counts(likelihood):
    px = likelihood(4)
    vae = VAE(
        StandardNormal(2),
        GaussianEncoder(4, 2, network=functools.partial(MLP, hidden=())),
        MLP(2, px.feature_shape),
        px,
    )
    return vae.model, vae.guide


def test_what_the_transform_of_batches_makes_is_looked_at():
    x = torch.poisson(torch.full((20, 4), 3.0))
    train(*counts(Poisson), x, epochs=1)
    with pytest.raises(ValueError, match=r"support of site 'x', counts 0, 1, .*; got values such as \d\.5"):
        train(*counts(Poisson), x, batch_transform=lambda batch: batch + 0.5)


def test_all_data_are_looked_at_and_random_numbers_left_alone():
    calls = []
    model, guide = counts(Gaussian)

    def noted(x):
        calls.append(len(x))
        return model(x)

    x = torch.randn(40, 4)
    losses = []
    for validation in (None, x):  # the more there is to look at, the same noise in the steps
        torch.manual_seed(3)
        pair = counts(Gaussian)
        losses.append(train(*pair, x, validation=validation, epochs=1, seed=None).history[0]["loss"])
    assert losses[0] == losses[1]
    train(functools.wraps(model)(noted), guide, x, epochs=1, seed=None)
    assert calls[-10:] == [8] * 10  # all batches before the first step, and the steps


# The last batch of an epoch


def normed(*, size=8):
    """A pair with batch norm, and what its guide was called with in training."""
    encoder = nn.Sequential(
        nn.Linear(3, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Linear(size, 2), nn.Unflatten(-1, (2, 1))
    )
    vae = VAE(StandardNormal(1), GaussianEncoder(3, 1, network=lambda *_: encoder), MLP(1, (3,)), Gaussian(3))
    return vae, encoder[1]


def test_a_last_batch_that_batch_norm_refuses_is_shared_out():
    vae, norm = normed()
    x, seen, sizes = torch.randn(17, 3), [], []

    def note(batch):
        if norm.training and torch.is_grad_enabled():
            seen.append(batch)
            sizes.append(len(batch))
        return batch

    told = []
    with pytest.warns(
        UserWarning, match=r"refuses the last batch of an epoch, of size 1: Expected more than 1 value"
    ) as caught:
        result = train(
            vae.model, vae.guide, x, epochs=2, batch_transform=note, on_step=lambda _, entry: told.append(entry)
        )
    assert str(caught[0].message).endswith("The last two batches share their data points instead: 5 and 4.")
    assert sizes[1:] == [8, 5, 4] * 2  # after the first look at the pair
    assert torch.equal(torch.cat(seen[1:4]).sort(0).values, x.sort(0).values)
    assert norm.num_batches_tracked == 6  # the trial left no trace
    assert told[2]["loss"] * 17 > told[0]["loss"] * 8 + told[1]["loss"] * 5  # each loss is of its own batch's size
    assert [entry["step"] for entry in result.history] == [3, 6]


def test_a_pair_that_takes_whole_batches_alone_is_refused():
    pair = bound(Own())
    weights = torch.ones(8, 1)

    def model(x):
        return pair.model(x * weights)

    with pytest.raises(ValueError, match=r"size 4: The size of tensor .* Choose a batch_size that divides .*, 20\."):
        train(functools.wraps(pair.model)(model), pair.guide, pair.x[:20])
    train(functools.wraps(pair.model)(model), pair.guide, pair.x[:16], epochs=1)


# Modes


@pytest.mark.parametrize("whole", [False, True])
def test_frozen_parts_stay_frozen_and_a_pair_in_evaluation_mode_is_trained(whole):
    vae, norm = normed()
    (vae if whole else vae.encoder).eval()
    modes = []
    note = lambda *_: modes.append((vae.training, norm.training, vae.decoder.training))  # noqa: E731
    train(vae.model, vae.guide, torch.randn(16, 3), epochs=1, on_step=note)
    assert modes == [(True, whole, True)] * 2
    assert norm.num_batches_tracked == (2 if whole else 0)
    assert (vae.training, norm.training) == (not whole, False)


def test_a_frozen_module_of_functions_stays_frozen():
    encoder, decoder = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)), nn.Linear(2, 3)
    encoder.eval().requires_grad_(False)
    modes = []

    def model(x):
        modes.append((encoder.training, decoder.training))
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(decoder(encoder(x)), 1.0).to_event(1), obs=x)

    train(model, lambda x: None, torch.randn(16, 3), epochs=1)
    assert set(modes) == {(False, False), (False, True)}
