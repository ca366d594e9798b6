"""Options of the command line and settings files."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import Namespace
from matplotlib.figure import Figure

from .. import data
from ..disk.writing import save_figure
from . import parts as settings
from .parser import Parser

DEFAULT_PARTS = {
    "model": "VAE",
    "prior": "StandardNormal",
    "likelihood": "Bernoulli",
    "encoder": "GaussianEncoder",
    "network": "GatedMLP",
    "objective": "Trace_ELBO",
}


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
        metavar="{none,threshold,static,dynamic}",
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
    add(
        "--compile",
        type=Literal["auto"] | bool,
        metavar="{auto,true,false}",
        default="auto",
        help="Compile the steps: auto in long runs.",
    )
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
    save_figure(figure, path)
    print(f"saved in {path}")


def train_parser(names: Mapping[str, str]) -> Parser:
    """The parser of ``pyro-vae train`` for given classes of the parts; also reads settings files."""
    parser = Parser(prog="pyro-vae train")
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
