"""The known name nearest to a mistyped one."""

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Offer the known name nearest to a mistyped one, or nothing; capitals, "-" and "_" do not count.

    Example:
        >>> did_you_mean("Digit", ["digits", "mnist"])
        ' Did you mean digits?'
    """
    plain = {name.lower().replace("-", "_"): name for name in known}
    near = difflib.get_close_matches(given.lower().replace("-", "_"), plain, n=1, cutoff=0.7)
    return f" Did you mean {plain[near[0]]}?" if near else ""
