"""Sets read from files: published content, users' arrays and images, and files that are broken."""

import functools
import hashlib
import http.server
import importlib
import io
import os
import re
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from pyro_vae import Poisson
from pyro_vae.data import array_file, load, mnist, static_mnist
from pyro_vae.data.static_mnist import parse_amat
from pyro_vae.data.torchvision_sets import IDX_BYTES

# The package exports functions of the same names, so the modules are fetched by their full ones.
static_mnist_module = importlib.import_module("pyro_vae.data.static_mnist")


@pytest.fixture(scope="module")
def published():
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    root = Path(os.environ.get("PYRO_VAE_DATA", beside))
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip("needs real data: set PYRO_VAE_DATA to a folder with MNIST, FashionMNIST and MNIST_static")
    return root


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# MNIST and Fashion-MNIST


@pytest.mark.parametrize(("name", "mean", "std"), [("mnist", 0.1307, 0.3081), ("fashion_mnist", 0.2860, 0.3530)])
def test_torchvision_sets_against_their_known_moments(published, name, mean, std):
    data = load(name, published)
    assert [tuple(x.shape) for x in data.splits] == [(n, 1, 28, 28) for n in (50_000, 10_000, 10_000)]
    training = torch.cat([data.train, data.validation])
    assert training.mean().item() == pytest.approx(mean, abs=5e-5)
    assert training.std().item() == pytest.approx(std, abs=5e-5)
    assert [len(y) for y in data.labels] == [50_000, 10_000, 10_000]
    assert torch.cat(data.labels[:2]).bincount(minlength=10).sum() == 60_000
    assert data.labels.train[:3].tolist() == {"mnist": [5, 0, 4], "fashion_mnist": [9, 0, 0]}[name]
    assert "validation is the last 10,000 training images" in data.protocol


def test_dynamic_mnist_keeps_grey_training_and_drawn_test(published):
    data = load("mnist", published, binarization="dynamic", seed=1)
    drawn = data.batch_transform(data.train[:100])
    assert ((drawn == 0) | (drawn == 1)).all()
    assert ((data.test == 0) | (data.test == 1)).all()
    assert data.test.mean().item() == pytest.approx(0.1325, abs=5e-4)


