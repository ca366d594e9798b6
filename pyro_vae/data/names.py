"""A few of many names, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 3
KNOWN = 20  # in an error, of what could have been meant


def some(names: Sequence[str], most: int = NAMED) -> str:
    """The first few names, and how many there are besides.

    Example:
        >>> some(["B", "NK", "T"]), some(["ACTB", "GAPDH", "MALAT1", "TP53", "VIM"])
        ('B, NK, T', 'ACTB, GAPDH, MALAT1 and 2 more')
    """
    most = len(names) if len(names) == most + 1 else most  # the one more is no longer than its mention
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(map(short, names[:most]))}{more}"


def short(name: str) -> str:
    """A name on one line of at most 40 characters."""
    return f"{' '.join(name.split()):.40}"
