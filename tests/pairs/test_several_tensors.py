"""Batches of several tensors: a linear-Gaussian pair with a covariate, whose log p(x|y) is known."""

import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import (
    CompiledELBO,
    LogMarginal,
    annealed_log_marginal,
    bidirectional,
    compare,
    diagnose,
    encode,
    fit,
    inference_gaps,
    log_marginal,
    reconstruct,
    refined,
    sample,
    widened,
)
from pyro_vae.commands.evaluation import say_estimate
from pyro_vae.evidence.bidirectional import BidirectionalGap
from pyro_vae.pairs.batch import Batch, taking
from pyro_vae.pairs.inputs import as_points
from pyro_vae.pairs.unconditional import conditions_of
from pyro_vae.uses.generate import decode
from pyro_vae.uses.latent_walks import between

N, D, X, Y = 12, 2, 3, 2
SCALE = 0.8


def assert_within_standard_errors(estimate, truth, standard_error):
    assert ((estimate - truth).abs() < 5 * standard_error + 1e-5).all()


class Conditional(nn.Module):
    """z ~ N(0, I), x | z, y ~ N(W z + U y, s^2 I); the guide is the exact posterior, its scale times `stretch`."""

    def __init__(self, stretch=1.0):
        super().__init__()
        self.w, self.u = nn.Parameter(torch.randn(X, D)), nn.Parameter(torch.randn(X, Y))
        self.stretch = stretch

    def model(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.w.T + y @ self.u.T, SCALE).to_event(1), obs=x)

    def guide(self, x, y):
        precision = torch.eye(D) + self.w.T @ self.w / SCALE**2
        root = torch.linalg.cholesky(torch.linalg.inv(precision))
        loc = (x - y @ self.u.T) @ self.w / SCALE**2 @ torch.linalg.inv(precision)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=self.stretch * root))

    def log_prob(self, x, y):
        covariance = self.w @ self.w.T + SCALE**2 * torch.eye(X)
        return dist.MultivariateNormal(y @ self.u.T, covariance).log_prob(x).detach().double()


@pytest.fixture
def data():
    return torch.randn(N, X), torch.randn(N, Y)


def by_name(x, y):
    return {"y": y, "x": x}


FORMS = {"tuple": lambda x, y: (x, y), "list": lambda x, y: [x, y], "dict": by_name}


