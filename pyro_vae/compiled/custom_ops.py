"""Operations that a compiled graph takes as they are, where the compiler's own way is slower."""

from __future__ import annotations

import torch
from torch import Tensor

from .torch_private import linear_by_onednn


def rows(data: Tensor, indices: Tensor) -> Tensor:
    """The rows of `data` (N, ...) with these indices (B,), all in [0, N): shape (B, ...).

    On a CPU, a compiled graph copies them once. An indexing of its own would be repeated wherever the rows are used,
    and take two to three times as long each time.
    """
    return torch.ops.pyro_vae.rows(data, indices) if data.device.type == "cpu" else data[indices]


def _library() -> torch.library.Library:
    library = torch.library.Library("pyro_vae", "DEF")
    library.define("rows(Tensor data, Tensor indices) -> Tensor")
    library.impl("rows", lambda data, indices: data.index_select(0, indices), "CPU")
    library.impl("rows", lambda data, indices: data.new_empty(len(indices), *data.shape[1:]), "Meta")
    library.define("onednn_product(Tensor left, Tensor right) -> Tensor")
    library.impl("onednn_product", linear_by_onednn, "CPU")
    library.impl("onednn_product", lambda left, right: left.new_empty(left.shape[0], right.shape[1]), "Meta")
    return library


# onednn_product is an operation of ours, since for oneDNN's own the compiler would first copy the transposed factor.
_LIBRARY = _library()
onednn_product = torch.ops.pyro_vae.onednn_product.default
