"""A few of many names, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 3


def some(names: Sequence[str], most: int = NAMED) -> str:
    """The first few names, and how many there are besides.

    Example:
        >>> some(["B", "NK", "T"]), some(["ACTB", "GAPDH", "MALAT1", "TP53"])
        ('B, NK, T', 'ACTB, GAPDH, MALAT1 and 1 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(map(short, names[:most]))}{more}"


def short(name: str) -> str:
    """A name on one line of at most 40 characters."""
    return f"{' '.join(name.split()):.40}"
