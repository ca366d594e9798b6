"""Where strings become objects: part names and their arguments, from the command line or a file.

A part is named by its class, one of this library's (``VampPrior``) or any other by import path
(``my_module.MyPrior``). Its constructor is its configuration: arguments with the names below are filled in, all others
become options, checked against their type hints.

===============================  ==========================================================
``event_shape``                  shape of one x
``latent_dim``, ``dim``          number of latent dimensions
``mean``                         mean of the training data, where likelihoods start
``pseudo_inputs``                the training data
``encoder``, ``prior``, ...      the other parts of the same run
``network``                      makes the encoder's network from its input and output shape
``in_shape``, ``out_shape``      of a network
===============================  ==========================================================
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pyro.infer
from docstring_parser import parse as parse_docstring
from torch import Tensor, nn

from .. import encoders, likelihoods, models, networks, priors
from ..arguments.nearest import did_you_mean
from ..pairs.contexts import seeded

# Each part: where its short names live, and what is said of it in --help.
PARTS: dict[str, tuple[ModuleType, str]] = {
    "model": (models, "model/guide pair"),
    "prior": (priors, "prior p(z)"),
    "likelihood": (likelihoods, "likelihood p(x|z)"),
    "encoder": (encoders, "encoder q(z|x)"),
    "network": (networks, "network of the encoder, and of the decoder if --decoder is not given"),
    "decoder": (networks, "network of the decoder"),
    "objective": (pyro.infer, "training objective, a Pyro ELBO"),
}
OBJECTIVE_OPTIONS = {
    "num_particles": "Samples of the latents for each image and step.",
    "alpha": "Order of the Renyi divergence; 0 is the importance-weighted bound (IWAE).",
    "vectorize_particles": "Draw them all at once.",
}
FOR_MISSING: dict[str, Callable[[Any], nn.Module]] = {
    "likelihood": likelihoods.Masked,
    "encoder": encoders.ZeroImputed,
}
FILLED = {"event_shape", "latent_dim", "dim", "mean", "pseudo_inputs", "in_shape", "out_shape", *PARTS}


def short_names(part: str) -> list[str]:
    """Names of this library's classes for a part (Pyro's ELBOs for the objective)."""
    module = PARTS[part][0]
    if module is pyro.infer:
        return ["Trace_ELBO", "TraceMeanField_ELBO", "RenyiELBO", "TraceGraph_ELBO", "TraceEnum_ELBO"]
    is_part = {"network": nn.Module, "decoder": nn.Module}.get(part, object)
    found = [
        name for name in module.__all__ if inspect.isclass(cls := getattr(module, name)) and issubclass(cls, is_part)
    ]
    return sorted({*found} - _ABSTRACT - _WRAPPERS, key=str.lower)


_ABSTRACT = {"Likelihood", "Network"}
_WRAPPERS = {"Masked", "ZeroImputed"}  # around another of their kind


def find_class(part: str, name: str) -> type:
    """The class of a part by short name or import path.

    Raises:
        ValueError: there is none of that name; says which ones there are, and the nearest.
    """
    names = short_names(part)
    if name in names:
        found: type = getattr(PARTS[part][0], name)
        return found
    if name in _WRAPPERS:
        raise ValueError(
            f"Expected --{part} to be a class that stands alone; {name} takes another {part}, which the command line "
            f"cannot give. Use it from Python, or wrap it in a class of your own and give the import path of that."
        )
    if re.search(r"[:+]", name):
        raise ValueError(
            f"Expected --{part} to be one class; got {name!r}, as candidates of compare are written. Give each class "
            f"and each argument as an option, such as --prior GaussianMixture --prior.num_components 50."
        )
    if "." not in name:
        raise ValueError(
            f"Expected --{part} to be one of {', '.join(names)}, or the import path of a class; got {name!r}."
            f"{did_you_mean(name, names)}"
        )
    found = import_object(name)
    if not inspect.isclass(found):
        raise ValueError(f"Expected --{part} to be the import path of a class; {name} is {found!r}.")
    return found


def import_object(path: str) -> Any:
    """The object at an import path such as ``torch.nn.Tanh``.

    Raises:
        ValueError: it cannot be imported.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the user's module raises
        raise ValueError(
            f"Expected an import path such as package.module.Name; {path!r} gave {type(error).__name__}: {error}. "
            f"Modules are found in the working directory and among what is installed."
        ) from error


