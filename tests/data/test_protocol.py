"""Named sets, splits and binarization: sizes, values against known truths, and what each error says."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pyro_vae.data import Data, Splits, binarize, digits, load, random_split


def grey(*, num_items=40, seed=0):
    x = torch.rand(num_items, 1, 6, 5, generator=torch.Generator().manual_seed(seed))
    return Data(name="grey", **random_split(x)._asdict(), protocol="uniform grey levels")


def is_binary(x):
    return bool(((x == 0) | (x == 1)).all())


def assert_drawn_from(draws, probabilities):
    """The mean of the draws lies within 5 standard errors of the mean grey level."""
    standard_error = (probabilities * (1 - probabilities)).double().sum().sqrt() / probabilities.numel()
    difference = draws.double().mean() - probabilities.double().mean()
    assert abs(difference) < 5 * standard_error


# Digits


def test_digits_are_the_sources_images_split_without_loss():
    data = digits(seed=3)
    assert [len(x) for x in data.splits] == [1197, 300, 300]
    assert data.event_shape == (1, 8, 8)
    assert data.train.dtype == torch.float32
    assert data.batch_transform is None
    assert repr(data.splits) == "Splits(train: (1197, 1, 8, 8), validation: (300, 1, 8, 8), test: (300, 1, 8, 8))"

    pixels, targets = load_digits(return_X_y=True)
    rows = torch.cat([torch.cat(data.splits).flatten(1) * 16, torch.cat(data.labels)[:, None]], dim=1)
    expected = np.column_stack([pixels, targets])
    # Sorted rows, image and label together: nothing lost, nothing twice, every label with its image.
    assert np.array_equal(np.array(sorted(rows.tolist())), np.array(sorted(expected.tolist())))
    assert torch.cat(data.splits).mean().item() == pytest.approx(4.884165 / 16, abs=1e-6)


def test_digits_split_depends_on_the_seed_alone():
    assert torch.equal(digits(seed=1).test, digits(seed=1).test)
    assert torch.equal(digits(seed=1).labels.test, digits(seed=1).labels.test)
    assert not torch.equal(digits(seed=1).test, digits(seed=2).test)
    assert "random split with seed 7" in digits(seed=7).protocol
    assert "1,197 train / 300 validation / 300 test" in digits().protocol


# Splits


@pytest.mark.parametrize("num_items", [10, 19, 101])
def test_random_split_is_disjoint_and_complete(num_items):
    parts = random_split(torch.arange(num_items), seed=1)
    assert sorted(torch.cat(parts).tolist()) == list(range(num_items))
    assert len(parts.validation) == len(parts.test) == num_items // 10
    assert torch.cat(parts).tolist() != list(range(num_items))


def test_random_split_refuses_what_does_not_add_up():
    with pytest.raises(ValueError, match=r"Expected at least 10 items to split 80/10/10; got 9\."):
        random_split(torch.arange(9))
    with pytest.raises(ValueError, match=r"Expected split sizes that add up to 9; got \(5, 2, 1\)\."):
        random_split(torch.arange(9), (5, 2, 1))


def test_global_random_state_is_untouched(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20, 3)))
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    for binarization in ("none", "threshold", "static", "dynamic"):
        load("digits", binarization=binarization, seed=1)
        load("x.npy", tmp_path, binarization=binarization, seed=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


# Binarization


def test_none_keeps_the_grey_levels():
    data = binarize(grey(), "none")
    assert torch.equal(data.train, grey().train)
    assert data.protocol == "uniform grey levels; grey levels in [0, 1], not binarized"


def test_threshold_is_at_one_half():
    x = torch.tensor([[0.0, 0.49, 0.5, 0.51, 1.0]])
    data = binarize(Data(name="x", train=x, validation=x, test=x, protocol="x"), "threshold")
    assert all(part.tolist() == [[0, 0, 0, 1, 1]] for part in data.splits)
    assert data.batch_transform is None


def test_static_draws_each_split_once_from_its_grey_levels():
    levels = grey(num_items=2000)
    data = binarize(levels, "static", seed=4)
    assert data.batch_transform is None
    assert "every split drawn once with seed 4" in data.protocol
    for drawn, p in zip(data.splits, levels.splits, strict=True):
        assert is_binary(drawn)
        assert_drawn_from(drawn, p)
        assert_drawn_from(drawn[p < 0.2], p[p < 0.2])
        assert_drawn_from(drawn[p > 0.8], p[p > 0.8])
    again, other = binarize(levels, "static", seed=4), binarize(levels, "static", seed=5)
    assert all(torch.equal(a, b) for a, b in zip(data.splits, again.splits, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(data.splits, other.splits, strict=True))


def test_dynamic_redraws_training_and_fixes_the_rest():
    levels = grey(num_items=2000)
    data = binarize(levels, "dynamic", seed=4)
    assert torch.equal(data.train, levels.train)
    first, second = data.batch_transform(data.train), data.batch_transform(data.train)
    assert is_binary(first)
    assert not torch.equal(first, second)
    assert_drawn_from(first, data.train)
    assert_drawn_from((first + second) / 2, data.train)
    fixed = binarize(levels, "static", seed=4)  # the same held-out pixels, so that the two can be compared
    assert torch.equal(data.validation, fixed.validation)
    assert torch.equal(data.test, fixed.test)
    assert "training redrawn at each visit, validation and test drawn once with seed 4" in data.protocol


@pytest.mark.parametrize("binarization", ["none", "threshold", "static", "dynamic"])
def test_binary_images_stay_as_they_are(binarization):
    x = torch.eye(4)
    data = binarize(Data(name="x", train=x, validation=x, test=x, protocol="identity"), binarization)
    assert all(torch.equal(part, x) for part in data.splits)
    assert data.batch_transform is None
    assert data.protocol == "identity; pixels are 0 or 1 as stored, not binarized again"


@pytest.mark.parametrize("binarization", ["threshold", "static", "dynamic"])
def test_pixels_outside_the_unit_interval_are_not_binarized(binarization):
    x = torch.tensor([[0.0, 255.0]])
    data = Data(name="bytes", train=x, validation=x, test=x, protocol="bytes")
    with pytest.raises(ValueError, match=r"Expected pixels in \[0, 1\] to binarize 'bytes'; got .* \[0, 255\]"):
        binarize(data, binarization)
    assert binarize(data, "none").protocol == "bytes; values in [0, 255], not binarized"


def test_unknown_binarization_is_offered_the_nearest():
    message = r"Expected binarization to be one of none, threshold, static, dynamic; got 'dinamic'\. .* dynamic\?"
    with pytest.raises(ValueError, match=message):
        load("digits", binarization="dinamic")


# Data


def test_large_values_whose_sum_overflows_are_finite_all_the_same():
    x = torch.full((2, 3), 3e38)
    assert not x.sum().isfinite()
    assert Data(name="x", train=x, validation=x, test=x, protocol="").train is x


def test_data_refuses_what_is_not_finite():
    x = torch.zeros(3, 4)
    bad = x.clone()
    bad[0, 1], bad[2, 3] = float("nan"), float("inf")
    message = r"Expected finite values in the validation split of 'x'; got 2 NaN or infinite among 12\."
    with pytest.raises(ValueError, match=message):
        Data(name="x", train=x, validation=bad, test=x, protocol="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": torch.zeros(2, 5)}, r"Expected test items of shape \(4,\), as in train; got \(5,\)\."),
        ({"test": torch.zeros(0, 4)}, r"Expected test of shape .* with N >= 1; got \(0, 4\)\."),
        ({"train": torch.zeros(4)}, r"Expected train of shape .* with N >= 1; got \(4,\)\."),
        (
            {"train": torch.zeros(2, 4).double()},
            r"Expected train in float32; got torch.float64\. .*`.float\(\)`",
        ),
        ({"test": "x"}, r"Expected test as a tensor; got str\. Convert it with `torch\.tensor`\."),
        (
            {"test": torch.full((2, 4), torch.nan), "missing": True},
            r"Expected known values in the test split of 'x'; got 8 that are all missing\.",
        ),
        ({"labels": Splits(*torch.zeros(3, 3))}, r"Expected train labels of shape \(2,\); got \(3,\)\."),
    ],
)
def test_data_refuses_splits_that_do_not_fit(change, message):
    x = torch.zeros(2, 4)
    with pytest.raises(ValueError, match=message):
        Data(**{"name": "x", "train": x, "validation": x, "test": x, "protocol": "x"} | change)


def test_the_digest_tells_any_change_of_the_data():
    data = digits()
    assert data.digest == digits().digest == data.digest
    assert len(data.digest) == 64
    swapped = data.test.clone()
    swapped[[0, 1]] = swapped[[1, 0]]
    labels = data.labels._replace(test=data.labels.test.roll(1))
    changed = [
        replace(data, test=swapped),
        replace(data, labels=labels),
        replace(data, labels=None),
        replace(data, train=data.train.flatten(1), validation=data.validation.flatten(1), test=data.test.flatten(1)),
        replace(data, train=data.train[:-1], labels=data.labels._replace(train=data.labels.train[:-1])),
    ]
    assert len({data.digest, *(other.digest for other in changed)}) == 6
    assert replace(data, protocol="in other words").digest == data.digest


# Names


@pytest.mark.parametrize(
    ("name", "near"), [("digts", "digits"), ("MNIST", "mnist"), ("fashion-mnist", "fashion_mnist")]
)
def test_unknown_name_is_offered_the_nearest(name, near):
    message = rf"Expected one of digits, mnist, fashion_mnist, static_mnist, or .*; got '{name}'.* Did you mean {near}"
    with pytest.raises(ValueError, match=message):
        load(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mnist",
            r"Expected the MNIST files in .*raw; missing: train-images-idx3-ubyte, .*--download.*MNIST/raw\.",
        ),
        ("fashion_mnist", r"Expected the FashionMNIST files in .*--download.*--root"),
        ("static_mnist", r"Expected mnist_static.npz, or the published .amat files, in .*--download.*--root"),
        ("absent.npy", r"Expected an .npy or .npz file at .*absent.npy; got no such file\."),
    ],
)
def test_absent_files_are_named_with_the_cure(tmp_path, name, message):
    with pytest.raises(FileNotFoundError, match=message):
        load(name, tmp_path)


def test_default_root_is_data_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"in data.MNIST.raw; missing"):
        load("mnist")


@pytest.mark.parametrize("name", ["fashon3k.npz", "fashion3k.nzp", "fashion3.csv"])
def test_a_mistyped_file_is_offered_the_one_that_is_there(tmp_path, name):
    np.savez(tmp_path / "fashion3k.npz", np.zeros((20, 3)))
    with pytest.raises((FileNotFoundError, ValueError), match=r"Did you mean fashion3k\.npz\?$"):
        load(tmp_path / name)
    with pytest.raises(ValueError, match=r"Did you mean mnist\?$"):
        load("mnits", tmp_path)


@pytest.mark.parametrize("binarization", ["static", "dynamic"])
def test_data_that_are_not_split_say_how_they_were_drawn(tmp_path, binarization):
    np.save(tmp_path / "x.npy", np.full((20, 3, 3), 0.5))
    said = load(tmp_path / "x.npy", binarization=binarization, order="whole", seed=3).protocol
    assert said.endswith(f"all 20, not split; binarization {binarization}: drawn once with seed 3")


def test_fewer_training_data_are_a_subset_and_all_else_stays(tmp_path):
    x, y = torch.arange(60.0).view(30, 2), torch.arange(30)
    np.savez(tmp_path / "x.npz", values=x.numpy(), labels=y.numpy(), lengths=y.numpy() / 2)
    named = {"x": "values", "y": "labels", "l": "lengths"}
    whole = load(tmp_path / "x.npz", inputs=named)
    few, fewer = whole.with_fewer(8), whole.with_fewer(3)
    assert (len(whole.train), len(few.train), len(fewer.train)) == (24, 8, 3)
    assert fewer.protocol == f"{whole.protocol}; a random 3 (seed 0) of the training data"
    assert torch.equal(fewer.rows.train, fewer.labels.train)
    for part in ("validation", "test"):
        for name, entry in whole.given(part).items():
            assert torch.equal(entry, few.given(part)[name])
    given = few.given("train")
    assert torch.equal(given["x"][:, 0], 2.0 * given["y"])
    assert torch.equal(given["l"], given["y"] / 2)
    assert set(fewer.train[:, 0].tolist()) < set(few.train[:, 0].tolist()) < set(whole.train[:, 0].tolist())
    assert len({whole.digest, few.digest, fewer.digest}) == 3
    other = load(tmp_path / "x.npz", inputs=named, seed=1).with_fewer(8, seed=1)
    assert other.digest != few.digest


@pytest.mark.parametrize(
    ("count", "order", "got"), [(0, "random", "0"), (25, "random", "25"), (3, "whole", r"data that are not split")]
)
def test_fewer_training_data_are_some(tmp_path, count, order, got):
    np.save(tmp_path / "x.npy", np.zeros((30, 2)))
    with pytest.raises(ValueError, match=f"Expected num_train from 1 to [0-9]+, of the data of a training; got {got}"):
        load(tmp_path / "x.npy", order=order).with_fewer(count)
