"""JSON files that notice damage: each carries the digest of its own content."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from .reading import read_whole
from .writing import written_whole

SEAL = "sha256"  # the last entry: of the others


def null_for_nan(value: Any) -> Any:
    """The value for JSON, which knows no numbers that are not finite: null stands for them."""
    match value:
        case dict():
            return {key: null_for_nan(item) for key, item in value.items()}
        case list() | tuple():
            return [null_for_nan(item) for item in value]
        case float() if not math.isfinite(value):
            return None
    return value


def write_json(path: Path, content: dict[str, Any], *, kind: str) -> None:
    """Write readable JSON of one kind of content, whole or not at all; numbers that are not finite become null."""
    content = null_for_nan({**content, "kind": kind})
    with written_whole(path) as file:
        file.write(_text({**content, SEAL: _digest(content)}).encode() + b"\n")


def read_json(path: Path, *, kind: str) -> dict[str, Any]:
    """The content that `write_json` has written, its kind aside.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: the file is damaged, was changed, or holds content of another kind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder, "error.json"), {"error": 0.5}, kind="error")
        ...     read_json(Path(folder, "error.json"), kind="error")
        {'error': 0.5}
    """
    try:
        content = json.loads(read_whole(path))
        whole = isinstance(content, dict) and content.pop(SEAL, None) == _digest(content)
    except (ValueError, RecursionError) as error:  # not JSON, not text, or nested without end
        raise ValueError(f"Expected JSON in {path}; got an error: {error}. Make it again.") from error
    if not whole:
        raise ValueError(f"Expected {path} as it was written; it is damaged or was changed. Make it again.")
    if (found := content.pop("kind")) != kind:
        raise ValueError(f"Expected a {kind} in {path}; got a {found}. Use the folder or the file of a {kind}.")
    return dict(content)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2)
