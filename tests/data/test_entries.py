"""Data of more than x: which arrays a pair is called with, from Python, files and the command line."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from own_models import SHIFTED

import pyro_vae
from pyro_vae import fit, log_marginal, sample
from pyro_vae.commands.main import main
from pyro_vae.data import Data, Splits, array_file, digits, load, random_split, table_file


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module `shifted` with a pair that takes x and y."""
    (tmp_path / "shifted.py").write_text(SHIFTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("shifted", None)
    import shifted

    yield shifted
    sys.modules.pop("shifted", None)


def test_labels_of_a_set_are_an_input(own):
    data = digits().with_inputs(x="images", y="labels")
    assert data.protocol.endswith("; inputs x=images, y=labels")
    assert set(data.given("test")) == {"x", "y"}
    assert data.given("test")["y"] is data.labels.test
    assert digits().given("test") is not None
    assert torch.equal(digits().with_inputs("images", "labels").given("train")[1], data.labels.train)
    pair = own.Shifted(data.event_shape, 2)
    result = fit(pair.model, pair.guide, data, epochs=1, progress=False)
    assert "validation_elbo" in result.history[0]
    assert (
        len(log_marginal(pair.model, pair.guide, {"x": data.test[:5], "y": data.labels.test[:5]}, num_samples=5)) == 5
    )
    with pytest.raises(TypeError, match=r"Expected the inputs that .*model"):
        fit(pair.model, pair.guide, digits(), epochs=1, progress=False)


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_x_alone_goes_through_the_transform(form):
    data = digits(binarization="dynamic")
    if form == "tuple":
        data = data.with_inputs("images", "labels")
        x, y = data.transform(*data.given("train"))
    else:
        data = data.with_inputs(y="labels", x="images")
        made = data.transform(**data.given("train"))
        x, y = made["x"], made["y"]
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(y, data.labels.train)


def test_what_inputs_there_are():
    for inputs, message in [
        ({"x": "images", "y": "label"}, r"out of images, labels; got 'label'\. Did you mean labels"),
        ({"y": "labels"}, r"Expected images once among the inputs, for x; got labels"),
        ({}, r"by position or by name; got none"),
    ]:
        with pytest.raises(ValueError, match=message):
            digits().with_inputs(**inputs)


FORMS = {"tuple": lambda x, y: (x, y), "dict": lambda x, y: {"x": x, "y": y}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_splits_may_be_tuples_or_dicts_of_arrays(form, kind):
    x, y = np.arange(12.0).reshape(4, 3).astype(np.float32), np.arange(4, dtype=np.int16)
    part = FORMS[form](kind(x), kind(y))
    data = Data(name="several", train=part, validation=part, test=part, protocol="whole numbers")
    assert data.train.tolist() == x.tolist()
    assert data.event_shape == (3,)
    given = data.given("test")
    found = given if form == "tuple" else (given["x"], given["y"])
    assert [t.dtype for t in found] == [torch.float32, torch.int64]
    assert found[1].tolist() == y.tolist()
    changed = FORMS[form](kind(x), kind(y[::-1].copy()))
    other = Data(name="several", train=part, validation=part, test=changed, protocol="whole numbers")
    assert other.digest != data.digest


def test_splits_that_differ_are_refused():
    x, y = torch.zeros(4, 3), torch.zeros(4)
    for change, message in [
        ({"test": (x,)}, r"same entries in all three splits, x first; got train: images, input_1; .*test: images"),
        ({"test": (x, y[:3])}, r"Expected test input_1 of shape \(4\); got \(3,\)"),
        ({"test": (x, y / 0)}, r"finite values in test input_1"),
        ({"test": (x, np.array(["a"] * 4))}, r"Expected test input_1 to hold real numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            Data(**{"name": "", "train": (x, y), "validation": (x, y), "test": (x, y), "protocol": ""} | change)


# Files


def test_a_file_of_named_arrays_is_split_alike(tmp_path):
    x, y, extra = np.arange(40.0).reshape(20, 2), np.arange(20), np.zeros(3)
    np.savez(tmp_path / "named.npz", images=x, labels=y, extra=extra)
    data = array_file(tmp_path / "named.npz")
    assert torch.equal(data.train[:, 0], 2.0 * data.labels.train)
    assert "left out: extra; labels of 20 classes" in data.protocol
    np.savez(tmp_path / "counts.npz", counts=x.astype(np.int64), depth=y.astype(float), batch=y)
    with pytest.raises(ValueError, match=r"got counts, depth, batch\. Of several, say which are inputs: --inputs x="):
        array_file(tmp_path / "counts.npz")
    data = load(tmp_path / "counts.npz", inputs={"x": "counts", "size": "depth"})
    assert torch.equal(data.given("test")["x"][:, 0], 2 * data.given("test")["size"])
    assert data.given("test")["size"].dtype is torch.float32
    assert "left out: batch" in data.protocol
    with pytest.raises(ValueError, match=r"arrays of .*, counts, depth, batch; got 'count'\. Did you mean counts"):
        load(tmp_path / "counts.npz", inputs={"x": "count"})
    np.savez(tmp_path / "short.npz", images=x, labels=y[:-1])
    with pytest.raises(ValueError, match=r"Expected labels in .* for as many items as images, 20; got 19"):
        array_file(tmp_path / "short.npz")


@pytest.mark.parametrize("name", ["{}", "{}_images"])
def test_arrays_of_given_splits(name, tmp_path):
    sizes = {"train": 5, "valid": 2, "test": 3}
    arrays = {name.format(part): np.full((size, 2), size) for part, size in sizes.items()}
    labels = {f"{part}_labels": np.arange(size, dtype=np.uint8) for part, size in sizes.items()}
    np.savez(tmp_path / "split.npz", **arrays, **labels)
    data = load(tmp_path / "split.npz", inputs={"x": "images", "y": "labels"})
    assert [len(x) for x in data.splits] == [5, 2, 3]
    assert data.given("test")["y"].tolist() == [0, 1, 2]
    assert "as given" in data.protocol
    assert "left out" not in data.protocol


def test_splits_in_order(tmp_path):
    np.save(tmp_path / "series.npy", np.arange(40.0).reshape(20, 2))
    data = load(tmp_path / "series.npy", order="ordered")
    assert [x[:, 0].tolist() for x in (data.validation, data.test)] == [[32.0, 34.0], [36.0, 38.0]]
    assert "in their order" in data.protocol
    assert [x.tolist() for x in random_split(torch.arange(10), order="ordered")] == [[*range(8)], [8], [9]]
    with pytest.raises(ValueError, match="without splits of their own to take in order; got digits"):
        load("digits", order="ordered")
    with pytest.raises(ValueError, match="order 'random', 'ordered' or 'whole'; got 'sorted'"):
        load(tmp_path / "series.npy", order="sorted")


def test_tables(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(20.0), "b": np.arange(20) * 2, "batch": np.arange(20) % 3})
    frame.to_csv(tmp_path / "table.csv", index=False)
    data = load(tmp_path / "table.csv", inputs={"x": "table", "y": "batch"}, order="ordered")
    assert data.test.tolist() == [[18.0, 36.0], [19.0, 38.0]]
    assert data.given("test")["y"].tolist() == [0, 1]
    assert load(tmp_path / "table.csv").event_shape == (3,)
    with pytest.raises(ValueError, match=r"columns of .*; got 'c'"):
        load(tmp_path / "table.csv", inputs={"x": "table", "y": "c"})
    frame.assign(name="text").to_csv(tmp_path / "text.csv", index=False)
    with pytest.raises(ValueError, match=r"got others in name\. .* --inputs x=table y=name\."):
        load(tmp_path / "text.csv")


@pytest.mark.parametrize("index", [None, "cell"])
@pytest.mark.parametrize(("name", "separator"), [("cells.csv", ","), ("cells.tsv", "\t")])
def test_names_of_the_rows_are_no_values(tmp_path, index, name, separator):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(20), "b": np.arange(20) % 3}, index=[f"cell {i}" for i in range(20)])
    frame.to_csv(tmp_path / name, sep=separator, index_label=index)
    data = load(tmp_path / name, order="ordered")
    assert data.test.tolist() == [[18.0, 0.0], [19.0, 1.0]]
    called = "without a name" if index is None else "'cell'"
    assert data.protocol.endswith(
        f"; 2 columns, from a to b; left out: the first column, {called}, as names of the rows"
    )
    assert data.protocol.count("not binarized") == 1


def test_numbers_of_the_rows_are_no_values(tmp_path):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"a": np.arange(20) % 2, "b": np.arange(20) % 3}).to_csv(tmp_path / "numbered.csv")
    assert load(tmp_path / "numbered.csv").event_shape == (2,)
    pandas.DataFrame({"kind": ["x", "y"] * 10, "b": 1.0}).to_csv(tmp_path / "kinds.csv", index=False)
    with pytest.raises(ValueError, match="got others in kind"):  # no names: they do not differ
        load(tmp_path / "kinds.csv")


