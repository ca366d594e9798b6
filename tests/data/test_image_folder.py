"""Folders of images: which files are read, as what, and what is said of all others."""

import os
import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae.commands.main import main
from pyro_vae.data import image_folder, load


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_images(folder, pixels, *, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(pixels):
        Image.fromarray(array).save(folder / f"{i:03}.{suffix}")


def images(data):
    """The pixels of all images in their 8 bits, one list each."""
    return (torch.cat(data.splits).flatten(1) * 255).round().int().tolist()


def test_grey_folder_keeps_order_and_pixels(tmp_path):
    pixels = noise(20, 4, 6)
    write_images(tmp_path / "grey", pixels)
    (tmp_path / "grey" / "notes.txt").write_text("not an image")
    np.save(tmp_path / "same.npy", pixels)
    data, same = load("grey", tmp_path, seed=3), load("same.npy", tmp_path, seed=3)
    assert data.event_shape == (1, 4, 6)
    for x, y in zip(data.splits, same.splits, strict=True):
        assert torch.equal(x, y)
    assert data.protocol.startswith(
        "images of folder grey, level / 255; 16 train / 2 validation / 2 test, random split with seed 3; "
        "left out: 1 file (.txt); grey levels"
    )


def test_one_colour_image_makes_all_rgb(tmp_path):
    write_images(tmp_path, [*noise(19, 4, 6), noise(4, 6, 3)])
    data = image_folder(tmp_path)
    assert data.event_shape == (3, 4, 6)
    grey_images = sum(bool((x == x[:1]).all()) for part in data.splits for x in part)
    assert grey_images == 19


@pytest.mark.parametrize("validation", ["validation", "valid"])
def test_subfolders_are_the_splits(tmp_path, validation):
    for part, n in (("train", 3), (validation, 2), ("test", 1)):
        write_images(tmp_path / part, noise(n, 4, 6))
    data = image_folder(tmp_path)
    assert [len(x) for x in data.splits] == [3, 2, 1]
    assert torch.equal(data.train[:1], data.test)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(ValueError, match=rf"Expected subfolders train, .*; got only train, {validation}\. Add"):
        image_folder(tmp_path)


def test_palette_with_transparency_reads_without_a_warning(tmp_path):
    pixels = noise(10, 4, 6) % 2
    for i, indices in enumerate(pixels):
        Image.fromarray(indices).convert("P").save(tmp_path / f"{i}.png", transparency=bytes([0, 9]))
    data = image_folder(tmp_path)  # all that is visible has the colour of index 1
    assert data.event_shape == (1, 4, 6)
    assert sorted(images(data)) == sorted((9 * pixels).reshape(10, -1).tolist())


def test_unfit_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected images \(\.bmp, .*\.webp\) in .*; got none\."):
        image_folder(tmp_path)
    write_images(tmp_path, noise(9, 4, 6))
    with pytest.raises(ValueError, match=r"Expected at least 10 items to split 80/10/10; got 9\. Add more"):
        image_folder(tmp_path)
    Image.fromarray(noise(5, 6)).save(tmp_path / "009.png")
    with pytest.raises(ValueError, match=r"one size; got 6 x 4 in .*000.png and 6 x 5 in .*009.png\. Crop them, or"):
        image_folder(tmp_path)
    Image.fromarray(noise(4, 6).astype(np.uint16)).save(tmp_path / "009.png")
    with pytest.raises(ValueError, match=r"Expected a readable 8-bit image in .*009.png; .*more than 8 bits"):
        image_folder(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp"])
def test_truncated_image_is_named(tmp_path, suffix):
    write_images(tmp_path, noise(10, 32, 32), suffix=suffix)
    file = tmp_path / f"004.{suffix}"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ValueError, match=rf"Expected a readable 8-bit image in .*004.{suffix}; got .*remove it"):
        image_folder(tmp_path)


def test_classes_are_labels_in_either_layout(tmp_path):
    """Every image keeps its class, whatever the split."""
    kinds = {"cat": 10, "ant": 60, "Bee": 200}
    for part in ("", "Train", "VAL", "test"):
        for name, level in kinds.items():
            write_images(tmp_path / part / name, np.full((5, 4, 6), level, dtype=np.uint8))
        data = image_folder(tmp_path / part)
        for x, y in zip(data.splits, data.labels, strict=True):
            assert len(x) == len(y)
            levels = [kinds[("Bee", "ant", "cat")[label]] for label in y]
            assert (x.flatten(1)[:, 0] * 255).round().tolist() == levels
        assert "labels of 3 class folders (Bee, ant, cat)" in data.protocol
    for name in kinds:
        shutil.rmtree(tmp_path / name)
    data = image_folder(tmp_path)
    assert [y.bincount().tolist() for y in data.labels] == [[5, 5, 5]] * 3
    shutil.rmtree(tmp_path / "test")
    write_images(tmp_path / "test", noise(3, 4, 6))
    data = image_folder(tmp_path)
    assert data.labels is None
    assert "no labels, since not all images lie in class folders" in data.protocol


def test_what_is_left_out_is_said(tmp_path):
    for part in ("train", "valid", "test", "extra"):
        write_images(tmp_path / part, noise(2, 4, 6))
    write_images(tmp_path, noise(1, 4, 6))
    (tmp_path / "test" / "LICENSE").touch()
    (tmp_path / "test" / "scan.tiff").touch()
    (tmp_path / "test" / ".hidden").touch()
    (tmp_path / "train" / "empty").mkdir()
    said = "left out: 3 files (.png, .tiff, no extension), 2 folders (extra, empty)"
    assert said in image_folder(tmp_path).protocol


def test_layouts_that_may_mean_two_things_are_refused(tmp_path):
    write_images(tmp_path, noise(10, 4, 6))
    write_images(tmp_path / "more", noise(3, 4, 6))
    with pytest.raises(ValueError, match=r"^Expected images in .* or in subfolders .*; got both, 10 and 3\. Move"):
        image_folder(tmp_path)
    for part in ("train", "valid", "validation", "test"):
        write_images(tmp_path / "twice" / part, noise(1, 4, 6))
    with pytest.raises(ValueError, match=r"^Expected one subfolder for each .*; got test, train, valid, validation\."):
        image_folder(tmp_path / "twice")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.tif").touch()
    with pytest.raises(ValueError, match=r"^Expected images .* in .*; got none, but 1 file \(\.tif\)\."):
        image_folder(tmp_path / "other")


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_drawing_in_the_transparency_is_the_image(tmp_path, mode):
    drawn = noise(12, 4, 6)
    for i, opacity in enumerate(drawn):
        colour = [np.full_like(opacity, 30)] * (len(mode) - 1)
        Image.fromarray(np.stack([*colour, opacity], -1)).save(tmp_path / f"{i:02}.png")
    data = image_folder(tmp_path)
    assert data.event_shape == (1, 4, 6)
    assert sorted(images(data)) == sorted(drawn.reshape(12, -1).tolist())
    assert ", the transparency as the image" in data.protocol


def test_colours_are_laid_over_white_where_they_are_transparent(tmp_path):
    levels = noise(12, 4, 6, 4)
    for i, rgba in enumerate(levels):
        Image.fromarray(rgba).save(tmp_path / f"{i:02}.png")
    data = image_folder(tmp_path)
    colour, opacity = levels[..., :3] / 255, levels[..., 3:] / 255
    expected = (colour * opacity + 1 - opacity).transpose(0, 3, 1, 2).reshape(12, -1)
    found = np.array(images(data)) / 255
    order, wanted = np.lexsort(found.T), np.lexsort(np.round(expected * 255).T)
    assert np.abs(found[order] - expected[wanted]).max() < 0.51 / 255
    assert ", what is transparent over white" in data.protocol


def test_opaque_transparency_is_none(tmp_path):
    pixels = noise(10, 4, 6, 4)
    pixels[..., 3] = 255
    write_images(tmp_path, pixels)
    data = image_folder(tmp_path)
    assert data.event_shape == (3, 4, 6)
    assert sorted(images(data)) == sorted(pixels[..., :3].transpose(0, 3, 1, 2).reshape(10, -1).tolist())
    assert "level / 255; " in data.protocol


def png(width, height, *, bits=8, colour_type=0, rows=None):
    """A PNG written by hand, black by default."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    body = b"\0" * (1 + width * channels * bits // 8) * height if rows is None else rows

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def assert_refused(folder, message, *, content=None, file="bad.png"):
    write_images(folder, noise(10, 4, 6))
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=rf"^Expected .*{file}.*{message}"):
        image_folder(folder)


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_sixteen_bits_are_refused_in_every_mode(tmp_path, colour_type):
    content = png(6, 4, bits=16, colour_type=colour_type)
    assert_refused(tmp_path, r"more than 8 bits a channel .*Convert, replace or remove it\.", content=content)


def test_a_png_without_its_end_is_told(tmp_path):
    assert_refused(tmp_path, r"got an error: .*truncated", content=png(6, 4)[:-12])


def test_a_file_of_another_format_is_never_tried(tmp_path):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n"
    assert_refused(tmp_path, r"got an error: cannot identify image file", content=postscript)


@pytest.mark.parametrize("side", [9_000, 12_000, 20_000])
def test_large_images_are_refused_before_they_are_unpacked(tmp_path, side):
    assert_refused(tmp_path, r"got an error: .*pixels", content=png(side, side, rows=b""))


def test_many_images_are_measured_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_vae.arguments.memory.physical_memory", lambda: 1_600)
    assert_refused(tmp_path, r"a quarter of this machine's memory; got 240\.", file="000.png")


def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert_refused(tmp_path, r"got a broken link, pipe, socket or device\. Remove it", file="pipe.png")


def test_images_are_turned_as_their_exif_data_say(tmp_path):
    upright = np.zeros((8, 16), dtype=np.uint8)
    upright[:, :8] = 255
    for i in range(10):
        exif = Image.Exif()
        exif[274] = 6 if i % 2 else 1  # turned by a quarter to the right when shown
        stored = np.rot90(upright) if i % 2 else upright
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"{i}.png", exif=exif)
    assert images(image_folder(tmp_path)) == [upright.flatten().tolist()] * 10


def test_animations_are_said(tmp_path):
    for i in range(10):
        frames = [Image.fromarray(frame) for frame in noise(3 if i < 4 else 1, 4, 6, seed=i)]
        frames[0].save(tmp_path / f"{i}.gif", save_all=True, append_images=frames[1:])
    assert "level / 255, the first frame of 4 animations; " in image_folder(tmp_path).protocol


def test_colours_are_not_binarized_unasked(tmp_path, capsys):
    write_images(tmp_path / "colour", noise(12, 4, 6, 3))
    options = ["--data", str(tmp_path / "colour"), "--epochs", "1", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        main(["train", *options])
    message = "Expected a likelihood of colours for colour, images of 3 channels; got Bernoulli, for which they"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    small = ["--network", "MLP", "--network.hidden", "[4]", "--latent-dim", "2"]
    main(["train", *options, *small, "--binarization", "threshold"])
    assert "binarization threshold" in capsys.readouterr().out


def test_images_are_brought_to_one_size(tmp_path):
    """Their means stay, in the order of their names."""
    for i, size in enumerate([(4, 4), (8, 8), (2, 4)] * 4):
        grey = Image.new("L", size, 40)
        grey.paste(200, (size[0] // 2, 0, *size))
        grey.save(tmp_path / f"{i:02}.png")
    with pytest.raises(ValueError, match=r"one size; got 4 x 4 .* and 8 x 8 .*--resize HEIGHT WIDTH"):
        load(tmp_path)
    found = load(tmp_path, resize=[2, 2], order="whole")
    assert found.event_shape == (1, 2, 2)
    assert "level / 255, resized to height 2 and width 2; all 12, not split" in found.protocol
    left, right = found.test.mean((1, 2)).unbind(1)
    assert (left < right).all()
    torch.testing.assert_close(found.test.mean((1, 2, 3)), torch.full((12,), 120 / 255), atol=2 / 255, rtol=0)
    assert load(tmp_path, resize=[3, 5]).event_shape == (1, 3, 5)
    assert load(tmp_path, resize=[7]).event_shape == (1, 7, 7)


@pytest.mark.parametrize("size", [[0], [3, -1], [1, 2, 3], [10**5, 10**5]])
def test_what_is_no_size_is_refused(tmp_path, size):
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="Expected resize as a height and a width from 1 on"):
        load(tmp_path, resize=size)


def test_other_data_are_not_resized(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 3, 3)))
    with pytest.raises(ValueError, match=r"Expected a folder of images to resize; got .*Leave resize out"):
        load(tmp_path / "x.npy", resize=[2, 2])
    assert load(tmp_path / "x.npy", resize=[2, 2], order="whole").event_shape == (1, 3, 3)
