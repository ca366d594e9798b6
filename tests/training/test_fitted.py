"""What happened in `fit` outlives it: on disk, as a table, on an interrupt; and a callback can end it."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import Fit, StopTraining, fit, log_marginal


class Linear(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.loc = nn.Linear(2, width)
        self.code = nn.Linear(width, 2)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.loc(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.code(x), 0.5).to_event(1))


def plain_pair():
    """Functions with a module and parameters of their own."""
    net = nn.Linear(3, 1)

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
            pyro.sample("x", dist.Normal(z.expand(*z.shape[:-1], 3), scale).to_event(1), obs=x)

    def guide(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(net(x), pyro.param("width", torch.tensor(0.3))).to_event(1))

    return model, guide


def train(pair, **options):
    return fit(*pair, torch.randn(40, 3), batch_size=10, progress=False, **options)


def evidence(pair):
    return log_marginal(*pair, torch.ones(4, 3), num_samples=20, estimator="guide").log_prob


@pytest.mark.parametrize("make", [plain_pair, lambda: (pair := Linear()) and (pair.model, pair.guide)])
def test_a_saved_fit_comes_back_into_a_pair(make, tmp_path, global_state):
    result = train(make(), epochs=2, validation=torch.randn(10, 3))
    result.save(tmp_path / "new" / "folder")
    other = make()
    before = global_state()
    loaded = Fit.load(tmp_path / "new" / "folder", *other)
    assert global_state() == before
    assert (loaded.history, loaded.best_epoch) == (result.history, result.best_epoch)
    assert torch.equal(evidence((loaded.model, loaded.guide)), evidence((result.model, result.guide)))


def test_a_loaded_pair_is_in_evaluation_mode(tmp_path):
    result, other = train(((pair := Linear()).model, pair.guide), epochs=1), Linear()
    result.save(tmp_path)
    Fit.load(tmp_path, other.model, other.guide)
    assert not any(module.training for module in other.modules())


def test_a_fit_of_another_shape_or_time_is_refused(tmp_path):
    train(((pair := Linear()).model, pair.guide), epochs=1).save(tmp_path)
    wide = Linear(4)
    before = wide.loc.weight.clone()
    with pytest.raises(ValueError, match=r"names, types or shapes differ: pair\.code\.weight"):
        Fit.load(tmp_path, wide.model, wide.guide)
    assert torch.equal(before, wide.loc.weight)
    (tmp_path / "fit.safetensors").write_bytes((tmp_path / "fit.safetensors").read_bytes()[:-4] + b"abcd")
    with pytest.raises(ValueError, match=r"Expected fit\.safetensors of the same time"):
        Fit.load(tmp_path, pair.model, pair.guide)


def test_a_fit_replaces_none_unasked(tmp_path):
    result = train(((pair := Linear()).model, pair.guide), epochs=1)
    result.save(tmp_path)
    before = (tmp_path / "fit.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"Expected a folder without a Fit; .* overwrite=True"):
        train((pair.model, pair.guide), epochs=2).save(tmp_path)
    assert (tmp_path / "fit.json").read_bytes() == before
    train((pair.model, pair.guide), epochs=2).save(tmp_path, overwrite=True)
    assert len(Fit.load(tmp_path, pair.model, pair.guide).history) == 2


def test_a_number_that_is_not_finite_comes_back_as_nan(tmp_path):
    pair = Linear()
    result = train((pair.model, pair.guide), epochs=1)
    result.history[0]["grad_norm"] = math.inf
    result.save(tmp_path)
    assert math.isnan(Fit.load(tmp_path, pair.model, pair.guide).history[0]["grad_norm"])


@pytest.mark.parametrize("step", [1, 6, 8])
def test_a_callback_ends_the_run(step):
    """In the first epoch, within the second, and at the end of one: the steps taken so far count."""
    pair, seen = Linear(), []

    def on_step(number, metrics):
        seen.append(number)
        if number == step:
            raise StopTraining

    result = train((pair.model, pair.guide), epochs=5, validation=torch.randn(10, 3), on_step=on_step)
    assert seen == list(range(1, step + 1))
    assert [entry["step"] for entry in result.history] == {1: [1], 6: [4, 6], 8: [4, 8]}[step]
    assert result.stopped_early
    assert "validation_elbo" in result.history[-1]
    assert "stopped early" in repr(result)


def test_the_loss_of_a_part_of_an_epoch_is_that_of_its_steps():
    pair, losses = Linear(), []

    def on_step(number, metrics):
        losses.append(metrics["loss"])
        if number == 3:
            raise StopTraining

    result = train((pair.model, pair.guide), epochs=1, on_step=on_step)
    assert result.history[0]["loss"] == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("make", [plain_pair, lambda: (pair := Linear()) and (pair.model, pair.guide)])
@pytest.mark.filterwarnings("ignore:The parameters")  # at first they have their initial values
@pytest.mark.parametrize(("step", "epochs"), [(6, 1), (2, 0)])
def test_an_interrupt_passes_and_carries_what_happened(make, step, epochs):
    pair = make()
    initial = evidence(pair)

    def on_step(number, metrics):
        if number == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        train(pair, epochs=3, on_step=on_step)
    result = stopped.value.fit
    assert len(result.history) == result.best_epoch == epochs
    assert result.stopped_early
    assert "result = error.fit" in stopped.value.__notes__[0]
    if make is not plain_pair or epochs:  # there, parameters that the first step made keep their values
        assert torch.equal(evidence((result.model, result.guide)), initial) == (epochs == 0)
    assert ("the state at the start" in repr(result)) == (epochs == 0)


def test_an_error_of_a_callback_carries_it_too():
    pair = Linear()
    with pytest.raises(ZeroDivisionError) as stopped:
        train((pair.model, pair.guide), epochs=3, on_step=lambda number, _: 1 / (number - 5))
    assert stopped.value.fit.best_epoch == 1


def test_the_history_is_a_table():
    pandas = pytest.importorskip("pandas")
    pair = Linear()
    result = train((pair.model, pair.guide), epochs=2)
    frame = result.to_frame()
    assert frame.index.name == "epoch"
    assert frame["loss"].tolist() == [entry["loss"] for entry in result.history]
    assert pandas.isna(frame.get("validation_elbo", pandas.Series([None]))).all()
    assert "<table>" in result._repr_html_()
