"""Data in the forms that people have them: each gives what its dense tensor gives, or is refused in a sentence."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pyro_vae import annealed_log_marginal, diagnose, encode, fit, log_marginal, reconstruct, sample
from pyro_vae.pairs.inputs import as_points

N, D = 12, 3


class Pair(nn.Module):
    """z ~ N(0, I), x ~ N(W z, I): values are whole numbers, so that all forms hold the same ones."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(D, 2))
        self.encoder = nn.Linear(D, 2)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.w.T, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.9).to_event(1))


class Frame:
    """What a data frame shows of itself."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def to_numpy(self):
        return self.values


class Annotated:
    """What annotated data show of themselves."""

    def __init__(self, matrix):
        self.X, self.obs, self.shape = matrix, {"batch": ["a"] * matrix.shape[0]}, matrix.shape


class File:
    """A data set of an HDF5 file: it takes slices, and indices that increase."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __getitem__(self, rows):
        assert isinstance(rows, slice) or (np.diff(rows) > 0).all()
        return self.values[rows]


class Items(Dataset):
    """One data point for a number."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        return self.values[i]


def on_disk(values, path):
    np.save(path / "x.npy", values)
    return np.load(path / "x.npy", mmap_mode="r")


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


FORMS = {
    "float64": lambda x, _: x,
    "float16": lambda x, _: x.astype(np.float16),
    "extended precision": lambda x, _: x.astype(np.longdouble),
    "big-endian": lambda x, _: x.astype(">f4"),
    "Fortran order": lambda x, _: np.asfortranarray(x),
    "every second row": lambda x, _: np.repeat(x, 2, 0)[::2],
    "backwards": lambda x, _: x[::-1].copy()[::-1],
    "read-only": lambda x, _: read_only(x),
    "memory map": on_disk,
    "CSR": lambda x, _: scipy.sparse.csr_matrix(x),
    "CSC array": lambda x, _: scipy.sparse.csc_array(x),
    "COO": lambda x, _: scipy.sparse.coo_matrix(x.astype(np.float32)),
    "frame": lambda x, _: Frame(x),
    "annotated": lambda x, _: Annotated(x),
    "annotated, sparse": lambda x, _: Annotated(scipy.sparse.csr_matrix(x)),
    "file": lambda x, _: File(x),
    "TensorDataset": lambda x, _: TensorDataset(torch.from_numpy(x).float()),
    "data set of arrays": lambda x, _: Items(x),
    "data set of tensors": lambda x, _: Items(torch.from_numpy(x).float()),
    "loader": lambda x, _: DataLoader(Items(x), batch_size=5),
    "loader of tuples": lambda x, _: DataLoader(TensorDataset(torch.from_numpy(x)), batch_size=5),
    "batches": lambda x, _: Batches([x[:5], x[5:]]),
}


class Batches:
    """Batches that can be iterated again, of unknown number."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(-3, 4, (N, D)).astype(float)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_form_gives_its_dense_tensor_in_the_dtype_of_the_pair(form, dtype, values, tmp_path):
    pair = Pair().to(dtype)
    points = as_points("x", FORMS[form](values, tmp_path), pair.model, pair.guide)
    wanted = dtype if "Tensor" not in form and "tensors" not in form else points.dtype
    assert points.dtype == wanted
    assert points.tolist() == values.tolist()


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
@pytest.mark.parametrize("form", ["float64", "memory map", "CSR", "loader"])
def test_estimators_and_uses_take_them(form, values, tmp_path):
    pair, x, dense = Pair(), FORMS[form](values, tmp_path), torch.from_numpy(values).float()

    def numbers(x):
        yield log_marginal(pair.model, pair.guide, x, num_samples=5, estimator="guide").log_prob
        yield annealed_log_marginal(
            pair.model, pair.guide, x, start="prior", num_chains=2, num_temperatures=2, num_leapfrog=1, compile=False
        ).log_prob
        yield diagnose(pair.model, pair.guide, x, num_samples=4).elbo.value
        yield encode(pair.model, pair.guide, x)["z"]
        yield reconstruct(pair.model, pair.guide, x)
        yield sample(pair.model, x)[0]

    for got, wanted in zip(numbers(x), numbers(dense), strict=True):
        assert torch.equal(torch.as_tensor(got), torch.as_tensor(wanted))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"])
