"""The settings of a run: classes and options, from words and from files.

A settings file names each part by its class and gives its options, in the layout that LightningCLI made common::

    data: digits
    prior:
      class_path: VampPrior
      init_args:
        num_components: 30

jsonargparse reads options of any type once they are known. Which there are depends on the classes, so these are looked
up first. (Its own subclass arguments take every `torch.nn.Module` there is, import what they are told to, list hundreds
of classes in the help and the options of none, and leave out the part in their messages.)
"""

from __future__ import annotations

import copy
import math
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from ..arguments.nearest import did_you_mean
from .options import add_training_options
from .parser import Parser
from .parts import PARTS, canonical, parts_of

# The class of each part, and all other settings by name: options of a part as "prior.num_components".
Layer = tuple[Mapping[str, str], Mapping[str, Any]]

DEFAULT_PARTS = {
    "model": "VAE",
    "prior": "StandardNormal",
    "likelihood": "Bernoulli",
    "encoder": "GaussianEncoder",
    "network": "GatedMLP",
    "objective": "Trace_ELBO",
}
SEEDS = ("seed", "data_seed")  # which torch and NumPy take from 0 to 2^32 - 1
COUNTS = ("checkpoint_epochs", "num_checkpoints")
ABOVE_ZERO = ("num_train", "latent_dim", "epochs", "batch_size", "learning_rate", "patience", "clip_norm", *COUNTS)
# Options of `train` that say how it is done, and are not kept as settings of the run.
CHECKPOINTS = ("checkpoint_minutes", "keep_checkpoint", *COUNTS)
OF_THIS_CALL = ("config", "out", "overwrite", "resume", "trust", "log_level", *CHECKPOINTS)
ON_ANOTHER_MACHINE = ("root", "download", "device", "compile", "tensorboard", "epochs")  # see `fixed`
# Settings that runs and checkpoints of earlier versions do not have: these stand at their defaults there.
LATER = ("init_from", "freeze", "num_train", "beside", "resize")
LONGEST_WARMUP = 30.0  # epochs, where no length is given
LARGEST = 100_000  # bytes of a settings file; those of a run have two thousand
KEPT = 100  # settings that were found, for a command reads those of a run several times, and this takes 60 ms
_found: dict[str, Namespace] = {}


def parse_training(
    parser: Parser, arguments: Sequence[str], *, out: str, defaults: Layer = (DEFAULT_PARTS, {})
) -> Namespace:
    """The settings of a run, from a command line, the settings file that it names, and defaults, in this order."""
    named: dict[str, str] = {}
    rest = []
    words = iter(arguments)
    for word in words:  # the classes come first, since the options depend on them
        option, equals, value = word.partition("=")
        if option.startswith("--") and option[2:] in {*PARTS, "config"}:
            named[option[2:]] = value if equals else next(words, "")
        else:
            rest.append(word)
    settings = defaults
    if (file := named.pop("config", None)) is not None:
        given = read_layer(Path(file))
        settings = over(defaults, given)
        with _in(file):
            _prepare(Parser(), settings, given=given[0])
    named = {part: canonical(part, name) for part, name in named.items()}
    names = _prepare(parser, over(settings, (named, {})), given=named, out=out)
    return _with_classes(parser.parse_args(rest), names)


def over(below: Layer, above: Layer) -> Layer:
    """Settings with others on top of them; the options of a part go with the class that they belong to."""
    replaced = {part for part, name in above[0].items() if name != below[0].get(part)}
    kept = {key: value for key, value in below[1].items() if key.partition(".")[0] not in replaced}
    return {**below[0], **above[0]}, {**kept, **above[1]}


def settings_of(settings: Layer, *, given: Iterable[str]) -> Namespace:
    """The settings of a run; values that are not there by default.

    Args:
        settings: classes and values.
        given: parts that are meant to be there; others are left out where the model has no use for them.

    Raises:
        ValueError: a part is missing or one too many, a class or option unknown, or a value of another type.
    """
    names, values = settings
    given = [*given]
    if any("." in name for name in names.values()):  # own classes, which may have been changed in the meantime
        return _settings_of(settings, given)
    key = repr((dict(names), dict(values), given))
    if key not in _found:
        if len(_found) >= KEPT:
            _found.clear()
        _found[key] = _settings_of(settings, given)
    return copy.deepcopy(_found[key])


def _settings_of(settings: Layer, given: Sequence[str]) -> Namespace:
    parser = Parser()
    names = _prepare(parser, settings, given=given)
    return with_warmup(_with_classes(parser.parse_args([]), names))


def with_warmup(config: Namespace) -> Namespace:
    """The settings with a KL warm-up over half of the epochs where none is given, at most 30."""
    if config.kl_warmup == "auto":
        config.kl_warmup = min(LONGEST_WARMUP, config.epochs / 2)
    return config


