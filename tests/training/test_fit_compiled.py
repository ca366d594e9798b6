"""`fit` and `log_marginal` give the same numbers compiled as plainly, choose when to compile, and stop in time."""

import dataclasses
import functools
import itertools
import math
import re
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS, LinearGaussian, Own, bound, functions_with_modules, patterns
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import nn

from pyro_vae import KLWarmup, NonFiniteLoss, adam, annealed_log_marginal, fit, log_marginal
from pyro_vae.compiled.elbo import CompiledELBO
from pyro_vae.compiled.recorded import Recorded
from pyro_vae.compiled.when_it_pays import compile_if_worthwhile
from pyro_vae.evidence import annealed_chains, sampler
from pyro_vae.pairs.modules import announcing, modules_of
from pyro_vae.training.optimizer import OneOptimizer
from pyro_vae.training.steps import Steps

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")  # of pairs that are not trained

train = functools.partial(fit, progress=False, batch_size=8)
CPU = torch.device("cpu")


def eager(objective=None, **options):
    return CompiledELBO(objective or Trace_ELBO(), backend="eager", **options)


def fresh(make):
    torch.manual_seed(3)
    return make()


def assert_same_run(found, expected, *, rel=1e-4):
    for mine, theirs in zip(found.history, expected.history, strict=True):
        for name in theirs.keys() - {"seconds"}:
            assert mine[name] == pytest.approx(theirs[name], rel=rel, abs=1e-4), name
    for name, value in found.state.items():
        torch.testing.assert_close(value, expected.state[name], rtol=1e-3, atol=1e-4)


# Training


@pytest.mark.filterwarnings("ignore:.* was not registered in the param store because requires_grad=False")
@pytest.mark.parametrize("part", ["encode", "decode"])
def test_frozen_parts_stay_and_the_others_learn_the_same(part):
    runs = []
    for objective in (Trace_ELBO(), eager()):
        pair = bound(fresh(Own))
        module = pair.model.__self__
        before = {name: p.clone() for name, p in module.get_submodule(part).requires_grad_(False).named_parameters()}
        runs.append(train(pair.model, pair.guide, pair.x[:21], epochs=3, objective=objective))
        assert before
        assert all(torch.equal(p, before[name]) for name, p in module.get_submodule(part).named_parameters())
    assert_same_run(runs[1], runs[0])


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_is_trained_to_the_same_parameters(name):
    runs = []
    for objective in (Trace_ELBO(), eager()):
        pair = fresh(PAIRS[name])
        runs.append(train(pair.model, pair.guide, pair.x[:16], epochs=3, objective=objective))
    assert_same_run(runs[1], runs[0])


@pytest.mark.parametrize(
    "objective", [TraceMeanField_ELBO, lambda: RenyiELBO(alpha=0, num_particles=2, vectorize_particles=True)]
)
def test_the_same_for_other_objectives(objective):
    runs = []
    for chosen in (objective(), eager(objective())):
        pair = fresh(lambda: bound(Own()))
        runs.append(train(pair.model, pair.guide, pair.x, epochs=3, objective=chosen, clip_norm=5.0))
    assert_same_run(runs[1], runs[0])


def test_the_same_with_binarization_warm_up_dropout_and_batch_norm():
    def stirred():
        pair = bound(Own())
        module = pair.model.__self__
        module.encode[0] = nn.Linear(12, 16, bias=False)  # whose gradient would be rounding errors, which Adam enlarges
        module.encode.insert(1, nn.BatchNorm1d(16))
        module.decode.insert(1, nn.Dropout(0.5))
        return dataclasses.replace(pair, x=torch.rand(24, 12))

    runs = []
    for objective in (Trace_ELBO(), eager()):
        pair = fresh(stirred)
        arguments = {"batch_transform": torch.bernoulli, "kl_weight": KLWarmup(epochs=2), "validation": pair.x.round()}
        runs.append(train(pair.model, pair.guide, pair.x, epochs=4, objective=objective, **arguments))
    assert_same_run(runs[1], runs[0])


