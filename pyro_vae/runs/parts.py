"""Where strings become objects: the parts of a model, from the command line or a settings file.

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

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType, NoneType, UnionType
from typing import Any

import pyro.infer
from docstring_parser import parse as parse_docstring
from torch import Tensor, nn

from .. import encoders, likelihoods, models, networks, objectives, priors
from ..arguments.nearest import did_you_mean
from ..pairs.contexts import seeded
from .imports import import_class

# Each part: where its short names live, and what is said of it in --help.
PARTS: dict[str, tuple[ModuleType, str]] = {
    "model": (models, "model/guide pair"),
    "prior": (priors, "prior p(z)"),
    "likelihood": (likelihoods, "likelihood p(x|z)"),
    "encoder": (encoders, "encoder q(z|x)"),
    "network": (networks, "network of the encoder, and of the decoder if --decoder is not given"),
    "decoder": (networks, "network of the decoder; by default like --network"),
    "objective": (objectives, "training objective, a Pyro ELBO"),
}
PYROS_OBJECTIVES = ["Trace_ELBO", "TraceMeanField_ELBO", "RenyiELBO", "TraceGraph_ELBO", "TraceEnum_ELBO"]
ACTIVATIONS = ["CELU", "ELU", "GELU", "LeakyReLU", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid"]
ACTIVATIONS += ["Softplus", "Softsign", "Tanh"]
FOR_MISSING: dict[str, Callable[[Any], nn.Module]] = {"likelihood": likelihoods.Masked, "encoder": encoders.ZeroImputed}
FILLED = {"event_shape", "latent_dim", "dim", "mean", "pseudo_inputs", "in_shape", "out_shape", *PARTS}
# What Pyro's ELBOs take beside num_particles and vectorize_particles: set by `fit`, or of no use here.
PYROS = {*inspect.signature(pyro.infer.ELBO.__init__).parameters} - {"num_particles", "vectorize_particles"}
ONE_WAY = ("ConvDecoder", "ResNetDecoder")  # networks for the decoder alone
_ABSTRACT = {"Likelihood", "Network"}
_WRAPPERS = {"Masked", "ZeroImputed"}  # around another of their kind


def short_names(part: str) -> list[str]:
    """Names of the classes for a part: this library's, and Pyro's own objectives before them."""
    room, kind = PARTS[part][0], _kind(part)
    found = {name for name in room.__all__ if inspect.isclass(cls := getattr(room, name)) and issubclass(cls, kind)}
    theirs = PYROS_OBJECTIVES if part == "objective" else []
    return theirs + sorted(found - _ABSTRACT - _WRAPPERS, key=str.lower)


def _kind(part: str) -> type:
    return pyro.infer.ELBO if part == "objective" else nn.Module


def _home(part: str, short: str) -> ModuleType:
    """The module that has the class of a short name."""
    return pyro.infer if part == "objective" and short in PYROS_OBJECTIVES else PARTS[part][0]


def canonical(part: str, name: str) -> str:
    """The short name of such a class that is given by import path; other names as they are."""
    module, _, short = name.rpartition(".")
    return short if module in ("pyro_vae", _home(part, short).__name__) and short in short_names(part) else name


def find_class(part: str, name: str) -> type:
    """The class of a part by short name or import path; nothing of it is called.

    Raises:
        ValueError: there is none of that name, with those that there are and the nearest; or it is no such part.
    """
    if name in _WRAPPERS:
        raise ValueError(
            f"Expected --{part} to be a class that stands alone; {name} takes another {part}, which the command line "
            f"cannot give. Use it from Python, or wrap it in a class of your own and give the import path of that."
        )
    if ":" in name or "+" in name:
        raise ValueError(
            f"Expected --{part} to be one class; got {name!r}, as candidates of compare are written. Give each class "
            f"and each argument as an option, such as --prior GaussianMixture --prior.num_components 50."
        )
    names = short_names(part)
    if (short := canonical(part, name)) in names:
        return getattr(_home(part, short), short)
    if "." not in name:
        raise ValueError(
            f"Expected --{part} to be one of {', '.join(names)}, or the import path of a class; got {name!r}."
            f"{did_you_mean(name, names)}"
        )
    found = import_class(name, _kind(part), what=f"--{part}")
    if part == "model":
        lacking = [method for method in ("model", "guide") if not callable(getattr(found, method, None))]
    else:
        lacking = ["forward"] if getattr(found, "forward", None) is nn.Module.forward else []
    if lacking:
        raise ValueError(f"Expected --{part} to be a class with the method {lacking[0]}; {name} has none.")
    return found


def parts_of(names: Mapping[str, str]) -> list[str]:
    """The parts that a run with these class names consists of: a model names its parts by its arguments."""
    if "model" not in names:
        return ["model"]
    model = find_class("model", names["model"])
    needed = {"model", "objective"} | set(PARTS) & set(inspect.signature(model).parameters)
    encoder = find_class("encoder", names["encoder"]) if "encoder" in needed and "encoder" in names else None
    if encoder and "network" in inspect.signature(encoder).parameters:
        needed.add("network")
    if "decoder" in needed and not names.get("decoder"):  # it is built like the network, from the same settings
        needed = needed - {"decoder"} | {"network"}
    return [part for part in PARTS if part in needed]


def options(cls: type) -> dict[str, tuple[Any, Any, str]]:
    """Constructor arguments that are options: by name the type, the default (or ``inspect.Parameter.empty``), the help.

    Only plain values, and classes out of a list: what jsonargparse reads for a class, a callable or no type at all, it
    imports from wherever a settings file says. An argument without a type is of that of its default.
    """
    helps, hints, choices = described(cls), _hints(cls), class_choices(cls)
    left_out = FILLED | (PYROS if issubclass(cls, pyro.infer.ELBO) else set())
    found = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        hint, default = hints.get(name, Any), parameter.default
        _, names = choices.get(name, (None, []))
        if names and (default is parameter.empty or getattr(default, "__name__", "") in names):
            hint, default = typing.Literal[*names], default if default is parameter.empty else default.__name__
        elif hint is Any:
            hint = PLAIN if default in (None, parameter.empty) else type(default)
            hint = int | float if hint is int else hint  # such as the order of RenyiELBO, 0 by default
        is_variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if name not in left_out and not is_variadic and _is_plain(hint):
            found[name] = (hint, default, helps.get(name, ""))
    return found


def described(function: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says of each argument."""
    arguments = parse_docstring(inspect.getdoc(function) or "").params
    return {argument.arg_name: " ".join((argument.description or "").split()) for argument in arguments}


