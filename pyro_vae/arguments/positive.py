"""Numbers that must be above zero."""

import math


def positive(**values: float) -> None:
    """Raise a ValueError unless each value, given by its name, is above 0 and finite.

    Example:
        >>> positive(scale=0.1)
        >>> positive(scale=0.0)
        Traceback (most recent call last):
        ...
        ValueError: Expected a finite scale > 0; got 0.0.
    """
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"Expected a finite {name} > 0; got {value}.")
