"""What happens to bytes on disks and in hands: flips, cuts, gaps; and JSON changed, with its digest made anew."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x", "../../etc/passwd"),
    *("Gr\u00fc\u00dfe", "C:\\Windows\\system32", [], [[]], {}, {"a": {"b": []}}, [1] * 1000, "a" * 10_000),
)


def flip(content: bytes, rng: random.Random) -> bytes:
    """One bit."""
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def flip_in_front(content: bytes, rng: random.Random) -> bytes:
    """One bit of the first 100 bytes, where headers are."""
    return flip(content[:100], rng) + content[100:]


def truncate(content: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return content[: rng.randrange(len(content))]


def overwrite(content: bytes, rng: random.Random) -> bytes:
    """A stretch of other bytes."""
    at, count = rng.randrange(len(content)), rng.randint(1, 64)
    return content[:at] + rng.choice([rng.randbytes(count), bytes(count), b"\xff" * count]) + content[at + count :]


def insert(content: bytes, rng: random.Random) -> bytes:
    """Some bytes too many."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.randbytes(rng.randint(1, 64)) + content[at:]


def leave_out(content: bytes, rng: random.Random) -> bytes:
    """Some bytes too few."""
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.randint(1, 64) :]


def repeat(content: bytes, rng: random.Random) -> bytes:
    """A stretch of it twice."""
    at, count = rng.randrange(len(content)), rng.randint(1, 1024)
    return content[: at + count] + content[at:]


def replace_all(_: bytes, rng: random.Random) -> bytes:
    """Nothing of it is left."""
    return rng.choice([rng.randbytes(rng.randrange(2000)), bytes(rng.randrange(2000)), b""])


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(flip, flip, flip_in_front, flip_in_front, truncate, overwrite, insert, leave_out, repeat, replace_all),
)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes with one of these damages."""
    return rng.choice(BYTES)(content, rng)


def change_json(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """A JSON value in which one place, at any depth, is another one, is missing, is renamed or is there twice."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        deed = rng.randrange(6)
        if deed == 0:
            return {name: item for name, item in value.items() if name != key}
        if deed == 1:
            return {(f"{name}x" if name == key else name): item for name, item in value.items()}
        if deed == 2:
            return {**value, rng.choice(["x", "config", "root", key + "s"]): rng.choice(ODD_VALUES)}
        return {**value, key: change_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.5:
        at = rng.randrange(len(value))
        return [*value[:at], *rng.choice([[], [change_json(value[at], rng)], [value[at]] * 2]), *value[at + 1 :]]
    return rng.choice(ODD_VALUES)


def sealed(content: dict[str, Any]) -> bytes:
    """JSON as the library writes it, with the digest of its content: what somebody makes who knows how."""
    content = {name: item for name, item in content.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(content, indent=2).encode()).hexdigest()
    return json.dumps({**content, "sha256": digest}, indent=2).encode()
