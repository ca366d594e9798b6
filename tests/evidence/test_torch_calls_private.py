"""Each private interface of torch that the estimators use, by itself: torch 2.14.1 has them.

A test that fails after an upgrade names what has changed: `pyro_vae/evidence/torch_calls_private.py` is where to mend
it.
"""

import pytest
import torch
from torch import distributions as dist
from torch.overrides import TorchFunctionMode

from pyro_vae.evidence import torch_calls_private as torch_calls


class Called(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.functions = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.functions.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("distribution", "function"),
    [
        (dist.Gamma(torch.ones(3), torch.ones(3)), torch_calls.DRAWS_GAMMA),
        (dist.Chi2(torch.ones(3)), torch_calls.DRAWS_GAMMA),
        (dist.Beta(torch.ones(3), torch.ones(3)), torch_calls.DRAWS_DIRICHLET),
        (dist.Dirichlet(torch.ones(3)), torch_calls.DRAWS_DIRICHLET),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, dist.Distribution) else "",
)
def test_distributions_draw_by_these_functions(distribution, function):
    """They are seen when a distribution calls them, with the concentrations (and, for a Dirichlet, nothing else)."""
    with Called() as called:
        distribution.rsample()
    assert function in called.functions


def test_dispatched_operations_are_seen_with_their_tensors():
    seen = []

    class Seeing(torch_calls.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append((func, [*torch_calls.tree_iter((args, kwargs))]))
            return func(*args, **(kwargs or {}))

    x = torch.ones(3)
    with Seeing():
        torch.cat([x, x], dim=0)
    ((func, leaves),) = seen
    assert func is torch.ops.aten.cat.default
    assert sum(leaf is x for leaf in leaves) == 2