@pytest.fixture
def blank_idx(tmp_path):
    """Whole and well-formed IDX files, all zero: nothing but the checksum can tell."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file, size in IDX_BYTES.items():
        count = 60_000 if file.startswith("train") else 10_000
        header = (0x803, count, 28, 28) if "images" in file else (0x801, count)
        content = np.array(header, dtype=">u4").tobytes()
        (raw / file).write_bytes(content.ljust(size, b"\0"))
    return raw


def test_altered_idx_is_told_by_its_checksum(blank_idx):
    with pytest.raises(
        ValueError, match=r"Expected MNIST training images in .*raw with the published content.*altered.*Delete"
    ):
        mnist(blank_idx.parents[1])


@pytest.mark.parametrize("file", IDX_BYTES)
def test_truncated_idx_is_named(blank_idx, file):
    with (blank_idx / file).open("r+b") as whole:
        whole.truncate(1000)
    with pytest.raises(ValueError, match=rf"Expected .* bytes in .*{file}; got 1,000\. Delete .*--download"):
        mnist(blank_idx.parents[1])


def test_unreadable_idx_is_a_value_error(blank_idx):
    with (blank_idx / "t10k-images-idx3-ubyte").open("r+b") as file:
        file.write(b"\xff" * 16)
    with pytest.raises(ValueError, match=r"Expected readable IDX files in .*raw; got an error: .* Delete"):
        mnist(blank_idx.parents[1])


def test_misfitting_torchvision_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    message = r"Expected torch and torchvision builds that fit .* got torch \S+ and torchvision .*: .*same index.*`pip"
    with pytest.raises(ImportError, match=message):
        mnist(tmp_path)


def test_failed_download_is_a_connection_error(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("no route")

    monkeypatch.setattr("torchvision.datasets.MNIST.download", refuse)
    with pytest.raises(ConnectionError, match=r"Expected to download MNIST into .*raw; got an error: no route"):
        mnist(tmp_path, download=True)


# Static MNIST


@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_static_mnist_is_the_published_one_whatever_is_asked(published, binarization):
    data = load("static_mnist", published, binarization=binarization, seed=9)
    assert [tuple(x.shape) for x in data.splits] == [(n, 1, 28, 28) for n in (50_000, 10_000, 10_000)]
    assert data.train.mean().item() == pytest.approx(0.1306, abs=5e-5)
    assert hashlib.sha256(data.test.to(torch.uint8).numpy().tobytes()).hexdigest().startswith("ca0294c3b8d984c7")
    assert data.batch_transform is None
    assert "fixed binarization (Larochelle & Murray 2011)" in data.protocol
    assert "not binarized again" in data.protocol


def as_amat(bits):
    return "\n".join(" ".join(map(str, row)) for row in bits).encode() + b" \n"


@pytest.fixture
def small_static(monkeypatch):
    """A small stand-in for the published arrays, with checksums to match."""
    parts = {name: noise(n, 784) % 2 for name, n in (("train", 30), ("valid", 10), ("test", 10))}
    sha256 = {name: hashlib.sha256(bits.tobytes()).hexdigest() for name, bits in parts.items()}
    monkeypatch.setattr(static_mnist_module, "SHA256", sha256)
    return parts


def test_amat_round_trip():
    bits = noise(7, 784) % 2
    assert np.array_equal(parse_amat(as_amat(bits)), bits)
    assert np.array_equal(parse_amat(as_amat(bits).replace(b"\n", b"\r\n")), bits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"0 1 0.5", r"only 0, 1 and white space"),
        (b"0 1 " * 400, r"multiple of 784 pixels; got 800\."),
        (b"", r"multiple of 784 pixels; got 0\."),
    ],
)
def test_amat_refuses_anything_else(text, message):
    with pytest.raises(ValueError, match=message):
        parse_amat(text)


@pytest.mark.parametrize("folder", ["", "MNIST_static"])
def test_amat_files_are_read_and_kept_as_npz(tmp_path, small_static, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, bits in small_static.items():
        (tmp_path / folder / f"binarized_mnist_{name}.amat").write_bytes(as_amat(bits))
    first = static_mnist(tmp_path)
    for file in (tmp_path / folder).glob("*.amat"):
        file.unlink()
    assert [file.name for file in (tmp_path / folder).iterdir() if file.is_file()] == ["mnist_static.npz"]
    second = static_mnist(tmp_path)
    for x, y, bits in zip(first.splits, second.splits, small_static.values(), strict=True):
        assert torch.equal(x, y)
        assert np.array_equal(x.flatten(1).numpy(), bits)


def test_wrong_amat_is_told_by_its_checksum(tmp_path, small_static):
    small_static["valid"][3, 5] ^= 1
    for name, bits in small_static.items():
        (tmp_path / f"binarized_mnist_{name}.amat").write_bytes(as_amat(bits))
    with pytest.raises(
        ValueError, match=r"Expected .*binarized_mnist_valid.amat with the published content.*Delete it"
    ):
        static_mnist(tmp_path)
    assert not list(tmp_path.glob("*.npz"))


def test_truncated_amat_is_named(tmp_path, small_static):
    for name, bits in small_static.items():
        (tmp_path / f"binarized_mnist_{name}.amat").write_bytes(as_amat(bits)[:5000])
    with pytest.raises(ValueError, match=r"in .*binarized_mnist_train.amat; got an error: .*784.*Delete it"):
        static_mnist(tmp_path)


@pytest.fixture
def server(tmp_path):
    """The address of a web server on this machine, and the folder that it shows."""
    folder = tmp_path / "server"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()


def test_download_leaves_whole_files_or_none(tmp_path, small_static, monkeypatch, server):
    address, folder = server
    monkeypatch.setattr(static_mnist_module, "URL", address + "/binarized_mnist_{}.amat")
    with pytest.raises(ConnectionError, match=r"Expected to download .*train.amat; got an error: .*404.*Try again"):
        static_mnist(tmp_path / "root", download=True)
    assert not list((tmp_path / "root" / "MNIST_static").iterdir())
    for name, bits in small_static.items():
        (folder / f"binarized_mnist_{name}.amat").write_bytes(as_amat(bits))
    data = static_mnist(tmp_path / "root", download=True)
    assert len(data.train) == 30
    assert len(list((tmp_path / "root" / "MNIST_static").iterdir())) == 4


@pytest.mark.parametrize("change", ["truncated", "other names", "other pixels"])
def test_static_npz_is_verified(tmp_path, small_static, change):
    file = tmp_path / "mnist_static.npz"
    if change == "other names":
        np.savez(file, images=noise(3, 784))
    elif change == "other pixels":
        np.savez(file, **small_static | {"test": 1 - small_static["test"]})
    else:
        np.savez(file, **small_static)
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"Expected .*mnist_static.npz.*; got "):
        static_mnist(tmp_path)


# A user's arrays


@pytest.mark.parametrize(
    ("array", "event_shape", "says"),
    [
        (noise(20, 7), (7,), "uint8 / 255"),
        (noise(20, 7, 5), (1, 7, 5), "uint8 / 255"),
        (noise(20, 3, 7, 5), (3, 7, 5), "uint8 / 255"),
        (noise(20, 7, 5, 3), (3, 7, 5), "uint8 / 255"),
        (noise(20, 7, 5, 1), (1, 7, 5), "uint8 / 255"),
        (noise(20, 3, 7, 3), (3, 7, 3), "uint8 / 255"),  # ambiguous: the second dimension wins
        (noise(20, 2, 7, 5), (2, 7, 5), "uint8 / 255"),
        (noise(20, 7) % 2, (7,), "uint8 values as stored; .*0 or 1 as stored"),
        (noise(20, 7) > 99, (7,), "bool values as stored; .*0 or 1 as stored"),
        (noise(20, 7) / 51 - 2, (7,), r"float64 values as stored; .*values in \[-2, .*\], not binarized"),
        (noise(20, 7).astype(np.int64) - 40, (7,), r"int64 values as stored; .*values in \[-40, .*\], not binarized"),
        (noise(20, 7).astype(np.uint16), (7,), r"uint16 values as stored; .*values in \[0, .*\], not binarized"),
        ((noise(20, 7) / 255).astype(">f4"), (7,), r"float32 values as stored; .*grey levels in \[0, 1\]"),
    ],
)
def test_one_array_becomes_three_splits(tmp_path, array, event_shape, says):
    np.save(tmp_path / "mine.npy", array)
    np.savez(tmp_path / "mine.npz", images=array)
    data = array_file(tmp_path / "mine.npy", seed=2)
    assert data.event_shape == event_shape
    assert [len(x) for x in data.splits] == [16, 2, 2]
    assert torch.equal(data.train, array_file(tmp_path / "mine.npz", seed=2).train)
    assert re.search(rf"^mine.npy, {says}", data.protocol)


def test_channels_last_pixels_land_in_their_place(tmp_path):
    array = noise(20, 7, 5, 3)
    np.savez(tmp_path / "x.npz", train=array, valid=array[:4], test=array[:2])
    data = array_file(tmp_path / "x.npz")
    assert np.array_equal((data.train * 255).round().byte().permute(0, 2, 3, 1).numpy(), array)
    assert [len(x) for x in data.splits] == [20, 4, 2]
    assert data.protocol.startswith("x.npz, uint8 / 255; 20 train / 4 validation / 2 test, as given")


def test_sparse_dark_split_is_scaled_as_the_others(tmp_path):
    np.savez(tmp_path / "x.npz", train=noise(20, 7), validation=noise(4, 7) % 2, test=noise(4, 7))
    assert array_file(tmp_path / "x.npz").validation.max().item() == pytest.approx(1 / 255)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (noise(20, 2) + 1j, r"Expected numbers of one type in .*x.npy; got complex128\. Convert"),
        (noise(20, 2).astype(str), r"got <U\d+\. Convert"),
        (
            np.full((20, 2), 2**24 + 1),
            r"Expected whole numbers from -16,777,216 to 16,777,216 in .*x.npy, which float32",
        ),
        (np.full((20, 2), -(2**40)), r"Expected whole numbers from .*x.npy"),
        (noise(20), r"Expected shape \(N, D\).* in .*x.npy; got \(20,\)\."),
        (noise(9, 2), r"Expected at least 10 items"),
        (noise(20, 0), r"Expected train of shape .*; got \(16, 0\)\."),
        (np.full((20, 2), np.nan), r"Expected finite values in the train split of 'x'; got 32 NaN or infinite"),
        (np.full((20, 2), 1e300), r"Expected finite values in the train split of 'x'; got 32 NaN or infinite"),
        (
            np.array([{}] * 20),
            r"Expected a complete NumPy file of plain numbers at .*x.npy; got an error: .*Object",
        ),
    ],
)
def test_unfit_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message):
        array_file(tmp_path / "x.npy")


def test_unfit_names_and_shapes_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", train=noise(20, 2), test=noise(20, 2))
    with pytest.raises(
        ValueError, match=r"Expected arrays train, validation \(or valid\) and test in .*; got train, test"
    ):
        array_file(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", train=noise(20, 2), valid=noise(20, 2), test=noise(20, 2) / 255)
    with pytest.raises(ValueError, match=r"Expected numbers of one type in .*x.npz; got float64, uint8"):
        array_file(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", train=noise(20, 2), valid=noise(20, 3), test=noise(20, 2))
    with pytest.raises(ValueError, match=r"Expected validation items of shape \(2,\), as in train; got \(3,\)"):
        array_file(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.full((20, 2), 7.0))
    with pytest.raises(ValueError, match=r"Expected pixels in \[0, 1\] to binarize"):
        array_file(tmp_path / "x.npy", binarization="static")


@pytest.mark.parametrize("keep", [0, 5, 60, 200, -30, -1])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_truncated_array_files_are_named(tmp_path, suffix, keep):
    file = tmp_path / f"x.{suffix}"
    np.save(file, noise(20, 9)) if suffix == "npy" else np.savez_compressed(file, noise(20, 9))
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(
        ValueError, match=rf"Expected a complete NumPy file .*x.{suffix}; got an error: .*save it again"
    ):
        array_file(file)


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint16, np.uint32, np.float64])
def test_counts_are_kept_as_they_are(tmp_path, kind):
    counts = np.arange(60).reshape(20, 3).astype(kind)
    np.savez(tmp_path / "x.npz", train=counts, validation=counts[:3], test=counts[3:])
    data = array_file(tmp_path / "x.npz")
    assert np.array_equal(data.train.numpy(), counts)
    assert Poisson(3).support.check(data.train).all()


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
def test_sparse_matrices_are_read(tmp_path, kind):
    counts = np.random.default_rng(0).poisson(0.3, (20, 6)).astype(np.uint16)
    scipy.sparse.save_npz(tmp_path / "cells.npz", scipy.sparse.coo_matrix(counts).asformat(kind))
    data = load(tmp_path / "cells.npz", order="ordered")
    assert np.array_equal(torch.cat([*data.splits]).numpy(), counts)
    assert data.protocol.startswith("cells.npz, uint16 values as stored; 16 train / 2 validation / 2 test, in their")


def test_broken_sparse_matrices_are_refused(tmp_path):
    matrix = scipy.sparse.random(20, 6, 0.3, format="csr", random_state=0)
    parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.shape}
    np.savez(tmp_path / "parts.npz", **parts)
    with pytest.raises(ValueError, match=r"Make the sparse matrix of its parts, and save it by scipy.sparse.save_npz"):
        load(tmp_path / "parts.npz")
    np.savez(tmp_path / "outside.npz", **parts | {"indices": matrix.indices + 1000, "format": b"csr"})
    with pytest.raises(ValueError, match=r"whole sparse matrix in .*outside.npz; got an error: .*must be < 6"):
        load(tmp_path / "outside.npz")


def test_arrays_left_out_are_said(tmp_path):
    x = noise(20, 3)
    np.savez(tmp_path / "x.npz", train=x, validation=x, test=x, valid=x, lengths=np.arange(20))
    assert array_file(tmp_path / "x.npz").protocol.startswith(
        "x.npz, uint8 / 255; 20 train / 20 validation / 20 test, as given; left out: valid, lengths; "
    )


def header(shape):
    """The beginning of an .npy file of bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_declared_sizes_are_looked_at_before_memory_is_taken(tmp_path, suffix):
    claimed, file = header((10**6, 10**6)), tmp_path / f"x.{suffix}"
    file.write_bytes(claimed)
    if suffix == "npz":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("train.npy", claimed)
    with pytest.raises(ValueError, match=rf"^Expected at most .* values in .*x.{suffix}.*; got 1,000,000,000,000\."):
        array_file(file)


def test_a_second_array_is_not_dropped(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.save(file, noise(20, 3))
        np.save(file, noise(20, 3))
    with pytest.raises(ValueError, match=r"at .*x\.npy; got an error: something follows the array, such as a second"):
        array_file(tmp_path / "x.npy")


def test_a_pipe_is_no_array(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(FileNotFoundError, match=r"file at .*pipe\.npy; got a folder, pipe, socket or device\."):
        load("pipe.npy", tmp_path)


def test_the_labels_of_mnist_are_verified(published, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in IDX_BYTES:
        (raw / file).symlink_to(published / "MNIST" / "raw" / file)
    altered = bytearray((raw / "t10k-labels-idx1-ubyte").read_bytes())
    altered[500] ^= 1
    (raw / "t10k-labels-idx1-ubyte").unlink()
    (raw / "t10k-labels-idx1-ubyte").write_bytes(altered)
    with pytest.raises(ValueError, match=r"Expected MNIST test labels in .* with the published content"):
        mnist(tmp_path)
