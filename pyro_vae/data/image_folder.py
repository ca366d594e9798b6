"""A folder of a user's own images."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..arguments.memory import require_memory
from .binarization import Binarization, binarize
from .categories import Categories, codes_of
from .names import some
from .protocol import Data
from .splits import Order, Splits, describe_sizes, describe_split, random_split

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")  # no other one is tried: some start programs
SPLIT_OF = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
MOST_PIXELS = 4096 * 4096  # of one image
MOST_BYTES = 2**28  # of one file, animations among them


def image_folder(
    path: str | Path,
    *,
    binarization: Binarization = "none",
    seed: int = 0,
    order: Order = "random",
    categories: Categories | None = None,
    resize: Sequence[int] = (),
) -> Data:
    """The images of a folder, level / 255, with labels where subfolders hold the classes.

    - Subfolders train, validation (or valid, val) and test, in any capitals, are the splits; without them, all images
      are split 80/10/10 at random. Images lie in these folders, or in subfolders of them, one for each class, which
      are numbered in the order of their names, which `Data.categories` has.
    - Files (.bmp, .gif, .jpeg, .jpg, .png, .webp) are read in the order of their names, turned as their EXIF data say.
      What is left out is said in the protocol; names that start with a dot are not looked at.
    - If all images are grey they have one channel, otherwise all become RGB. Where some are transparent and what is
      visible has the same colour everywhere, the transparency is the image, 255 where it is opaque; otherwise they
      are laid over white. The protocol says so. Of an animation the first frame is read.

    Args:
        path: the folder.
        binarization: see `pyro_vae.data.binarize`.
        seed: of the split and of the binarization.
        order: "ordered" splits the images in the order of their names, those of a video.
        categories: ``{"labels": names}`` are the classes 0, 1, ... of the data that a model was trained on, not all of
            which need a folder.
        resize: height and width that all images are brought to (bilinear, smoothed where they become smaller), or one
            number for both; nothing for images of one size.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no images, too few to split, one that is unreadable, incomplete or has more than 8 bits a channel or
            4096 x 4096 pixels, images of different sizes or more of them than memory can hold, some of the three
            subfolders but not all, images beside folders of classes, or a folder of another class than ``categories``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(10):
        ...         Image.new("RGB", (6, 4)).save(f"{folder}/{i}.png")
        ...     image_folder(folder).event_shape
        (3, 4, 6)
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"Expected a folder of images at {path}; got no such folder.")
    splits, left_out = _split_folders(path)
    groups = [_images_by_class(folder, left_out) for folder in splits or [path]]
    pixels, how_read = _read([file for group in groups for file in group], _height_and_width(resize))
    names = [name for group in groups for name in group.values()]
    labelled = [name for name in names if name is not None]
    classes, is_labelled = sorted({*labelled}), bool(labelled) and len(labelled) == len(names)
    codes, known = codes_of(labelled, (categories or {}).get("labels"), where=f"the class folders of {path}")

    def split(x: Tensor) -> Splits:
        return Splits(*x.split([len(group) for group in groups])) if splits else random_split(x, seed=seed, order=order)

    parts = split(pixels)
    how = f"{describe_sizes(parts)}, as given by subfolders" if splits else describe_split(parts, order, seed=seed)
    words = [f"images of folder {path.resolve().name}, level / 255{how_read}; {how}"]
    if is_labelled:
        words.append(f"labels of {len(classes)} class folders ({some(classes, 5)})")
    elif classes:
        words.append("no labels, since not all images lie in class folders")
    if left_out:
        words.append(f"left out: {_describe(left_out)}")
    data = Data(
        name=path.resolve().name,
        **parts._asdict(),
        protocol="; ".join(words),
        levels=256,
        is_whole=order == "whole" and not splits,
        labels=split(torch.from_numpy(codes)) if is_labelled else None,
        rows=None if splits else split(torch.arange(len(pixels))),
        categories={"labels": tuple(known)} if is_labelled else {},
    )
    return binarize(data, binarization, seed=seed)


