"""Options of the command line and settings files: which there are, how they are read, how errors are said."""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace
from matplotlib.figure import Figure

from . import data, settings
from .data import did_you_mean

DEFAULT_PARTS = {
    "model": "VAE",
    "prior": "StandardNormal",
    "likelihood": "Bernoulli",
    "encoder": "GaussianEncoder",
    "network": "GatedMLP",
    "objective": "Trace_ELBO",
}


# Types in the words of a user.
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "null",
    "collections.abc.Sequence": "a list such as [300,300]",
    "list": "a list such as [0,3]",
}


class Parser(ArgumentParser):
    """Shows ``--prior NAME`` for what is kept as ``prior.name``, and says errors on one line."""

    def format_help(self, *formatter: Any) -> str:
        """The help text, parts by their short option; the columns stay where they are."""
        text = super().format_help(*formatter).replace(".name NAME", " NAME     ")
        return re.sub(r" +(?=\]|$)", "", text, flags=re.MULTILINE)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong on one line and exit with code 2."""
        known = [option for action in self._actions for option in action.option_strings]
        fail(readable(str(message), known))


def fail(message: str) -> NoReturn:
    """One line for the user, exit code 2."""
    print(f"pyro-vae: error: {message}", file=sys.stderr)
    sys.exit(2)


def readable(message: str, known: Sequence[str]) -> str:
    """A parser's message on one line, with the nearest of the known options where one was mistyped.

    Example:
        >>> readable("unrecognized arguments: --epoch-s 3", ["--epochs", "--seed"])
        'unknown option --epoch-s 3. Did you mean --epochs?'
    """
    text = " ".join(message.split())
    if unknown := re.fullmatch(r"unrecognized arguments: (.*)", text):
        option = unknown[1].split()[0].partition("=")[0]
        part, dot, _ = option.partition(".")
        near = did_you_mean(option, known)
        if dot:  # an option of a part: its own ones alone are meant
            takes = [k for k in known if k.startswith(f"{part}.") and not k.endswith((".name", "+"))]
            near = f" The class chosen by {part} takes {', '.join(takes) or 'no options'}."
        return f"unknown option {unknown[1]}.{near}".replace(".name", "")
    if missing := re.fullmatch(r"the following arguments are required: (.*)", text):
        asked = (re.sub(r"^\w+\.run$", "RUN", name) for name in missing[1].split(", "))
        names = (name.removeprefix("train.").removeprefix("compare.") for name in asked)
        return f"Expected {', '.join(name if name.isupper() else '--' + name for name in names)}; got nothing for it."
    key, given = re.search(r'[Kk]ey "([\w.]+)"', text), re.search(r"(?:Given value|Got value|got value): (.*)$", text)
    kinds = re.findall(r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\])", text)
    wanted = list(
        dict.fromkeys(choices.replace("'", "").replace(", ", " or ") or KINDS.get(k, k) for k, choices in kinds)
    )
    if key and given and wanted:
        option = "--" + key[1].removesuffix(".name").replace("_", "-" if "." not in key[1] else "_")
        return f"Expected {option} to be {' or '.join(wanted)}; got {given[1]}."
    return text.replace(".name", "")


def named(word: str) -> str:
    """``--prior`` and ``--prior=X`` as the option ``--prior.name`` that they stand for."""
    option, equals, value = word.partition("=")
    return f"{option}.name{equals}{value}" if option[:2] == "--" and option[2:] in settings.PARTS else word


def part_names(arguments: Sequence[str], **defaults: str) -> dict[str, str]:
    """The class of each part, looked up before parsing, since the options of a part depend on it."""
    names = DEFAULT_PARTS | defaults
    given: dict[str, str] = {}
    for word, following in itertools.pairwise([*arguments, ""]):
        option, equals, value = word.partition("=")
        value = value if equals else following
        if option == "--config":
            names |= _names_in(Path(value))
        elif option.startswith("--") and option.endswith(".name"):
            given[option[2:].removesuffix(".name")] = value
    return names | given


def _names_in(path: Path) -> dict[str, str]:
    """The class of each part in a settings file."""
    try:
        content = yaml.safe_load(path.read_text())
        return {part: name for part in settings.PARTS if part in content and (name := content[part]["name"])}
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise ValueError(f"Expected a settings file in YAML at {path}; got an error: {error}.") from error


def add_training_options(parser: Parser, names: Mapping[str, str], *, out: str = "", skip: Sequence[str] = ()) -> None:
    """Options of a training run: data, parts with the given classes (parts to skip aside), training."""
    parser.add_argument("--config", action="config", help="Settings file to start from; options override it.")
    add = parser.add_argument_group("data").add_argument
    sets = ", ".join(data.NAMES)
    add("--data", type=str, default="digits", help=f"{sets}, or the path of an array or a folder of images.")
    add("--root", type=str | None, default=None, help="Folder of the data sets; by default data.")
    add("--download", type=bool, nargs="?", const=True, default=False, help="Fetch missing data into the root.")
    add(
        "--binarization",
        type=data.Binarization | None,
        default=None,
        help="By default dynamic for Bernoulli; none for other likelihoods and for a --model of your own.",
    )
    text = "Add uniform noise within grey levels, for likelihoods of real values; bits per dimension are then known."
    add("--dequantize", type=bool, nargs="?", const=True, default=False, help=text)
    text = "NaN in an array file marks missing values: log p(x) is that of the others; the encoder sees zeros."
    add("--missing", type=bool, nargs="?", const=True, default=False, help=text)
    add("--data-seed", type=int, default=0, help="Seed of random splits, of the binarization or dequantization.")
    add = parser.add_argument_group(
        "model, each part a class of this library or the import path of another"
    ).add_argument
    add("--latent-dim", type=int, default=40, help="Number of latent dimensions.")
    parts = settings.parts_of(names)
    for part in parts:
        if part not in skip:
            _add_part(add, part, names[part])
    if "decoder" not in parts and "network" in parts:
        text = (
            f"{settings.PARTS['decoder'][1]}: {', '.join(settings.short_names('decoder'))}. By default like --network."
        )
        add("--decoder.name", metavar="NAME", type=str | None, default=None, help=text)
    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=int, default=100, help="Passes over the training images, at most.")
    add("--batch-size", type=int, default=128, help="Images in a step.")
    add("--learning-rate", type=float, default=1e-3, help="Learning rate of Adam.")
    add("--learning-rate-decay", type=Literal["none", "cosine"], default="none", help="To zero, over the epochs.")
    add("--clip-norm", type=float | None, default=None, help="Largest norm of the gradient of a batch's loss.")
    add("--kl-weight", type=float, default=1.0, help="Weight of the KL term in training; 1 is the ELBO.")
    add("--kl-warmup", type=float, default=0.0, help="Epochs over which that weight grows from 0.")
    add("--patience", type=int | None, default=None, help="Stop after so many epochs without improvement.")
    add("--compile", type=Literal["auto"] | bool, default="auto", help="Compile the steps: auto in long runs.")
    add(
        "--precision", type=Literal["fp32", "tf32", "bf16"], default="fp32", help="Of matrix products and convolutions."
    )
    add("--tensorboard", type=bool, nargs="?", const=True, default=False, help="Write TensorBoard scalars too.")
    _add_run_options(parser, out=out)


def _add_part(add: Any, part: str, name: str) -> None:
    known = ", ".join(settings.short_names(part))
    add(f"--{part}.name", metavar="NAME", type=str, default=name, help=f"{settings.PARTS[part][1]}: {known}.")
    for option, (hint, default, text) in settings.options(settings.find_class(part, name)).items():
        required = default is inspect.Parameter.empty
        given = {"required": True} if required else {"default": default}
        add(f"--{part}.{option}", type=hint, help=text.replace("%", "%%"), **given)


def _add_run_options(parser: Parser, *, out: str) -> None:
    add_seed_option(parser, "Seed of everything random here.")
    add_device_option(parser)
    parser.add_argument("--out", type=str | None, default=None, help=out)
    parser.add_argument("--overwrite", action="store_true", help="Replace earlier results.")


def add_seed_option(parser: Parser, text: str) -> None:
    """--seed"""
    parser.add_argument("--seed", type=int, default=0, help=text)


def add_device_option(parser: Parser) -> None:
    """--device"""
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, or auto: cuda where there is one.")


def add_root_option(parser: Parser) -> None:
    """--root, where the data may have moved since training."""
    parser.add_argument("--root", type=str | None, default=None, help="Folder of the data sets, if it has moved.")


def add_evaluation_options(parser: Parser) -> None:
    """Options of an estimate of log p(x)."""
    add = parser.add_argument_group("log p(x)").add_argument
    add(
        "--estimator",
        type=Literal["importance", "annealed", "bidirectional"],
        default="importance",
        help="Importance sampling from the guide; annealed importance sampling; or annealed chains both ways on images "
        "simulated from the model, which say how far the annealed estimate can be trusted.",
    )
    add("--num-images", type=int | None, default=None, help="A seeded random subset of so many images.")
    add("--split", type=Literal["test", "validation"], default="test", help="Which images.")
    text = "Most (image, sample or chain) pairs at once; by default what --memory-budget allows, or 4,096 chains."
    add("--chunk-size", type=int | None, default=None, help=text)
    add = parser.add_argument_group("importance sampling").add_argument
    add("--num-samples", type=int, default=1000, help="Importance samples for each image.")
    text = "Nats: draw as many samples as each image needs for this error, with --num-samples to begin with."
    add("--target-standard-error", type=float | None, default=None, help=text)
    add("--max-samples", type=int, default=100_000, help="Most samples of an image for that.")
    add("--widen", type=float, default=1.0, help="Factor of the scales of the guide's latents.")
    add("--defensive", type=float, default=0.0, help="Share of the samples from the prior.")
    add("--memory-budget", type=str, default="1GiB", help="Bytes for tensors, such as 500MB.")
    add = parser.add_argument_group("annealed and bidirectional").add_argument
    add("--num-chains", type=int, default=32, help="Chains for each image.")
    add("--num-temperatures", type=int, default=300, help="Steps from the start to the posterior.")
    add("--start", type=Literal["guide", "prior"], default="guide", help="Where chains start.")
    add("--schedule", type=Literal["sigmoid", "adaptive"], default="sigmoid", help="Of the temperatures.")
    add("--num-leapfrog", type=int, default=5, help="Leapfrog steps of a transition.")
    add("--num-warmup-chains", type=int, default=4, help="Chains for each image that step sizes are adapted on.")
    add("--target-acceptance", type=float, default=0.9, help="Share of transitions to accept, for the step sizes.")


def add_picture_options(parser: Parser, count: str, text: str, *, default: int = 64) -> None:
    """Options of a command that draws pictures from one run."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    parser.add_argument(count, type=int, default=default, help=text)
    _add_run_options(parser, out="A .png file; by default in the run folder.")


