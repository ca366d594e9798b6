"""Sums over enumerated sites by Pyro's tensor variable elimination, which names dimensions in private attributes."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from pyro import poutine
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing
from torch import Tensor

from .scoring import dimension_without_plate, plate_sizes


class ExactLogRing(LogRing):
    """Sums of products in log space, one variable after the other by ``logsumexp``.

    Pyro's own ring multiplies probabilities relative to the largest of each factor: two observations of which each
    rules out what the other prefers, by a hundred nats, would have probability 0.
    """

    def sumproduct(self, terms: list[Tensor], dims: Iterable[str]) -> Tensor:
        left = list(terms)
        pending = set(dims)
        while pending:
            dim = min(sorted(pending), key=lambda d: _size(t for t in left if d in t._pyro_dims))  # type: ignore[attr-defined]
            pending.remove(dim)
            among = [t for t in left if dim in t._pyro_dims]  # type: ignore[attr-defined]
            left = [t for t in left if dim not in t._pyro_dims]  # type: ignore[attr-defined]
            product = _product(among)
            names = product._pyro_dims  # type: ignore[attr-defined]
            left.append(_named(product.logsumexp(names.index(dim)), names.replace(dim, "")))
        return _product(left)


def _size(terms: Iterable[Any]) -> int:
    """Numbers in the product of terms."""
    return math.prod({dim: size for term in terms for dim, size in zip(term._pyro_dims, term.shape)}.values())  # noqa: B905


def _product(terms: list[Tensor]) -> Tensor:
    first, *rest = packed.broadcast_all(*terms)
    return _named(sum(rest, start=first), first._pyro_dims)


def _named(term: Tensor, dims: str) -> Tensor:
    term = term[...]  # an object of its own, whose name is no one else's
    term._pyro_dims = dims  # type: ignore[attr-defined]
    return term


def summed_log_prob(
    trace: poutine.Trace, log_probs: dict[str, Tensor], plates: dict[str, int], drawn: dict[str, Tensor] | None = None
) -> Tensor:
    """Log of the sum of the product of factors over all states of the enumerated sites, with a dimension for each plate
    that is kept.

    Args:
        trace: of a function under `poutine.enum`.
        log_probs: the factors, by site; a factor at each enumerated site that the others depend on.
        plates: name and size of the plates that are kept, others are multiplied out.
        drawn: a single state of the enumerated sites to count, instead of all; values by site.

    Raises:
        ValueError: a factor has a dimension that neither a plate nor an enumerated site holds.
        NotImplementedError: the sum would take exponentially many terms.
    """
    trace.symbolize_dims()
    factors: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    states: set[str] = set()
    for name, log_prob in log_probs.items():
        site: Any = trace.nodes[name]
        named = site["infer"]["_dim_to_symbol"]
        terms = [log_prob]
        if "_enumerate_dim" in site["infer"]:
            states.add(site["infer"]["_enumerate_symbol"])
            if drawn is not None:
                terms.append(_indicator(site, drawn[name]))
        elif site["mask"] is not None:  # of an enumerated site no state is left out, for they sum to 1
            terms[0] = torch.where(torch.as_tensor(site["mask"], device=log_prob.device), log_prob, 0.0)
        ordinal = frozenset(trace.plate_to_symbol[f.name] for f in site["cond_indep_stack"] if f.vectorized)
        try:
            factors.setdefault(ordinal, []).extend(packed.pack(term, named) for term in terms)
        except ValueError:
            raise dimension_without_plate(name, plate_sizes(site), log_prob) from None
    kept = {trace.plate_to_symbol[plate]: size for plate, size in plates.items()}
    ring = ExactLogRing(dim_to_size=kept)
    total = contract_to_tensor(factors, states, target_ordinal=frozenset(kept), ring=ring)
    return packed.unpack(total, trace.symbol_to_dim)


def _indicator(site: Any, value: Tensor) -> Tensor:
    """Zero at the states of an enumerated site that are the value, -inf elsewhere."""
    equal = site["value"] == value
    for _ in range(site["fn"].event_dim):
        equal = equal.all(-1)
    return torch.zeros((), device=value.device).where(equal, -math.inf)