class _Contents(NamedTuple):
    """What a folder holds, each in the order of the names."""

    images: list[Path]
    folders: list[Path]
    others: list[Path]


def _contents(folder: Path) -> _Contents:
    found = _Contents([], [], [])
    for entry in sorted(folder.iterdir()):
        if not entry.name.startswith("."):
            is_image = entry.suffix.lower() in EXTENSIONS
            (found.folders if entry.is_dir() else found.images if is_image else found.others).append(entry)
    return found


def _split_folders(path: Path) -> tuple[list[Path], list[Path]]:
    """Folders of the three splits, or none; and what lies beside them and is left out."""
    images, folders, others = _contents(path)
    named = [folder for folder in folders if folder.name.lower() in SPLIT_OF]
    splits = {SPLIT_OF[folder.name.lower()]: folder for folder in named}
    if named and len(splits) != len(named):
        raise ValueError(
            f"Expected one subfolder for each of train, validation and test in {path}; got "
            f"{', '.join(folder.name for folder in named)}. Put what belongs together into one folder."
        )
    if len(splits) in (1, 2):
        raise ValueError(
            f"Expected subfolders train, validation (or valid) and test in {path}; "
            f"got only {', '.join(folder.name for folder in named)}. Add the others, or put all images into one folder."
        )
    if not named:
        return [], []
    beside = [folder for folder in folders if folder not in named]
    return [splits[part] for part in Splits._fields], [*images, *others, *beside]


def _images_by_class(folder: Path, left_out: list[Path]) -> dict[Path, str | None]:
    """The images of a folder, each with the subfolder it lies in, if it does; adds to what is left out."""
    images, folders, others = _contents(folder)
    left_out += others
    found: dict[Path, str | None] = dict.fromkeys(images)
    for subfolder in folders:
        inside = _contents(subfolder)
        found |= dict.fromkeys(inside.images, subfolder.name)
        left_out += [*inside.folders, *inside.others] if inside.images else [subfolder]
    if images and len(found) > len(images):
        raise ValueError(
            f"Expected images in {folder} or in subfolders of it, one for each class; got both, {len(images):,} and "
            f"{len(found) - len(images):,}. Move those that you want into one place."
        )
    if not found:
        others_there = f", but {_describe(left_out)}" if left_out else ""
        raise ValueError(f"Expected images ({', '.join(EXTENSIONS)}) in {folder}; got none{others_there}.")
    return found


def _describe(paths: list[Path]) -> str:
    """Say how many files of which kinds, and which folders, there are."""
    folders = [path.name for path in paths if path.is_dir()]
    files = [path.suffix or "no extension" for path in paths if not path.is_dir()]
    said = [(len(files), "file", sorted({*files})), (len(folders), "folder", folders)]
    return ", ".join(f"{count:,} {kind}{'s' * (count > 1)} ({some(names, 5)})" for count, kind, names in said if count)


def _height_and_width(resize: Sequence[int]) -> tuple[int, int] | None:
    """Of images that are resized; None of others."""
    if not resize:
        return None
    if len(resize) > 2 or min(resize) < 1 or resize[0] * resize[-1] > MOST_PIXELS:
        got = " ".join(map(str, resize))
        raise ValueError(
            f"Expected resize as a height and a width from 1 on, {MOST_PIXELS:,} pixels at most; got {got}."
        )
    return resize[0], resize[-1]