def parts_of(names: Mapping[str, str]) -> list[str]:
    """The parts that a run with these class names consists of: a model names its parts by its arguments."""
    model = find_class("model", names["model"])
    needed = [part for part in PARTS if part in inspect.signature(model).parameters]
    if "encoder" in needed and "network" in inspect.signature(find_class("encoder", names["encoder"])).parameters:
        needed.append("network")
    if "decoder" in needed and not names.get("decoder"):  # it is built like the network, from the same settings
        needed[needed.index("decoder")] = "network"
    return ["model", *[part for part in PARTS if part in needed], "objective"]


def options(cls: type) -> dict[str, tuple[Any, Any, str]]:
    """Constructor arguments that are options: by name the type, the default (or ``inspect.Parameter.empty``), the help.

    An argument that takes a callable is given by its import path.
    """
    hints = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    helps = {p.arg_name: p.description or "" for p in parse_docstring(inspect.getdoc(cls) or "").params}
    found = {}
    is_pyros = issubclass(cls, pyro.infer.ELBO)  # with many arguments that are not for users, and no help
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in FILLED or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if is_pyros and name not in OBJECTIVE_OPTIONS:
            continue
        hint, default = hints.get(name, Any), parameter.default
        if typing.get_origin(hint) is Callable:
            hint = str
            if default is not parameter.empty:
                default = f"{default.__module__}.{default.__qualname__}"
        text = OBJECTIVE_OPTIONS[name] if is_pyros else helps.get(name, "")
        found[name] = (hint, default, " ".join(text.split()))
    return found


def build(
    settings: Mapping[str, Mapping[str, Any]],
    *,
    event_shape: tuple[int, ...],
    latent_dim: int,
    mean: Tensor,
    pseudo_inputs: Tensor,
    seed: int,
    missing: bool = False,
) -> Any:
    """Build the model of a run from the settings of its parts, ``{part: {"name": class, argument: value, ...}}``.

    Where values may be missing, the likelihood is built into `Masked` and the encoder into `ZeroImputed`.

    Raises:
        ValueError: a part refuses its arguments; names the part.
    """
    likelihood_shape = lambda: supply("likelihood").feature_shape  # noqa: E731
    context: dict[str, Any] = {
        "event_shape": event_shape,
        "latent_dim": latent_dim,
        "dim": latent_dim,
        "mean": mean,
        "pseudo_inputs": pseudo_inputs,
    }

    def supply(name: str) -> Any:
        if name == "network":  # a factory: the encoder knows the shapes
            return functools.partial(make, "network", {})
        if name not in context:  # each part is built once: prior and model share the encoder
            if name == "decoder":
                shapes = {"in_shape": (latent_dim,), "out_shape": likelihood_shape()}
                context[name] = make("decoder" if "decoder" in settings else "network", shapes)
            else:
                context[name] = make(name, {})
        return context[name]

    def make(part: str, given: Mapping[str, Any], *positional: Any) -> Any:
        arguments = dict(settings[part])
        cls = find_class(part, arguments.pop("name"))
        parameters = inspect.signature(cls).parameters
        for name, value in arguments.items():
            if typing.get_origin(typing.get_type_hints(cls.__init__).get(name)) is Callable:  # type: ignore[misc]
                arguments[name] = import_object(value)
        given = {name: value for name, value in given.items() if name in parameters}
        taken = set(list(parameters)[: len(positional)]) | set(given)
        filled = {name: supply(name) for name in parameters if name in FILLED and name not in taken}
        try:
            made = cls(*positional, **given, **filled, **arguments)
            return FOR_MISSING[part](made) if missing and part in FOR_MISSING else made
        except Exception as error:  # whatever the user's class raises
            text = str(error) if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: {error}"
            text = text.rstrip(".") + "."
            if part == "network" and given:
                text += " It is used for the decoder too: give another with --decoder, such as ConvDecoder."
            elif part == "network" and cls in (networks.ConvDecoder, networks.ResNetDecoder):
                encoder = cls.__name__.replace("Decoder", "Encoder")
                text += f" Take the pair --network {encoder} --decoder {cls.__name__}."
            raise ValueError(
                text if text.startswith("In the ") else f"In the {part}, {cls.__name__}: {text}"
            ) from error

    with seeded(seed):
        module = make("model", {})
    if not isinstance(module, nn.Module) or not all(callable(getattr(module, m, None)) for m in ("model", "guide")):
        raise ValueError(f"Expected --model to be an nn.Module with methods model and guide; got {type(module)}.")
    return module


def build_objective(settings: Mapping[str, Any]) -> pyro.infer.ELBO:
    """The training objective, ``{"name": class, argument: value, ...}``."""
    arguments = dict(settings)
    objective: pyro.infer.ELBO = find_class("objective", arguments.pop("name"))(**arguments)
    return objective
