"""One row as text: JSON that any SQLite tool can show, and that gives the row back."""

from __future__ import annotations

from typing import Any, Generic

import msgspec
import orjson

from events.canonical import canonical, is_marked, parse
from projections.tables import Row

_encode = msgspec.json.Encoder().encode


class DamagedRow(Exception):
    """Stored text is not a row of its table."""


class RowText(Generic[Row]):
    """Rows of one type, to and from text."""

    def __init__(self, row: type[Row]) -> None:
        self._type = row
        self._decode = msgspec.json.Decoder(row).decode

    def write(self, row: Row) -> str:
        """Spell a row as JSON."""
        text = _encode(row)
        # msgspec writes NaN and the infinities as null without a word, and a text may look like
        # one of our marks; both are rare, so only what may hold one takes the careful way.
        if b"null" in text or is_marked(text):
            text = _encode(_marked(msgspec.to_builtins(row, str_keys=True)))
        return text.decode()

    def read(self, text: str) -> Row:
        """Give back the row that was written. Raises DamagedRow."""
        try:
            if '"$' not in text:
                return self._decode(text)
            return msgspec.convert(parse(text.encode()), self._type, str_keys=True)
        except (msgspec.MsgspecError, ValueError) as exc:
            raise DamagedRow(f"{self._type.__name__}: {text[:200]!r}") from exc


def _marked(value: Any) -> Any:
    """Put canonical marks in, and leave the order of keys alone.

    `canonical` sorts them: a row that was read back would then differ from one still in memory.
    """
    match value:
        case float() | int():
            return orjson.loads(canonical(value))
        case list():
            return [_marked(one) for one in value]
        case dict() if len(value) == 1 and next(iter(value)).startswith("$"):
            return orjson.loads(canonical(value))
        case dict():
            return {key: _marked(one) for key, one in value.items()}
    return value