def _read(files: list[Path], resize: tuple[int, int] | None) -> tuple[Tensor, str]:
    """All images (N, C, H, W) in [0, 1], and what was done to them, in words."""
    images: list[np.ndarray] = []
    num_animated = 0
    for file in files:
        image, is_animated = _open(file, resize)
        num_animated += is_animated
        if not images:
            require_memory(len(files) * image.size, f"the {len(files):,} images like {file}")
        elif image.shape[:2] != images[0].shape[:2]:
            raise ValueError(
                f"Expected images of one size; got {_size(images[0])} in {files[0]} and {_size(image)} in {file}. "
                f"Crop them, or bring all to one: --resize HEIGHT WIDTH (resize=, in Python)."
            )
        images.append(image)
    images, how = _without_transparency(images)
    if resize is not None:
        how += f", resized to height {resize[0]} and width {resize[1]}"
    if num_animated:
        how += f", the first frame of {num_animated:,} animations"
    channels = max(image.shape[-1] for image in images)
    pixels = torch.from_numpy(np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images]))
    return pixels.permute(0, 3, 1, 2).float().div_(255).contiguous(), how


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def _without_transparency(images: list[np.ndarray]) -> tuple[list[np.ndarray], str]:
    """Images of 1 or 3 channels from images that may have one more, their opacity; and what was done, in words."""
    if all(image.shape[-1] in (1, 3) for image in images):
        return images, ""
    visible = [pixels for pixels in map(_visible, images) if len(pixels)]
    colours = np.array([extreme for pixels in visible for extreme in (pixels.min(0), pixels.max(0))])
    if (colours == colours[:1]).all():
        opacities = [
            image[..., -1:] if image.shape[-1] in (2, 4) else np.full_like(image[..., :1], 255) for image in images
        ]
        return opacities, ", the transparency as the image (what is visible has one colour)"
    return [_over_white(image) for image in images], ", what is transparent over white"


def _visible(image: np.ndarray) -> np.ndarray:
    """Colours (M, 3) of the pixels that are not wholly transparent."""
    has_opacity = image.shape[-1] in (2, 4)
    colour = image[..., :-1] if has_opacity else image
    shown = image[..., -1] > 0 if has_opacity else np.ones(image.shape[:2], dtype=bool)
    return np.broadcast_to(colour, (*image.shape[:2], 3))[shown]


def _over_white(image: np.ndarray) -> np.ndarray:
    if image.shape[-1] in (1, 3):
        return image
    colour, opacity = image[..., :-1].astype(np.uint16), image[..., -1:].astype(np.uint16)
    return ((colour * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def _open(file: Path, resize: tuple[int, int] | None) -> tuple[np.ndarray, bool]:
    """An image (H, W, C) of 8 bits, and whether it is the first of several: grey or colour, then opacity where any."""
    if not file.is_file():
        raise ValueError(f"Expected an image in {file}; got a broken link, pipe, socket or device. Remove it.")
    if (size := file.stat().st_size) > MOST_BYTES:
        raise ValueError(f"Expected at most {MOST_BYTES:,} bytes in {file}; got {size:,}. Convert or remove it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=FORMATS)
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width:,} x {image.height:,} pixels, above {MOST_PIXELS:,} in all")
            if image.mode.startswith(("I", "F")) or (image.format == "PNG" and _bits_of_png(file) > 8):
                raise ValueError(f"more than 8 bits a channel (mode {image.mode})")
            is_animated = bool(getattr(image, "is_animated", False))
            upright = ImageOps.exif_transpose(image)
            mode = "L" if upright.mode in ("1", "L", "LA") else "RGB"
            if "A" in upright.getbands() or "transparency" in upright.info:
                mode += "A"
            converted = upright.convert(mode)
            if resize is not None:
                converted = converted.resize(resize[::-1], Image.Resampling.BILINEAR)
            pixels = np.asarray(converted)
    except Exception as error:  # a broken image makes Pillow raise any of a dozen kinds
        raise ValueError(
            f"Expected a readable 8-bit image in {file}; got an error: {error}. Convert, replace or remove it."
        ) from error
    pixels = pixels.reshape(*pixels.shape[:2], len(mode))
    is_opaque = mode.endswith("A") and bool((pixels[..., -1] == 255).all())
    return (pixels[..., :-1] if is_opaque else pixels), is_animated


def _bits_of_png(file: Path) -> int:
    """The bits of each channel of a PNG, of which Pillow keeps eight in silence; raises where its end is missing."""
    with Image.open(file, formats=("PNG",)) as image:
        image.verify()
    with file.open("rb") as stream:
        return stream.read(25)[-1]
