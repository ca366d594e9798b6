"""The candidates of a comparison, as they are written: ``VampPrior``, ``GaussianMixture:num_components=50``.

A candidate is a class, then its arguments after a colon. What only works together is joined by a plus: a prior on the
sphere and an encoder for it (``UniformSphere+VonMisesFisherEncoder``), the two ends of a network
(``ConvEncoder+ConvDecoder``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from ..arguments.nearest import did_you_mean
from .parts import PARTS, canonical, find_class, options, short_names

# What a comparison may vary: the option, and the part.
VARIED = {"priors": "prior", "likelihoods": "likelihood", "encoders": "encoder", "networks": "network"}

PLUS = r"\+(?=[A-Za-z_])"  # between classes, not inside of 1e+3


def candidate_parts(text: str, part: str) -> tuple[dict[str, str], dict[str, str]]:
    """The class of each part that a candidate consists of, and their options, as `settings_of` takes them.

    Args:
        text: ``NAME``, ``NAME:argument=value,argument=value``, or several of these joined by ``+``. The first is the
            part that varies, by short name or import path; the others are of this library, and their names tell what
            they are.
        part: what varies.

    Raises:
        ValueError: an unknown class or argument, an argument without a value, or two classes for one part.

    Example:
        >>> candidate_parts("GaussianMixture:num_components=50,covariance=full", "prior")
        ({'prior': 'GaussianMixture'}, {'prior.num_components': '50', 'prior.covariance': 'full'})
        >>> candidate_parts("ConvEncoder:channels=[8,16]+ConvDecoder", "network")
        ({'network': 'ConvEncoder', 'decoder': 'ConvDecoder'}, {'network.channels': '[8,16]'})
    """
    names: dict[str, str] = {}
    values: dict[str, str] = {}
    for piece in re.split(PLUS, text):
        name, _, arguments = piece.partition(":")
        kind = _companion(name, part) if names else part
        if kind in names:
            raise ValueError(f"Expected one {kind} in a candidate; got {names[kind]} and {name} in {text!r}.")
        names[kind] = canonical(kind, name)
        known = options(find_class(kind, name))
        for argument in re.split(r",(?=\w+=)", arguments) if arguments else []:
            key, equals, value = argument.partition("=")
            if not equals or not value:
                raise ValueError(f"Expected NAME:argument=value; got {argument!r} in {text!r}.")
            if key not in known:
                takes = f"one of the arguments of {name}, {', '.join(known)}" if known else f"no argument of {name}"
                raise ValueError(f"Expected {takes}; got {key!r}.{did_you_mean(key, known)}")
            values[f"{kind}.{key}"] = value
    return names, values


def with_arguments(text: str, part: str, values: Mapping[str, Sequence[str]]) -> list[str]:
    """A candidate with each combination of values, of the arguments that the class which varies has.

    Example:
        >>> with_arguments("MLP:hidden=[4]+ConvDecoder", "network", {"activation": ["ELU", "Tanh"], "channels": ["8"]})
        ['MLP:hidden=[4],activation=ELU+ConvDecoder', 'MLP:hidden=[4],activation=Tanh+ConvDecoder']
    """
    first, *others = re.split(PLUS, text)
    name, _, arguments = first.partition(":")
    known = options(find_class(part, name)) if values else {}
    taken = [[f"{key}={value}" for value in several] for key, several in values.items() if key in known]
    combinations = (",".join(filter(None, [arguments, *each])) for each in itertools.product(*taken))
    return ["+".join([f"{name}:{each}" if each else name, *others]) for each in combinations]


def _companion(name: str, part: str) -> str:
    """What a class is that stands after a plus: names are unique over all parts, but networks serve at both ends."""
    for kind in PARTS:
        if name in short_names(kind):
            return "decoder" if kind == part == "network" else kind
    raise ValueError(f"Expected the name of a part of this library after a plus; got {name!r}.")


def file_name(text: str) -> str:
    """A candidate as the name of a file.

    Example:
        >>> file_name("ConvEncoder:channels=[8,16]+ConvDecoder")
        'ConvEncoder-channels=-8,16-+ConvDecoder'
    """
    return re.sub(r"[^\w.,+=-]+", "-", text).strip("-")
