"""The known name nearest to a mistyped one."""

import difflib
import itertools
from collections.abc import Iterable
from pathlib import Path

MOST_FILES = 1_000  # of a folder, that are looked at


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Offer the known name nearest to a mistyped one, or nothing; capitals, "-" and "_" do not count, nor do the dashes
    that all options begin with.

    Example:
        >>> did_you_mean("Digit", ["digits", "mnist"])
        ' Did you mean digits?'
    """
    plain = {_plain(name): name for name in known}
    near = difflib.get_close_matches(_plain(given), plain, n=1, cutoff=0.65 if given.startswith("-") else 0.7)
    return f" Did you mean {plain[near[0]]}?" if near else ""


def _plain(name: str) -> str:
    return name.lower().lstrip("-").replace("-", "_")


def file_nearest(path: Path) -> str:
    """Offer the file nearest to a mistyped one, out of those in its folder, or nothing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "fashion3k.npz").touch()
        ...     file_nearest(Path(folder, "fashon3k.npz"))
        ' Did you mean fashion3k.npz?'
    """
    if path.exists():  # but is of no use
        return ""
    try:
        names = [each.name for each in itertools.islice(path.parent.iterdir(), MOST_FILES)]
    except (OSError, ValueError):
        return ""
    return did_you_mean(path.name, names)