def test_whole_numbers_stay_whole(dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    points = as_points("y", array)
    kept = getattr(torch, dtype) if dtype[:4] != "uint" or dtype == "uint8" else torch.int64
    assert points.dtype == kept
    assert points.tolist() == array.tolist()
    labels = as_points("y", array[0])  # torch looks things up by int64
    assert (labels.dtype, labels.tolist()) == (torch.bool if dtype == "bool" else torch.int64, array[0].tolist())


def test_several_arrays_are_a_batch(values):
    pair, labels = Pair(), np.arange(N)
    by_place = as_points("x", (values, labels, None), pair.model)
    assert [None if t is None else t.dtype for t in by_place.args] == [torch.float32, torch.int64, None]
    by_name = as_points("x", {"x": scipy.sparse.csr_matrix(values), "y": labels}, pair.model)
    assert by_name.kwargs["x"].tolist() == values.tolist()
    pairs = Items([*zip(values, labels, strict=True)])
    for data in (TensorDataset(torch.from_numpy(values), torch.arange(N)), pairs):
        points = as_points("x", DataLoader(data, batch_size=5), pair.model)
        assert [t.tolist() for t in points.args] == [values.tolist(), labels.tolist()]
    dicts = Items([{"x": x, "y": y} for x, y in zip(values, labels, strict=True)])
    assert as_points("x", dicts).kwargs["y"].tolist() == labels.tolist()


def test_floats_take_the_default_dtype_where_no_parameter_tells(values):
    assert as_points("x", values).dtype is torch.float32
    mixed = Pair()
    mixed.encoder.double()
    assert as_points("x", values, mixed.model, mixed.guide).dtype is torch.float64  # as it is
    assert as_points("x", torch.zeros(3, dtype=torch.float16)).dtype is torch.float16


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.zeros(5, 2))


