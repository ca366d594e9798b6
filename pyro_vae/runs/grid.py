"""What a comparison trains, as it is typed: candidates for some parts, values of some settings, and all their products.

``--priors VampPrior LARS --latent-dim 8 32`` are four models, from "VampPrior latent_dim=8" on.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..arguments.by_option import by_option
from .candidates import VARIED, candidate_parts, with_arguments
from .grouping import IGNORED
from .options import add_data_options, add_fit_options
from .parser import Parser
from .parts import PARTS
from .settings import Layer

# The same for all that is compared.
OF_THE_DATA = {
    *("data", "data_seed", "num_train", "order", "inputs", "beside"),
    *("binarization", "dequantize", "missing", "resize"),
}
OF_SEVERAL_WORDS = {"inputs", "freeze"}  # settings whose several values are one


@dataclass(frozen=True)
class Candidate:
    """A model to train.

    Attributes:
        name: what it has that others have not, in words.
        layer: its settings that are not those of all.
    """

    name: str
    layer: Layer


def taken_apart(words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The words of a command line, each setting with its first value alone, and those that were given several, which
    are no settings of the data.

    Example:
        >>> taken_apart(["--priors", "LARS", "VampPrior", "--latent-dim", "2", "8", "--epochs", "5"])
        (['--priors', 'LARS', 'VampPrior', '--latent-dim', '2', '--epochs', '5'], {'latent_dim': ['2', '8']})
    """
    settings = setting_names()
    rest: list[str] = []
    axes: dict[str, list[str]] = {}
    for option, *values in by_option(words):
        name = option.removeprefix("--").replace("-", "_")
        if len(values) < 2 or not (name in settings or (option[2:].partition(".")[0] in PARTS and "." in option)):
            rest += [option, *values]
        elif name in OF_THE_DATA:
            raise ValueError(
                f"Expected one {option} for all, whose log p(x) is compared on the same data; got {' '.join(values)}."
            )
        else:
            axes[name if name in settings else option[2:]] = values
            rest += [option, values[0]]
    return rest, axes


def require_unfixed(words: Sequence[str], default: Mapping[str, Sequence[str]]) -> None:
    """Require that a part with candidates is not given by itself as well.

    Args:
        words: of the command line.
        default: candidates by option, such as "priors", where the words have none.

    Raises:
        ValueError: there is --PART, or --PART.ARGUMENT; says what to write instead.

    Example:
        >>> require_unfixed(["--encoders", "IAF", "GaussianEncoder", "--encoder.num_transforms", "3"], {})
        ... # doctest: +NORMALIZE_WHITESPACE
        Traceback (most recent call last):
        ...
        ValueError: Expected candidates for the encoder; got --encoder.num_transforms, which fixes it. Write --encoders
        IAF:num_transforms=3 GaussianEncoder.
    """
    typed = []
    for word, *values in by_option(words):
        option, equals, value = word.partition("=")
        typed.append((option, [value, *values] if equals else values))
    given = {option: names for option in VARIED for name, names in typed if name == f"--{option}"}
    for option, candidates in (given or default).items():
        part = VARIED[option]
        fixed = {name: values for name, values in typed if name == f"--{part}" or name.startswith(f"--{part}.")}
        if fixed:
            got, classes = next(iter(fixed)), fixed.pop(f"--{part}", [])
            arguments = {name.partition(".")[2]: values for name, values in fixed.items()}
            names = dict.fromkeys([*given.get(option, ()), *classes]) or candidates
            cure = " ".join(each for name in names for each in with_arguments(name, part, arguments))
            raise ValueError(f"Expected candidates for the {part}; got {got}, which fixes it. Write --{option} {cure}.")


def setting_names() -> set[str]:
    """Names of the settings of one value that do not depend on the chosen classes."""
    parser = Parser()
    add_data_options(parser)
    add_fit_options(parser)
    return parser.names() - IGNORED - OF_SEVERAL_WORDS - {"help"}


def candidates_of(parts: Mapping[str, Sequence[str]], axes: Mapping[str, Sequence[str]]) -> list[Candidate]:
    """Every combination of candidates for parts, by their options such as "priors", and of values of settings.

    Raises:
        ValueError: a candidate that is none, two classes for one part, or the same one twice.
    """
    found = []
    for chosen in itertools.product(*parts.values(), *axes.values()):
        classes, values = chosen[: len(parts)], chosen[len(parts) :]
        names: dict[str, str] = {}
        options: dict[str, str] = dict(zip(axes, values, strict=True))
        for option, text in zip(parts, classes, strict=True):
            of_part, arguments = candidate_parts(text, VARIED[option])
            if twice := names.keys() & of_part.keys():
                part = min(twice)
                raise ValueError(f"Expected one {part} in a candidate; got {names[part]} and {of_part[part]}.")
            names |= of_part
            options |= arguments
        words = ["+".join(classes), *(f"{name}={value}" for name, value in zip(axes, values, strict=True))]
        found.append(Candidate(" ".join(word for word in words if word), (names, options)))
    if len({candidate.name for candidate in found}) < len(found):
        raise ValueError("Expected different candidates; got one twice. Give each once.")
    return found