def table(path, **columns):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(columns).to_csv(path, index=False)
    return path


COUNTS = np.random.default_rng(0).poisson(4.0, 20)
RISING = np.cumsum(1 + COUNTS)
NUMBERS = {
    "first and rising": ({"nr": RISING, "a": COUNTS}, "the first column, 'nr'"),
    "called so": ({"a": COUNTS, "ID": np.random.default_rng(1).permutation(20), "b": COUNTS}, "'ID'"),
    "both": ({"Index": RISING, "cell": RISING[::-1], "a": COUNTS}, "the first column, 'Index' and 'cell'"),
    "not rising": ({"nr": RISING[::-1], "a": COUNTS}, None),
    "not first": ({"a": COUNTS, "nr": RISING}, None),
    "equal ones": ({"id": COUNTS, "a": COUNTS}, None),
    "with a point": ({"id": RISING + 0.5, "a": COUNTS}, None),
    "with a point of zero": ({"time": RISING.astype(float), "a": COUNTS}, None),
    "alone": ({"id": RISING}, None),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_whole_numbers_of_the_rows_are_told_from_values(tmp_path, case):
    columns, left_out = NUMBERS[case]
    found = load(table(tmp_path / "table.csv", **columns))
    gone = [name for name in columns if left_out and repr(name) in left_out]
    assert found.columns == tuple(name for name in columns if name not in gone)
    assert found.event_shape == (len(columns) - len(gone),)
    words = f"; left out: {left_out}, as names of the rows" if left_out else found.columns[-1]
    assert found.protocol.endswith(words)


def test_the_protocol_names_the_columns(tmp_path):
    names = ["ACTB", "GAPDH", "a name over\ntwo lines"]
    protocol = load(table(tmp_path / "table.csv", **dict.fromkeys(names, COUNTS))).protocol
    assert protocol.endswith("; 3 columns, from ACTB to a name over two lines")
    protocol = load(table(tmp_path / "table.csv", height=COUNTS), binarization="none").protocol
    assert protocol.endswith("; 1 column, height")


def test_columns_are_taken_by_their_names(tmp_path):
    known = {name: np.random.default_rng(i).poisson(4.0, 20) for i, name in enumerate("abcde")}
    x = load(table(tmp_path / "first.csv", nr=RISING, **known), order="whole")
    assert "brought" not in x.protocol
    turned = {name: known[name] for name in "cabed"}
    for others in ({}, {"nr": RISING[::-1]}, {"": list("abcdefghijklmnopqrst")}, {"id": RISING}):
        path = table(tmp_path / "turned.csv", **others, **turned)
        again = load(path, order="whole", columns=x.columns)
        assert torch.equal(again.test, x.test)
        assert "; 5 columns, from a to e, brought into this order" in again.protocol
    one = {
        name: values[:1] for name, values in known.items()
    }  # its first value is one of x, though it differs from none
    assert load(table(tmp_path / "one.csv", **one), order="whole", columns=x.columns).test.tolist() == [
        x.test[0].tolist()
    ]


@pytest.mark.parametrize(
    ("names", "got"),
    [
        ("abcd", "got a table without e. Give"),
        ("abcdex", "got a table with x. Give"),
        ("abcdvwxyz", "got a table without e and with v, w, x and 2 more. Give"),
    ],
)
def test_columns_of_other_names_are_refused(tmp_path, names, got):
    path = table(tmp_path / "others.csv", **dict.fromkeys(names, COUNTS))
    with pytest.raises(
        ValueError, match=r"Expected the columns of x as in training in .*, 5 columns, from a to e, in any"
    ):
        load(path, columns=list("abcde"))
    with pytest.raises(ValueError, match=got):
        load(path, columns=list("abcde"))


def test_columns_are_those_of_a_table(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 2)))
    with pytest.raises(ValueError, match=r"Expected a table, whose columns have names; got .*x\.npy"):
        load(tmp_path / "x.npy", columns=["a", "b"])
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"Expected a name for each value of x, of shape \(3,\), in columns; got 2\."):
        Data(name="x", train=x, validation=x, test=x, protocol="", columns=("a", "b"))


