"""Write the decoder or the encoder of a run as an ONNX file, for batches of any size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jsonargparse import Namespace

from ..disk.writing import saying
from ..runs.folder import read_about, require_run, weights_digest
from ..runs.loading import load_run
from ..runs.options import add_trust_option
from ..runs.parser import Parser
from ..uses.onnx_export import What, export_onnx


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    text = "decoder: z to the parameters and the mean of p(x|z); encoder: x to the parameters of q(z|x)."
    parser.add_argument("--what", type=What, default="decoder", metavar="{encoder,decoder}", help=text)
    text = "The file; by default decoder.onnx or encoder.onnx."
    parser.add_argument("--out", "-o", type=str | None, default=None, metavar="FILE.onnx", help=text)
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier file.")
    add_trust_option(parser)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Export a part of one run."""
    folder, file = require_run(chosen.run), Path(chosen.out or f"{chosen.what}.onnx")
    if file.suffix != ".onnx":
        raise ValueError(f"Expected the file to end in .onnx; got {file}.")
    if file.exists() and not chosen.overwrite:
        raise FileExistsError(f"Expected no file at {file}; there is one. Add --overwrite to replace it.")
    with saying(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    module, about = load_run(folder, torch.device("cpu"))
    x = torch.zeros(2, *read_about(folder)["event_shape"])  # their values do not count
    described = {"run": folder.resolve().name, "data": about["protocol"], "weights_sha256": weights_digest(folder)}
    outputs = export_onnx(module, file, x, what=chosen.what, about=described)
    shapes = ", ".join(f"{name} {('batch', *shape)}" for name, shape in outputs.items())
    print(f"saved in {file}; outputs {shapes}".replace("'", ""))