def test_compiled_by_inductor_it_is_the_same_and_says_what_it_cost():
    runs = []
    for compile in (False, True):
        pair = fresh(lambda: bound(Own()))
        x = pair.x.clamp(0.1, 0.9)
        runs.append(train(pair.model, pair.guide, x, epochs=4, compile=compile, batch_transform=torch.bernoulli))
    plain, compiled = runs
    assert_same_run(compiled, plain)
    assert 0 < compiled.history[0]["compile_seconds"] < compiled.history[0]["seconds"]
    assert not any("compile_seconds" in entry for entry in compiled.history[1:] + plain.history)


def test_bf16_is_near_and_not_the_same():
    runs = []
    for precision in ("fp32", "bf16"):
        pair = fresh(lambda: bound(Own()))
        runs.append(train(pair.model, pair.guide, pair.x, epochs=10, precision=precision))
    exact, rounded = (run.history[-1]["loss"] for run in runs)
    assert exact != rounded
    assert exact == pytest.approx(rounded, rel=0.02)
    assert {value.dtype for value in runs[1].state.values()} == {torch.float32}


def test_tf32_lasts_as_long_as_the_run():
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [switch.fp32_precision for switch in switches]
    seen = []
    pair = bound(Own())
    note = lambda *_: seen.append([switch.fp32_precision for switch in switches])  # noqa: E731
    train(pair.model, pair.guide, pair.x, epochs=1, precision="tf32", on_step=note)
    assert seen == 3 * [["tf32", "tf32"]]
    assert [switch.fp32_precision for switch in switches] == before


class Deciding(Own):
    """What is computed depends on a value."""

    def model(self, x):
        return super().model(x if x.sum() > 0 else 1 - x)


def methods(module):
    return module.model, module.guide


def test_a_pair_that_cannot_be_recorded_keeps_training_with_one_warning():
    module, x = fresh(Deciding), patterns(24, (12,))
    with pytest.warns(RuntimeWarning, match=r"leaves Deciding.model and Own.guide uncompiled") as caught:
        found = train(*methods(module), x, epochs=3, compile=True)
    assert len(caught) == 1
    assert_same_run(found, train(*methods(fresh(Deciding)), x, epochs=3))


def test_a_weight_on_the_kl_is_refused_inside_the_wrapper_too():
    pair = bound(Own())
    with pytest.raises(ValueError, match="Expected kl_weight 1 without a warm-up for RenyiELBO"):
        train(pair.model, pair.guide, pair.x, objective=eager(RenyiELBO(num_particles=2)), kl_weight=0.5)


# When it pays


def chosen(**arguments):
    defaults = {"compile": "auto", "precision": "fp32", "saves": 0.0, "device": CPU}
    return compile_if_worthwhile(Trace_ELBO(), **defaults | arguments)


def test_auto_compiles_what_is_worth_it(monkeypatch):
    assert isinstance(chosen(), Trace_ELBO)
    assert isinstance(chosen(compile=False, saves=1e6), Trace_ELBO)
    assert chosen(saves=1e6).backend == chosen(compile=True).backend == "inductor"
    assert (chosen(precision="bf16").backend, chosen(precision="bf16").precision) == ("eager", "bf16")
    assert chosen(precision="bf16", saves=1e6).backend == "inductor"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert isinstance(chosen(saves=1e6), Trace_ELBO)
    assert chosen(saves=1e6, device=torch.device("cuda")).backend == "inductor"
    mine = eager()
    assert compile_if_worthwhile(mine, compile=False, precision="bf16", saves=0.0, device=CPU) is mine


def test_short_runs_stay_plain_and_long_ones_do_not(monkeypatch):
    """A comparison on the digits stays plain; training on MNIST for 100 epochs is compiled."""
    seen = []

    def where(elbo, *, saves, **arguments):
        seen.append(saves)
        return elbo

    monkeypatch.setattr(sys.modules["pyro_vae.training.fit"], "compile_if_worthwhile", where)
    pair = bound(Own())
    train(pair.model, pair.guide, pair.x, epochs=1)
    digits, mnist = 60 * 23, 100 * 391
    assert seen[0] * digits / 3 < 5
    assert seen[0] * mnist / 3 > 20


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"compile": "yes"}, r"Expected compile to be True, False or 'auto'; got 'yes'\."),
        ({"precision": "fp16"}, r"Expected precision 'fp32' or 'bf16'; got 'fp16'\."),
        ({"compile": False, "precision": "bf16"}, "Expected compile=True or 'auto' with precision 'bf16'"),
    ],
)
@pytest.mark.parametrize("function", [train, functools.partial(log_marginal, estimator="guide")])
def test_errors_say_what_was_expected(function, arguments, text):
    pair = bound(Own())
    with pytest.raises(ValueError, match=text):
        function(pair.model, pair.guide, pair.x, **arguments)


