"""The candidates of a comparison, as they are written: ``VampPrior``, ``GaussianMixture:num_components=50``.

A candidate is a class, then its arguments after a colon. What only works together is joined by a plus: a prior on the
sphere and an encoder for it (``UniformSphere+VonMisesFisherEncoder``), the two ends of a network
(``ConvEncoder+ConvDecoder``).
"""

from __future__ import annotations

import re

from ..arguments.nearest import did_you_mean
from .parts import PARTS, canonical, find_class, options, short_names

# What a comparison may vary: the option, and the part.
VARIED = {"priors": "prior", "likelihoods": "likelihood", "encoders": "encoder", "networks": "network"}


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
    for piece in re.split(r"\+(?=[A-Za-z_])", text):
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
