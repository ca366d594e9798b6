"""Which objectives can be trained, and which of them have a KL term to put a weight on."""

from __future__ import annotations

from typing import Any

from pyro import infer

from .kl_weights import KLWarmup

RECORDED_BY_JIT = (
    infer.JitTrace_ELBO,
    infer.JitTraceEnum_ELBO,
    infer.JitTraceGraph_ELBO,
    infer.JitTraceMeanField_ELBO,
)
WITHOUT_ONE_LOSS = (infer.ReweightedWakeSleep, infer.TraceTailAdaptive_ELBO)
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
    constant_one = kl_weight.weight == 1 and not kl_weight.epochs and not kl_weight.steps
    if not has_kl_term(objective) and not constant_one:
        raise ValueError(
            f"Expected kl_weight 1 without a warm-up for {type(_inner(objective)).__name__}, which has no KL term to "
            f"put a weight on (IWAE has it inside the logarithm); got {kl_weight}. Train with Trace_ELBO first, or "
            f"leave the weight at 1."
        )


def has_kl_term(objective: infer.ELBO) -> bool:
    """Whether an objective has a KL term; one of your own that has none says so by an attribute ``has_kl_term``."""
    inner = _inner(objective)
    return bool(getattr(inner, "has_kl_term", not isinstance(inner, WITHOUT_KL_TERM)))


def _inner(objective: Any) -> Any:
    return getattr(objective, "elbo", objective)  # of a CompiledELBO
