"""Options that several commands share, and those of a training run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Literal

from .. import data
from .parser import Parser, in_help
from .parts import PARTS, find_class, options, short_names


def add_training_options(parser: Parser, names: Mapping[str, str], *, out: str = "") -> None:
    """Options of a training run: data, parts with the given classes, training."""
    add_data_options(parser)
    for part in PARTS:
        if part in names or (part == "decoder" and "network" in names):
            add_part_options(parser, part, names.get(part))
    add_fit_options(parser)
    add_checkpoint_options(parser)
    add_run_options(parser, out=out)


def add_data_options(parser: Parser) -> None:
    """Options of the data, and the number of latent dimensions."""
    text = "Settings file to start from; options override it."
    parser.add_argument("--config", type=str | None, metavar="FILE", help=text)
    add = parser.add_argument_group("data").add_argument
    sets = ", ".join(data.NAMES)
    add("--data", type=str, default="digits", help=f"{sets}, or the path of an array, a table or a folder of images.")
    add("--root", type=str | None, default=None, help="Folder of the data sets; by default data.")
    add("--download", type=bool, nargs="?", const=True, default=False, help="Fetch missing data into the root.")
    text = "By default dynamic for Bernoulli; none for other likelihoods and for a --model of your own."
    ways = "{none,threshold,static,dynamic}"
    add("--binarization", type=data.Binarization | None, metavar=ways, default=None, help=text)
    text = "Add uniform noise within grey levels, for likelihoods of real values; bits per dimension are then known."
    add("--dequantize", type=bool, nargs="?", const=True, default=False, help=text)
    text = "NaN in an array file marks missing values: log p(x) is that of the others; the encoder sees zeros."
    add("--missing", type=bool, nargs="?", const=True, default=False, help=text)
    text = "What a --model of your own is called with: x=images y=labels, other arrays, columns of a table (texts too)."
    add("--inputs", type=str, nargs="*", metavar="ARGUMENT=ARRAY", default=[], help=text)
    text = "Columns of a table or arrays of a file that belong to each data point and are no input: kept as labels."
    add("--beside", type=str, nargs="*", metavar="COLUMN", default=[], help=text)
    text = "Height and width that the images of a folder are brought to, or one number for both."
    add("--resize", type=int, nargs="*", metavar="SIZE", default=[], help=text)
    text = "How data without splits are split: at random, or first, middle and last for series and videos."
    add("--order", type=Literal["random", "ordered"], default="random", help=text)
    text = "A seeded random subset of so many of the training data, for a quick look; the other splits stay whole."
    add("--num-train", type=int | None, default=None, help=text)
    text = "Seed of random splits and subsets, of the binarization or dequantization."
    add("--data-seed", type=int, default=0, help=text)
    text = "Each part is a class of this library, or another one by import path. The options of the chosen one follow."
    add = parser.add_argument_group("model", text).add_argument
    add("--latent-dim", type=int, default=40, help="Number of latent dimensions.")


def add_part_options(parser: Parser, part: str, name: str | None) -> None:
    """The options of the class that was chosen for a part, if any; --PART NAME itself has been read before."""
    parser.kinds_of_parts.append(f"--{part}")
    default = f" (default: {name})" if name else ""
    group = parser.add_argument_group(f"--{part} NAME", f"{PARTS[part][1]}: {', '.join(short_names(part))}{default}")
    if name is None:
        return
    for option, (hint, value, text) in options(find_class(part, name)).items():
        given = {"required": True} if value is inspect.Parameter.empty else {"default": value}
        group.add_argument(f"--{part}.{option}", type=hint, help=in_help(text), **given)


def add_fit_options(parser: Parser) -> None:
    """Options of the optimization."""
    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=int, default=100, help="Passes over the training data, at most.")
    text = "Run whose weights to start from: of all parts that have the same names and shapes there."
    add("--init-from", type=str | None, metavar="RUN", default=None, help=text)
    text = "Parts that are not trained, by their attributes in the model: encoder, decoder, decoder.layers.0."
    add("--freeze", type=str, nargs="*", metavar="PART", default=[], help=text)
    add("--batch-size", type=int, default=128, help="Data points in a step.")
    add("--learning-rate", type=float, default=1e-3, help="Learning rate of Adam.")
    add("--learning-rate-decay", type=Literal["none", "cosine"], default="none", help="To zero, over the epochs.")
    add("--clip-norm", type=float | None, default=None, help="Largest norm of the gradient of a batch's loss.")
    add("--kl-weight", type=float, default=1.0, help="Weight of the KL term in training; 1 is the ELBO.")
    text = "Epochs over which that weight grows from 0; auto for half of all, at most 30, as compare has it by default."
    add("--kl-warmup", type=Literal["auto"] | float, metavar="{auto,EPOCHS}", default=0.0, help=text)
    add("--patience", type=int | None, default=None, help="Stop after so many epochs without improvement.")
    text = "Compile the steps: auto in long runs."
    add("--compile", type=Literal["auto"] | bool, metavar="{auto,true,false}", default="auto", help=text)
    text = "Of matrix products and convolutions."
    add("--precision", type=Literal["fp32", "tf32", "bf16"], default="fp32", help=text)
    add("--tensorboard", type=bool, nargs="?", const=True, default=False, help="Write what TensorBoard shows, too.")


def add_checkpoint_options(parser: Parser) -> None:
    """--checkpoint-minutes, --checkpoint-epochs, --num-checkpoints, --keep-checkpoint"""
    title = "checkpoints, from which a training that was stopped or killed goes on"
    add = parser.add_argument_group(title).add_argument
    text = "Least time between two, which are written at the ends of epochs, and when the training is told to stop."
    add("--checkpoint-minutes", type=float, default=5.0, help=text)
    text = "After so many epochs one is written, however short they are."
    add("--checkpoint-epochs", type=int | None, default=None, help=text)
    add("--num-checkpoints", type=int, default=2, help="How many of the newest stay.")
    text = "Leave the last one in the run: --resume RUN with more --epochs then goes on from it."
    add("--keep-checkpoint", type=bool, nargs="?", const=True, default=False, help=text)


def add_run_options(parser: Parser, *, out: str) -> None:
    """--seed, --device, --out, --overwrite"""
    add_seed_option(parser, "Seed of everything random here.")
    add_device_option(parser)
    parser.add_argument("--out", "-o", type=str | None, default=None, help=out)
    parser.add_argument("--overwrite", action="store_true", help="Replace earlier results.")


def add_seed_option(parser: Parser, text: str) -> None:
    """--seed"""
    parser.add_argument("--seed", type=int, default=0, help=text)


def add_device_option(parser: Parser) -> None:
    """--device"""
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, or auto: cuda where there is one.")


def add_root_option(parser: Parser) -> None:
    """--root and --trust, where the data or classes of the user's own may have moved since training."""
    add_trust_option(parser)
    parser.add_argument("--root", type=str | None, default=None, help="Folder of the data sets, if it has moved.")


def add_trust_option(parser: Parser) -> None:
    """--trust, where a run is loaded."""
    text = (
        "Import the copies of source in the run (source.*.py), if the files of its own classes were moved or changed."
    )
    parser.add_argument("--trust", action="store_true", help=text)
