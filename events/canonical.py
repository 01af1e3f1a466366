"""Canonical bytes: one value has one spelling, and the spelling gives the value back.

JSON (RFC 8259) in UTF-8 with sorted keys and no spaces, floats in their shortest
form that reads back to the same bits (orjson's). What JSON cannot say is said in
the style of MongoDB's extended JSON, which FiftyOne exports use too:

    NaN, Infinity, -Infinity     {"$numberDouble": "NaN"}
    integers beyond 64 bits      {"$numberInteger": "1180591620717411303424"}
    an object that looks so      {"$literal": {"$numberDouble": "NaN"}}

Everything else is refused. `docs/canonical-form.md` has the whole form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from events.errors import SyncError

DEPTH_MAX: Final = 200  # orjson itself refuses 255; our wrappers need a few levels
INTEGER_DIGITS_MAX: Final = 4_000  # under CPython's own limit for int ↔ text

# Other types than JSON's are refused, not guessed at: a dataclass or a date has no one spelling.
# orjson takes 4 KiB at least, and what it does not need stays with its bytes as long as they live.
# To cut a last newline off copies them into as many as they are, which costs the least.
_STRICT: Final = (
    orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MARKS: Final = frozenset({"$numberDouble", "$numberInteger", "$blob", "$literal"})
_MARK: Final = re.compile(rb'"\$(?:numberDouble|numberInteger|blob|literal)"')
_BLOB: Final = re.compile(rb'\{"\$blob":"([0-9a-f]+)"\}')
_DOLLAR: Final = ord("$")
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


class NotCanonical(SyncError):
    """A value has no canonical spelling, or bytes are not a canonical spelling."""


def canonical(value: object) -> bytes:
    """Spell a value of dicts, lists, texts, numbers, booleans and None.

    Raises NotCanonical on other types, keys that are no text, lone surrogates and
    values deeper than DEPTH_MAX.
    """
    try:
        spelled = orjson.dumps(value, option=_STRICT)[:-1]
    except TypeError:  # orjson.JSONEncodeError: a big integer, or truly not JSON
        return _carefully(value)
    # orjson turns NaN into null without a word, so a null may have been a number;
    # and a key that looks like one of our marks must be told from the mark.
    return _carefully(value) if spelled.find(b"null") >= 0 or is_marked(spelled) else spelled


def parse(spelled: bytes, *, blob: Callable[[str], object] | None = None) -> Any:
    """Give back the value that `canonical` spelled.

    blob  turns the hex name in {"$blob": name} into the value it stands for;
          without it such an object is refused
    Raises NotCanonical when the bytes are no JSON or hold a mark we never write.
    """
    try:
        value = orjson.loads(spelled)
    except orjson.JSONDecodeError as exc:
        raise NotCanonical("the bytes are no JSON", reason=str(exc)) from exc
    return _revived(value, blob) if is_marked(spelled) else value


def with_blobs(spelled: bytes, blob: Callable[[str], object]) -> bytes:
    """Put what was stored aside into its places, without reading the rest.

    Not for bytes that may be literal. An unescaped quotation mark stands in no text, so what looks
    like a mark is one.
    """
    if _DOLLAR not in spelled:
        return spelled
    return _BLOB.sub(lambda found: canonical(blob(found[1].decode())), spelled)


def may_be_literal(spelled: bytes) -> bool:
    """Tell whether something in canonical bytes may look like a mark and be none."""
    return _DOLLAR in spelled and b'"$literal"' in spelled


def is_marked(spelled: bytes) -> bool:
    """Tell whether canonical bytes may hold a mark, so that plain JSON would misread them."""
    # One byte is found three times as fast as two, and as a number eight times as fast as a text of
    # one; FiftyOne's documents are full of "$oid".
    return _DOLLAR in spelled and _MARK.search(spelled) is not None


def _carefully(value: object) -> bytes:
    try:
        return orjson.dumps(_marked(value, 0), option=_STRICT)[:-1]
    except (TypeError, ValueError) as exc:
        raise NotCanonical(
            "the value cannot be spelled in canonical JSON",
            reason=str(exc),
            hint="nothing was written; texts must be valid Unicode, keys must be texts",
        ) from exc


def _marked(value: object, depth: int) -> object:
    if depth > DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX}")
    match value:
        case bool() | str() | None:
            return value
        case float():
            return value if math.isfinite(value) else {"$numberDouble": _non_finite_name(value)}
        case int():
            return value if _INT_MIN <= value <= _INT_MAX else {"$numberInteger": _digits(value)}
        case list() | tuple():
            return [_marked(one, depth + 1) for one in value]
        case dict():
            marked = {key: _marked(one, depth + 1) for key, one in value.items()}
            return {"$literal": marked} if looks_marked(value) else marked
    return value  # orjson decides, on this way as on the fast one


def looks_marked(value: dict[str, object]) -> bool:
    """Tell whether an object looks like a mark, so that it is spelled as a `$literal`."""
    return len(value) == 1 and next(iter(value)) in _MARKS


def _non_finite_name(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _digits(value: int) -> str:
    # Asked before the conversion: turning a huge integer to text is quadratic.
    if value.bit_length() > INTEGER_DIGITS_MAX * 3:
        raise ValueError(f"an integer of more than about {INTEGER_DIGITS_MAX} digits")
    return str(value)


def _revived(value: object, blob: Callable[[str], object] | None) -> object:
    match value:
        case list():
            return [_revived(one, blob) for one in value]
        case dict() if looks_marked(value):
            return _unmarked(*value.popitem(), blob)
        case dict():
            return {key: _revived(one, blob) for key, one in value.items()}
    return value


def _unmarked(mark: str, held: object, blob: Callable[[str], object] | None) -> object:
    match mark, held:
        case "$numberDouble", str() if held in _NON_FINITE:
            return _NON_FINITE[held]
        case "$numberInteger", str() if len(held) <= INTEGER_DIGITS_MAX:
            return _big_integer(held)
        case "$blob", str() if blob is not None:
            return blob(held)
        case "$literal", dict() if looks_marked(held):
            # One level is taken as it stands; what lies below may be marked again.
            return {key: _revived(one, blob) for key, one in held.items()}
    raise NotCanonical("a mark that is never written", mark=mark, held=repr(held)[:80])


def _big_integer(digits: str) -> int:
    try:
        value = int(digits)
    except ValueError as exc:
        raise NotCanonical("not an integer", digits=digits[:80]) from exc
    if _INT_MIN <= value <= _INT_MAX or str(value) != digits:
        raise NotCanonical("an integer that has a shorter spelling", digits=digits[:80])
    return value
