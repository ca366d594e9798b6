"""What goes wrong with one tensor, tried with several: a right number, or the same sentence."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.transforms import planar
from pyro.infer import JitTrace_ELBO, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn
from torch.distributions import constraints

from pyro_vae import (
    CompiledELBO,
    KLWarmup,
    adam,
    annealed_log_marginal,
    compare,
    diagnose,
    fit,
    inference_gaps,
    log_marginal,
    sample,
)

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
N = 12
SHORT = {"num_temperatures": 2, "num_leapfrog": 1, "num_chains": 2, "num_warmup_chains": 1, "compile": False}


def train(model, guide, inputs, **settings):
    return fit(model, guide, inputs, **{"epochs": 1, "progress": False, "compile": False, **settings})


def annealed(model, guide, inputs):
    return annealed_log_marginal(model, guide, inputs, start="prior", **SHORT)


def gaps(model, guide, inputs):
    return inference_gaps(model, guide, inputs, torch.zeros(N), num_steps=1, num_samples=2)


EVERYWHERE = pytest.mark.parametrize("use", [train, log_marginal, annealed, diagnose, gaps])


@pytest.fixture
def data():
    return torch.randn(N), torch.randn(N)


class Shifted(nn.Module):
    """z ~ N(0, 1), `observe` says what is seen of z + y; the guide is the posterior of x ~ N(z + y, 1)."""

    def __init__(self, observe=lambda loc, x: pyro.sample("x", dist.Normal(loc, 1.0), obs=x)):
        super().__init__()
        self.observe, self.slope = observe, nn.Parameter(torch.tensor(0.5))

    def model(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            self.observe(pyro.sample("z", dist.Normal(0.0, 1.0)) + y, x)

    def guide(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.slope * (x.reshape(len(x), -1)[:, 0] - y), 0.5**0.5))


def log_law(x, y, variance=2.0):
    return dist.Normal(y, variance**0.5).log_prob(x).double()


def assert_right(result, truth):
    assert ((result.log_prob - truth).abs() < 5 * result.standard_error + 1e-4).all()


# What is refused, everywhere in the same words


@EVERYWHERE
def test_a_model_that_observes_nothing(use, data):
    pair = Shifted(lambda loc, x: dist.Normal(loc, 1.0).log_prob(x))
    with pytest.raises(ValueError, match="Expected a model that observes the data"):
        use(pair.model, pair.guide, data)


@EVERYWHERE
def test_a_dimension_that_no_plate_holds(use, data):
    pair = Shifted(lambda loc, x: pyro.sample("x", dist.Normal(loc, 1.0), obs=x))
    with pytest.raises(ValueError, match="Expected a log-probability of shape"):
        use(pair.model, pair.guide, (data[0][:, None], data[1]))


@EVERYWHERE
@pytest.mark.parametrize("wrong", [0.4, 3.0])
def test_one_value_outside_the_support(use, data, wrong):
    pair = Shifted(lambda loc, x: pyro.sample("x", dist.Bernoulli(logits=loc, validate_args=False), obs=x))
    x = torch.ones(N)
    x[7] = wrong
    with pytest.raises(ValueError, match=rf"Expected data in the support of site 'x'.*values such as {wrong:.4g}"):
        use(pair.model, pair.guide, (x, data[1]))


@pytest.mark.parametrize("use", [train, log_marginal, diagnose, gaps])
def test_guides_with_parameters_by_place(use, data):
    pair = Shifted()
    with pytest.raises(ValueError, match="got an AutoGuide"):
        use(pair.model, AutoNormal(pair.model), data)


def test_values_that_recorded_steps_would_not_look_at(data):
    pair = Shifted(lambda loc, x: pyro.sample("x", dist.Bernoulli(logits=loc), obs=x))
    x = torch.ones(400).index_fill(0, torch.tensor([377]), 0.5)
    with pytest.raises(ValueError, match=r"values such as 0\.5"):
        log_marginal(pair.model, pair.guide, (x, torch.zeros(400)), estimator="guide", compile=True, num_samples=4)


def test_a_traced_objective_with_a_warm_up(data):
    pair = Shifted()
    objective = JitTrace_ELBO(ignore_jit_warnings=True)
    with pytest.raises(ValueError, match="got JitTrace_ELBO, which keeps those of its first call"):
        train(pair.model, pair.guide, data, objective=objective, kl_weight=KLWarmup(epochs=1), epochs=2)


def test_draws_of_what_reads_its_own_data(data):
    def model(x, y):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("first", dist.Normal(z + y, 1.0), obs=x[:, 0])
            pyro.sample("second", dist.Normal(x[:, 0], 1.0), obs=x[:, 1])

    with pytest.raises(ValueError, match="reads nothing off its argument"):
        sample(model, (torch.randn(N, 2), data[1]), site="second")


# What is right


def test_parameters_of_a_module_that_calls_param(data):
    class Param(Shifted):
        def model(self, x, y):
            slope = pyro.param("effect", torch.tensor(0.0))
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)) + slope * y, 1.0), obs=x)

        def guide(self, x, y):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(self.slope * (x - pyro.param("effect", torch.tensor(0.0)) * y), 0.5**0.5))

    torch.manual_seed(1)
    y = torch.randn(400)
    x, pair = 3 * y + torch.randn(400) * 2**0.5, Param()
    result = train(pair.model, pair.guide, (x, y), validation=(x, y), epochs=60, batch_size=400, optimizer=adam(0.1))
    effect = result.state["param.effect"]
    assert effect == pytest.approx(3.0, abs=0.3)
    assert_right(log_marginal(result.model, result.guide, (x, y), num_samples=100), log_law(x, effect * y))


def test_only_constrained_parameters(data):
    def model(x, y):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)) + y, scale), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal((x - y) / 2, 0.5**0.5))

    assert train(model, guide, data, optimizer=adam(0.1)).state["param.scale"] != 0


def test_networks_that_are_hidden_are_in_evaluation_mode(data):
    hidden = {"dropout": nn.Dropout(0.9)}
    pair = Shifted(lambda loc, x: pyro.sample("x", dist.Normal(hidden["dropout"](loc), 1.0), obs=x))
    assert_right(log_marginal(pair.model, pair.guide, data, num_samples=20), log_law(*data))


def test_batch_norm_and_a_last_batch_of_one(data):
    class Normed(Shifted):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def guide(self, x, y):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(self.norm((x - y)[:, None])[:, 0], 1.0))

    pair = Normed()
    with pytest.warns(UserWarning, match="last two batches"):
        result = train(pair.model, pair.guide, (torch.randn(9), torch.randn(9)), batch_size=4)
    assert math.isfinite(result.history[0]["loss"])
    assert_right(log_marginal(pair.model, pair.guide, data, num_samples=200), log_law(*data))


def test_flows_without_inverse(data):
    flow = planar(1)

    def guide(x, y):
        loc = ((x - y) / 2)[:, None]
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.TransformedDistribution(dist.Normal(loc, 0.9).to_event(1), [flow]))

    def model(x, y):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0] + y, 1.0), obs=x)

    assert_right(log_marginal(model, guide, data, num_samples=500, estimator="guide"), log_law(*data))


def test_a_recurrent_network_recorded_and_plain():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.head, self.decoder = nn.LSTM(1, 3, batch_first=True), nn.Linear(3, 1), nn.Linear(1, 4)

        def model(self, x, y):
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.decoder(z) + y[:, None], 1.0).to_event(1), obs=x)

        def guide(self, x, y):
            with pyro.plate("data", len(x), dim=-1):
                last = self.network((x - y[:, None])[..., None])[0][:, -1]
                pyro.sample("z", dist.Normal(self.head(last), 1.0).to_event(1))

    inputs, losses = (torch.randn(24, 4), torch.randn(24)), []
    for objective in (Trace_ELBO(), CompiledELBO(Trace_ELBO(), backend="eager")):
        torch.manual_seed(0)
        pair = Reads()
        result = train(pair.model, pair.guide, inputs, objective=objective, epochs=3, batch_size=8)
        losses.append(result.history[-1]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# Pairs that branch on their whole batch


def semi_supervised(x, y):
    """Labels are 0 or 1, -1 where there is none: seen where all of the batch have one, else left out."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        if bool((y >= 0).all()):
            pyro.sample("y", dist.Bernoulli(torch.tensor(0.3)), obs=y.float())


