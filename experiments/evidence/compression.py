"""Bits for each value of real images: lossless compression with a VAE, its bounds, and codecs beside it.

python experiments/evidence/compression.py --runs RUN... --weights RUN/weights.safetensors --root data

Runs are those of 8-bit images; the weights are those of static MNIST that escalation_on_mnist.py takes. Images are the
first of the test data; they are decompressed in another process with two threads. Codecs see the same values: whole
arrays, binarized ones packed to bits; PNG and WebP one image at a time and all as one sheet.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import math
import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from escalation_on_mnist import mnist_vae
from PIL import Image
from setting import digits_vae, parsed, parser, save, timed

from pyro_vae import HeavyTail, compress, decompress, load, log_marginal


def pair_of(source: str, root: str) -> tuple[Any, Any]:
    """A pair and its data: of a run, of the weights for static MNIST, or a small one on digits for "digits"."""
    if source == "digits":
        return digits_vae(latent_dim=4, epochs=0)
    if source.endswith(".safetensors"):
        vae, mnist = mnist_vae(Path(source), root)
        return vae.eval(), mnist
    run = load(source, root=root, device="cpu")
    return run.module, run.data


def decoded(source: str, root: str, file: bytes) -> tuple[bytes, dict[str, float]]:
    """In a process of its own: the values as bytes, and the time it took."""
    torch.manual_seed(0)
    pair, _ = pair_of(source, root)
    with timed() as seconds:
        found = decompress(pair.model, pair.guide, file)
    return found.numpy().tobytes(), seconds


def codecs(x: np.ndarray) -> dict[str, int]:
    """Bytes that each takes for images (N, H, W) of uint8, of which binary ones are 0 and 1."""
    is_binary = x.max() == 1
    raw = (np.packbits(x) if is_binary else x).tobytes()
    sheet = np.concatenate([*x], 0)
    sizes = {"gzip": len(gzip.compress(raw, 9)), "bz2": len(bz2.compress(raw, 9))}
    sizes["xz"] = len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
    try:
        import zstandard

        sizes["zstd"] = len(zstandard.ZstdCompressor(level=22).compress(raw))
    except ImportError:
        pass
    for form, options in {"PNG": {"optimize": True}, "WebP": {"lossless": True, "quality": 100, "method": 6}}.items():
        size = functools.partial(in_bytes, form, options, is_binary=bool(is_binary))
        sizes[f"{form}, each image"] = sum(map(size, x))
        sizes[f"{form}, one sheet"] = sum(map(size, np.array_split(sheet, -(-len(sheet) // 16_000))))  # WebP's limit
    return sizes


def in_bytes(form: str, options: dict[str, Any], image: np.ndarray, *, is_binary: bool) -> int:
    """The size of an image file."""
    file = io.BytesIO()
    picture = Image.fromarray(image * 255 if is_binary else image)
    (picture.convert("1") if is_binary and form == "PNG" else picture).save(file, form, **options)
    return len(file.getvalue())


def row_of(
    source: str, root: str, count: int, evaluated: int, num_samples: int, other_process: Callable[..., Any]
) -> dict[str, Any]:
    """All of one model and its test data."""
    torch.manual_seed(0)
    pair, found = pair_of(source, root)
    x = found.test[:count].cpu()
    evaluated = min(evaluated, len(x))
    levels = 1 if x.unique().numel() == 2 else 255
    values = (x * levels).round().to(torch.uint8)
    with timed() as encoding:
        file = compress(pair.model, pair.guide, values)
    content, decoding = other_process(source, root, file)
    assert content == values.numpy().tobytes()  # every bit
    with warnings.catch_warnings(), pyro.get_param_store().scope():
        warnings.simplefilter("ignore", HeavyTail)
        some = x[:evaluated]
        losses = [pyro.infer.Trace_ELBO().loss(pair.model, pair.guide, x) for _ in range(3)]
        of_some = [pyro.infer.Trace_ELBO().loss(pair.model, pair.guide, some) for _ in range(10)]
        evidence = log_marginal(
            pair.model, pair.guide, some, estimator="guide", num_samples=num_samples, compile=False, progress=False
        )
    bits = 1 / math.log(2) / values.numel()  # of a value, for nats of all
    sizes = codecs(values.numpy().reshape(len(values), *values.shape[-2:]))
    return {
        "data": found.name,
        "protocol": found.protocol,
        "images": len(x),
        "values": values.numel(),
        "bits": 8 * len(file) / values.numel(),
        "negative_elbo_bits": sum(losses) / len(losses) * bits,
        "negative_log_marginal_bits": -evidence.log_prob.mean().item() * len(x) * bits,
        "negative_elbo_bits_of_evaluated": sum(of_some) / len(of_some) * len(x) / evaluated * bits,
        "evaluated": evaluated,
        "num_samples": num_samples,
        "codecs": {name: 8 * size / values.numel() for name, size in sizes.items()},
        "encoding": encoding,
        "decoding": decoding,
    }


def main() -> None:
    """Compress, decompress elsewhere, compare, save."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--runs", nargs="*", default=[], help="folders of runs")
    options.add_argument("--weights", nargs="*", default=[], help="of the model for static MNIST")
    options.add_argument("--root", default="data", help="folder of the data sets")
    options.add_argument("--count", type=int, default=1000, help="images of each, or all test images")
    options.add_argument("--evaluated", type=int, default=100, help="images for log p(x)")
    options.add_argument("--num-samples", type=int, default=1000, help="from the guide, for log p(x) of each")
    chosen = parsed(options, "compression")
    sources = ["digits"] if chosen.smoke else [*chosen.weights, *chosen.runs]
    numbers = (20, 3, 5) if chosen.smoke else (chosen.count, chosen.evaluated, chosen.num_samples)
    rows = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=torch.set_num_threads, initargs=(2,)) as pool:
        for source in sources:
            elsewhere = decoded if chosen.smoke else lambda *words: pool.submit(decoded, *words).result()
            rows.append(row_of(source, chosen.root, *numbers, elsewhere))
            print({name: value for name, value in rows[-1].items() if name != "protocol"})
    save(chosen, {"rows": rows})


if __name__ == "__main__":
    main()