@pytest.mark.parametrize("form", FORMS)
def test_the_exact_guide_gives_log_p_in_every_form(form, data):
    pair, inputs = Conditional(), FORMS[form](*data)
    result = log_marginal(pair.model, pair.guide, inputs, num_samples=1, estimator="guide")
    assert torch.allclose(result.log_prob, pair.log_prob(*data), atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_what_the_density_is_conditional_on_is_named(form, data, tmp_path):
    pair, inputs = Conditional(), FORMS[form](*data)
    result = log_marginal(pair.model, pair.guide, inputs, num_samples=25, estimator="guide")
    assert (result.quantity, result.inputs) == ("log p(x | y)", ("y",))
    assert repr(result).startswith("LogMarginal(log p(x | y): mean ")
    result.save(tmp_path / "result")
    assert (
        LogMarginal.load(tmp_path / "result").quantity == json.loads((tmp_path / "result.json").read_text())["quantity"]
    )
    assert LogMarginal.join([result[:5], result[5:]]).quantity == "log p(x | y)"
    assert say_estimate(result, {"estimator": "guide", "widen": 1.0}).startswith("log p(x | y) = ")


def test_an_input_that_is_observed_in_another_form_is_no_condition(data):
    """Observed as its logarithm; under a mask, which is one."""
    pair = Conditional()

    def model(x, y, known):
        with pyro.poutine.mask(mask=known):
            pair.model(x=x.log(), y=y)

    def guide(x, y, known):
        pair.guide(x.log(), y)

    some = Batch((data[0].exp(), data[1], torch.arange(N) % 2 == 0))
    first = model
    model, untold, guide = taking(some, model, lambda *inputs: first(*inputs), guide)
    assert conditions_of(model, guide, some) == ("y", "known")
    assert conditions_of(model, None, some) == ("y", "known")
    assert conditions_of(model, guide, some[:1]) == ("y", "known")
    assert conditions_of(untold, guide, some) == ("input 2", "input 3")


@pytest.mark.parametrize("estimator", ["guide", "auto"])
@pytest.mark.parametrize("settings", [{}, {"chunk_size": 50}, {"target_standard_error": 0.05}, {"only": [3, 1]}])
def test_importance_sampling(estimator, settings, data):
    pair = Conditional(stretch=1.3)
    result = log_marginal(pair.model, pair.guide, data, num_samples=200, estimator=estimator, **settings)
    truth = pair.log_prob(*data)[settings.get("only", slice(None))]
    assert_within_standard_errors(result.log_prob, truth, result.standard_error)


def test_draws_belong_to_data_points_with_all_that_is_given_of_them(data):
    pair, (x, y) = Conditional(stretch=1.3), data
    settings = {"num_samples": 200, "estimator": "guide"}
    result = log_marginal(pair.model, pair.guide, (x, y), **settings)
    order = torch.randperm(N)
    moved = log_marginal(pair.model, pair.guide, (x[order], y[order]), **settings, chunk_size=30)
    assert torch.allclose(moved.log_prob, result.log_prob[order], atol=1e-5)
    one, other = (log_marginal(pair.model, pair.guide, d, **settings) for d in ({"x": x, "y": y}, by_name(x, y)))
    assert torch.equal(one.log_prob, other.log_prob)
    others = log_marginal(pair.model, pair.guide, (x, y + 1), **settings)
    assert not set(result.digests.tolist()) & set(others.digests.tolist())


@pytest.mark.usefixtures("operation_by_operation")
def test_recorded_equals_plain(data):
    pair = Conditional(stretch=1.3)
    big = tuple(t.repeat(100, 1) for t in data)
    plain, compiled = (
        log_marginal(pair.model, pair.guide, big, num_samples=8, estimator="guide", chunk_size=1200, compile=compile)
        for compile in (False, True)
    )
    assert torch.allclose(plain.log_prob, compiled.log_prob, atol=1e-4)


@pytest.mark.usefixtures("short_warm_up")
def test_annealing_and_both_bounds(data):
    pair = Conditional(stretch=1.5)
    settings = {"num_chains": 20, "num_temperatures": 10, "num_leapfrog": 2, "compile": False}
    for start in ("guide", "prior"):
        lower = annealed_log_marginal(pair.model, pair.guide, data, start=start, **settings)
        assert_within_standard_errors(lower.log_prob, pair.log_prob(*data), lower.standard_error)
    simulated = tuple(t.repeat(5, 1) for t in data)
    gap = bidirectional(pair.model, pair.guide, by_name(*simulated), **settings)
    assert gap.mean_gap.value > -5 * gap.mean_gap.standard_error
    assert torch.equal(dict(gap.x.named())["y"], simulated[1])  # labels are as given
    x = dict(gap.x.named())["x"]
    assert not torch.equal(x, simulated[0])  # the data are not
    truth = pair.log_prob(x, simulated[1])
    assert_within_standard_errors(gap.lower.log_prob, truth, gap.lower.standard_error)
    residuals = torch.linalg.solve_triangular(
        torch.linalg.cholesky(pair.w @ pair.w.T + SCALE**2 * torch.eye(X)), (x - simulated[1] @ pair.u.T).T, upper=False
    ).detach()
    assert_within_standard_errors(residuals.square().mean(), torch.tensor(1.0), residuals.square().std() / 180**0.5)


@pytest.mark.usefixtures("short_warm_up")
def test_both_bounds_are_saved_with_their_data(data, tmp_path):
    pair = Conditional()
    for inputs in (data, by_name(*data)):
        gap = bidirectional(pair.model, pair.guide, inputs, num_chains=2, num_temperatures=2, num_leapfrog=1)
        gap.save(tmp_path / "gap")
        loaded = BidirectionalGap.load(tmp_path / "gap")
        entries = dict(gap.x.named())
        assert {name: t.tolist() for name, t in loaded.x.named()} == {name: t.tolist() for name, t in entries.items()}


@pytest.mark.parametrize("form", FORMS)
def test_training_finds_the_maximum(form, data):
    torch.manual_seed(3)
    x = torch.randn(300, D) @ torch.randn(D, X) + 0.5 * torch.randn(300, X)
    y = torch.randn(300, Y)
    x = x + y @ torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 0.0]])
    pair = Conditional()
    with torch.no_grad():
        pair.u.zero_()
    inputs = FORMS[form](x, y)
    result = fit(
        pair.model, pair.guide, inputs, validation=inputs, epochs=60, batch_size=300, compile=False, progress=False,
        optimizer=lambda params: torch.optim.Adam(params, lr=0.05),
    )  # fmt: skip
    assert torch.allclose(pair.u.T, torch.linalg.lstsq(y, x).solution, atol=0.2)
    value = log_marginal(result.model, result.guide, inputs, num_samples=1, estimator="guide").mean.value
    assert value == pytest.approx(result.history[-1]["validation_elbo"], abs=0.05)  # the guide is the posterior


