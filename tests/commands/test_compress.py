"""compress and decompress from end to end: every bit comes back, and mistakes leave no file."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyro_vae.commands.main import main

SMALL = ["--latent-dim", "3", "--network", "MLP", "--network.hidden", "[16]"]
TRAIN = ["train", "--likelihood", "DiscretizedLogistic", "--epochs", "1", *SMALL]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of 8-bit images, its data, and the compressed test images."""
    folder = tmp_path_factory.mktemp("compress")
    images = np.random.default_rng(0).integers(0, 256, (100, 1, 4, 5)).astype(np.uint8)
    np.save(folder / "images.npy", images)
    main([*TRAIN, "--data", f"{folder}/images.npy", "--out", f"{folder}/run"])
    main(["compress", f"{folder}/run", f"{folder}/images.npy", "--check"])
    return folder


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, words)])
    assert stopped.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    return line.removeprefix("pyro-vae: error: ")


def test_every_bit_comes_back(folder, capsys):
    main(["decompress", f"{folder}/run", f"{folder}/images.pvz", "-o", f"{folder}/back.npy"])
    assert "100 data points of uint8, (1, 4, 5) each, saved in" in capsys.readouterr().out
    assert (folder / "back.npy").read_bytes() == (folder / "images.npy").read_bytes()


@pytest.mark.parametrize("form", [lambda x: x[:, 0], lambda x: (x.reshape(100, 20) / 255).astype("f4")])
def test_arrays_of_other_shapes_and_types(folder, form, tmp_path):
    np.savez(tmp_path / "x.npz", images=form(np.load(folder / "images.npy")), other=np.zeros(3))
    main(["compress", f"{folder}/run", f"{tmp_path}/x.npz", "--array", "images", "--out", f"{tmp_path}/x"])
    main(["decompress", f"{folder}/run", f"{tmp_path}/x", "--out", f"{tmp_path}/y.npy"])
    x, y = np.load(tmp_path / "x.npz")["images"], np.load(tmp_path / "y.npy")
    assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def test_a_folder_of_images(folder, tmp_path, capsys):
    """DATA as everywhere else: its pixels come back, in the order of its files."""
    images = np.load(folder / "images.npy")[:7, 0]
    (tmp_path / "scans.png").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "scans.png" / f"{i}.png")
    main(["compress", f"{folder}/run", f"{tmp_path}/scans.png", "--check"])
    assert "whole numbers from 0 to 255 are what comes back" in capsys.readouterr().out
    main(["decompress", f"{folder}/run", f"{tmp_path}/scans.png.pvz"])
    back = np.load(tmp_path / "scans.png.npy")
    assert back.dtype == np.uint8
    assert np.array_equal(back[:, 0], images)


def test_missing_values_are_refused_without_a_warning_of_numpy(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[0, 0] = np.nan
    np.savetxt("holes.csv", x, delimiter=",", header="a,b,c", comments="")
    words = ["--data", "holes.csv", "--missing", "--likelihood", "Gaussian", "--epochs", "1", *SMALL]
    main(["train", *words, "--out", "run"])
    capsys.readouterr()
    assert refused(capsys, "compress", "run", "holes.csv").startswith("Expected values with finitely many levels")


def test_lossy_files_are_smaller_and_come_back_about(folder, tmp_path, capsys):
    words = [f"{folder}/run", f"{folder}/images.npy", "--lossy", "1", "-o", f"{tmp_path}/lossy.pvz"]
    main(["compress", *words])
    assert "mean squared error" in capsys.readouterr().out
    main(["decompress", f"{folder}/run", f"{tmp_path}/lossy.pvz"])
    x, y = np.load(folder / "images.npy"), np.load(tmp_path / "lossy.npy")
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    assert (tmp_path / "lossy.pvz").stat().st_size < (folder / "images.pvz").stat().st_size / 2


def test_grey_images_are_binarized_as_those_of_the_run(folder, tmp_path, capsys):
    """As `score` and `encode` read them, which is said, for it is these pixels that come back."""
    run = tmp_path / "run"
    binary = ["--latent-dim", "3", "--network", "MLP", "--network.hidden", "[16]", "--binarization", "threshold"]
    main(["train", "--epochs", "1", *binary, "--data", f"{folder}/images.npy", "--out", str(run)])
    capsys.readouterr()
    main(["compress", str(run), f"{folder}/images.npy", "--check", "-o", f"{tmp_path}/x.pvz"])
    assert "binarization threshold: 1 where the pixel is above 0.5: these pixels are" in capsys.readouterr().out
    main(["decompress", str(run), f"{tmp_path}/x.pvz", "-o", f"{tmp_path}/back.npy"])
    assert "data   " not in capsys.readouterr().out
    expected = np.load(folder / "images.npy") / 255 > 0.5
    assert np.array_equal(np.load(tmp_path / "back.npy"), expected)
    main(["compress", str(run), f"{tmp_path}/back.npy", "-o", f"{tmp_path}/y.pvz"])
    assert "data   " not in capsys.readouterr().out  # 0 or 1 already


def test_mistakes_are_refused_and_nothing_is_written(folder, tmp_path, capsys):
    run, data, file = folder / "run", folder / "images.npy", folder / "images.pvz"
    np.save(tmp_path / "grey.npy", np.full((3, 4, 5), 0.3))
    np.savez(tmp_path / "two.npz", a=np.zeros((1, 4, 5)), b=np.zeros(2))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "no images").mkdir()
    np.save(tmp_path / "wide.npy", np.zeros((3, 4, 6), np.uint8))
    (tmp_path / "damaged").write_bytes(file.read_bytes()[:-3])
    before = sorted(tmp_path.iterdir())
    for words, text in [
        (["compress", run], "Expected DATA; got nothing for it."),
        (["compress", run, data], "is there already. Add --overwrite"),
        (["compress", run, tmp_path / "grey.npy"], "Expected whole numbers from 0 to 255, or these divided by 255"),
        (["compress", run, tmp_path / "two.npz"], "Expected --array, one of a, b"),
        (["compress", run, tmp_path / "two.npz", "--array", "c"], "Expected --array to be one of a, b; got c."),
        (["compress", run, tmp_path / "no images"], "Expected images (.bmp"),
        (["compress", run, tmp_path / "no images", "--array", "a"], "Leave --array out."),
        (["compress", run, tmp_path / "empty.npy"], "Expected"),
        (["compress", run, tmp_path / "wide.npy"], "Expected"),
        (["compress", run, tmp_path / "nowhere"], "Expected"),
        (["decompress", run, tmp_path / "damaged"], "Expected a whole file of pyro-vae compress"),
        (["decompress", run, file, "-o", tmp_path / "o.png"], "Expected --out to be a file that ends in .npy"),
    ]:
        assert text in refused(capsys, *words)
    assert sorted(tmp_path.iterdir()) == before


def test_another_run_is_refused(folder, tmp_path, capsys):
    main([*TRAIN, "--data", f"{folder}/images.npy", "--seed", "1", "--out", f"{tmp_path}/other"])
    found = refused(capsys, "decompress", tmp_path / "other", folder / "images.pvz", "-o", tmp_path / "o.npy")
    assert found.startswith("Expected the pair that the file was compressed with")
    assert not Path(tmp_path / "o.npy").exists()


def test_without_the_coder_it_says_what_to_install(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    found = refused(capsys, "compress", folder / "run", folder / "images.npy", "-o", tmp_path / "o")
    assert 'pip install "pyro-vae[compression]"' in found