def test_a_table_needs_pandas(tmp_path, monkeypatch):
    (tmp_path / "table.csv").write_text("a\n1\n")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'Expected pandas, .*pip install "pyro-vae\[tables\]"'):
        table_file(tmp_path / "table.csv")
    with pytest.raises(FileNotFoundError, match=r"CSV, TSV or Parquet file at .*; got no such file"):
        table_file(tmp_path / "other.csv")


# The command line


@pytest.mark.filterwarnings("ignore")
def test_runs_of_several_inputs_go_on(own, tmp_path, capsys):
    np.savez(tmp_path / "own.npz", images=np.random.default_rng(0).random((30, 4, 4)), kind=np.arange(30) % 3)
    train = ["train", "--data", "own.npz", "--model", "shifted.Shifted", "--model.classes", "3", "--latent-dim", "2"]
    train += ["--inputs", "x=images", "y=kind", "--epochs", "1", "--out", "run", "--compile", "false"]
    main(train)
    assert "inputs x=images, y=kind" in json.loads((tmp_path / "run" / "run.json").read_text())["protocol"]
    for command in (
        "evaluate run --estimator guide --num-samples 10",
        "diagnose run --num-samples 3 --num-pool 3",
        "encode run",
        "reconstruct run --num-images 3",
        "sample run --num-samples 5",
        "traverse run",
        "interpolate run --num-rows 1",
        "manifold run --side 3",
        "compare run --out comparison --estimator guide",
    ):
        main(command.split())
    out = capsys.readouterr().out
    assert "log p(x | y) = " in out  # evaluate
    assert "given  y of random test data" in out  # sample
    main(["sample", "run", "--num-samples", "4", "--given", "y=2,0", "--out", "drawn.npz"])
    assert "given  y = 2, 0" in capsys.readouterr().out
    module, like = pyro_vae.load("run"), {"x": torch.zeros(4, 1, 4, 4), "y": torch.tensor([2, 0, 2, 0])}
    with np.load("drawn.npz") as drawn:
        assert np.array_equal(drawn["means"], sample(module.model, like)[1].numpy())
    for word, message in (
        ("x=1", "one of the inputs that draws are conditional on, y; got 'x=1'"),
        ("y=0.5", "one of whole numbers each; got 'y=0.5'"),
        ("y=three", "Expected --given y=VALUE with numbers; got 'y=three'"),
        ("y=3", "Expected categories "),
    ):
        with pytest.raises(SystemExit):
            main(["sample", "run", "--num-samples", "4", "--out", "other.npz", "--given", word])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x"], "Expected --inputs as ARGUMENT=ARRAY, each argument once; got 'x'"),
        (["x=images", "x=kind"], "Expected --inputs as ARGUMENT=ARRAY, each argument once; got 'x=kind'"),
        (["x=images", "y=other"], "Expected inputs out of the arrays of own.npz, images, kind; got 'other'"),
        (["x=images"], "Expected the inputs x, y that .*Shifted.model"),
        (["x=images", "y=kind"], "Expected categories from 0 to 1 for an embedding of 2; got 2"),
    ],
)
def test_inputs_that_do_not_fit_are_said_before_training(own, words, message, tmp_path, capsys):
    np.savez(tmp_path / "own.npz", images=np.zeros((30, 4, 4)), kind=np.arange(30) % 3)
    train = ["train", "--data", "own.npz", "--model", "shifted.Shifted", "--model.classes", "2", "--latent-dim", "2"]
    with pytest.raises(SystemExit):
        main([*train, "--epochs", "1", "--out", "run", "--inputs", *words])
    assert re.search(f"^pyro-vae: error: {message}", capsys.readouterr().err)
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_the_splits_have_a_short_description():
    assert repr(Splits(*3 * [torch.zeros(2)])) == "Splits(train: (2,), validation: (2,), test: (2,))"