# Numbers that are not finite


class Failing(Own):
    """An image of fives makes the loss not finite, or its gradient alone."""

    def __init__(self, fail):
        super().__init__()
        self.fail = fail

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            bad = (x == 5).all(-1)
            if self.fail == "loss":
                pyro.factor("cliff", torch.where(bad, math.nan, 0.0))
            else:  # 0, with a gradient of 0 * inf
                pyro.factor("cliff", (1.0 - bad.float() + self.decode[0].bias.sum() * 0).sqrt() * 0)
            pyro.sample("x", dist.Normal(self.decode(z), 1.0).to_event(1), obs=x)


def images_with_fives(count, index):
    data = patterns(count, (12,))
    data[index] = 5
    return data


WHERE = {"loss": r"at the sites \['cliff'\]", "gradient": "although the log-probabilities of all sites are finite"}


@pytest.mark.parametrize("fail", WHERE)
def test_the_very_step_is_named_compiled_or_not(fail):
    messages = []
    for objective in (Trace_ELBO(), eager()):
        module = fresh(lambda: Failing(fail))
        with pytest.raises(NonFiniteLoss, match=rf"at step \d+ got .* {WHERE[fail]}") as caught:
            train(*methods(module), images_with_fives(64, 40), objective=objective, epochs=2)
        messages.append(str(caught.value))
        assert all(p.isfinite().all() for p in module.parameters())
    assert messages[0] == messages[1]


@pytest.mark.parametrize("fail", WHERE)
@pytest.mark.parametrize("fused", [True, False])
def test_when_losses_are_read_later_a_bad_step_changes_no_parameter(fail, fused):
    """As on a GPU, where the host does not wait for each step: only a fused optimizer can go on until the reading."""
    module, data = fresh(lambda: Failing(fail)), images_with_fives(80, 45)
    optimizer = adam(0.01) if fused else lambda params: torch.optim.SGD(params, lr=0.001)
    states = []
    with pyro.get_param_store().scope():
        one = OneOptimizer(optimizer, check_every=10)
        steps = Steps(*announcing(*methods(module)), one, eager(), lambda chosen: data[chosen], full_batch=8)

        def epoch():
            for chosen in torch.arange(80).split(8):
                states.append([p.detach().clone() for p in module.parameters()])
                steps.take(chosen)

        with pytest.raises(NonFiniteLoss) as caught:
            epoch()
    states.append(list(module.parameters()))
    changed = [not all(map(torch.equal, *pair)) for pair in itertools.pairwise(states)]
    assert changed == [True] * 5 + (
        [False, True, True, True, True] if fused else [False]
    )  # they are read after the 10th
    step = "step 6" if fail == "loss" else f"one of the steps 1 to {steps.taken}"
    assert re.search(rf"at {step} got .* {WHERE[fail]}", str(caught.value))


def test_losses_read_later_are_the_same():
    data, known = patterns(40, (12,)), {}
    for check_every in (1, 3):
        torch.manual_seed(0)
        module, losses = fresh(Own), []
        with pyro.get_param_store().scope():
            one = OneOptimizer(adam(), check_every=check_every)
            steps = Steps(*announcing(*methods(module)), one, eager(), lambda chosen: data[chosen], full_batch=8)
            for chosen in torch.arange(40).split(8):
                steps.take(chosen)
                losses += steps.read() if steps.taken % check_every == 0 else []
            losses += steps.read()
        assert steps.read() == []
        known[check_every] = losses
    assert len(known[1]) == 5
    assert known[1] == pytest.approx(known[3], rel=1e-6)


