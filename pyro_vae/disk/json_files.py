"""JSON files that notice damage: each carries the digest of its own content."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .reading import read_whole
from .writing import write_text

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
    text = _text(null_for_nan({**content, "kind": kind}))
    sealed = f'{text.removesuffix("}").rstrip()},\n  "{SEAL}": "{_digest(text)}"\n}}\n'
    write_text(path, sealed)


class Content(dict[str, Any]):
    """What a JSON file says; to ask for what it leaves out is a ValueError that names the file."""

    def __init__(self, content: dict[str, Any], path: Path) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"Expected {name} in {self.path}; got none. Make the file again.")


def read_json(path: Path, *, kind: str, types: Mapping[str, Any] | None = None) -> Content:
    """The content that `write_json` has written, its kind aside.

    A digest tells damage, not intent: whoever changes a file can make its digest anew. So what is there has its type.

    Args:
        path: of the file.
        kind: of its content.
        types: of entries by name, where these are there: what `has_form` takes.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: the file is damaged, was changed, or holds content of another kind or type.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder, "error.json"), {"error": 0.5}, kind="error")
        ...     read_json(Path(folder, "error.json"), kind="error")
        {'error': 0.5}
    """
    try:
        content = json.loads(read_whole(path))
        whole = isinstance(content, dict) and content.pop(SEAL, None) == _digest(_text(content))
    except (ValueError, RecursionError) as error:  # not JSON, not text, or nested without end
        raise ValueError(f"Expected JSON in {path}; got an error: {error}. Make it again.") from error
    if not whole:
        raise ValueError(f"Expected {path} as it was written; it is damaged or was changed. Make it again.")
    if (found := content.pop("kind", "file without a kind")) != kind:
        raise ValueError(f"Expected a {kind} in {path}; got a {found!s:.50}. Use the folder or the file of a {kind}.")
    for name, expected in (types or {}).items():
        if name in content and not has_form(content[name], expected):
            raise ValueError(f"Expected {name} in {path} of another type; got {content[name]!r:.50}. Make it again.")
    return Content(content, path)


def has_form(value: Any, form: Any) -> bool:
    """Whether a value out of JSON has a form.

    Args:
        value: what was read.
        form: a type; a tuple of forms, for any of them; ``[form]`` for a list of such items, ``[form, form]`` for one
            of just so many; ``{name: form}`` for an object that has all these entries, ``{str: form}`` for one whose
            entries all are so. Whole numbers that no program has counted, of more than 64 bits, have none.

    Example:
        >>> has_form({"mean": -1.5, "samples": [10, 20]}, {"mean": (float, type(None)), "samples": (int, [int, int])})
        True
        >>> has_form([1, "2"], [int])
        False
    """
    match form:
        case tuple():
            return any(has_form(value, each) for each in form)
        case [each]:
            return isinstance(value, list) and all(has_form(item, each) for item in value)
        case list():
            return isinstance(value, list) and len(value) == len(form) and all(map(has_form, value, form))
        case {**entries} if str in entries:
            return isinstance(value, dict) and all(has_form(item, entries[str]) for item in value.values())
        case dict():
            return isinstance(value, dict) and all(n in value and has_form(value[n], each) for n, each in form.items())
    is_large = type(value) is int and abs(value) >= 2**63
    return isinstance(value, form) and not is_large


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2)
