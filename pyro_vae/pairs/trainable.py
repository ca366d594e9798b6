"""What must hold of a pair for its loss to train all of it, in nats per data point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
from pyro import poutine
from torch import nn
from torch.nn.parameter import is_lazy

from .amortized import check_amortized, check_follows, check_no_autoguide
from .batch import Points
from .checks import check_latents, check_scores
from .contexts import evaluating, seeded
from .lookups_private import LookupsChecked
from .modules import Callee, modules_of
from .scales import check_scales
from .scoring import traces
from .sentences import in_a_sentence


def call_once(model: Callee, guide: Callee, batch_of: Callable[[Any], Points], first: Any, *, seed: int | None) -> None:
    """Run a pair once, so that layers are there that are made, or get their shapes, at the first call: `nn.LazyLinear`.

    Their parameters are drawn from the seed's stream; all else stays as it was.
    """
    check_no_autoguide(model, guide)
    with seeded(seed), evaluating(model, guide, initial=True), LookupsChecked():
        with in_a_sentence():
            batch = batch_of(first)
        with in_a_sentence(batch):  # whether sites fit together is looked at later, when it is known which are summed
            poutine.replay(model, trace=poutine.trace(guide).get_trace(batch))(batch)
    for role, module in modules_of(model, guide).items():
        if lazy := [name for name, parameter in module.named_parameters() if is_lazy(parameter)]:
            raise ValueError(
                f"Expected layers that the pair calls, so that they get their shapes; got {lazy[0]!r} of the {role}, "
                f"which it does not call. Leave it out, or call it once with an example."
            )


def check_trainable(model: Callee, guide: Callee, batch: Points) -> None:
    """Raise a ValueError unless a loss of the pair is right for a batch (B, ...), and trains every network it calls.

    See `check_scores`, `check_amortized` and `check_scales`. Networks that are called but unknown to Pyro would stay
    as they are, without a word; those that are not found would lack their buffers in a saved state.
    """
    known = {part for module in modules_of(model, guide).values() for part in module.modules()}
    called: dict[nn.Module, None] = {}
    with seeded(0), evaluating(model, guide, initial=True):
        hook = nn.modules.module.register_module_forward_pre_hook(lambda module, _: called.setdefault(module))
        try:
            with poutine.trace(param_only=True) as capture, LookupsChecked():
                model_trace, guide_trace = traces(model, guide, batch)
        finally:
            hook.remove()
        store = pyro.get_param_store().get_state()["params"]
        if bound := sorted(set(capture.trace.nodes) - store.keys()):
            raise ValueError(
                f"Expected parameters that can be trained; got {bound}, which are bound to the result of a fit or to a "
                f"loaded run. Give the model and the guide themselves."
            )
        check_latents(model_trace, guide_trace)
        check_scores(model_trace, guide_trace, len(batch))
        check_follows(model, guide, model_trace, batch)
        check_scales(model_trace, guide_trace)
        check_amortized(model, guide, batch)
    announced = {id(p) for p in store.values()}
    for network in called:
        name = type(network).__name__
        if any(p.requires_grad and id(p) not in announced for p in network.parameters(recurse=False)):
            raise ValueError(
                f"Expected every network of the pair to be trained or frozen; got a {name} that neither the pair's "
                f"module holds nor pyro.module announces, and that would stay as it is. Make it an attribute of an "
                f"nn.Module whose methods are model and guide, or call pyro.module('name', network) in them, or freeze "
                f"it by requires_grad_(False)."
            )
        if network not in known and network.training and any(True for _ in network.buffers(recurse=False)):
            raise ValueError(
                f"Expected networks that can be found by the pair's code; got a {name} with buffers, which would be "
                f"missing in the trained state. Make it an attribute of an nn.Module whose methods are model and guide."
            )
