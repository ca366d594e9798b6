"""Which objectives can be trained, and which of them have a KL term to put a weight on."""

from __future__ import annotations

import copy
from typing import Any

from pyro import infer
from torch import Tensor

from ..pairs.enumerated import Enumeration
from .kl_weights import KLWarmup, WeightedRate

RECORDED_BY_JIT = (infer.JitTrace_ELBO, infer.JitTraceEnum_ELBO, infer.JitTraceGraph_ELBO, infer.JitTraceMeanField_ELBO)
WITHOUT_ONE_LOSS = (infer.ReweightedWakeSleep, infer.TraceTailAdaptive_ELBO)
SUMMING = (infer.TraceEnum_ELBO, infer.TraceTMC_ELBO)
WITHOUT_KL_TERM = (infer.RenyiELBO, infer.TraceTMC_ELBO, infer.Trace_MMD)


def as_objective(objective: Any) -> infer.ELBO:
    """The objective to train with: `Trace_ELBO` for None, and an instance for a class.

    Raises:
        TypeError: it is no Pyro ELBO.
        ValueError: it would train something else than it says, or has no loss that could be recorded.
    """
    if objective is None:
        return infer.Trace_ELBO()
    if isinstance(objective, type) and issubclass(objective, infer.ELBO):
        objective = objective()
    if not isinstance(objective, infer.ELBO):
        raise TypeError(f"Expected objective to be a Pyro ELBO, such as Trace_ELBO(); got {objective!r}.")
    inner = _inner(objective)
    name = type(inner).__name__
    if isinstance(inner, RECORDED_BY_JIT):  # a batch of one would be broadcast to the size of the first batch
        raise ValueError(
            f"Expected an objective that looks at the size of each batch and at the KL weight; got {name}, which keeps "
            f"those of its first call. Use {name.removeprefix('Jit')}() with compile=True instead."
        )
    if isinstance(inner, WITHOUT_ONE_LOSS):
        raise ValueError(
            f"Expected an objective with one loss, a number; got {name}, which has none. Use Trace_ELBO(), or "
            f"RenyiELBO(alpha=0, num_particles=...) for a tighter bound."
        )
    return objective


def check_kl_weight(objective: infer.ELBO, kl_weight: KLWarmup) -> None:
    """Refuse a KL weight where it would not be one.

    Raises:
        ValueError: the objective has no KL term. Under `RenyiELBO` (IWAE) and `TraceTMC_ELBO` scales land inside the
            logarithm of a mean, so that the result bounds nothing; `Trace_MMD` does not look at them.
    """
    if not has_kl_term(objective) and not _constant_one(kl_weight):
        raise ValueError(
            f"Expected kl_weight 1 without a warm-up for {type(_inner(objective)).__name__}, which has no KL term to "
            f"put a weight on (IWAE has it inside the logarithm); got {kl_weight}. Train with Trace_ELBO first, or "
            f"leave the weight at 1."
        )


def has_kl_term(objective: infer.ELBO) -> bool:
    """Whether an objective has a KL term; one of your own that has none says so by an attribute ``has_kl_term``."""
    inner = _inner(objective)
    return bool(getattr(inner, "has_kl_term", not isinstance(inner, WITHOUT_KL_TERM)))


def for_enumeration(objective: infer.ELBO | None, enumeration: Enumeration) -> infer.ELBO:
    """The objective to train a pair with whose sites are marked for enumeration: `TraceEnum_ELBO` for None.

    Raises:
        ValueError: an objective of Pyro that does not sum over marked sites.
    """
    if objective is None:
        # A loader may give batches in which nothing is left to sum over.
        return infer.TraceEnum_ELBO(max_plate_nesting=enumeration.plate_nesting, strict_enumeration_warning=False)
    if not sums_over_marks(objective):
        inner = _inner(objective)
        raise ValueError(
            f"Expected TraceEnum_ELBO for a pair that marks sites for enumeration, {sorted(enumeration.in_model)}; got "
            f"{type(inner).__name__}, which does not sum over them. Give TraceEnum_ELBO, which is taken where no "
            f"objective is given, or remove the marks."
        )
    return objective


def sums_over_marks(objective: infer.ELBO) -> bool:
    """Whether an objective sums over sites that are marked for enumeration; one that is not Pyro's is taken to."""
    inner = _inner(objective)
    return isinstance(inner, SUMMING) or not type(inner).__module__.startswith("pyro.")


def with_kl_weight(objective: infer.ELBO, kl_weight: KLWarmup, now: Tensor) -> infer.ELBO:
    """The objective that puts a KL weight, held ``now`` by a tensor, on sums over sites of the model alone: see
    `WeightedRate`."""
    if _constant_one(kl_weight):
        return objective
    inner = _inner(objective)
    if not hasattr(inner, "differentiable_loss"):
        raise ValueError(
            f"Expected an objective with differentiable_loss, for a KL weight where sites of the model alone are "
            f"summed over; got {type(inner).__name__}. Use TraceEnum_ELBO, or leave the weight at 1."
        )
    weighted = WeightedRate(inner, now)
    if inner is objective:
        return weighted
    compiled: Any = copy.copy(objective)
    compiled.elbo = weighted
    return compiled


def _constant_one(kl_weight: KLWarmup) -> bool:
    return kl_weight.weight == 1 and not kl_weight.epochs and not kl_weight.steps


def _inner(objective: Any) -> Any:
    return getattr(objective, "elbo", objective)  # of a CompiledELBO
