"""Training on data that come in batches: the numbers of data in memory, checks as they are visited, errors in words."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
from pyro.infer import Trace_ELBO
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pyro_vae import CompiledELBO, KLWarmup, fit, log_marginal
from pyro_vae.training.visiting import ahead, with_last

N, D = 22, 3


class Pair(nn.Module):
    """Counts given covariates; x may be a whole number."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.encoder, self.decoder = nn.Linear(D, 2), nn.Linear(2, D)

    def model(self, x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            shift = 0.0 if y is None else y[:, None]
            pyro.sample("x", dist.Poisson(nn.functional.softplus(self.decoder(z) + shift)).to_event(1), obs=x)

    def guide(self, x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.encoder(x.to(self.encoder.weight)), 0.9).to_event(1))


class Items(Dataset):
    def __init__(self, *arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, i):
        found = tuple(array[i] for array in self.arrays)
        return found if len(found) > 1 else found[0]


class Many(Items):
    """Gives several at once."""

    def __getitems__(self, indices):
        return [self[i] for i in indices]


class Batches:
    """The same batches again in each pass, of unknown number."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(2.0, (N, D)).astype(float)


@pytest.fixture
def labels():
    return np.random.default_rng(1).normal(size=N)


def on_disk(x, path):
    np.save(path / "x.npy", x)
    return np.load(path / "x.npy", mmap_mode="r")


def eager():
    return CompiledELBO(Trace_ELBO(), backend="eager")


def losses(data, **settings):
    pair = Pair()
    settings = {"epochs": 3, "batch_size": 5, "compile": False} | settings
    result = fit(pair.model, pair.guide, data, progress=False, **settings)
    return [entry["loss"] for entry in result.history], result


ROWS = {
    "memory map": on_disk,
    "CSR": lambda x, _: scipy.sparse.csr_matrix(x),
    "CSC": lambda x, _: scipy.sparse.csc_array(x),
    "data set": lambda x, _: Items(x),
    "data set that gives several": lambda x, _: Many(x),
}


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("transform", [None, lambda x: x + torch.bernoulli(torch.full_like(x, 0.5))])
def test_what_is_read_by_rows_trains_as_in_memory(form, transform, counts, tmp_path):
    in_memory, _ = losses(torch.from_numpy(counts).float(), batch_transform=transform)
    streamed, _ = losses(ROWS[form](counts, tmp_path), batch_transform=transform)
    assert streamed == in_memory


def test_compiled_steps_take_batches(counts, labels, tmp_path):
    plain, _ = losses(torch.from_numpy(counts).float(), epochs=4)
    compiled, _ = losses(on_disk(counts, tmp_path), epochs=4, objective=eager())
    assert compiled == pytest.approx(plain, rel=1e-5)
    in_memory = tuple(torch.from_numpy(array).float() for array in (counts, labels))
    plain, _ = losses(in_memory, epochs=4)
    compiled, _ = losses((scipy.sparse.csr_matrix(counts), labels), epochs=4, objective=eager())
    assert compiled == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("form", [tuple, dict])
def test_several_arrays_some_of_them_on_disk(form, counts, labels, tmp_path):
    given = {"x": on_disk(counts, tmp_path), "y": labels}
    dense = {name: torch.from_numpy(np.array(array)).float() for name, array in given.items()}
    make = dict if form is dict else lambda entries: tuple(entries.values())
    assert losses(make(given))[0] == losses(make(dense))[0]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12 on, for workers
@pytest.mark.parametrize("kind", ["tensors", "list", "dict", "arrays", "data set", "workers"])
def test_batches_of_a_loader_train_as_they_come(kind, counts):
    x = torch.from_numpy(counts).float()
    parts = x.split(5)
    made = {
        "tensors": Batches(*parts),
        "list": DataLoader(TensorDataset(x), batch_size=5),
        "dict": Batches(*({"x": part} for part in parts)),
        "arrays": Batches(*(part.double().numpy() for part in parts)),
        "data set": DataLoader(Items(counts), batch_size=5),
        "workers": DataLoader(Items(counts), batch_size=5, num_workers=1),
    }
    history = losses(made[kind], epochs=2)[1].history
    assert [entry["step"] for entry in history] == [5, 10]
    pair, expected = Pair(), []
    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3)
    for _ in range(2):  # the same by hand, up to the noise of z
        total = 0.0
        for part in parts:
            loc = pair.encoder(part)
            z = loc + 0.9 * torch.randn(100, len(part), 2)
            rate = nn.functional.softplus(pair.decoder(z))
            log_weight = dist.Poisson(rate).log_prob(part).sum(-1) + dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
            loss = (dist.Normal(loc, 0.9).log_prob(z).sum(-1) - log_weight).mean(0).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        expected.append(total / N)
    assert [entry["loss"] for entry in history] == pytest.approx(expected, rel=0.15)


def test_loaders_of_every_kind_give_the_same_losses(counts):
    x = torch.from_numpy(counts).float()
    forms = [tuple, lambda batch: {"x": batch[0]}, lambda batch: batch[0], lambda batch: [batch[0].double().numpy()]]
    found = {str(losses(Batches(*map(form, DataLoader(TensorDataset(x), batch_size=5))))[0]) for form in forms}
    assert len(found) == 1


def test_the_seed_decides_the_order_of_a_loader(counts):
    loader = DataLoader(Items(counts), batch_size=5, shuffle=True)
    first = losses(loader, seed=1)[0]
    pair = Pair()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = fit(pair.model, pair.guide, loader, seed=1, epochs=3, compile=False, progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert [entry["loss"] for entry in again.history] == first
    assert losses(loader, seed=2)[0] != first


@pytest.mark.parametrize("form", [*ROWS, "loader"])
def test_validation_data_in_every_form(form, counts, tmp_path):
    x = torch.from_numpy(counts).float()
    given = DataLoader(Items(counts), batch_size=50) if form == "loader" else ROWS[form](counts, tmp_path)
    found, wanted = (losses(x, validation=v)[1].history[-1]["validation_elbo"] for v in (given, x))
    assert found == pytest.approx(wanted, abs=2.0 if form == "loader" else 0.0)  # loaders draw a number themselves


def test_steps_and_losses_are_told_as_in_memory(counts, tmp_path):
    told = []
    for data in (torch.from_numpy(counts).float(), on_disk(counts, tmp_path), DataLoader(Items(counts), batch_size=5)):
        told.append([])
        losses(data, epochs=2, on_step=lambda step, metrics: told[-1].append((step, "epoch" in metrics)))
    assert told[0] == told[1] == told[2] == [(step, step in (5, 10)) for step in range(1, 11)]


def test_a_small_last_batch_that_is_refused_shares_with_the_one_before(counts, tmp_path):
    class Normed(Pair):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(D)

        def guide(self, x, y=None):
            super().guide(self.norm(x))

    found = []
    for data in (torch.from_numpy(counts).float(), on_disk(counts, tmp_path)):
        pair = Normed()
        with pytest.warns(UserWarning, match="The last two batches share their data points instead: 11 and 11"):
            found.append(fit(pair.model, pair.guide, data, batch_size=21, epochs=2, progress=False).history[-1]["loss"])
    assert found[0] == found[1]


# What is wrong


def late(x, value):
    """Data of which the very last is wrong."""
    x = x.copy()
    x[-1, -1] = value
    return x


@pytest.mark.parametrize("form", ["memory map", "CSR", "data set", "loader"])
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(
    ("value", "message"),
    [(-1.0, r"support of site 'x', .*; got values such as -1"), (math.nan, r"finite values in batch \d of the data")],
)
def test_values_are_looked_at_as_they_are_visited(form, compile, value, message, counts, tmp_path):
    x = late(counts, value)
    data = DataLoader(Items(x), batch_size=5) if form == "loader" else ROWS[form](x, tmp_path)
    pair = Pair()
    pair.train()
    with pyro.validation_enabled(False), pytest.raises(ValueError, match=message):
        fit(
            pair.model, pair.guide, data, epochs=3, batch_size=5, objective=eager() if compile else None, progress=False
        )
    assert all(p.isfinite().all() for p in pair.parameters())


def test_what_is_wrong_in_the_first_batch_or_validation_is_said_before_the_first_step(counts, tmp_path):
    steps = []
    wrong = counts.copy()
    wrong[:, 0] = -1
    cases = [{"data": scipy.sparse.csr_matrix(wrong)}, {"data": DataLoader(Items(wrong), batch_size=5)}]
    good = on_disk(counts, tmp_path)
    cases += [{"data": good, "validation": Items(wrong)}, {"data": good, "validation": DataLoader(Items(wrong))}]
    for case in cases:
        with pytest.raises(ValueError, match="support of site 'x'"):
            losses(**case, on_step=lambda *told: steps.append(told))
    assert not steps


def test_a_stream_that_changes_is_refused_and_the_best_state_is_kept(counts):
    x = torch.from_numpy(counts).float()
    for batches, message in [
        ((x[:5], x[5:10].double().int()), r"alike, float32 \(B, 3\); got int32 \(B, 3\) in batch 2"),
        ((x[:5], x[5:, :2]), r"got float32 \(B, 2\) in batch 2"),
        ((x[:5], {"x": x[5:]}), r"got x float32 \(B, 3\) in batch 2"),
        ((x[:5], x[5:5]), r"at least one data point"),
        ((x[:5], "text"), r"got str"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            losses(Batches(*batches))


def test_what_can_be_iterated_once_is_refused(counts):
    x = torch.from_numpy(counts).float()
    with pytest.raises(TypeError, match=r"iterated anew in each epoch; got generator"):
        losses(part for part in x.split(5))

    class Spent:
        def __init__(self):
            self.left = iter(x.split(5))

        def __iter__(self):
            yield from self.left

    history = []
    with pytest.raises(ValueError, match=r"batches in every pass; got none after the first"):
        losses(Spent(), on_step=lambda step, metrics: history.append(step))
    assert history == [1, 2, 3, 4, 5]  # the first pass was whole


def test_an_unknown_number_of_batches(counts):
    x = torch.from_numpy(counts).float()
    stream = Batches(*x.split(5))
    history = losses(stream, kl_weight=KLWarmup(steps=10))[1].history
    assert [entry["kl_weight"] for entry in history] == pytest.approx([0.4, 0.9, 1.0])
    with pytest.raises(ValueError, match=r"known length for a KL warm-up of 2 epochs.*KLWarmup\(steps"):
        losses(stream, kl_weight=KLWarmup(epochs=2))
    known = DataLoader(Items(counts), batch_size=5)
    assert losses(known, kl_weight=KLWarmup(epochs=2))[1].history[0]["kl_weight"] == pytest.approx(0.4)


def test_an_error_of_a_data_set_is_its_own(counts):
    class Broken(Items):
        def __getitem__(self, i):
            if i == 7:
                raise OSError("the disk is gone")
            return super().__getitem__(i)

    with pytest.raises(OSError, match="the disk is gone"):
        losses(Broken(counts))


class Labelled(nn.Module):
    """x given a category, by an embedding or a one-hot code."""

    def __init__(self, code):
        super().__init__()
        self.table, self.code, self.encoder = nn.Embedding(3, 3), code, nn.Linear(D, 3)

    def model(self, x, y):
        shift = self.table(y) if self.code == "embedding" else nn.functional.one_hot(y, 3).float()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + shift, 1.0).to_event(1), obs=x)

    def guide(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))


@pytest.mark.parametrize("code", ["embedding", "one-hot"])
def test_categories_out_of_range_are_refused_before_the_first_step(code, counts):
    pair, y, steps = Labelled(code), np.arange(N) % 3, []
    assert len(fit(pair.model, pair.guide, (counts, y), epochs=1, progress=False).history) == 1
    y[-1] = 3  # in the last batch
    for data in ((counts, y), Items(counts.astype(np.float32), y)):
        with pytest.raises(ValueError, match=r"categories from 0 to 2 for .*; got 3\. Number the") as refused:
            fit(pair.model, pair.guide, data, batch_size=5, progress=False, on_step=lambda *told: steps.append(told[0]))
        assert "Trace Shapes" not in str(refused.value)
        assert all(p.isfinite().all() for p in pair.parameters())
    assert len(steps) < 5  # of the data set, which is looked at as it is visited
    with pytest.raises(ValueError, match=r"categories"):
        log_marginal(pair.model, pair.guide, (counts, y))
    with pytest.raises(ValueError, match="categories as whole numbers of 64 bits; got"):
        fit(pair.model, pair.guide, (counts, y.astype(float)), progress=False)


def test_bytes_stay_bytes_and_are_scaled_where_that_is_asked_for():
    pair, seen = Labelled("embedding"), []
    images, y = np.random.default_rng(0).integers(0, 256, (N, D)).astype(np.uint8), np.arange(N) % 3

    def scaled(x, y):
        seen.append(x.dtype)
        return x / 255, y

    fit(pair.model, pair.guide, (images, y), batch_transform=scaled, epochs=1, compile=False, progress=False)
    assert set(seen) == {torch.uint8}
    with pytest.raises(ValueError, match=r"parameters, Float; got Byte\. .*x / 255 for grey levels"):
        fit(pair.model, pair.guide, (images, y), epochs=1, progress=False)
    with pytest.raises(ValueError, match=r"validation data of the kind that training visits, float32; got uint8"):
        fit(pair.model, pair.guide, (images, y), validation=(images, y), batch_transform=scaled, progress=False)


# Sequences of different lengths


class Sequences(nn.Module):
    """x_t ~ N(z, 1) for t below the length of each; the guide is a recurrent network over those."""

    def __init__(self):
        super().__init__()
        self.rnn, self.loc = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 1)

    def model(self, x, lengths):
        known = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None], 1.0).expand(x.shape).mask(known).to_event(1), obs=x)

    def guide(self, x, lengths):
        packed = pack_padded_sequence(x[..., None], lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.rnn(packed)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.loc(last[0])[:, 0], 0.8))


def test_sequences_of_different_lengths(counts):
    torch.manual_seed(0)
    sequences = [torch.randn(length) + torch.randn(()) for length in (1, 4, 2, 5, 3, 3)]
    lengths = torch.tensor([len(s) for s in sequences])
    padded = pad_sequence(sequences, batch_first=True, padding_value=99.0)
    pair = Sequences()
    history = fit(pair.model, pair.guide, (padded, lengths), epochs=30, batch_size=3, compile=False, progress=False,
                  optimizer=lambda params: torch.optim.Adam(params, lr=0.02)).history  # fmt: skip
    assert history[-1]["loss"] < history[0]["loss"]
    result = log_marginal(pair.model, pair.guide, (padded, lengths), num_samples=2000, estimator="guide")
    for sequence, log_prob, error in zip(sequences, result.log_prob, result.standard_error, strict=True):
        covariance = torch.eye(len(sequence)) + 1.0  # of z + noise, each sequence by itself
        truth = dist.MultivariateNormal(torch.zeros(len(sequence)), covariance).log_prob(sequence)
        assert abs(log_prob - truth) < 5 * error + 1e-5
    with pytest.raises(ValueError, match=r"lengths up to that of the padded sequences, 5; got 6"):
        fit(pair.model, pair.guide, (padded, lengths + 1), progress=False)


# Reading ahead


def test_reading_ahead_keeps_order_and_stays_few_ahead():
    read = []

    def square(i):
        read.append(i)
        return i * i

    for i, found in enumerate(ahead(square, range(10))):
        assert found == i * i
        assert len(read) <= i + 4
    assert read == [*range(10)]
    assert [*ahead(square, [])] == []

    def fails(i):
        raise OSError(f"row {i}")

    with pytest.raises(OSError, match="row 0"):
        next(ahead(fails, range(3)))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_last_is_known(count):
    assert [*with_last(range(count))] == [(i, i == count - 1) for i in range(count)]


def test_data_larger_than_a_share_of_the_gpu_are_read_by_rows(monkeypatch):
    from pyro_vae.training.visiting import is_read_by_rows

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    cuda = torch.device("cuda")
    assert not is_read_by_rows(torch.zeros(100), cuda)
    assert is_read_by_rows(torch.zeros(126), cuda)
    assert not is_read_by_rows(torch.zeros(126), torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("form", ["memory map", "CSR", "loader", "tensor"])
def test_on_a_gpu(form, compile, counts, tmp_path, monkeypatch):
    """Batches brought there one by one train as data that stand there."""
    x = torch.from_numpy(counts).float()
    in_memory, _ = losses(x, epochs=4, compile=compile)
    if form == "tensor":
        monkeypatch.setattr("pyro_vae.training.visiting.SHARE", 0.0)
    given = {"tensor": x, "loader": Batches(*x.split(5))} | (
        {form: ROWS[form](counts, tmp_path)} if form in ROWS else {}
    )
    streamed, _ = losses(given[form], epochs=4, compile=compile)
    assert streamed == pytest.approx(in_memory, rel=1e-4 if form != "loader" else 0.2)  # loaders have their own order