@pytest.mark.usefixtures("operation_by_operation")
def test_recorded_steps_equal_plain_ones(data):
    losses = []
    for compile in (False, True):
        torch.manual_seed(1)
        pair = Conditional(stretch=1.2)
        result = fit(pair.model, pair.guide, by_name(*data), epochs=6, batch_size=4, compile=compile, progress=False)
        losses.append([entry["loss"] for entry in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_transform_is_called_as_the_model_is(data):
    x, y = data
    seen = []

    def transform(x, y):
        seen.append(len(x))
        return x, 0 * y

    torch.manual_seed(1)
    pair = Conditional()
    fit(pair.model, pair.guide, (x, y), batch_transform=transform, epochs=2, compile=False, progress=False, seed=1)
    assert seen
    assert pair.u.grad is None
    with pytest.raises(TypeError, match=r"return a tuple of 2, as the data are; got Tensor"):
        fit(pair.model, pair.guide, (x, y), batch_transform=lambda x, y: x, epochs=1, progress=False)
    with pytest.raises(TypeError, match=r"a dict with the keys \['y', 'x'\]"):
        fit(pair.model, pair.guide, by_name(x, y), batch_transform=lambda x, y: (x, y), epochs=1, progress=False)


def test_an_objective_compiled_by_itself_takes_them_as_well(data):
    pair = Conditional()
    elbo = CompiledELBO(pyro.infer.Trace_ELBO(), backend="eager")
    with pyro.get_param_store().scope():
        values = []
        for _ in range(4):
            torch.manual_seed(0)
            values.append(float(elbo.loss(pair.model, pair.guide, *data)))
    assert elbo.num_graphs == 1
    assert values == pytest.approx(4 * [float(-pair.log_prob(*data).sum())], abs=1e-3)


def test_guides_made_of_guides(data):
    pair = Conditional(stretch=0.6)
    for guide in (widened(pair.guide, 2.0), refined(pair.model, pair.guide, num_steps=20)):
        result = log_marginal(pair.model, guide, by_name(*data), num_samples=300, estimator="guide")
        assert_within_standard_errors(result.log_prob, pair.log_prob(*data), result.standard_error)


def test_uses(data):
    pair, (x, y) = Conditional(), data
    drawn, mean = sample(pair.model, (torch.zeros(4000, X), y[:1].expand(4000, Y)))
    assert_within_standard_errors(drawn.mean(0), (y[:1] @ pair.u.T).detach()[0], drawn.std(0) / 4000**0.5)
    assert drawn.shape == mean.shape
    code = encode(pair.model, pair.guide, data)["z"]
    decoded = decode(pair.model, {"z": code}, {"x": x[:1], "y": y[:1]})
    assert torch.allclose(decoded, code @ pair.w.T + y[:1] @ pair.u.T, atol=1e-5)
    each = decode(pair.model, {"z": code}, data)  # with its own label
    assert torch.allclose(each, code @ pair.w.T + y @ pair.u.T, atol=1e-5)
    way = between(pair.model, pair.guide, (x[:3], y[:3]), (x[3:6], y[3:6]), steps=2)
    assert torch.allclose(way[:, 0], code[:3] @ pair.w.T + y[:3] @ pair.u.T, atol=1e-5)
    assert torch.allclose(way[:, 1], code[3:6] @ pair.w.T + y[:3] @ pair.u.T, atol=1e-5)
    assert reconstruct(pair.model, pair.guide, data).shape == x.shape
    diagnosed = diagnose(pair.model, pair.guide, data, num_samples=200)
    assert abs(diagnosed.elbo.value - pair.log_prob(x, y).mean()) < 1e-3
    gaps = inference_gaps(pair.model, pair.guide, data, pair.log_prob(x, y), num_steps=2)
    assert gaps.elbo == pytest.approx(pair.log_prob(x, y), abs=1e-3)


def test_results_of_other_labels_are_not_compared(data):
    pair, (x, y) = Conditional(stretch=1.2), data
    first, second = (log_marginal(pair.model, pair.guide, (x, labels), num_samples=5) for labels in (y, y + 1))
    with pytest.raises(ValueError, match="same data"):
        compare({"a": [first], "b": [second]})


def test_none_where_a_model_takes_none(data):
    class Optional(Conditional):
        def model(self, x, y=None):
            return super().model(x, torch.zeros(len(x), Y) if y is None else y)

        def guide(self, x, y=None):
            return super().guide(x, torch.zeros(len(x), Y) if y is None else y)

    pair, x = Optional(), data[0]
    truth = pair.log_prob(x, torch.zeros(N, Y))
    for inputs in (x, (x,), (x, None), {"x": x}, {"x": x, "y": None}):
        result = log_marginal(pair.model, pair.guide, inputs, num_samples=1, estimator="guide")
        assert torch.allclose(result.log_prob, truth, atol=1e-5)
    for inputs in ((x, None), {"x": x, "y": None}):
        assert len(fit(pair.model, pair.guide, inputs, epochs=1, progress=False).history) == 1


def test_what_is_given_must_be_what_the_pair_takes(data):
    pair, (x, y) = Conditional(), data
    for inputs in (x, (x, y, y), {"x": x, "z": y}):
        with pytest.raises(TypeError, match=r"Expected the inputs that .*Conditional.model\(x, y\) takes; got"):
            fit(pair.model, pair.guide, inputs, progress=False)
        with pytest.raises(TypeError, match=r"Give one tensor for each: \(x, y\) for a call by position"):
            log_marginal(pair.model, pair.guide, inputs)
    with pytest.raises(ValueError, match=r"same number of data points; got \[0\]: 12, \[1\]: 11"):
        fit(pair.model, pair.guide, (x, y[1:]), progress=False)
    with pytest.raises(ValueError, match=r"validation data points of shape \{'\[0\]': \(3,\), '\[1\]': \(2,\)\}"):
        fit(pair.model, pair.guide, (x, y), validation=x, progress=False)
    with pytest.raises(ValueError, match=r"Expected finite values in data; got 2"):
        fit(pair.model, pair.guide, (x, torch.where(torch.eye(N, Y) == 1, math.nan, y)), progress=False)


class Teacher(nn.Module):
    """Observes what it has made of an input, and reads the rest of that input beforehand."""

    def model(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + x[:, 0], 1.0), obs=x[:, 1])

    def guide(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x[:, 1] / 2, 0.7))


def test_what_reads_the_data_before_they_are_observed_is_not_drawn_from(data):
    pair = Teacher()
    with pytest.raises(ValueError, match="reads nothing off its argument"):
        sample(pair.model, data)
    with pytest.raises(ValueError, match=r"reads nothing off its argument|observe an input"):
        bidirectional(pair.model, pair.guide, data, num_chains=2, num_temperatures=2)


def test_a_batch_is_cut_like_a_tensor():
    batch = Batch((torch.arange(6), None), {"y": torch.arange(12).view(6, 2)})
    assert len(batch) == 6
    assert [len(part) for part in batch.split(4)] == [4, 2]
    assert batch[torch.tensor([5])].kwargs["y"].tolist() == [[10, 11]]
    assert batch[2:].args[1] is None
    assert repr(batch) == "Batch([0]: (6,), [1]: None, y: (6, 2))"
    with pytest.raises(TypeError, match=r"Expected x\[1\] to be a tensor or an array"):
        as_points("x", (torch.zeros(3), [1, 2, 3]))