def of_semi_supervised(x, y):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x / 2, 0.8))


LABELS = {
    "all": torch.arange(N) % 2,
    "none": torch.full((N,), -1),
    "one without, in the middle": (torch.arange(N) % 2).index_fill(0, torch.tensor([5]), -1),
    "one with": torch.full((N,), -1).index_fill(0, torch.tensor([5]), 1),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("settings", [{}, {"chunk_size": 40}, {"only": [5, 2]}])
@pytest.mark.parametrize("estimator", ["guide", "auto"])
def test_each_data_point_as_if_alone(labels, settings, estimator, data):
    x, y = data[0], LABELS[labels]
    truth = log_law(x, 0.0) + torch.where(y == 1, math.log(0.3), torch.where(y == 0, math.log(0.7), 0.0))
    result = log_marginal(semi_supervised, of_semi_supervised, (x, y), num_samples=200, estimator=estimator, **settings)
    assert_right(result, truth[settings.get("only", slice(None))])


@pytest.mark.parametrize("labels", ["one without, in the middle", "one with"])
def test_others_refuse_a_mixture(labels, data):
    inputs = data[0], LABELS[labels]
    for use in (annealed, diagnose, gaps):
        with pytest.raises(ValueError, match="scores each data point by itself"):
            use(semi_supervised, of_semi_supervised, inputs)


# A data plate with a stated total size


@pytest.mark.parametrize("total", [N, 10_000])
@pytest.mark.parametrize("stated_by", ["model", "guide", "both"])
def test_a_total_size(total, stated_by, data):
    """Nats per data point, whoever states it, also where the batch is taken from the plate."""

    def plate(part, x):
        size = total if stated_by in (part, "both") and len(x) < total else None
        return pyro.plate("data", len(x), dim=-1) if size is None else pyro.plate("data", size, subsample=x, dim=-1)

    def model(x, y):
        with plate("model", x) as batch:
            batch = batch if batch.is_floating_point() else x
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)) + y, 1.0), obs=batch)

    def guide(x, y):
        with plate("guide", x) as batch:
            batch = batch if batch.is_floating_point() else x
            slope = pyro.param("slope", torch.tensor(0.5))
            pyro.sample("z", dist.Normal(slope * (batch - y), 0.5**0.5))

    result = train(model, guide, data, validation=data, batch_size=4, optimizer=lambda p: torch.optim.SGD(p, lr=1e-12))
    truth = log_law(*data)
    assert result.history[0]["loss"] == pytest.approx(-truth.mean().item(), abs=1e-4)
    for estimator in ("guide", "auto"):
        assert_right(log_marginal(result.model, result.guide, data, num_samples=3, estimator=estimator), truth)
    assert diagnose(result.model, result.guide, data).elbo.value == pytest.approx(truth.mean().item(), abs=1e-4)


