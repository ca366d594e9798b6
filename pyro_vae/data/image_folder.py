"""A folder of a user's own images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .protocol import Binarization, Data, Splits, binarize, describe_sizes, random_split

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def image_folder(path: str | Path, *, binarization: Binarization = "none", seed: int = 0) -> Data:
    """The images of a folder, or of its subfolders train, validation (or valid) and test, level / 255.

    Files (.bmp, .gif, .jpeg, .jpg, .png, .webp) are taken in the order of their names and split 80/10/10 at
    random; the subfolders, where there are any, are taken as the splits. If all images are grey they have
    one channel, otherwise all become RGB. Transparency is dropped; of an animation the first frame is read.

    Args:
        path: the folder.
        binarization: see `pyro_vae.data.binarize`.
        seed: of the split and of the binarization.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no images, too few to split, an unreadable one, images of different sizes, more than 8
            bits a channel, or some of the three subfolders but not all.

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
    validation = "validation" if (path / "validation").is_dir() else "valid"
    subfolders = [path / part for part in ("train", validation, "test")]
    present = [folder.name for folder in subfolders if folder.is_dir()]
    if present and len(present) < 3:
        raise ValueError(
            f"Expected subfolders train, validation (or valid) and test in {path}; "
            f"got only {', '.join(present)}. Add the others, or put all images into one folder."
        )
    files = [_image_files(folder) for folder in (subfolders if present else [path])]
    pixels = _read([file for group in files for file in group])
    if present:
        parts, how = Splits(*pixels.split([len(group) for group in files])), "as given by subfolders"
    else:
        parts, how = random_split(pixels, seed=seed), f"random split with seed {seed}"
    data = Data(
        name=path.resolve().name,
        **parts._asdict(),
        protocol=f"images of folder {path.resolve().name}, level / 255; {describe_sizes(parts)}, {how}",
        levels=256,
    )
    return binarize(data, binarization, seed=seed)


def _image_files(folder: Path) -> list[Path]:
    files = sorted(
        file for file in folder.iterdir() if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".")
    )
    if not files:
        raise ValueError(f"Expected images ({', '.join(EXTENSIONS)}) in {folder}; got none.")
    return files


def _read(files: list[Path]) -> torch.Tensor:
    images = [_open(file) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.size != images[0].size:
            raise ValueError(
                f"Expected images of one size; got {images[0].width} x {images[0].height} in {files[0]} and "
                f"{image.width} x {image.height} in {file}. Resize or crop them first."
            )
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    pixels = torch.from_numpy(np.stack([np.asarray(image.convert(mode)) for image in images]))
    channels_first = pixels.unsqueeze(1) if mode == "L" else pixels.permute(0, 3, 1, 2)
    return channels_first.float().div_(255).contiguous()


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"more than 8 bits a channel (mode {image.mode})")
            if image.mode in ("1", "L", "LA"):
                return image.convert("L")
            # Through RGBA, for Pillow warns about palettes with transparency that go straight to RGB.
            return image.convert("RGBA").convert("RGB")
    except Exception as error:  # a broken image makes Pillow raise any of a dozen kinds
        raise ValueError(
            f"Expected a readable 8-bit image in {file}; got an error: {error}. Convert, replace or remove it."
        ) from error
