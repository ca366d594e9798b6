"""A recorded function gives what the function gives: results, gradients, draws; else it runs plainly and says why."""

import functools
import random
from typing import NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from pyro_vae import CompiledELBO, Recorded, fit
from pyro_vae.compiled.graph import Graph

eager = {"backend": "eager"}


class Pair(nn.Module):
    """x ~ N(decode(z), 1), with an encoder that may be a recurrent network; the KL enters with a weight beta."""

    def __init__(self, recurrent=None):
        super().__init__()
        self.recurrent = recurrent and recurrent(1, 4, batch_first=True)
        self.encode, self.decode = nn.Linear(4 if recurrent else 5, 2), nn.Linear(1, 5)
        self.beta = 1.0

    def model(self, x):
        pyro.module("pair", self)
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=self.beta):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decode(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        h = self.recurrent(x[..., None])[0][:, -1] if self.recurrent else x
        loc, log_scale = self.encode(h).chunk(2, -1)
        with pyro.plate("data", len(x)), poutine.scale(scale=self.beta):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def data(seed=0, count=12):
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


def test_a_pure_function_is_answered_by_its_graph_from_the_first_call_on():
    """bfloat16 tells which of the two paths answered."""
    net = nn.Linear(5, 3)
    usual, pure = (Recorded(net, [net], **eager, precision="bf16", pure=pure) for pure in (False, True))
    with torch.no_grad():
        for count in (12, 7):
            x = data(count=count)
            later = [usual(x) for _ in range(3)][-1]
            assert not torch.equal(later, net(x))
            assert torch.equal(pure(x), later)
            assert torch.equal(pure(x), later)
    assert usual.num_graphs == pure.num_graphs == 2


# -------------------------------------------------------------------------------------- what it returns


class Both(NamedTuple):
    mean: torch.Tensor
    label: torch.Tensor


FORMS = {
    "tensor": lambda net, x: net(x),
    "tuple": lambda net, x: (net(x), x.sum(0)),
    "nested": lambda net, x: {"mean": [net(x)], "label": (net(x).argmax(-1), torch.randn(3))},
    "named": lambda net, x: Both(net(x), net(x) > 0),
    "argument and parameter": lambda net, x: (x, net.bias),
}


@pytest.mark.parametrize("form", FORMS)
def test_results_have_the_form_that_the_function_gives_them(form):
    net = nn.Linear(5, 3)
    recorded = Recorded(lambda x: FORMS[form](net, x), [net], **eager)
    with torch.no_grad():
        for seed in range(4):
            torch.manual_seed(seed)
            found = recorded(data(seed))
            torch.manual_seed(seed)
            expected = FORMS[form](net, data(seed))
            assert type(found) is type(expected)
            torch.testing.assert_close(found, expected)
    assert recorded.num_graphs == 1
    assert repr(recorded).endswith("backend='eager', precision='fp32'; 1 graphs so far)")


def test_compiled_it_gives_the_same():
    net = nn.Linear(5, 3)

    def predict(x, *, scale):
        return {"mean": net(x) * scale, "draw": net(x) + torch.randn(len(x), 3)}

    recorded = Recorded(predict, [net])
    with torch.no_grad():
        for seed in range(4):
            torch.manual_seed(seed)
            found = recorded(data(seed), scale=torch.tensor(float(seed)))
            torch.manual_seed(seed)
            torch.testing.assert_close(found, predict(data(seed), scale=torch.tensor(float(seed))))
    assert recorded.num_graphs == 1
    assert recorded.compile_seconds > 0


@pytest.mark.parametrize("inside", [False, True])
def test_gradients_of_a_loss_reach_parameters_and_arguments(inside):
    """By .backward() on the result or inside; also of an argument that comes from other parameters."""
    net, before = nn.Linear(5, 3), nn.Linear(5, 5)

    def loss(x):
        value = net(x).square().sum()
        if inside:
            (2 * value).backward()
        return value

    recorded, gradients = Recorded(loss, [net], **eager), {}
    for function in (loss, recorded):
        torch.manual_seed(1)
        for module in (net, before):
            nn.init.normal_(module.weight)
        for seed in range(5):
            value = function(before(data(seed)).tanh())
            if not inside:
                (2 * value).backward()
            with torch.no_grad():  # so that saved values of an earlier call would show
                before.weight += 0.1 * torch.randn_like(before.weight)
        gradients[function] = [module.weight.grad.clone() for module in (net, before)]
        net.zero_grad()
        before.zero_grad()
    torch.testing.assert_close(gradients[recorded], gradients[loss])
    assert recorded.num_graphs == 1


def test_what_has_no_recorded_history_says_so_when_asked_for_gradients():
    net = nn.Linear(5, 3)
    recorded = Recorded(net, [net], **eager)
    for _ in range(3):
        found = recorded(data())
    with pytest.raises(RuntimeError, match=r"Expected .backward\(\) on the one number that a recorded"):
        found.sum().backward()
    loss = Recorded(lambda x: net(x).sum(), [net], **eager)
    values = [loss(data()) for _ in range(3)]
    with pytest.raises(RuntimeError, match=r"Expected first derivatives of what a recorded function returns"):
        torch.autograd.grad(values[-1], [net.weight], create_graph=True)


def test_a_held_tensor_with_a_history_is_not_frozen():
    weight = nn.Parameter(torch.ones(5))
    held = 2 * weight

    recorded = Recorded(lambda x: (x * held).sum(), [], **eager)
    with pytest.warns(RuntimeWarning, match="a tensor that it holds is itself computed from others"):
        values = [recorded(data()) for _ in range(3)]
    sum(values).backward()
    torch.testing.assert_close(weight.grad, 3 * 2 * data().sum(0))


def test_errors_say_what_was_expected():
    with pytest.raises(TypeError, match="Expected a function and the modules that it uses; got 3"):
        Recorded(3, [])
    with pytest.raises(TypeError, match="Expected a function and the modules"):
        Recorded(len, ["net"])
    with pytest.raises(ValueError, match=r"Expected backend 'inductor' or 'eager'; got 'jit'\."):
        Recorded(len, [], backend="jit")


# -------------------------------------------------------------------------------------- what stays plain

PLAIN = {
    "a number beside it": (lambda x: (x, len(x)), "it returned tuple, not a tensor, or a tuple, list or dict of tens"),
    "random numbers of Python": (lambda x: x * random.random(), "it draws random numbers from Python or NumPy"),
    "random numbers of NumPy": (lambda x: x * np.random.rand(), "it draws random numbers from Python or NumPy"),  # noqa: NPY002
    "a decision": (lambda x: x if x.sum() > 0 else -x, "a value is read out of a tensor, to decide"),
}


@pytest.mark.parametrize("what", PLAIN)
def test_what_cannot_be_recorded_runs_plainly_with_one_warning(what):
    function, reason = PLAIN[what]

    def calls(function):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        return [function(data(seed)) for seed in range(4)]

    with pytest.warns(RuntimeWarning, match=reason) as caught:
        found = calls(Recorded(function, [], **eager))
    torch.testing.assert_close(found, calls(function))
    assert len(caught) == 1


@pytest.mark.parametrize("recurrent", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_networks_train_from_graphs(recurrent):
    states = []
    for objective in (Trace_ELBO(), CompiledELBO(Trace_ELBO(), **eager)):
        torch.manual_seed(0)
        pair = Pair(recurrent)
        result = fit(pair.model, pair.guide, data(), epochs=4, batch_size=4, objective=objective, progress=False)
        states.append(result.state)
    torch.testing.assert_close(states[1], states[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("after", [0, 2])
def test_a_replay_that_fails_is_undone_and_the_plain_path_takes_over(monkeypatch, after):
    """Here after it has drawn and changed buffers."""
    net, replays = nn.Sequential(nn.BatchNorm1d(5, momentum=0.5), nn.Dropout(0.5)), []

    def failing(graph, inputs):
        replays.append(run(graph, inputs))
        if len(replays) > after:
            raise RuntimeError("Expected a proper Tensor")
        return replays[-1]

    def calls(function):
        torch.manual_seed(0)
        net[0].reset_running_stats()
        found = [function(data(seed)).detach() for seed in range(6)]
        return found, net[0].running_mean.clone(), torch.get_rng_state()

    run, plain = Graph.__call__, calls(net)
    monkeypatch.setattr(Graph, "__call__", failing)
    failed = r"uncompiled: its graph failed with RuntimeError: Expected a proper Tensor"
    with pytest.warns(RuntimeWarning, match=failed) as caught:
        found = calls(Recorded(net, [net], **eager))
    torch.testing.assert_close(found, plain)
    assert len(caught) == 1
    assert "compiler" not in str(caught[0].message)
    assert len(replays) == after + 1


def test_an_error_of_the_values_is_the_functions_own():
    """A graph that fails where the function does, too, is no reason to warn."""
    recorded = Recorded(torch.linalg.cholesky, [], **eager)
    for _ in range(3):
        recorded(torch.eye(3))
    with pytest.raises(torch.linalg.LinAlgError, match="not positive-definite"):
        recorded(-torch.eye(3))
    torch.testing.assert_close(recorded(4 * torch.eye(3)), 2 * torch.eye(3))
    assert recorded.num_graphs == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device."),
        (
            RuntimeError("C++ compile error\n\nOutput:\nmain.cpp:1: fatal error: no room\n"),
            "main.cpp:1: fatal error: no room.",
        ),
    ],
)
def test_a_compiler_that_is_there_is_not_blamed(monkeypatch, error, said):
    def fails(*_):
        raise error

    monkeypatch.setattr("pyro_vae.compiled.graph.compiled_module", fails)
    recorded = Recorded(torch.tanh, [])
    with pytest.warns(RuntimeWarning, match="operation by operation: torch.compile failed with") as caught:
        found = [recorded(data(seed)) for seed in range(4)]
    torch.testing.assert_close(found, [data(seed).tanh() for seed in range(4)])
    assert len(caught) == 1
    assert str(caught[0].message).endswith(said)


# -------------------------------------------------------------------------------------- values outside a support


def bernoulli(validate=None):
    rate = pyro.param("rate", torch.tensor(0.3))

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(rate, validate_args=validate).expand([5]).to_event(1), obs=x)

    return model


def test_data_outside_the_support_are_refused_after_recording_as_before():
    with pyro.get_param_store().scope():
        model, elbo = bernoulli(), CompiledELBO(Trace_ELBO(), **eager)
        svi = SVI(model, lambda x: None, pyro.optim.Adam({"lr": 0.01}), elbo)
        binary = data().sign().clamp(min=0)
        for _ in range(4):
            svi.step(binary)
        state = pyro.param("rate").detach().clone()
        with pytest.raises(ValueError, match="support"):
            svi.step(binary + 50)
        assert torch.equal(pyro.param("rate"), state)
        svi.step(binary)
        assert elbo.num_graphs == 1


@pytest.mark.parametrize("late", [0, 3])
def test_where_validation_is_off_values_outside_stay_allowed(late):
    with pyro.get_param_store().scope():
        model, guide, elbo = bernoulli(validate=False), lambda x: None, CompiledELBO(Trace_ELBO(), **eager)
        for step in range(7):
            x = data().sign().clamp(min=0) + (0.5 if step >= late else 0.0)
            assert float(elbo.loss(model, guide, x)) == pytest.approx(Trace_ELBO().loss(model, guide, x))
        assert elbo.num_graphs == 1 + (late > 0)


# -------------------------------------------------------------------------------------- what Python holds


def train(objective, change, *, by="epoch"):
    torch.manual_seed(0)
    pair = Pair()

    def on_step(step, metrics):
        if by == "step" or "epoch" in metrics:
            change(pair, step)

    return fit(
        pair.model, pair.guide, data(), epochs=5, batch_size=4, objective=objective, progress=False, on_step=on_step
    ).state


@functools.cache
def trained_plainly(change, by):
    return train(Trace_ELBO(), change, by=by)


def keep(pair, step):
    pass


def raise_beta(pair, step):
    pair.beta = 1.0 + step / 10


def grow(pair, step):
    pair.beta = torch.tensor(1.0 + step / 10)


@pytest.mark.parametrize("change", [raise_beta, grow])
@pytest.mark.parametrize("by", ["epoch", "step"])
def test_a_weight_raised_by_hand_counts_from_the_next_step_on(change, by):
    plain = trained_plainly(change, by)
    with pytest.warns(RuntimeWarning, match=r"uncompiled: Pair.beta keeps changing; hold it in a tensor") as caught:
        found = train(CompiledELBO(Trace_ELBO(), **eager), change, by=by)
    assert len(caught) == 1
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    constant = trained_plainly(keep, "epoch")
    assert not all(torch.allclose(constant[name], plain[name], rtol=1e-3) for name in plain)


def test_one_change_gets_a_graph_of_its_own_and_the_first_one_serves_again():
    pair = Pair()
    elbo = CompiledELBO(Trace_ELBO(), **eager)
    with pyro.get_param_store().scope():
        for step, beta in enumerate(3 * [1.0] + 3 * [0.5] + 3 * [1.0]):
            pair.beta = beta
            torch.manual_seed(step)
            found = float(elbo.loss(pair.model, pair.guide, data()))
            torch.manual_seed(step)
            assert found == pytest.approx(Trace_ELBO().loss(pair.model, pair.guide, data()), rel=1e-5)
    assert elbo.num_graphs == 2


def test_tensors_in_an_object_given_as_argument_are_not_frozen():
    class Batch:
        def __init__(self, x):
            self.x = x

    class Triple(tuple):
        pass

    batch, recorded = Batch(data()), Recorded(lambda batch: batch.x.sum(), [], **eager)
    by_tuple = Recorded(lambda triple: triple[0].sum(), [], **eager)

    def total(seed):
        batch.x = data(seed)
        return recorded(batch)

    with pytest.warns(RuntimeWarning, match=r"Batch.x keeps changing"):
        found = [total(seed) for seed in range(8)]
    assert found == [data(seed).sum() for seed in range(8)]
    assert [by_tuple(Triple([data(seed)])) for seed in range(4)] == found[:4]
    assert by_tuple.num_graphs == 0


def test_a_function_that_counts_its_own_calls_is_not_recorded():
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    counting, found = Counting(), []
    recorded = Recorded(counting, [counting], **eager)
    with pytest.warns(RuntimeWarning, match="each call changes Counting.calls, which a graph would not"):
        found = [recorded(torch.ones(())).item() for _ in range(5)]
    assert found == [1, 2, 3, 4, 5]
