"""Progress of log p(x) counts what is done, pilots and fits, too, and ends at what it was."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import log_marginal
from pyro_vae.evidence import importance
from pyro_vae.evidence.foreseen import Foreseen
from pyro_vae.output.progress import expect, progress_bar


class Bar:
    """A bar that remembers what it was told."""

    def __init__(self):
        self.done, self.total = [], []

    def update(self, n=1):
        self.done.append(n)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def bars(monkeypatch):
    made = []

    def progress_bar(total, **about):
        made.append((bar := Bar(), about))
        bar.total.append(total)
        return bar

    monkeypatch.setattr(importance, "progress_bar", progress_bar)
    monkeypatch.setattr("pyro_vae.evidence.foreseen.expect", lambda bar, total: bar.total.append(total))
    return made


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
@pytest.mark.parametrize("dim", [2, 10])
@pytest.mark.parametrize("scale", [0.5, 2**-0.5])
def test_all_evaluations_are_counted_as_they_are_done(bars, dim, scale):
    """Also those of pilots and fits, where the guide is too narrow; a total is known from the beginning."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, scale).to_event(1))

    result = log_marginal(model, guide, torch.linspace(-1, 1, 6 * dim).view(6, dim), num_samples=50, progress="mine")
    (bar, about) = bars[0]
    evaluations = int(result.details["evaluations"].sum())
    assert sum(bar.done) == evaluations == bar.total[-1]
    if scale == 0.5:
        assert (result.details["rung"] > 0).all()
        assert bar.total[0] / 4 < evaluations < 4 * bar.total[0]
        assert max(bar.done) < 0.7 * evaluations
    assert (about["unit"], about["description"]) == ("evaluation", "mine")


def test_a_total_that_was_too_small_grows_before_it_is_passed(monkeypatch):
    bar = Bar()
    monkeypatch.setattr("pyro_vae.evidence.foreseen.expect", lambda bar, total: bar.total.append(total))
    foreseen = Foreseen(bar, 10, 100)
    foreseen.update(80)
    assert not bar.total
    foreseen.update(80)
    assert bar.total == [200]
    foreseen.finished(4)
    assert bar.total[-1] == 400


def test_bars_of_every_kind_take_another_total(capsys):
    for shown in (True, False):
        with progress_bar(10, unit="step", shown=shown) as bar:
            expect(bar, 20)
            assert not shown or bar.total == 20
