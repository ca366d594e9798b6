"""The words of a command line by their options."""

from __future__ import annotations

from collections.abc import Sequence


def by_option(words: Sequence[str]) -> list[list[str]]:
    """Each option with the words that follow it.

    Example:
        >>> by_option(["run", "--seeds", "1", "2", "--trust"])
        [['run'], ['--seeds', '1', '2'], ['--trust']]
    """
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not groups:
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups
