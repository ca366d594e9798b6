"""All that this room and those above use of torch's validation of distributions beyond its public names.

torch leaves to a distribution's own methods whether they check values, and keeps the answer under a private name. Seen
in torch 2.14.1 and pyro-ppl 1.9.2; ``tests/distributions/test_validation_private.py`` has a test of it.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch.distributions import Distribution

D = TypeVar("D", bound=Distribution)


def is_validated(distribution: Any) -> bool:
    """Whether a distribution checks the values that it is given."""
    return bool(distribution._validate_args)


def validated_like(distribution: D, other: Distribution) -> D:
    """The same distribution, which from now on checks values if the other one does; its parameters are not checked."""
    distribution._validate_args = other._validate_args
    return distribution
