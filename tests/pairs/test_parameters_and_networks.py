"""What a pair has learned is what it is evaluated with, wherever its parameters and networks are kept."""

import functools
import threading

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn
from torch.distributions import constraints

from pyro_vae import adam, diagnose, fit, log_marginal, sample
from pyro_vae.pairs.contexts import evaluating, seeded
from pyro_vae.pairs.modules import modules_of
from pyro_vae.pairs.scoring import score
from pyro_vae.pairs.state import with_store
from pyro_vae.runs.folder import load_params, save_weights, write_about

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")

# Parameters of pyro.param beside those of modules


class Loose(nn.Module):
    """x ~ N(shift, 1 + scale^2), so that the best scale and shift are known; both are no parameters of the module."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.1))

    def model(self, x):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        shift = pyro.param("shift", lambda: torch.tensor(0.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(shift + pyro.sample("z", dist.Normal(0.0, 1.0)), scale), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.slope * (x - pyro.param("shift", torch.tensor(0.0))), 0.9))


class LoosePyro(pyro.nn.PyroModule):
    def __init__(self):
        super().__init__()
        self.slope = pyro.nn.PyroParam(torch.tensor(0.1), constraint=constraints.positive)

    model, guide = Loose.model, Loose.guide


def functions():
    slope = torch.tensor(0.1)

    class Free:
        def guide(self, x):
            self.slope = pyro.param("slope", slope)
            Loose.guide(self, x)

        model = Loose.model

    return Free()


MAKERS = pytest.mark.parametrize("make", [Loose, LoosePyro, functions])


@pytest.fixture
def x():
    return 2 + 3 * torch.randn(200)


@MAKERS
def test_fit_validates_and_returns_what_it_has_trained(make, x):
    pair = make()
    result = fit(pair.model, pair.guide, x, validation=x, epochs=30, optimizer=adam(0.1), progress=False)
    scale, shift = result.state["param.scale"].exp(), result.state["param.shift"]
    assert min(scale, shift) > 1.2  # from 1 and 0
    truth = dist.Normal(shift, (1 + scale**2).sqrt()).log_prob(x)
    found = log_marginal(result.model, result.guide, x, num_samples=500, estimator="guide")
    assert ((found.log_prob - truth) / found.standard_error).abs().max() < 5
    elbo = result.history[result.best_epoch - 1]["validation_elbo"]
    with evaluating(result.model, result.guide), seeded(0):
        assert score(result.model, result.guide, x).log_weight.mean().item() == pytest.approx(elbo, rel=1e-5)
    draws = x.repeat(16)
    with evaluating(result.model, result.guide), seeded(1):
        weights = score(result.model, result.guide, draws).log_weight.view(16, -1)
    found, expected = diagnose(result.model, result.guide, x, num_pool=0, num_samples=16).elbo, weights.mean().item()
    assert abs(found.value - expected) < 5 * 2**0.5 * found.monte_carlo_error
    _, means = sample(result.model, torch.zeros(2000))
    assert (means.mean() - shift).abs() < 5 / 2000**0.5
    assert not list(pyro.get_param_store().keys())
    with pytest.raises(ValueError, match=r"got \['scale', 'shift'.*\], which are bound to the result of a fit"):
        fit(result.model, result.guide, x, progress=False)


@MAKERS
def test_a_pair_that_was_not_trained_says_so(make, x):
    pair = make()
    for use in (
        lambda: log_marginal(pair.model, pair.guide, x, num_samples=2, estimator="guide"),
        lambda: sample(pair.model, x),
    ):
        with pytest.warns(UserWarning, match=r"parameters \[.*'shift'.*\] were not in the param store"):
            use()


@MAKERS
def test_parameters_trained_by_pyro_are_found_in_its_store(make, x, scope):
    pair = make()
    if make is Loose:
        pyro.module("pair", pair)
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(100):
        svi.step(x)
    scale, shift = pyro.param("scale").detach(), pyro.param("shift").detach()
    assert scale > 1.5
    found = log_marginal(pair.model, pair.guide, x, num_samples=500, estimator="guide")
    truth = dist.Normal(shift, (1 + scale**2).sqrt()).log_prob(x)
    assert ((found.log_prob - truth) / found.standard_error).abs().max() < 5
    assert set(scope.keys()) >= {"scale", "shift"}


@MAKERS
def test_a_state_brings_its_constraints_or_takes_those_of_the_pair(make, x):
    pair = make()
    for known in ({}, {"scale": constraints.positive, "shift": constraints.real, "slope": constraints.real}):
        params = {"scale": torch.tensor(4.0).log(), "shift": torch.tensor(7.0), "slope": torch.tensor(0.2)}
        model, guide = with_store(pair.model, pair.guide, {"params": params, "constraints": known})
        for _ in range(2):
            with evaluating(model, guide), seeded(0):
                trace = pyro.poutine.trace(model).get_trace(x)
            assert trace.nodes["x"]["fn"].scale == pytest.approx(4)
            torch.testing.assert_close(trace.nodes["x"]["fn"].loc, 7 + trace.nodes["z"]["value"])


def test_a_run_folder_brings_them_back(x, tmp_path):
    pair = Loose()
    result = fit(pair.model, pair.guide, x, epochs=5, optimizer=adam(0.1), progress=False)
    expected = log_marginal(result.model, result.guide, x, num_samples=10, estimator="guide").log_prob
    save_weights(tmp_path, pair, result.state)
    (tmp_path / "settings.yaml").write_text("")
    write_about(tmp_path, {})
    loaded = Loose()
    loaded.load_state_dict(pair.state_dict())
    load_params(tmp_path, loaded, x.device)
    assert torch.equal(
        log_marginal(loaded.model, loaded.guide, x, num_samples=10, estimator="guide").log_prob, expected
    )
    assert modules_of(loaded.model, loaded.guide) == {"pair": loaded}
    (tmp_path / "params.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"params\.safetensors"):
        load_params(tmp_path, loaded, x.device)


def test_a_parameter_by_name_alone_needs_its_constraint_first():
    def model(x):
        pyro.param("scale")

    named, _ = with_store(model, model, {"params": {"scale": torch.zeros(())}, "constraints": {}})
    with pytest.raises(ValueError, match=r"initial value and the constraint of the parameter 'scale'"):
        named(None)


# Networks out of sight


def dropping():
    """z -> 2 z three times, with dropout, and a batch norm that does nothing in evaluation mode."""
    layer = nn.Linear(1, 3, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    return nn.Sequential(nn.Dropout(0.5), layer, nn.BatchNorm1d(3, eps=0.0))


def pair_of(decode):
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            mean = decode(z.reshape(-1, 1)).view(*z.shape[:-1], 3)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(2 * x.sum(-1, keepdim=True) / 13, 0.4).to_event(1))

    return model, guide


class Holder:
    __slots__ = ("network",)  # nothing to search

    def __init__(self, network):
        self.network = network

    def decode(self, z):
        return self.network(z)


class CallableObject:
    def __init__(self, network):
        self.parts = {"networks": [network]}

    def __call__(self, z):
        return self.parts["networks"][0](z)


def in_a_helper(network):
    def helper(z):
        return network(z)

    return lambda z: helper(z)


HIDDEN = {
    "variable": lambda network: network,
    "dictionary": lambda network: functools.partial(lambda table, z: table["decode"](z), {"decode": network}),
    "helper": in_a_helper,
    "partial": lambda network: functools.partial(lambda n, z: n(z), network),
    "slots": lambda network: Holder(network).decode,
    "object": CallableObject,
    "wrapper": lambda network: functools.wraps(network.forward)(lambda z: network(z)),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_networks_are_evaluated_in_evaluation_mode(name):
    network = dropping()
    network[0].p = 0.9
    model, guide = pair_of(HIDDEN[name](network))
    x = torch.randn(20, 1) * 2 + torch.randn(20, 3)
    result = log_marginal(model, guide, x, num_samples=300, estimator="guide")
    truth = dist.MultivariateNormal(torch.zeros(3), torch.eye(3) + 4).log_prob(x)
    assert ((result.log_prob - truth) / result.standard_error).abs().max() < 5
    assert all(part.training for part in network.modules())
    assert network[2].num_batches_tracked == 0
    assert (list(modules_of(model, guide).values()) == [network]) == (name != "slots")


@pytest.mark.parametrize("name", HIDDEN)
def test_a_network_that_nobody_announces_is_refused(name):
    """It would stay as it is, while something else is trained."""
    network = nn.Linear(1, 3)
    model, guide = pair_of(HIDDEN[name](network))

    def trained(x):
        guide(x + pyro.param("shift", torch.zeros(())))

    with pytest.raises(ValueError, match=r"got a Linear that .* pyro\.module"):
        fit(model, trained, torch.randn(20, 3), epochs=1, progress=False)
    network.requires_grad_(False)
    assert fit(model, trained, torch.randn(20, 3), epochs=1, progress=False).best_epoch == 1


def test_buffers_that_no_state_would_hold_are_refused():
    network = dropping()
    decode = Holder(network).decode
    model, guide = pair_of(decode)

    def announced(x):
        pyro.module("network", decode.__self__.network)
        model(x)

    with pytest.raises(ValueError, match=r"got a BatchNorm1d with buffers"):
        fit(announced, guide, torch.randn(20, 3), epochs=1, progress=False)


# Threads


def test_a_second_thread_is_refused():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2 + pyro.param("shift", torch.zeros(())), 1.0))

    calls = [
        lambda: log_marginal(model, guide, torch.zeros(2), num_samples=2, estimator="guide"),
        lambda: fit(model, guide, torch.zeros(2), epochs=1, progress=False),
        lambda: sample(model, torch.zeros(2)),
    ]
    errors = []

    def run():
        for call in calls:
            with pytest.raises(RuntimeError, match=r"^Expected one thread at a time; .* Use processes") as error:
                call()
            errors.append(error)

    for busy in (seeded(0), evaluating(model, guide)):
        with busy, seeded(1):  # in one thread, one inside the other
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
    assert len(errors) == 6
    assert fit(model, guide, torch.zeros(2), epochs=1, progress=False).best_epoch == 1
