"""Run torch code so that it computes the same bits on every machine, with any number of threads, compiled or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import elementary, exact_sums
from .dispatch_private import TorchDispatchMode
from .elementary import Floats

# Operations that copy, compare or round correctly each by itself, in any dtype.
ARITHMETIC = "add add_ sub sub_ rsub mul mul_ div div_ neg abs sign square floor ceil round trunc"
BOUNDS = "relu relu_ leaky_relu threshold hardtanh clamp clamp_ clamp_min clamp_max minimum maximum max min amax amin"
TRUTH = "eq ne lt le gt ge logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not any all"
CHECKS = "isnan isinf isfinite equal where masked_fill masked_fill_ nan_to_num _local_scalar_dense"
COPIES = "copy_ fill_ zero_ clone detach lift_fresh lift_fresh_copy _to_copy _unsafe_view _reshape_copy"
PLACES = "cat stack constant_pad_nd index index_select gather embedding repeat flip roll tril triu"
IMAGES = "index_put index_put_ diag_embed max_pool2d_with_indices upsample_nearest2d pixel_shuffle"
MAKES = "zeros zeros_like ones ones_like full full_like empty empty_like new_zeros new_ones new_full new_empty arange"
MAKES_MORE = "tril_indices triu_indices new_empty_strided empty_strided scalar_tensor eye"
EXACT = frozenset(" ".join([ARITHMETIC, BOUNDS, TRUTH, CHECKS, COPIES, PLACES, IMAGES, MAKES, MAKES_MORE]).split())

ONE_BY_ONE: Mapping[str, Callable[[Floats], Floats]] = {
    **{name: getattr(elementary, name) for name in ("exp", "expm1", "log", "log1p", "sigmoid", "tanh", "erf")},
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "silu": lambda x: x * elementary.sigmoid(x),
}


def _array(x: Any) -> Any:
    return x.detach().to(torch.float64).numpy() if isinstance(x, Tensor) else x


def _axes(dim: Any, ndim: int) -> tuple[int, ...]:
    dims = range(ndim) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
    return tuple(d % max(ndim, 1) for d in dims)


def _elu(x: Floats, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Floats:
    return np.where(x > 0, x * scale, elementary.expm1(np.minimum(x * input_scale, 0.0)) * (alpha * scale))


def _gelu(x: Floats, *, approximate: str = "none") -> Floats:
    if approximate == "tanh":
        return 0.5 * x * (1 + elementary.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1 + elementary.erf(x * math.sqrt(0.5)))


def _glu(x: Floats, dim: int = -1) -> Floats:
    values, gates = np.split(x, 2, dim)
    return values * elementary.sigmoid(gates)


def _pow(x: Floats, power: Any) -> Floats:
    if isinstance(power, np.ndarray) or power not in (0.5, -0.5, -2, -1, 0, 1, 2, 3, 4):
        raise ValueError(f"Expected powers 2, 3, 4, 1/2 or their inverses in the model; got {power}. Write x * x.")
    found = np.sqrt(x) if abs(power) == 0.5 else np.ones_like(x)
    for _ in range(int(abs(power))):
        found = found * x
    return 1 / found if power < 0 else found


def _log_softmax(x: Floats, dim: int, half: bool = False) -> Floats:
    shifted = x - x.max(dim, keepdims=True)
    return shifted - elementary.log(elementary.in_order(elementary.exp(shifted), dim))


def _logsumexp(x: Floats, dim: Any, keepdim: bool = False) -> Floats:
    axes = _axes(dim, x.ndim)
    largest = x.max(axes, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    found = largest + elementary.log(exact_sums.total(elementary.exp(x - largest), axes, True))
    return found if keepdim else found.squeeze(axes)


def _mean(x: Floats, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Floats:
    axes = _axes(dim, x.ndim)
    return exact_sums.total(x, axes, keepdim) / math.prod(x.shape[a] for a in axes)


def _addmm(added: Floats, a: Floats, b: Floats, *, beta: float = 1, alpha: float = 1) -> Floats:
    return beta * added + alpha * exact_sums.matmul(a, b)


def _convolution(x: Floats, weight: Floats, bias: Floats | None, *rest: Any) -> Floats:
    spatial = weight.ndim - 2
    found = exact_sums.convolution(x, weight, rest, spatial=spatial)
    return found if bias is None else found + bias.reshape(-1, *[1] * spatial)


def _layer_norm(x: Floats, shape: Any, weight: Any, bias: Any, eps: float) -> tuple[Floats, Floats, Floats]:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    mean = _mean(x, axes, True)
    inverse = 1 / np.sqrt(_mean((x - mean) * (x - mean), axes, True) + eps)
    found = (x - mean) * inverse * (1.0 if weight is None else weight)
    return found + (0.0 if bias is None else bias), mean, inverse


def _batch_norm(x: Floats, weight: Any, bias: Any, mean: Floats, variance: Floats, *rest: Any) -> tuple[Floats, ...]:
    def placed(values: Any) -> Any:
        return values.reshape(-1, *[1] * (x.ndim - 2))

    if rest[0] is True:  # training mode; `_native_batch_norm_legit_no_training` has its momentum here
        raise ValueError("Expected batch normalization in evaluation mode; got training mode. Call eval() on it.")
    scale = 1 / np.sqrt(variance + rest[-1])
    found = (x - placed(mean)) * placed(scale if weight is None else scale * weight)
    return found if bias is None else found + placed(bias), np.zeros(0), np.zeros(0)


WHOLE: Mapping[str, Callable[..., Any]] = {
    "softplus": lambda x, beta=1, threshold=20: np.where(x * beta > threshold, x, elementary.softplus(x * beta) / beta),
    "log_sigmoid_forward": lambda x: (-elementary.softplus(-x), np.zeros(0)),
    "elu": _elu,
    "gelu": _gelu,
    "glu": _glu,
    "pow": _pow,
    "_softmax": lambda x, dim, half=False: elementary.softmax(x, dim),
    "_log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "logaddexp": lambda a, b: np.maximum(a, b) + elementary.log1p(elementary.exp(-np.abs(a - b))),
    "sum": lambda x, dim=None, keepdim=False, *, dtype=None: exact_sums.total(x, _axes(dim, x.ndim), keepdim),
    "mean": _mean,
    "cumsum": lambda x, dim, *, dtype=None: exact_sums.running_total(x, dim),
    "mm": exact_sums.matmul,
    "bmm": exact_sums.matmul,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "mv": lambda a, x: exact_sums.matmul(a, x[:, None])[:, 0],
    "dot": lambda a, b: exact_sums.matmul(a[None], b[:, None])[0, 0],
    "convolution": _convolution,
    "native_layer_norm": _layer_norm,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "addcmul": lambda x, a, b, *, value=1: x + value * (a * b),
    "lerp": lambda a, b, weight: a + weight * (b - a),
}


class _Exact(TorchDispatchMode):
    """Lets exact operations run, computes others from exact ones, and refuses the rest."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [x for x in _flat(args) if isinstance(x, Tensor)]
        if any(x.device.type != "cpu" for x in tensors):
            raise ValueError(f"Expected the model on the CPU; got {tensors[0].device}. Move it with .to('cpu').")
        is_real = all(x.is_floating_point() for x in tensors)
        if name in ("sum", "cumsum") and not is_real:
            return func(*args, **kwargs)  # whole numbers
        if name in ONE_BY_ONE or name in WHOLE:
            kernel = ONE_BY_ONE.get(name) or WHOLE[name]
            dtype = torch.result_type(tensors[0], tensors[-1]) if is_real else torch.get_default_dtype()
            with np.errstate(all="ignore"):
                found = kernel(*map(_array, args), **{k: _array(v) for k, v in kwargs.items()})
            if isinstance(found, tuple):
                return tuple(torch.from_numpy(np.array(each)).to(dtype) for each in found)
            return torch.from_numpy(np.array(found)).to(dtype)
        is_plain = kwargs.get("alpha", 1) in (1, -1) and not (name.startswith("index_put") and True in args[3:])
        if func.is_view or (name in EXACT and is_plain):
            return func(*args, **kwargs)
        raise ValueError(
            f"Expected a model and guide of operations that give the same bits on every machine; got torch's {name}, "
            f"for which there is no such form here. Linear and convolutional networks with the usual activations have "
            f"it; random numbers other than Pyro's sites have none."
        )


def _flat(args: Any) -> Iterator[Any]:
    for each in args:
        if isinstance(each, (tuple, list)):
            yield from _flat(each)
        else:
            yield each


@contextmanager
def reproducible() -> Iterator[None]:
    """Tensor operations in this block compute the same bits on every machine, by any number of threads, or are refused.

    Sums of products are taken of whole numbers, exactly (`exact_sums`); exp, log and their like are made of sums and
    products (`elementary`); operations that are exact by themselves run as they are, and what ``torch.compile`` made
    runs as it was written. Results are as accurate as float32.

    Raises:
        ValueError: an operation for which that is not possible, or a tensor that is not on the CPU.

    Example:
        >>> with reproducible():
        ...     y = torch.tensor([0.0, 1.0]).exp()
        >>> y
        tensor([1.0000, 2.7183])
    """
    with torch.compiler.set_stance("force_eager"), torch.no_grad(), _Exact():
        yield
