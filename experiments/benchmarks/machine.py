"""What the machine gives: the rate of its matrix products, and when its device is done."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import torch
from torch import Tensor

import pyro_vae  # noqa: F401  registers the product by oneDNN


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def product_rate(
    shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype = torch.float32, *, repetitions: int = 20
) -> float:
    """Measured floating-point operations in a second of products (N, M) @ (M, K): the best of several, by the best
    library there is.

    Args:
        shape: N, M, K.
        device: where.
        dtype: of both factors.
        repetitions: of three products each, by each library.
    """
    n, m, k = shape
    left, right = torch.randn(n, m, device=device).to(dtype), torch.randn(m, k, device=device).to(dtype)
    products: list[Callable[[Tensor, Tensor], Tensor]] = [torch.matmul]
    if device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        products.append(torch.ops.pyro_vae.onednn_product)
    seconds = []
    for product, _ in itertools.product(products, range(repetitions)):
        synchronize(device)
        started = time.perf_counter()
        for _ in range(3):
            product(left, right)
        synchronize(device)
        seconds.append((time.perf_counter() - started) / 3)
    return 2 * n * m * k / min(seconds)