REFUSED = {
    "ragged": ([[1.0], [1.0, 2.0]], TypeError, r"got list\. Use torch.as_tensor\(x\)"),
    "objects": (np.array([[1.0], [1.0, 2.0]], dtype=object), TypeError, r"real numbers; got an array of object.*pad"),
    "strings": (np.array(["a"]), TypeError, r"real numbers; got an array of <U1\. Replace categories"),
    "complex": (np.zeros(2, complex), TypeError, r"got an array of complex128\. Give real and imaginary parts"),
    "complex tensor": (torch.zeros(2, dtype=torch.complex64), TypeError, r"got torch.complex64\. Use torch.view_as_r"),
    "dates": (np.zeros(2, "datetime64[D]"), TypeError, r"Give times as numbers"),
    "records": (np.zeros(2, [("a", float)]), TypeError, r"Give its fields as entries of a dict"),
    "masked": (np.ma.masked_array([1.0, 2.0], [True, False]), TypeError, r"a number everywhere.*filled\(np.nan\)"),
    "path": ("x.npy", TypeError, r"got str\. Use pyro_vae.data.load"),
    "sparse tensor": (torch.eye(2).to_sparse(), TypeError, r"layout torch.sparse_coo\. Use x.to_dense"),
    "one number": (np.float64(3.0), ValueError, r"at least one data point"),
    "nothing": (np.zeros((0, 3)), ValueError, r"at least one data point"),
    "too large": (np.array([1e300]), ValueError, r"numbers that torch.float32 can hold; got 1 larger ones"),
    "too large whole": (np.array([2**63], np.uint64), ValueError, r"whole numbers below 2\^63"),
    "lengths": ((np.zeros(3), np.zeros(4)), ValueError, r"same number of data points; got \[0\]: 3, \[1\]: 4"),
    "no arrays": ({"x": None}, ValueError, r"at least one tensor"),
    "text beside": ({"x": np.zeros(2), "y": ["a", "b"]}, TypeError, r"be a tensor .* got a list of texts\. Leave it"),
    "one by one": (Stream(), TypeError, r"gives data points one by one\. Give DataLoader\(x, batch_size"),
    "generator": ((batch for batch in [torch.zeros(2)]), TypeError, r"iterated anew .* got generator, which one pass"),
    "no batch": (Batches([]), ValueError, r"at least one batch; got none"),
    "dropped": (DataLoader(Items(torch.zeros(3, 1)), batch_size=5, drop_last=True), ValueError, r"drop_last=True"),
    "empty data set": (Items([]), ValueError, r"got an empty data set"),
    "unlike shapes": (Batches([torch.zeros(2, 3), torch.zeros(2, 4)]), ValueError,
                      r"alike, float32 \(B, 3\); got float32 \(B, 4\) in batch 2"),
    "unlike types": (Batches([torch.zeros(2), torch.zeros(2).int()]), ValueError, r"alike, float32 \(B\); got int32"),
    "unlike entries": (Batches([torch.zeros(2), (torch.zeros(2), torch.zeros(2))]), ValueError,
                       r"alike, float32 \(B\); got \[0\] float32 \(B\), \[1\] float32 \(B\) in batch 2"),
    "None in some": (Batches([(torch.zeros(2), torch.zeros(2)), (torch.zeros(2), None)]), ValueError,
                     r"same entries in all batches, for one call; got \[1\] as None in some"),
    "shuffled": (DataLoader(Items(torch.zeros(3, 1)), shuffle=True), TypeError, r"got a loader that shuffles"),
    "sequences": (Items([torch.zeros(2), torch.zeros(3)]), ValueError, r"put together.*pad sequences"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_right_is_refused_in_a_sentence(what):
    x, kind, message = REFUSED[what]
    with pytest.raises(kind, match=f"(?s){message}") as refused:
        as_points("x", x)
    assert len(str(refused.value)) < 400


def test_one_data_point_is_not_taken_for_several(values):
    pair, one = Pair(), torch.from_numpy(values[0]).float()
    for call in (
        lambda: fit(pair.model, pair.guide, one, epochs=1, progress=False),
        lambda: fit(pair.model, pair.guide, DataLoader(Items(values), batch_size=None), epochs=1, progress=False),
        lambda: log_marginal(pair.model, pair.guide, one, estimator="guide"),
    ):
        with pytest.raises(ValueError, match=r"a value for each data point at site .x.,.* Give one data point as"):
            call()
    assert len(log_marginal(pair.model, pair.guide, one[None], num_samples=5, estimator="guide")) == 1


def test_more_than_fits_into_memory_is_refused(monkeypatch, values, tmp_path):
    monkeypatch.setattr("pyro_vae.arguments.memory.physical_memory", lambda: 320)
    with pytest.raises(ValueError, match=r"at most 20 values in x, .* got 36"):
        as_points("x", on_disk(values, tmp_path))


def test_a_shared_array_is_not_changed(values):
    before = values.copy()
    points = as_points("x", values.astype(np.float32))
    points.add_(1)
    assert np.array_equal(values, before)


def test_the_random_stream_stays_as_it_was(values):
    before = torch.get_rng_state()
    as_points("x", DataLoader(Items(values)))
    assert torch.equal(torch.get_rng_state(), before)


def test_data_frames_of_pandas(values):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(values, columns=["X", "obs", "c"])
    assert as_points("x", frame).tolist() == values.tolist()
    assert as_points("x", frame["c"]).tolist() == values[:, 2].tolist()
    assert as_points("x", {"x": frame, "y": frame["c"].astype(int)}).kwargs["y"].dtype is torch.int64
    with pytest.raises(TypeError, match="real numbers; got an array of object"):
        as_points("x", frame.assign(name="a"))
