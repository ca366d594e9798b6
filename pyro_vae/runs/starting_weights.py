"""A training that starts from the weights of another run, and parts of a model that keep theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..arguments.nearest import did_you_mean
from .folder import PARAMS, require_run, weights_digest
from .loading import load_run, read_run
from .named_inputs import NamedInputs


@dataclass(frozen=True)
class Start:
    """Where weights came from.

    Attributes:
        run: folder of the run.
        weights_sha256: digest of its weights.
        taken, fresh: attributes of the model whose weights were taken from the run, and those that it does not have.
    """

    run: str
    weights_sha256: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        new = f"; with first weights: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{', '.join(self.taken)} from {self.run}{new}"


def start_from(
    folder: str | Path, module: nn.Module, *, needed: Sequence[str] = (), named: NamedInputs | None = None
) -> Start:
    """Give a module the weights of a run: of each of its attributes whose weights have the same names there.

    An attribute of other names is of another class, and stays as it was made: a prior of another kind, say.

    Args:
        folder: of the run.
        module: as it was built.
        needed: paths of parts whose weights have to come from there, those that will be frozen.
        named: names of what the model will be called with, which are those of the run where both have some.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: the run has parameters outside its module, weights of the same name in another shape, no attribute
            in common with the module, or not one that is needed; or its columns or categories have other names or
            another order.
    """
    folder = require_run(folder)
    if (folder / PARAMS).exists():
        raise ValueError(
            f"Expected a run whose parameters its model holds; got {folder}, which has some of pyro.param. Make them "
            f"nn.Parameter of the model."
        )
    source, _ = load_run(folder, torch.device("cpu"))
    if difference := NamedInputs.of_run(*read_run(folder)).difference_to(named or NamedInputs()):
        raise ValueError(
            f"Expected the columns of x and the categories that {folder} was trained on, in their order; {difference}. "
            f"Give the data their names and order, or leave out --init-from."
        )
    found, wanted = (_by_attribute(each.state_dict()) for each in (source, module))
    taken = tuple(name for name, tensors in wanted.items() if tensors.keys() == found.get(name, {}).keys())
    fresh = tuple(name for name in wanted if name not in taken)
    lacking = [path for path in needed if path.partition(".")[0] in fresh]
    if not taken or lacking:
        raise ValueError(
            f"Expected the weights of {lacking[0] if lacking else ' or '.join(wanted)} in {folder}, by the names that "
            f"they have in this model; got others. Use the classes of that run, or leave out --init-from."
        )
    both = [(name, found[part][name], tensor) for part in taken for name, tensor in wanted[part].items()]
    for name, there, tensor in both:
        if (there.dtype, there.shape) != (tensor.dtype, tensor.shape):
            raise ValueError(
                f"Expected {name} in {folder} of shape {tuple(tensor.shape)} ({tensor.dtype}), as this model has it; "
                f"got {tuple(there.shape)} ({there.dtype}). Use the sizes and the data shape of that run."
            )
    with torch.no_grad():
        for _, there, tensor in both:
            tensor.copy_(there)
    return Start(str(folder), weights_digest(folder), taken, fresh)


def freeze(module: nn.Module, paths: Sequence[str]) -> int:
    """Keep parts of a module as they are in training: no gradients, and evaluation mode, for batch norm and dropout.

    Args:
        module: the model.
        paths: attributes, of modules or parameters: "encoder", "decoder.layers.0", "likelihood.log_scale".

    Returns:
        How many scalars no longer train.

    Raises:
        ValueError: a path that leads to no module or parameter.

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        >>> freeze(network, ["0.bias", "1"]), network[0].weight.requires_grad
        (6, True)
    """
    parts: dict[str, nn.Module | nn.Parameter] = dict(module.named_modules(remove_duplicate=False))
    parts |= dict(module.named_parameters(remove_duplicate=False))
    del parts[""]
    kept: set[nn.Parameter] = set()
    for path in paths:
        if path not in parts:
            top = ", ".join(name for name in parts if "." not in name)
            raise ValueError(
                f"Expected --freeze to name modules or parameters of the model, such as {top}; got {path!r}."
                f"{did_you_mean(path, parts)}"
            )
        part = parts[path]
        own = list(part.eval().parameters()) if isinstance(part, nn.Module) else [part]
        kept.update(parameter for parameter in own if parameter.requires_grad)
    for parameter in kept:
        parameter.requires_grad_(False)
    return sum(parameter.numel() for parameter in kept)


def _by_attribute(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of a module by the attribute that they belong to."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        found.setdefault(name.partition(".")[0], {})[name] = tensor
    return found
