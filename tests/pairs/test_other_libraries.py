"""Data as other libraries give them: annotated data, data sets of Hugging Face, tables of pandas and Arrow."""

import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.utils.data import DataLoader

from pyro_vae import fit, log_marginal
from pyro_vae.pairs.inputs import as_points

pd = pytest.importorskip("pandas")
N, D, CLASSES = 12, 4, 3
RNG = np.random.default_rng(0)
X, Y = RNG.poisson(2.0, (N, D)).astype(np.float32), RNG.integers(0, CLASSES, N)


def frame(**columns):
    return pd.DataFrame({f"x{i}": X[:, i] for i in range(D)} | columns)


def read(given):
    """What a pair is called with."""
    return as_points("data", given)


class Counts(nn.Module):
    """x ~ Poisson(softplus(W z + a row of a table for y))."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder, self.table = nn.Linear(D, 2), nn.Linear(2, D), nn.Embedding(CLASSES, D)

    def model(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            rate = nn.functional.softplus(self.decoder(z) + self.table(y))
            pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)

    def guide(self, x, y):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.encoder(x.log1p()), 0.5).to_event(1))


def trained(inputs, validation=None):
    """The losses of a short training, and log p(x | y) after it."""
    pair = Counts()
    settings = {"epochs": 2, "batch_size": 5, "progress": False, "compile": False}
    losses = [entry["loss"] for entry in fit(pair.model, pair.guide, inputs, validation=validation, **settings).history]
    return losses, log_marginal(pair.model, pair.guide, inputs, num_samples=5, estimator="guide").log_prob


@pytest.fixture(scope="module")
def truth():
    return trained({"x": X, "y": Y})


def assert_same(found, truth):
    assert found[0] == pytest.approx(truth[0], rel=1e-6)
    assert found[1].numpy() == pytest.approx(truth[1].numpy(), rel=1e-5)


# Annotated data


@pytest.fixture
def annotated():
    anndata = pytest.importorskip("anndata")
    rows = pd.DataFrame(
        {"batch": pd.Categorical([f"lab {y}" for y in Y]), "size": Y}, index=[f"c{i}" for i in range(N)]
    )
    return lambda matrix: anndata.AnnData(matrix, obs=rows.copy())


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_matrix])
def test_annotated_data_are_their_matrix(annotated, kind, tmp_path):
    cells = annotated(kind(X))
    cells.layers["log"], cells.raw = kind(np.log1p(X)), cells
    assert (read(cells).numpy() == X).all()
    assert (read(cells.raw).numpy() == X).all()
    assert (read(cells[2:7]).numpy() == X[2:7]).all()
    assert (read(cells.layers["log"]).numpy() == np.log1p(X)).all()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = pytest.importorskip("anndata").read_h5ad(tmp_path / "cells.h5ad", backed="r")
    assert (read(backed).numpy() == X).all()
    backed.file.close()


def test_annotated_data_with_a_column_of_their_rows_train(annotated, truth):
    cells = annotated(scipy.sparse.csr_matrix(X))
    assert_same(trained((cells, cells.obs["size"])), truth)
    assert_same(trained({"x": cells, "y": cells.obs["batch"].cat.codes}), truth)  # 8 bits each
    with pytest.raises(TypeError, match=re.escape("Give the numbers of its categories, .cat.codes.")):
        read((cells, cells.obs["batch"]))


def test_annotated_data_without_a_matrix_are_refused(annotated):
    with pytest.raises(TypeError, match=r"AnnData without a matrix X\. Give one of its layers"):
        read(annotated(None))


# Hugging Face


@pytest.fixture
def dataset():
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"x": X, "y": Y}, features=features(datasets))


def features(datasets):
    labels = datasets.ClassLabel(names=[f"lab {i}" for i in range(CLASSES)])
    return datasets.Features({"x": datasets.Sequence(datasets.Value("float32")), "y": labels})


FORMATS = {
    "plain": lambda data: data,
    "torch": lambda data: data.with_format("torch"),
    "numpy": lambda data: data.with_format("numpy"),
    "all rows": lambda data: data.with_format("torch")[:],
    "columns": lambda data: {name: data.with_format("numpy")[name][:] for name in data.column_names},
}


@pytest.mark.parametrize("form", FORMATS)
def test_data_sets_of_hugging_face_train_as_arrays_do(dataset, form, truth):
    given = FORMATS[form](dataset)
    assert_same(trained(given, validation=given), truth)


@pytest.mark.parametrize("streamed", [False, True])
def test_their_loaders_give_batches(dataset, streamed):
    given = dataset.to_iterable_dataset() if streamed else dataset
    points = read(DataLoader(given.with_format("torch"), batch_size=5))
    assert (points.kwargs["x"].numpy() == X).all()
    assert (points.kwargs["y"].numpy() == Y).all()


def test_a_stream_of_batches_is_a_loader(dataset):
    pair, stream = Counts(), dataset.to_iterable_dataset().batch(5).with_format("torch")
    with pytest.raises(TypeError, match="or, where it gives batches already, batch_size=None"):
        fit(pair.model, pair.guide, stream, progress=False)
    points = read(DataLoader(stream, batch_size=None))
    assert (points.kwargs["x"].numpy() == X).all()


def test_columns_that_a_model_does_not_take_are_named(dataset):
    with pytest.raises(
        TypeError, match=re.escape("Expected data['id'] to be a tensor or an array of numbers (N, ...)")
    ):
        read(dataset.add_column("id", ["a"] * N))
    column = dataset["x"]
    with pytest.raises(TypeError, match=re.escape("np.asarray(data[0][:])")):
        read((column, dataset["y"]))
    splits = {"train": dataset, "test": dataset}
    with pytest.raises(TypeError, match=re.escape("Expected data to be one data set; got several, ['train', 'test']")):
        fit(Counts().model, Counts().guide, splits, progress=False)


def test_a_parquet_file_of_hugging_face(dataset, tmp_path, truth):
    dataset.to_parquet(tmp_path / "data.parquet")
    again = type(dataset).from_parquet(str(tmp_path / "data.parquet"), cache_dir=str(tmp_path / "cache"))
    assert_same(trained(again), truth)


# Tables


@pytest.mark.parametrize("types", ["numpy_nullable", "pyarrow"])
def test_columns_that_can_mark_what_is_missing(types, tmp_path):
    pytest.importorskip("pyarrow")
    frame().to_parquet(tmp_path / "table.parquet")
    table = pd.read_parquet(tmp_path / "table.parquet", dtype_backend=types)
    assert (read(table).numpy() == X).all()
    whole = table.astype("Int64")
    assert read(whole).dtype is torch.int64
    missing = read(whole.mask(whole == 2)).numpy()
    assert (np.isnan(missing) == (X == 2)).all()
    assert (missing[X != 2] == X[X != 2]).all()


def test_a_table_of_arrow():
    pyarrow = pytest.importorskip("pyarrow")
    assert (read(pyarrow.Table.from_pandas(frame())).numpy() == X).all()


def test_columns_without_numbers_are_named():
    with pytest.raises(TypeError, match="Columns such as 'name' hold none"):
        read(frame(name=["a"] * N))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32"])
def test_labels_of_few_bits_are_looked_up(kind, truth):
    assert_same(trained({"x": X, "y": Y.astype(kind)}), truth)
