"""Whether a pair treats a data point the same wherever it stands in its batch."""

from __future__ import annotations

import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoGuide
from torch.nn.parameter import is_lazy

from .batch import Points
from .modules import Callee, modules_of
from .scoring import score_traces, traces
from .sites import sample_sites
from .state import loose

LOOKED_AT = 8  # data points: fewer could pass for it by chance, where a hidden layer is as wide as the batch
CURE = (
    "Batches are shuffled, and others hold other data. Use an amortized guide, whose distributions a network computes "
    "from x: GaussianEncoder, say; for numbers that all data share, pyro.param."
)


def check_no_autoguide(model: Callee, guide: Callee) -> None:
    """Raise a ValueError for Pyro's automatic guides, which keep parameters for each place in the batch."""
    if any(isinstance(part, AutoGuide) for module in modules_of(model, guide).values() for part in module.modules()):
        raise ValueError(f"Expected a guide that is a function of the data; got an AutoGuide. {CURE}")


def check_follows(model: Callee, guide: Callee, model_trace: poutine.Trace, x: Points) -> None:
    """Raise a ValueError where what a site observes stays in place when the data points x (B, ...) change theirs.

    Values fixed beforehand are such, and pass for a batch of their number. ``model_trace`` is the model's, called with
    x.
    """
    backwards, _ = traces(model, guide, x[torch.arange(len(x) - 1, -1, -1)])
    for name, site in sample_sites(model_trace):
        value, row = site["value"], -1 - site["fn"].event_dim
        if not site["is_observed"] or value.dim() < -row or value.shape[row] != len(x):
            continue
        if torch.equal(backwards.nodes[name]["value"], value) and not torch.equal(value.flip(row), value):
            raise ValueError(
                f"Expected site {name!r} to observe what the model is called with, obs=x; got the same values for "
                f"other data: values fixed beforehand, as by pyro.condition(model, ...), do not follow the batch."
            )


def check_amortized(model: Callee, guide: Callee, x: Points) -> None:
    """Raise a ValueError where parameters belong to places in the batch x (B, ...), not to what stands there.

    Such a parameter has the size of the batch, or, of `pyro.param`, a larger one, of which a plate takes a part; the
    score of each data point depends on its own entry alone, also after the data points have changed places. The pair
    must have run before, so that ``pyro.param`` has made its own.
    """
    if len(x) < 3:
        return
    store = pyro.get_param_store().get_state()["params"]
    held = {name: p for module in modules_of(model, guide).values() for name, p in module.named_parameters()}
    named = {name: p for name, p in {**store, **held}.items() if not is_lazy(p)}  # of a layer that no one has called
    of_plates = {name for name, p in loose(store).items() if max(p.shape, default=0) > len(x)}
    suspects = {n: p for n, p in named.items() if p.requires_grad and (len(x) in p.shape or n in of_plates)}
    if not suspects:
        return
    with torch.enable_grad():
        both = traces(model, guide, x[torch.arange(len(x) - 1, -1, -1)])
        log_weight = score_traces(*both, shape=(len(x),)).log_weight
        if not log_weight.requires_grad:
            return
        gradients = [
            torch.autograd.grad(term, list(suspects.values()), retain_graph=True, materialize_grads=True)
            for term in log_weight[:LOOKED_AT]
        ]
    for (name, p), by_point in zip(suspects.items(), zip(*gradients, strict=True), strict=True):
        for dim in (dim for dim, size in enumerate(p.shape) if size == len(x) or (name in of_plates and size > len(x))):
            used = torch.stack([g.movedim(dim, 0).reshape(p.shape[dim], -1).ne(0).any(1) for g in by_point])
            if torch.equal(used, torch.eye(*used.shape, dtype=torch.bool, device=used.device)):
                raise ValueError(
                    f"Expected parameters that serve all data; got {name!r} of shape {tuple(p.shape)}, with an entry "
                    f"for each place in the batch. {CURE}"
                )
