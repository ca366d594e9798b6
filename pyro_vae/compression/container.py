"""The compressed file: a header of about 50 bytes, words of the coder, and a checksum of it all.

Numbers are little-endian; "list" is a byte for its length and whole numbers of 7 bits a byte, lowest first.

==========  =====================================================
4 bytes     89 50 56 5A
byte        version of the format
byte        kind: 0 lossless, 1 lossy
byte, byte  dtype, and form of the values (`pixel_values`)
list        shape of the data as they came
list        shape of one x, as the model takes it
byte, ...   number of latent sites; the step of each as an exponent of two, signed bytes
8 bytes     fingerprint of the pair
8 bytes     BLAKE2b of the values, dtype and shape
4 n bytes   the words of the stack, the top last
8 bytes     BLAKE2b of all bytes before
==========  =====================================================
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass

import numpy as np

from ..arguments.memory import require_memory
from .pixel_values import DTYPES, SHARES
from .stack import Words

MAGIC = b"\x89PVZ"
VERSION = 1
DIGEST = 8
LOSSLESS, LOSSY = 0, 1
KINDS = ("a lossless", "a lossy")


@dataclass(frozen=True)
class Content:
    """What a compressed file holds; see the table above."""

    kind: int
    dtype: int
    form: int
    shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    exponents: list[int]
    fingerprint: bytes
    checksum: bytes
    words: Words


def digest(content: bytes) -> bytes:
    """A checksum."""
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def pack(content: Content) -> bytes:
    """The file."""
    c = content
    head = MAGIC + bytes([VERSION, c.kind, c.dtype, c.form]) + _listed(c.shape) + _listed(c.event_shape)
    steps = bytes([len(c.exponents)]) + struct.pack(f"{len(c.exponents)}b", *c.exponents)
    whole = head + steps + c.fingerprint + c.checksum + c.words.astype("<u4").tobytes()
    return whole + digest(whole)


def unpack(file: bytes, kind: int) -> Content:
    """What is in a file of a kind."""
    if file[: len(MAGIC)] != MAGIC:
        raise ValueError("Expected a file that pyro-vae compress has written; got something else.")
    if len(file) > len(MAGIC) and file[len(MAGIC)] != VERSION:
        raise ValueError(
            f"Expected version {VERSION} of the format; got {file[len(MAGIC)]}, or a damaged file. Use the version of "
            f"pyro-vae that wrote it."
        )
    if digest(file[:-DIGEST]) != file[-DIGEST:]:
        raise ValueError("Expected a whole file of pyro-vae compress; got one that is damaged or cut off.")
    try:
        content = _parsed(file)
    except (IndexError, struct.error) as error:
        raise ValueError("Expected a file that pyro-vae compress has written; its header makes no sense.") from error
    if content.kind != kind:
        raise ValueError(f"Expected {KINDS[kind]} file; got {KINDS[content.kind]} one.")
    require_memory(math.prod(content.shape), "the compressed file")
    return content


def is_lossy(file: bytes) -> bool:
    """Whether a file says so of itself."""
    return file[: len(MAGIC)] == MAGIC and file[5:6] == bytes([LOSSY])


def _parsed(file: bytes) -> Content:
    kind, dtype, form = file[5:8]
    shape, place = _list(file, 8)
    event_shape, place = _list(file, place)
    count = file[place]
    exponents = [*struct.unpack_from(f"{count}b", file, place + 1)]
    place += 1 + count
    fingerprint, checksum = file[place : place + DIGEST], file[place + DIGEST : place + 2 * DIGEST]
    body = file[place + 2 * DIGEST : -DIGEST]
    if len(file) < place + 3 * DIGEST or len(body) % 4 or kind >= len(KINDS):
        raise IndexError
    if math.prod(shape[1:]) != math.prod(event_shape) or not all(shape) or dtype >= len(DTYPES) or form > SHARES:
        raise IndexError
    words = np.frombuffer(body, dtype="<u4").astype(np.uint32)
    return Content(kind, dtype, form, shape, event_shape, exponents, fingerprint, checksum, words)


def _listed(numbers: tuple[int, ...]) -> bytes:
    found = bytearray([len(numbers)])
    for number in numbers:
        while number > 127:
            found.append(number & 127 | 128)
            number >>= 7
        found.append(number)
    return bytes(found)


def _list(file: bytes, place: int) -> tuple[tuple[int, ...], int]:
    count, place, found = file[place], place + 1, []
    for _ in range(count):
        number, shift = 0, 0
        while file[place] > 127:
            number |= (file[place] & 127) << shift
            place, shift = place + 1, shift + 7
        found.append(number | file[place] << shift)
        place += 1
    return tuple(found), place
