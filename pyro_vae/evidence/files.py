"""Files that are written whole or not at all, and numbers that JSON knows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON, whole or not at all; numbers that are not finite become null."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(null_for_nan(content), indent=2, allow_nan=False) + "\n")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected JSON in {path}; got an error: {error}. Make it again.") from error
    return content