def save_picture(figure: Figure, default: Path, *, out: str | None, overwrite: bool) -> None:
    """Save a figure where --out says, else in the run folder, where it replaces the one before.

    Raises:
        ValueError: not a .png.
        FileExistsError: --out is there already and --overwrite is not given.
    """
    path = Path(out) if out else default
    if path.suffix != ".png":
        raise ValueError(f"Expected --out to be a .png file; got {path}.")
    if out and path.exists() and not overwrite:
        raise FileExistsError(f"Expected a new file; {path} is there already. Add --overwrite, or another --out.")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"saved in {path}")


def train_parser(names: Mapping[str, str]) -> Parser:
    """The parser of ``pyro-vae train`` for given classes of the parts; also reads settings files."""
    parser = Parser(prog="pyro-vae train", allow_abbrev=False)
    add_training_options(parser, names)
    return parser


def read_settings(path: Path) -> Namespace:
    """The settings of a run.

    Raises:
        ValueError: the file is damaged.
    """
    names = _names_in(path)
    config: Namespace = train_parser(names).parse_object(yaml.safe_load(path.read_text()))
    return config


def dump(config: Namespace) -> str:
    """The settings of a run as YAML, without what belongs to this call alone."""
    kept = {key: value for key, value in config.as_dict().items() if key not in ("config", "out", "overwrite")}
    return yaml.safe_dump(_plain(kept), sort_keys=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(map(_plain, value)) if isinstance(value, (list, tuple)) else value
