"""Encoder and decoder as ONNX files, for where there is no Python or no torch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..disk.writing import written_whole
from ..pairs.contexts import evaluating, seeded, unvalidated
from ..pairs.scoring import traces
from ..pairs.sites import latents_of, sample_sites

What = Literal["encoder", "decoder"]
MEAN, TENSOR = "mean", "output"


def export_onnx(
    module: Any, file: str | Path, x: Tensor, *, what: What = "decoder", about: Mapping[str, str] | None = None
) -> dict[str, tuple[int, ...]]:
    """Write the encoder or the decoder of a trained module as an ONNX file, for batches of any size.

    encoder: x (B, *event_shape) -> parameters of q(z|x), each under its name ("loc", "scale");
    decoder: z (B, D) -> parameters of p(x|z) ("logits") and its mean, "mean", where it has one in closed form.

    They are ``module.encoder(x)``, and ``module.likelihood(module.decoder(z))`` or, without a likelihood,
    ``module.decoder(z)``. Before the file is written they are compared with the sites of the pair. A part that gives a
    tensor in place of a distribution, a network in a model of your own, has the output "output", as it is.

    Args:
        module: with ``model`` and ``guide``, and these parts; such as a `VAE`, or ``load(run).module``.
        file: to write, whole or not at all.
        x: some data points (B, *event_shape), whose values hardly matter.
        what: which of the two.
        about: words to keep in the file's metadata.

    Returns:
        Shape of each output for one data point, by name.

    Raises:
        ImportError: onnx or onnxscript is not installed.
        ValueError: the module does not have the part, the part is not all that the site depends on, or its distribution
            is not given by parameters, such as a flow.

    Example:
        >>> from pyro_vae import MLP, VAE, Bernoulli, GaussianEncoder, StandardNormal
        >>> px = Bernoulli((1, 8, 8))
        >>> vae = VAE(StandardNormal(2), GaussianEncoder((1, 8, 8), 2), MLP(2, px.feature_shape), px)
        >>> export_onnx(vae, "decoder.onnx", torch.zeros(2, 1, 8, 8))  # doctest: +SKIP
        {'logits': (1, 8, 8), 'mean': (1, 8, 8)}
    """
    _require_onnx()
    if what not in get_args(What):
        raise ValueError(f"Expected what to be {' or '.join(get_args(What))}; got {what!r}.")
    if missing := [name for name in (what, "model", "guide") if not callable(getattr(module, name, None))]:
        raise ValueError(
            f"Expected a module with {what}, model and guide; {type(module).__name__} has no {missing[0]}. Export its "
            f"networks by torch.onnx.export."
        )
    with evaluating(module.model, module.guide), seeded(0), unvalidated():
        latent, observed = _sites(module, x[:2])
        part = _Part(module, what)
        given, site = (x[:2], latent) if what == "encoder" else (latent["value"], observed)
        found = part.named(given)
        _require_same(what, found, parameters_of(site["fn"]))
        part.names = [*found]
        model = _exported(part, given, "x" if what == "encoder" else "z")
    for key, text in (about or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text
    with written_whole(Path(file)) as written:
        written.write(model.SerializeToString())
    return {name: tuple(value.shape[1:]) for name, value in found.items()}


def parameters_of(distribution: Any) -> dict[str, Tensor]:
    """The tensors that a distribution was made from, by name; none of a flow or a mixture of distributions."""
    while isinstance(distribution, torch.distributions.Independent):
        distribution = distribution.base_dist
    made = vars(distribution)
    return {name: made[name] for name in distribution.arg_constraints if isinstance(made.get(name), Tensor)}


class _Part(nn.Module):
    """The encoder or the decoder, with the likelihood if there is one, as a function of tensors to tensors."""

    def __init__(self, module: Any, what: What) -> None:
        super().__init__()
        self.of, self.what = module, what
        self.names: list[str] = []

    def named(self, given: Tensor) -> dict[str, Tensor]:
        made: Any = getattr(self.of, self.what)(given)
        is_decoder, likelihood = self.what == "decoder", getattr(self.of, "likelihood", None)
        if is_decoder and likelihood is not None:
            made = likelihood(made)
        if isinstance(made, Tensor):
            return {TENSOR: made}
        found = parameters_of(made)
        if is_decoder:
            with contextlib.suppress(NotImplementedError):  # none in closed form
                found[MEAN] = made.mean
        return found

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        found = self.named(given)
        return tuple(found[name] for name in self.names)


def _sites(module: Any, x: Tensor) -> tuple[Any, Any]:
    """The guide's one latent site, and the one observed site of the model given its draw."""
    model_trace, guide_trace = traces(module.model, module.guide, x)
    latent = [*latents_of(guide_trace).values()]
    observed = [site for _, site in sample_sites(model_trace) if site["is_observed"]]
    if len(latent) != 1 or len(observed) != 1:
        raise ValueError(
            f"Expected a pair with one latent and one observed site; got {len(latent)} and {len(observed)}. Export its "
            f"networks by torch.onnx.export."
        )
    return latent[0], observed[0]


def _require_same(what: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise a ValueError unless a part gives the parameters of its site; what a network gives, the pair may change."""
    if TENSOR in found:
        return
    if not expected:
        raise ValueError(
            f"Expected the {what} to give a distribution that its parameters describe; got one of another kind, such "
            f"as a flow or a mixture."
        )
    for name, value in expected.items():
        if name not in found or not torch.allclose(found[name], value, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise ValueError(
                f"Expected the {what} to give {name} of its site in the pair; got other values, so that the site "
                f"depends on more than this part. Export its networks by torch.onnx.export."
            )


def _exported(part: _Part, given: Tensor, name: str) -> Any:
    """The ONNX model of a part, for any number of data points."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own parts
        how: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC},), "dynamo": True, "verbose": False}
        program = torch.onnx.export(part.eval(), (given,), input_names=[name], output_names=part.names, **how)
    assert program is not None
    return program.model_proto


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'Expected the packages onnx and onnxscript; {error.name} is not there. Run pip install "pyro-vae[onnx]".'
        ) from error
