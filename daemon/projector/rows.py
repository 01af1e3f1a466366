"""One row as text: JSON that any SQLite tool can show, and that gives the row back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, Generic

import msgspec
import msgspec.inspect
import orjson

from events.canonical import canonical, is_marked, looks_marked, parse
from events.errors import SyncError
from projections.tables import Row

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines

LINES_AT_ONCE: Final = 1_000

_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1  # What orjson reads as an integer.
_FLOATS: Final = (
    msgspec.inspect.FloatType,
    msgspec.inspect.AnyType,
    msgspec.inspect.CustomType,
)


class DamagedRow(Exception):
    """Stored text is not a row of its table."""


class RowText(Generic[Row]):
    """Rows of one type, to and from text.

    JSON has no NaN, and msgspec writes null in its place without a word. A type that can hold
    one is written with the marks of `events.canonical` where it does; all others never are. What a
    row holds spelled is canonical already.
    """

    def __init__(self, row: type[Row]) -> None:
        self._type = row
        self._decode = msgspec.json.Decoder(row).decode
        self._may_be_marked = _may_hold_floats(row)

    def write(self, row: Row) -> str:
        """Spell a row as JSON."""
        text = _encode(row)
        if self._may_be_marked and (b"null" in text or is_marked(text)):
            text = _encode(_marked(msgspec.to_builtins(row, str_keys=True)))
        return text.decode()

    def write_all(self, rows: Sequence[Row]) -> list[str]:
        """Spell rows as JSON: many at once in a third of the time.

        Not all at once: each call keeps the interpreter from whoever acknowledges a delivery.
        """
        cuts = range(0, len(rows), LINES_AT_ONCE)
        return [text for cut in cuts for text in self._write_some(rows[cut : cut + LINES_AT_ONCE])]

    def _write_some(self, rows: Sequence[Row]) -> list[str]:
        lines = _encode_lines(rows)
        if self._may_be_marked and (b"null" in lines or is_marked(lines)):
            return [self.write(row) for row in rows]
        # JSON has no line feed of its own inside a value, and each row ends in one.
        return lines.decode().split("\n")[:-1]

    def read(self, text: str) -> Row:
        """Give back the row that was written. Raises DamagedRow."""
        try:
            if self._may_be_marked and '"$' in text and is_marked(text.encode()):
                return msgspec.convert(parse(text.encode()), self._type, str_keys=True)
            return self._decode(text)
        except (msgspec.MsgspecError, ValueError, SyncError) as exc:
            raise DamagedRow(f"{self._type.__name__}: {text[:200]!r}") from exc


def _may_hold_floats(row: type[msgspec.Struct]) -> bool:
    """Tell whether a float may stand anywhere in a row, be it in a member of any type."""
    return any(isinstance(part, _FLOATS) for part in parts_of(row))


@cache  # Types do not change, and looking into those of all rows takes 12 ms.
def parts_of(row: type[msgspec.Struct]) -> tuple[object, ...]:
    """Return the type of a row and all that it is made of, from the outside in."""
    return tuple(_parts(msgspec.inspect.type_info(row), set()))


def _parts(part: object, seen: set[int]) -> Iterator[object]:
    """Yield a type and all that it is made of, once each; types may hold themselves."""
    if id(part) in seen:
        return
    seen.add(id(part))
    yield part
    members = part if isinstance(part, tuple) else ()
    if isinstance(part, msgspec.inspect.Type | msgspec.inspect.Field):
        members = tuple(getattr(part, name) for name in part.__struct_fields__)
    for member in members:
        yield from _parts(member, seen)


def _marked(value: Any) -> Any:
    """Put canonical marks in, and leave the order of keys alone.

    `canonical` sorts them: a row that was read back would then differ from one still in memory.
    """
    match value:
        case float() if not math.isfinite(value):
            return orjson.loads(canonical(value))
        case int() if not _INT_MIN <= value <= _INT_MAX:
            return orjson.loads(canonical(value))
        case list():
            return [_marked(one) for one in value]
        case dict():
            marked = {key: _marked(one) for key, one in value.items()}
            return {"$literal": marked} if looks_marked(value) else marked
    return value