def test_masks_and_conditions_around_the_pair(data):
    """Handlers outside a pair of several tensors."""
    pair = Shifted()
    model, guide = (poutine.mask(half, mask=torch.tensor(True)) for half in (pair.model, pair.guide))
    assert_right(log_marginal(model, guide, data, num_samples=20), log_law(*data))


# What is noticed


def test_a_weight_raised_by_hand_while_compiled(data):
    """The same steps as plain ones, with a warning that names the number."""

    def trained(objective):
        pair = Shifted()
        pair.weight = 1.0

        def model(x, y):
            with poutine.scale(scale=pair.weight):
                pair.model(x, y)

        def raised(step, metrics):
            pair.weight += 0.5

        settings = {"objective": objective, "epochs": 12, "on_step": raised, "optimizer": adam(0.1)}
        pair.slope.data.fill_(0.5)
        fit(model, pair.guide, data, progress=False, seed=0, **settings)
        return pair.slope.detach()

    plain = trained(Trace_ELBO())
    with pytest.warns(RuntimeWarning, match=r"weight keeps changing"):
        recorded = trained(CompiledELBO(Trace_ELBO(), backend="eager"))
    torch.testing.assert_close(recorded, plain)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x, y: (x, y.flip(0)), "other ones"),
        (lambda x, y: (x.flip(0), y.flip(0)), "the same ones in another order"),
    ],
)
def test_results_of_other_inputs_are_not_compared(data, change, text):
    pair = Shifted()
    results = [log_marginal(pair.model, pair.guide, x, num_samples=2, estimator="guide") for x in (data, change(*data))]
    with pytest.raises(ValueError, match=text):
        compare({"a": results[0], "b": results[1]})
