"""Make hostile input out of recorded input. All dice are the caller's, so a seed repeats a run."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import orjson

# Texts that become, in the JSON, what no value of Python is written as.
RAW: Final = {
    '"@@1e400@@"': "1e400",
    '"@@-0@@"': "-0.0",
    '"@@digits@@"': "9" * 400,
    '"@@deep@@"': "[" * 600 + "]" * 600,
    '"@@deeper@@"': '{"a":' * 3_000 + "1" + "}" * 3_000,
}
HOSTILE: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30,
    0.5, -0.5, 1e308, float("nan"), float("inf"), float("-inf"), "", " ", "1", "x" * 5_000,
    "\0", "\ud800", "a\udfff", "\u202e", "\U0010ffff", "../../etc/passwd", "2026-99-99T00:00:00Z",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-22T10:18:04.274407",
    "2026-11-22", [], {}, [[]], [{}], {"id": 1}, {"$oid": 1}, {"$oid": "0" * 24}, {"$date": 1e300},
    {"$numberDouble": "NaN"}, {"$numberDouble": "x"}, {"$numberInteger": "1"}, {"$blob": "00"},
    {"$literal": {}}, {"$number": "1e999999999999999999999"}, {"_cls": "Detections"},
    *(text.strip('"') for text in RAW),
)  # fmt: skip
CHANGES_MAX: Final = 4

Rng = random.Random
Place = tuple[Any, Any]  # a container, and a key or index in it


def hostile_json(rng: Rng, document: Any) -> bytes:
    """Return a document changed in a few places, written as JSON, and perhaps damaged."""
    holder = [_copied(document)]
    for _ in range(rng.randint(0, CHANGES_MAX)):
        rng.choice(_CHANGES)(rng, holder)
    text = json.dumps(holder[0])
    for mark, raw in RAW.items():
        text = text.replace(mark, raw)
    body = text.encode()
    return rng.choice(_DAMAGES)(rng, body) if rng.random() < 0.25 else body


def _copied(document: Any) -> Any:
    """Return a copy of what JSON can hold, and orjson write: recorded documents all are."""
    return orjson.loads(orjson.dumps(document))


def hostile_bytes(rng: Rng) -> bytes:
    """Return bytes that never were a document."""
    many = rng.randrange(200)
    if rng.random() < 0.5:
        return rng.randbytes(many)
    return bytes(rng.choices(b'{}[]",:0123456789.eE+-truefalsn\\u \n\x00\xff', k=many))


def _places(holder: Any) -> list[Place]:
    found: list[Place] = []
    waiting = [holder]
    while waiting:
        one = waiting.pop()
        keys = one if isinstance(one, dict) else range(len(one))
        for key in keys:
            found.append((one, key))
            if isinstance(one[key], dict | list):
                waiting.append(one[key])
    return found


def _swap(rng: Rng, holder: list[Any]) -> None:
    where, key = rng.choice(_places(holder))
    where[key] = deepcopy(rng.choice(HOSTILE))


def _drop(rng: Rng, holder: list[Any]) -> None:
    places = [(where, key) for where, key in _places(holder) if where is not holder]
    if places:
        where, key = rng.choice(places)
        del where[key]


def _repeat(rng: Rng, holder: list[Any]) -> None:
    lists = [
        where for where, _ in _places(holder) if isinstance(where, list) and where is not holder
    ]
    if lists:
        where = rng.choice(lists)
        where.extend([rng.choice(where)] * rng.randint(1, 5))


def _exchange(rng: Rng, holder: list[Any]) -> None:
    places = _places(holder)
    (here, one), (there, other) = rng.choice(places), rng.choice(places)
    copied = json.loads(json.dumps(there[other]))
    here[one] = copied


def _rename(rng: Rng, holder: list[Any]) -> None:
    places = [(where, key) for where, key in _places(holder) if isinstance(where, dict)]
    if places:
        where, key = rng.choice(places)
        names = ("", "id", "__class__", "$oid", "\ud800", "a.b", "x" * 2_000, "_id", "updated_date")
        where[rng.choice(names)] = where.pop(key)


_CHANGES: Final[tuple[Callable[[Rng, list[Any]], None], ...]] = (
    _swap, _swap, _swap, _drop, _repeat, _exchange, _rename,
)  # fmt: skip


def _cut(rng: Rng, body: bytes) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def _flip(rng: Rng, body: bytes) -> bytes:
    flipped = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        if flipped:
            flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return bytes(flipped)


def _double_key(rng: Rng, body: bytes) -> bytes:
    keys = [at for at, byte in enumerate(body) if byte == ord("{")]
    if not keys:
        return body
    at = rng.choice(keys) + 1
    end = body.find(b":", at)
    key = body[at:end]
    value = json.dumps(rng.choice((None, 1, "x", [], {}))).encode()
    return body[:at] + key + b":" + value + b"," + body[at:] if key else body


def _append(rng: Rng, body: bytes) -> bytes:
    return body + rng.choice((b"\0", b"\n\n", b"{}", b"\xff\xfe", body[:200], b"]", b"}"))


def _prepend(rng: Rng, body: bytes) -> bytes:
    return rng.choice((b"\xef\xbb\xbf", b"\0", b" ", b"[", b"\xff\xfe")) + body


def _replace(rng: Rng, body: bytes) -> bytes:
    return hostile_bytes(rng)


_DAMAGES: Final[tuple[Callable[[Rng, bytes], bytes], ...]] = (
    _cut, _flip, _double_key, _double_key, _append, _prepend, _replace,
)  # fmt: skip
