"""Texts of a column and class folders as whole numbers with names."""

import dataclasses

import numpy as np
import pytest
import torch

from pyro_vae.data import Data, Splits, binarize, load, table_file

pandas = pytest.importorskip("pandas")

KINDS = np.array(["T", "B", "NK", "B"] * 10)
INPUTS = {"x": "table", "y": "kind"}


def cells(kinds=KINDS):
    values = np.random.default_rng(0).normal(size=(len(kinds), 2))
    return pandas.DataFrame({"a": values[:, 0], "kind": kinds, "b": values[:, 1]})


def written(path, kinds=KINDS):
    frame = cells(kinds)
    frame.to_parquet(path, index=False) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


FORMS = {
    "objects": lambda kinds: kinds.astype(object),
    "strings": lambda kinds: pandas.array(kinds, dtype="string"),
    "categorical": lambda kinds: pandas.Categorical(kinds, categories=["unseen", "T", "NK", "B"]),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("form", FORMS)
def test_texts_of_a_column_are_numbered_in_their_sorted_order(tmp_path, form, suffix):
    path = written(tmp_path / f"cells{suffix}", FORMS[form](KINDS))
    data = load(path, inputs=INPUTS, order="whole")
    assert data.categories == {"kind": ("B", "NK", "T")}
    assert data.given("test")["y"].tolist() == [2, 0, 1, 0] * 10
    assert data.given("test")["y"].dtype is torch.int64
    assert torch.equal(data.test, torch.from_numpy(cells()[["a", "b"]].to_numpy(np.float32, copy=True)))
    assert data.columns == ("a", "b")
    assert "; kind: 3 categories (B, NK, T); " in data.protocol


def test_splits_share_the_numbers(tmp_path):
    kinds = np.array(["z"] * 36 + ["a"] * 4)  # of which the last are in the test split alone
    data = load(written(tmp_path / "cells.csv", kinds), inputs=INPUTS, order="ordered").with_fewer(5)
    assert [set(y.tolist()) for y in data.others["kind"]] == [{1}, {1}, {0}]
    assert data.categories == {"kind": ("a", "z")}
    text = {"train_labels": ["b"] * 5, "validation_labels": ["b", "c"], "test_labels": ["a"] * 3}
    images = {f"{part}_images": np.zeros((n, 2)) for part, n in (("train", 5), ("validation", 2), ("test", 3))}
    np.savez(tmp_path / "split.npz", **images, **text)
    data = load(tmp_path / "split.npz")
    assert [y.tolist() for y in data.labels] == [[1] * 5, [1, 2], [0] * 3]
    assert data.categories == {"labels": ("a", "b", "c")}
    assert "; labels: 3 categories (a, b, c)" in data.protocol


NUMBERS = {
    "whole": np.arange(40) % 3,
    "real": np.arange(40) / 8,
    "bool": np.arange(40) % 2 == 0,
    "categorical": pandas.Categorical(np.arange(40) % 3),
    "nullable": pandas.array(np.arange(40) % 3, dtype="Int64"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_stay_what_they_are(tmp_path, name):
    data = load(written(tmp_path / "cells.parquet", NUMBERS[name]), inputs=INPUTS, order="whole")
    assert data.given("test")["y"].tolist() == np.asarray(NUMBERS[name]).tolist()
    assert data.categories == {}


def known(kinds, *, suffix=".csv", names=("B", "NK", "T"), tmp_path):
    data = load(written(tmp_path / f"x{suffix}", kinds), inputs=INPUTS, order="whole", categories={"kind": names})
    assert data.categories["kind"] == tuple(names)
    return data.given("test")["y"].tolist()


def test_known_categories_keep_their_numbers(tmp_path):
    assert known(["T", "T", "B"], tmp_path=tmp_path) == [2, 2, 0]
    assert known(["T"], suffix=".parquet", tmp_path=tmp_path) == [2]
    assert known(["T", "B"], names=("T", "B"), tmp_path=tmp_path) == [0, 1]
    digits = ("01", "1", "1.50", "x")  # which are texts where x does not occur, too
    assert known(["1.50", "01", "1"], names=digits, tmp_path=tmp_path) == [2, 0, 1]
    assert known([" T", "B "], tmp_path=tmp_path) == [2, 0]  # blanks around do not count, as after a comma
    many = load(written(tmp_path / "many.csv", [f"c{i % 7}" for i in range(40)]), inputs=INPUTS)
    assert "; kind: 7 categories (c0, c1, c2 and 4 more); " in many.protocol


def test_a_long_column_of_numbers_and_texts_is_read_as_texts(tmp_path):
    """pandas reads a long file in parts, whose kinds may differ."""
    path = tmp_path / "long.csv"
    path.write_text("a,kind,b\n" + "0,7,1\n0,007,1\n" * 132_000 + "1,x,0\n" * 264_001)
    data = load(path, inputs=INPUTS)
    assert data.categories == {"kind": ("007", "7", "x")}


MISSING = "Expected a category for each data point in kind of .*; got none for 1 of 40. Drop these, or give them a name"
REFUSED = {
    "NaN": (np.where(np.arange(40) == 3, None, KINDS), ".csv", MISSING),
    "None": (np.where(np.arange(40) == 3, None, KINDS), ".parquet", MISSING),
    "NA": (pandas.array(np.where(np.arange(40) == 3, None, KINDS), dtype="string"), ".parquet", MISSING),
    "empty": (np.where(np.arange(40) == 3, " ", KINDS.astype(object)), ".parquet", MISSING),
    "categorical": (pandas.Categorical(np.where(KINDS == "NK", None, KINDS)), ".parquet", "got none for 10 of 40"),
    "names of rows": ([f"cell {i}" for i in range(40)], ".csv", "got 40 texts for 40 data points, as if they were th"),
    "nearly": ([f"cell {max(i, 3)}" for i in range(40)], ".csv", "got 37 texts for 40 data points"),
    "mark": (["?", *(i % 5 for i in range(39))], ".csv", r"got numbers, and texts such as '\?' for 1 of 40"),
    "bytes": ([b"a", b"b"] * 20, ".parquet", "Expected kind of .* to hold real numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_texts_that_are_no_categories_are_refused(tmp_path, case):
    kinds, suffix, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        load(written(tmp_path / f"cells{suffix}", kinds), inputs=INPUTS)


def test_texts_and_numbers_are_not_taken_for_each_other(tmp_path):
    path, whole = written(tmp_path / "cells.csv"), written(tmp_path / "numbers.parquet", np.arange(40) % 3)
    with pytest.raises(ValueError, match=r"Expected whole numbers as kind of .*, as in training; got kind: 3 "):
        load(path, inputs=INPUTS, categories={})
    for read in (load, table_file):
        with pytest.raises(ValueError, match=r"Expected kind of .* by the names of training, B, T; got none\. Write"):
            read(whole, inputs=INPUTS, categories={"kind": ["B", "T"]})
    with pytest.raises(ValueError, match=r"Expected labels of digits by the names of training, zero; got none"):
        load("digits", inputs={"x": "images", "y": "labels"}, categories={"labels": ["zero"]})
    with pytest.raises(ValueError, match=r"one of the categories of training in kind of .*, B, T; got 'NK'\. Drop"):
        load(path, inputs=INPUTS, categories={"kind": ["B", "T"]})


def made(**change):
    x, y = torch.full((3, 2), 0.5), Splits(*3 * [torch.tensor([0, 1, 0])])
    given = {"categories": {"labels": ("a", "b")}, "labels": y, **change}
    return Data(name="made", train=x, validation=x, test=x, protocol="half", levels=3, **given)


def test_categories_are_carried_on():
    data = made()
    for other in (binarize(data, "threshold"), data.with_inputs(x="images", y="labels"), dataclasses.replace(data)):
        assert other.categories == {"labels": ("a", "b")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"categories": {"labels": ("a",)}},
            r"numbers \(N,\) from 0 to 0 as the train labels, by .* a; got 0 to 1",
        ),
        ({"categories": {"labels": ("a", "a")}}, r"Expected different names of the categories of labels; got a, a\."),
        ({"categories": {"labels": ()}}, r"Expected different names of the categories of labels; got none\."),
        ({"categories": {"kind": ("a", "b")}}, r"Expected categories of labels; got those of 'kind'\."),
        ({"labels": Splits(*3 * [torch.tensor([0, -1, 0])])}, r"as the train labels, .*; got -1 to 0\."),
        (
            {"categories": {"age": ("a", "b")}, "others": {"age": Splits(*3 * [torch.tensor([0.0, 1.0, 0.0])])}},
            r"as the train age, by its categories a, b; got torch.float32 of shape \(3,\)\.",
        ),
    ],
)
def test_names_are_those_of_the_numbers(change, message):
    with pytest.raises(ValueError, match=message):
        made(**change)


def test_a_second_column_of_texts_is_named_beside_the_inputs_there_are(tmp_path):
    path = written(tmp_path / "two.csv", KINDS)
    table = pandas.read_csv(path)
    table.assign(donor=["ann", "bob"] * 20).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"got others in donor\. .* such as --inputs x=table y=kind y2=donor"):
        load(path, inputs=INPUTS)
    with pytest.raises(ValueError, match=r"got others in kind, donor\. .* such as --inputs x=table y=kind\."):
        load(path)
