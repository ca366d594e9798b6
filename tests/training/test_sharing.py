"""Several processes train what one does; what they would train otherwise is refused."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from processes import together
from pyro.infer import Trace_ELBO
from torch import nn
from torch.nn import functional

from pyro_vae import CompiledELBO, KLWarmup, StopTraining, adam, fit
from pyro_vae.training.sharing import Share, check_shares
from pyro_vae.training.whole_draws import DRAWS, WholeDraws

X = torch.rand(41, 4, generator=torch.Generator().manual_seed(1))


class Pair(nn.Module):
    """With dropout, and what a test puts between encoder and latents."""

    def __init__(self, between=None):
        super().__init__()
        torch.manual_seed(0)
        self.code, self.mean = nn.Linear(4, 4), nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.3))
        self.between = between or nn.Identity()

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.mean(z)).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = self.between(self.code(x)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def history(result):
    return [{name: value for name, value in entry.items() if "seconds" not in name} for entry in result.history]


def trained(pair, data=X, **options):
    """History and parameters after a training with all that draws: order, binarization, dropout, latents."""
    options = {"validation": X.round(), "clip_norm": 3.0, "optimizer": adam(0.01), "epochs": 3} | options
    with torch.random.fork_rng():
        result = fit(
            *(pair.model, pair.guide),
            data,
            batch_transform=torch.bernoulli,
            batch_size=10,  # the last batch has one data point
            kl_weight=KLWarmup(epochs=1),
            progress=False,
            **options,
        )
    return history(result), [p.flatten().tolist() for p in pair.parameters()]


def close(histories):
    first, *others = histories
    for other in others:
        assert len(first) == len(other)
        for mine, theirs in zip(first, other, strict=True):
            assert mine.keys() == theirs.keys()
            assert all(math.isclose(mine[name], theirs[name], rel_tol=1e-5, abs_tol=1e-6) for name in mine)


def flat(lists):
    return torch.cat([torch.tensor(values) for values in lists])


def objective():
    return CompiledELBO(Trace_ELBO(), backend="eager")


@pytest.mark.parametrize("count", [2, 3])
def test_processes_take_the_steps_of_one_plain_and_recorded(tmp_path, count):
    """With a smaller last batch that has no data point for some of them, from parameters that differed."""

    def run(rank):
        first, second = Pair(), Pair()
        with torch.no_grad():
            first.code.weight += rank
        alike = trained(first, distributed=True), trained(second, objective=objective(), distributed=True)
        return [*alike, trained(Pair(), X.numpy(), validation=None, distributed=True)]

    results = together(tmp_path, count, run)
    one = trained(Pair())
    for result in results:
        assert result == results[0]  # the same bits in all processes
        close([one[0], *(histories for histories, _ in result[:2])])
        assert torch.allclose(flat(one[1]), flat(result[0][1]), rtol=1e-4, atol=1e-6)


def test_one_process_that_stops_ends_all_with_the_epoch(tmp_path):
    def run(rank):
        def on_step(step, metrics):
            if rank == 1 and step == 7:
                raise StopTraining

        return trained(Pair(), on_step=on_step, distributed=True)

    (histories, _), other = together(tmp_path, 2, run)
    assert other[0] == histories
    assert [entry["step"] for entry in histories] == [5, 10]


def test_what_is_no_sum_over_data_points_is_refused_before_the_first_step(tmp_path):
    def run(_):
        said = []
        for options, pair in [
            ({"data": X[1:]}, Pair(nn.BatchNorm1d(4))),
            ({"seed": None}, Pair()),
            ({"data": torch.utils.data.DataLoader(X, 10), "validation": None}, Pair()),
        ]:
            with pytest.raises(ValueError) as error:  # noqa: PT011 (looked at below)
                trained(pair, distributed=True, **options)
            said.append(str(error.value))
        return said

    for batch_norm, seed, loader in together(tmp_path, 2, run):
        assert batch_norm.startswith("Expected a pair and an objective whose loss is a sum over data points")
        assert seed.startswith("Expected a seed with distributed=True")
        assert loader.startswith("Expected arrays or a data set with distributed=True")
    with pytest.raises(ValueError, match="Start the script by torchrun"):
        trained(Pair(), distributed=True)


class Rejecting(Pair):
    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Gamma(self.code(x)[:, :2].exp() * 3, 1.0).to_event(1))

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Gamma(torch.ones(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.mean(z)).to_event(1), obs=x)


class Counting(Pair):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def guide(self, x):
        self.seen += len(x)
        return super().guide(x)


@pytest.mark.parametrize(("pair", "why"), [(Rejecting, "drawn by rejection"), (Counting, "whose buffers is a sum")])
def test_other_numbers_and_other_buffers_are_refused(pair, why):
    with pyro.get_param_store().scope():
        pair = pair()
        pyro.module("pair", pair)
        with pytest.raises(ValueError, match=why):
            check_shares(Trace_ELBO(), (pair.model, pair.guide), lambda x: x, X.round(), Share(0, 2))


@pytest.mark.parametrize(("size", "count"), [(7, 3), (2, 3), (64, 4), (1, 2)])
def test_each_data_point_is_taken_once(size, count):
    taken = [
        i
        for rank in range(count)
        if Share(rank, count).weight(size)
        for i in range(size)[Share(rank, count).rows(size)]
    ]
    assert taken == [*range(size)]


CALLS = {
    torch.rand: lambda b: torch.rand(b, 5),
    torch.randn: lambda b: torch.randn((4, b, 2)),
    torch.randint: lambda b: torch.randint(0, 9, (b, 3)),
    torch.rand_like: lambda b: torch.rand_like(X[:b]),
    torch.randn_like: lambda b: torch.randn_like(X[:b]),
    torch.normal: lambda b: torch.normal(torch.zeros(b, 20), torch.ones(20)),
    torch.bernoulli: lambda b: torch.bernoulli(torch.full((b, 4), 0.4)),
    torch.Tensor.bernoulli: lambda b: torch.full((b * 4, 7), 0.4).bernoulli(),
    torch.multinomial: lambda b: torch.multinomial(torch.ones(b, 6), 1),
    torch.Tensor.multinomial: lambda b: torch.ones(b * 3, 6).multinomial(1, True),
    torch.Tensor.uniform_: lambda b: torch.empty(b, 3).uniform_(-1, 2),
    torch.Tensor.exponential_: lambda b: torch.empty(b).exponential_(),
    torch.Tensor.normal_: lambda b: torch.empty(b, 30).normal_(),
    torch.Tensor.cauchy_: lambda b: torch.empty(b, 3).cauchy_(),
    torch.Tensor.log_normal_: lambda b: torch.empty(b, 3).log_normal_(),
    torch.Tensor.geometric_: lambda b: torch.empty(b, 3).geometric_(0.2),
    torch.Tensor.bernoulli_: lambda b: torch.empty(b, 3).bernoulli_(0.2),
    functional.dropout: lambda b: functional.dropout(torch.ones(b, 9), 0.4),
    functional.dropout1d: lambda b: functional.dropout1d(torch.ones(b, 3, 2), 0.4),
    functional.dropout2d: lambda b: functional.dropout2d(torch.ones(b, 3, 2, 2), 0.4, True, True),
    functional.dropout3d: lambda b: functional.dropout3d(torch.ones(b, 3, 2, 2, 2), 0.4),
}


def test_all_functions_are_tried():
    assert CALLS.keys() == DRAWS.keys()


@pytest.mark.parametrize("call", CALLS.values(), ids=[function.__name__ for function in CALLS])
@pytest.mark.parametrize(("size", "first", "count"), [(7, 2, 3), (10, 5, 5), (11, 9, 2)])
def test_rows_get_the_numbers_of_the_whole_batch(call, size, first, count):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        whole, after = call(size), torch.random.get_rng_state()
        torch.manual_seed(3)
        with WholeDraws(first, count, size):
            rows = call(count)
        dim = next(dim for dim, length in enumerate(rows.shape) if length % count == 0 and whole.shape[dim] != length)
        times = rows.shape[dim] // count
        assert torch.equal(rows, whole.narrow(dim, times * first, times * count))
        assert torch.equal(torch.random.get_rng_state(), after)
