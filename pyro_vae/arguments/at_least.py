"""Counts that must be large enough."""

import operator


def at_least(least: int, **counts: int | None) -> None:
    """Raise a ValueError unless each count, given by its name, is a whole number >= ``least``; None is not looked at.

    Example:
        >>> at_least(1, num_samples=10, chunk_size=None)
        >>> at_least(1, num_samples=0)
        Traceback (most recent call last):
        ...
        ValueError: Expected num_samples >= 1; got 0.
    """
    for name, count in counts.items():
        if count is None:
            continue
        try:
            whole = operator.index(count)
        except TypeError:
            raise ValueError(f"Expected {name} to be a whole number >= {least}; got {count!r}.") from None
        if whole < least:
            raise ValueError(f"Expected {name} >= {least}; got {whole}.")