# log p(x)


def estimate(pair, **arguments):
    return log_marginal(
        pair.model, pair.guide, pair.x[:7], **{"num_samples": 200, "chunk_size": 128} | arguments, estimator="guide"
    )


def assert_same_estimate(found, expected):
    for name in ("log_prob", "standard_error", "ess"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-3, atol=1e-4)


@pytest.fixture
def recorded(monkeypatch):
    """Every estimate from recorded graphs, run operation by operation."""
    made = []

    def where(function, *, pair, **_):
        made.append(Recorded(function, modules_of(*pair).values(), backend="eager"))
        return made[-1]

    for module in (sampler, annealed_chains):
        monkeypatch.setattr(module, "compile_if_worthwhile", where)
    return made


# The gammas behind these guides' draws, by rejection for each key, are graphs that take a minute to record.
SLOW = {"VAE, sphere", "VAE, simplex"}


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in SLOW])
def test_every_pair_gets_the_assert_same_estimate(name, recorded):
    pair = PAIRS[name]()
    with pyro.get_param_store().scope():
        pair.guide(pair.x), pair.model(pair.x)
        found = estimate(pair)
        assert recorded[0].num_graphs == 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampler, "compile_if_worthwhile", lambda function, **_: function)
            assert_same_estimate(found, estimate(pair))


def test_functions_that_fit_returned_are_recorded_once(recorded):
    pair = functions_with_modules()
    for made in (pair, PAIRS["functions with pyro.param"]()):
        result = train(made.model, made.guide, made.x, epochs=2)
        log_marginal(result.model, result.guide, made.x[:6], num_samples=200, chunk_size=128, estimator="guide")
    assert [draw.num_graphs for draw in recorded] == [1, 1]


def test_compiled_by_inductor_the_estimate_is_the_same():
    pair = bound(Own())
    assert_same_estimate(estimate(pair, compile=True), estimate(pair))


def test_bf16_is_for_the_guide_alone():
    pair = bound(Own())
    with pytest.raises(ValueError, match=r"Expected estimator 'guide' with precision 'bf16', .+; got 'auto'\."):
        log_marginal(pair.model, pair.guide, pair.x, precision="bf16")


def test_bf16_has_a_bias_that_the_same_seed_shows():
    pair = bound(Own())
    difference = estimate(pair, precision="bf16").log_prob - estimate(pair).log_prob
    assert 0 < difference.abs().max() < 0.05


def test_a_pair_that_cannot_be_recorded_is_scored_plainly_with_one_warning():
    module, x = fresh(Deciding), patterns(7, (12,))
    plain = log_marginal(*methods(module), x, num_samples=50, chunk_size=64, estimator="guide")
    with pytest.warns(RuntimeWarning, match=r"leaves Deciding.model and Own.guide uncompiled") as caught:
        found = log_marginal(*methods(module), x, num_samples=50, chunk_size=64, compile=True, estimator="guide")
    assert [warning.category for warning in caught].count(RuntimeWarning) == 1
    assert torch.equal(found.log_prob, plain.log_prob)


def test_the_estimate_is_still_the_truth(recorded):
    linear = LinearGaussian()
    x = linear.bias.detach() + 2 * torch.randn(20, 5)
    found = log_marginal(linear.model, linear.guide, x, num_samples=100, chunk_size=128, estimator="guide")
    torch.testing.assert_close(found.log_prob, linear.log_prob(x), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("short_warm_up")
def test_annealed_chains_move_through_one_graph(recorded):
    pair = bound(Own())
    settings = {"num_chains": 4, "num_temperatures": 6, "num_leapfrog": 2}  # as many chains as in the warm-up
    found = annealed_log_marginal(pair.model, pair.guide, pair.x[:4], **settings)
    assert [moved.num_graphs for moved in recorded] == [1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(annealed_chains, "compile_if_worthwhile", lambda function, **_: function)
        plain = annealed_log_marginal(pair.model, pair.guide, pair.x[:4], **settings)
    torch.testing.assert_close(found.log_prob, plain.log_prob, rtol=1e-4, atol=1e-4)