def _prepare(parser: Parser, settings: Layer, *, given: Iterable[str], out: str = "") -> dict[str, str]:
    """Give a parser the options of a run, these settings as defaults; returns the classes that such a run has."""
    names, values = settings
    needed = parts_of(names)
    if missing := [part for part in needed if part not in names]:
        raise ValueError(f"Expected all settings of a run; there is no {missing[0]}.")
    if extra := [part for part in given if part not in needed]:
        raise ValueError(
            f"Expected no {extra[0]} with the model {names['model']}, whose constructor has no argument {extra[0]}; "
            f"got {names[extra[0]]}. Leave it out, or add the argument to the constructor."
        )
    unused = PARTS.keys() - needed  # those of another model
    values = {key: value for key, value in values.items() if key.partition(".")[0] not in unused}
    names = {part: names[part] for part in needed}
    add_training_options(parser, names, out=out)
    known = parser.names() - {*OF_THIS_CALL, "help"}
    if unknown := [key for key in values if key not in known]:
        raise ValueError(f"unknown setting {unknown[0]}.{did_you_mean(unknown[0], known)}")
    parser.check(values)  # the parser takes defaults as they are
    parser.set_defaults(dict(values))
    _with_classes(parser.get_defaults(), names)
    return names


def _with_classes(config: Namespace, names: Mapping[str, str]) -> Namespace:
    """The settings with each part as class_path and init_args, in the order of the options; values are checked."""
    for key in ABOVE_ZERO:
        if config[key] is not None and not 0 < config[key] < math.inf:
            raise ValueError(f"Expected --{key.replace('_', '-')} > 0; got {config[key]}.")
    for key in SEEDS:
        if not 0 <= config[key] < 2**32:
            raise ValueError(f"Expected --{key.replace('_', '-')} from 0 to 4,294,967,295; got {config[key]!s:.30}.")
    whole = Namespace()
    for key, value in vars(config).items():
        if key not in PARTS:
            whole[key] = value
        if key == "latent_dim":
            for part, name in names.items():
                whole[part] = Namespace(class_path=name, init_args=config.get(part) or Namespace())
    return whole


def layer_of(config: Namespace) -> Layer:
    """Classes and values of settings."""
    names = {part: config[part].class_path for part in PARTS if part in config}
    values = {key: value for key, value in vars(config).items() if key not in {*PARTS, *OF_THIS_CALL}}
    for part in names:
        values |= {f"{part}.{option}": value for option, value in vars(config[part].init_args).items()}
    return names, values


def read_layer(file: Path) -> Layer:
    """Classes and values in a settings file; nothing is imported."""
    names, values = {}, {}
    for key, value in read_yaml(file).items():
        if key not in PARTS:
            values[key] = value
            continue
        well_formed = isinstance(value, dict) and {"class_path"} <= value.keys() <= {"class_path", "init_args"}
        options = value.get("init_args", {}) if well_formed else None
        if not isinstance(options, dict) or not isinstance(value["class_path"], str):
            raise ValueError(f"In {file}: Expected {key} to have a class_path and its init_args; got {value!r:.100}.")
        names[key] = canonical(key, value["class_path"])
        values |= {f"{key}.{option}": given for option, given in options.items()}
    return names, values


def read_settings(file: Path) -> Namespace:
    """The settings of a run from its folder, all of which must be there."""
    names, values = read_layer(file)
    with _in(file):
        config = settings_of((names, values), given=names)
        if missing := layer_of(config)[1].keys() - {*values, *LATER}:
            raise ValueError(f"Expected all settings of a run; there is no {min(missing)}.")
    return config


@contextmanager
def _in(file: str | Path) -> Iterator[None]:
    """Name the file in what is wrong with its content."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"In {file}: {error}") from error


def read_yaml(file: Path) -> dict[str, Any]:
    """A settings file as it is written.

    Raises:
        ValueError: it is not there or no file, too large, or not plain YAML: one mapping, each key once, no aliases.
    """
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is not a file")
        if about.st_size > LARGEST:
            raise ValueError(f"it has {about.st_size:,} bytes, more than {LARGEST:,}")
        content = yaml.load(file.read_text(), Loader=_PlainLoader)
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise ValueError("it does not consist of lines such as 'epochs: 100'")
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"Expected a settings file in YAML at {file}; got an error: {reason}.") from error
    return content


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases, whose copies of copies fill the memory, and without keys that are given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (*name)")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"it has {twice[0]} twice")
        return super().construct_mapping(node, deep=deep)


def dump(config: Namespace) -> str:
    """The settings of a run as YAML, without what belongs to this call alone."""
    kept = {key: _plain(value) for key, value in config.as_dict().items() if key not in OF_THIS_CALL}
    for part in PARTS:
        if part in kept and not kept[part]["init_args"]:
            del kept[part]["init_args"]
    return yaml.safe_dump(kept, sort_keys=False)


def fixed(config: Namespace) -> dict[str, Any]:
    """The settings that a training which goes on from a checkpoint must have as it had.

    The others may be different: where the data are, how far to go. On which device it is, and whether steps are
    compiled, the checkpoint says itself.
    """
    kept = {key: _plain(value) for key, value in config.as_dict().items() if value or key not in LATER}
    return {key: value for key, value in kept.items() if key not in {*OF_THIS_CALL, *ON_ANOTHER_MACHINE}}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(map(_plain, value)) if isinstance(value, (list, tuple)) else value
