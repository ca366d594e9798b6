"""Operations that a compiled graph takes as they are, where the compiler's own way is slower."""

from __future__ import annotations

import torch
from torch import Tensor


def rows(data: Tensor, chosen: Tensor) -> Tensor:
    """The rows of `data` (N, ...) with indices `chosen` (B,), all in [0, N): shape (B, ...).

    On a CPU, a compiled graph copies them once. An indexing of its own it would repeat wherever the rows are used, and
    take two to three times as long for each.
    """
    return torch.ops.pyro_vae.rows(data, chosen) if data.device.type == "cpu" else data[chosen]


def _rows(data: Tensor, chosen: Tensor) -> Tensor:
    return data.index_select(0, chosen)


def _onednn_product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right; oneDNN's linear layer takes the right one transposed, in any layout."""
    return torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")


def _library() -> torch.library.Library:
    library = torch.library.Library("pyro_vae", "DEF")
    library.define("rows(Tensor data, Tensor chosen) -> Tensor")
    library.impl("rows", _rows, "CPU")
    library.impl("rows", lambda data, chosen: data.new_empty(len(chosen), *data.shape[1:]), "Meta")
    library.define("onednn_product(Tensor left, Tensor right) -> Tensor")
    library.impl("onednn_product", _onednn_product, "CPU")
    library.impl("onednn_product", lambda left, right: left.new_empty(left.shape[0], right.shape[1]), "Meta")
    return library


# onednn_product is ours because of oneDNN's own operation the compiler would first copy the transposed factor.
_LIBRARY = _library()
onednn_product = torch.ops.pyro_vae.onednn_product.default