PLAIN = int | float | bool | str | None | list[int | float | bool | str]


def _is_plain(hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return True
    if origin in (typing.Union, UnionType, list, tuple, Sequence, dict, Mapping):
        return all(map(_is_plain, (each for each in inner if each is not Ellipsis)))
    return hint in (int, float, bool, str, NoneType)


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except NameError:  # hints of a user's class that are imported for the type checker alone
        return {}


def class_choices(cls: type) -> dict[str, tuple[ModuleType, list[str]]]:
    """Arguments of a constructor that are given as a class, by its name: where these are, and their names.

    They are likelihoods where one is asked for, and activations where any module is.
    """
    made = {
        name: typing.get_args(hint)[-1] for name, hint in _hints(cls).items() if typing.get_origin(hint) is Callable
    }
    known = {likelihoods.Likelihood: (likelihoods, short_names("likelihood")), nn.Module: (nn, ACTIVATIONS)}
    return {name: known[kind] for name, kind in made.items() if name not in FILLED and kind in known}


def build(
    parts: Mapping[str, Mapping[str, Any]],
    *,
    event_shape: tuple[int, ...],
    latent_dim: int,
    mean: Tensor,
    pseudo_inputs: Tensor,
    seed: int,
    missing: bool = False,
) -> Any:
    """Build the model of a run from its parts, ``{part: {"class_path": class, "init_args": {argument: value}}}``.

    Constructors are linked by the names of their arguments: `VampPrior` asks for ``encoder`` and is given that of the
    model. (jsonargparse could link settings to settings; most of what is linked here comes from the data.) Where values
    may be missing, the likelihood is built into `Masked` and the encoder into `ZeroImputed`.

    Raises:
        ValueError: a part refuses its arguments; names the part.
    """
    decoder = parts.get("network", {}).get("class_path", "")
    pair = f" Use the pair --network {decoder.replace('Decoder', 'Encoder')} --decoder {decoder}."
    ends = pair if decoder in ONE_WAY else ""
    built: dict[str, Any] = {
        "event_shape": event_shape,
        "latent_dim": latent_dim,
        "dim": latent_dim,
        "mean": mean,
        "pseudo_inputs": pseudo_inputs,
        "network": lambda in_shape, out_shape: make("network", in_shape, out_shape, hint=ends),
    }

    def supply(name: str) -> Any:
        if name not in built:  # each part is built once: prior and model share the encoder
            built[name] = make_decoder() if name == "decoder" else make(name)
        return built[name]

    def make_decoder() -> Any:
        shapes = (latent_dim,), _feature_shape(supply("likelihood"))
        if "decoder" in parts:
            return make("decoder", *shapes)
        hint = " It is used for the decoder too: give another with --decoder, such as ConvDecoder."
        return make("network", *shapes, hint=hint)

    def make(part: str, *shapes: Any, hint: str = "") -> Any:
        cls = find_class(part, parts[part]["class_path"])
        others = [*inspect.signature(cls).parameters][len(shapes) :]
        filled = {name: supply(name) for name in others if name in FILLED}
        with _named(part, cls, hint):
            made = cls(*shapes, **filled, **_arguments(cls, parts[part]))
            return FOR_MISSING[part](made) if missing and part in FOR_MISSING else made

    with seeded(seed):
        return make("model")


def build_objective(part: Mapping[str, Any]) -> pyro.infer.ELBO:
    """The training objective, ``{"class_path": class, "init_args": {argument: value}}``, as `build` makes a part."""
    cls = find_class("objective", part["class_path"])
    with _named("objective", cls):
        return cls(**_arguments(cls, part))


def _arguments(cls: type, part: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a part, classes by name as the classes."""
    given = dict(part.get("init_args", {}))
    for name, (module, names) in class_choices(cls).items():
        if given.get(name) in names:
            given[name] = getattr(module, given[name])
    return given


def _feature_shape(likelihood: Any) -> tuple[int, ...]:
    try:
        return likelihood.feature_shape
    except AttributeError as error:
        raise ValueError(
            f"In the likelihood, {type(likelihood).__name__}: Expected feature_shape, the shape of the features that "
            f"it takes from the decoder; got none. Set self.feature_shape in its constructor."
        ) from error


@contextmanager
def _named(part: str, cls: type, hint: str = "") -> Iterator[None]:
    """Whatever a constructor raises, as one sentence that names the part."""
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: {error}"
        text = text if text.startswith("In the ") else f"In the {part}, {cls.__name__}: {text}"
        raise ValueError(text.rstrip(".") + "." + hint) from error
