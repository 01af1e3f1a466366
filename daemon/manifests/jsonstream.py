"""A long JSON array, document by document, in bounded memory and with the numbers' own text.

`samples.json` is one line and may be gigabytes (FiftyOne: `{"samples": [doc,doc,…]}`), so a window
slides over it; json's own scanner reads one document at a time out of the window.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO, Final

from daemon.manifests.errors import ManifestBroken
from events.dataset import Document

CHUNK_BYTES: Final = 1 << 20
# FiftyOne's database ends documents at 16 MiB; as JSON they are up to three times as long.
DOCUMENT_CHARS_MAX: Final = 48 << 20
DOCUMENT_DEPTH_MAX: Final = 100
NUMBER_CHARS_MAX: Final = 1_000

# No token of JSON but a text is longer; numbers are shorter than NUMBER_CHARS_MAX.
_CUT_CHARS: Final = NUMBER_CHARS_MAX + 32

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_HINT: Final = "nothing was changed; export the dataset again"


def number(text: str) -> object:
    """Return a JSON number as a float, or with its source text where a float would change it."""
    if len(text) > NUMBER_CHARS_MAX:
        raise ValueError(f"a number of more than {NUMBER_CHARS_MAX} characters")
    value = float(text)
    if repr(value) == text:
        return value
    try:
        kept = Decimal(text) == Decimal(repr(value))
    except InvalidOperation:  # an exponent of more than 18 digits
        kept = False
    return value if kept else {"$number": text}


def _constant(text: str) -> object:
    # Not JSON, but what Python writes; spelled as FiftyOne spells it.
    return {"$numberDouble": text}


_scan: Final = json.JSONDecoder(parse_float=number, parse_constant=_constant).raw_decode


def document(text: bytes, *, file: str) -> Document:
    """Read one JSON object. Raises ManifestBroken."""
    chunks = iter((text,))
    window = _Window(lambda _: next(chunks, b""), file)
    found = window.document()
    window.end()
    return found


def documents(source: BinaryIO, *, key: str, file: str) -> Iterator[Document]:
    """Yield the documents of `{key: [document, …]}`.

    file  the name that errors call the file by

    Raises ManifestBroken with the byte offset of the trouble. OSError passes through.
    """
    window = _Window(source.read, file)
    window.expect("{")
    if window.text() != key:
        raise window.broken(f'the file does not begin with {{"{key}": [')
    window.expect(":")
    window.expect("[")
    if window.peek() == "]":
        window.expect("]")
    else:
        yield window.document()
        while window.expect(",]") == ",":
            yield window.document()
    window.expect("}")
    window.end()


class _Window:
    """The text that was read and not yet taken, and where in the file it begins."""

    def __init__(self, read: Callable[[int], bytes], file: str) -> None:
        self._read = read
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._file = file
        self._text = ""
        self._at = 0
        self._bytes_before = 0
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is not blank, "" at the end."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def expect(self, wanted: str) -> str:
        """Take the next character, which must be one of those wanted."""
        found = self.peek()
        if not found:
            raise self.broken("the file ends too early")
        if found not in wanted:
            raise self.broken(f"found {found!r} instead of {' or '.join(map(repr, wanted))}")
        self._at += 1
        return found

    def text(self) -> object:
        """Take the next value, which must be a JSON string."""
        return self._value() if self.peek() == '"' else None

    def document(self) -> Document:
        """Take the next value, which must be an object."""
        if (found := self.peek()) != "{":
            reason = f"found {found!r} where a document begins"
            raise self.broken(reason if found else "the file ends too early")
        value = self._value()
        assert isinstance(value, dict), "an object begins with a brace"
        if _is_deeper(value, DOCUMENT_DEPTH_MAX):
            raise self.broken(f"a document nested deeper than {DOCUMENT_DEPTH_MAX} ends here")
        return value

    def end(self) -> None:
        """Make sure that nothing comes after."""
        if self.peek():
            raise self.broken("there is more after the end")

    def broken(self, reason: str, *, offset: int | None = None) -> ManifestBroken:
        """Say what is wrong, and where."""
        at = self._offset() if offset is None else offset
        return ManifestBroken(reason, file=self._file, offset=at, hint=_HINT)

    def _value(self) -> Any:
        while True:
            try:
                value, self._at = _scan(self._text, self._at)
            except json.JSONDecodeError as exc:
                self._grow(exc)
            except (ValueError, RecursionError) as exc:
                raise self.broken(f"a value that cannot be read: {exc}") from exc
            else:
                return value

    def _grow(self, exc: json.JSONDecodeError) -> None:
        """Read as much again as there is; or give up where more text cannot help."""
        held = len(self._text) - self._at
        # Only a text may begin long before the end of the window and still go on behind it.
        hopeless = exc.pos < len(self._text) - _CUT_CHARS and "Unterminated" not in exc.msg
        if hopeless or self._ended:
            offset = self._bytes_before + len(self._text[: exc.pos].encode())
            reason = "the file ends too early" if self._ended and not hopeless else exc.msg
            raise self.broken(f"no JSON: {reason}", offset=offset) from exc
        if held > DOCUMENT_CHARS_MAX:
            raise self.broken(f"a document of more than {DOCUMENT_CHARS_MAX} characters") from exc
        while len(self._text) - self._at < 2 * held and self._more():
            pass

    def _more(self) -> bool:
        """Slide the window on by one chunk; False at the end of the file."""
        if self._ended:
            return False
        self._bytes_before, self._text, self._at = self._offset(), self._text[self._at :], 0
        chunk = self._read(CHUNK_BYTES)
        self._ended = not chunk
        try:
            self._text += self._decode(chunk, self._ended)
        except UnicodeDecodeError as exc:
            raise self.broken("the file is not UTF-8") from exc
        return True

    def _offset(self) -> int:
        return self._bytes_before + len(self._text[: self._at].encode())


def _is_deeper(value: object, depth_max: int) -> bool:
    level = [value]
    for _ in range(depth_max):
        level = [
            child
            for one in level
            for child in (one.values() if isinstance(one, dict) else one)  # type: ignore[attr-defined]
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
