"""The vocabulary's index: our own event names and schema numbers ↔ classes.

A class may move or be renamed; the name in the log stays. A recorded schema is
never edited: a new meaning is a new number and an upcaster from the old one. That
holds for defaults too, since a field that has its default is not written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from events import canonical
from events.errors import SyncError

Builtins = dict[str, Any]
Upcaster = Callable[[Builtins], Builtins]
Blob = Callable[[str], object]


# A fact is a tree of values and never part of a cycle, so the collector need not
# look at it: that is a quarter of the time of decoding a small one.
class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What happened, in the past tense; the base of every event type.

    `frozen`, `omit_defaults` and `gc` are inherited; a subclass that wants
    keyword-only fields says `kw_only=True` itself.
    """


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A fact as it goes into the log."""

    type: str
    schema: int
    payload: bytes


class UnknownEvent(SyncError):
    """The log holds an event that this release has no class or no upcaster for."""


class MalformedFact(SyncError):
    """Bytes of a known event type do not hold the fields of that type."""


class _Entry(NamedTuple):
    cls: type[Fact]
    schema: int
    decoder: msgspec.json.Decoder[Fact]
    outline: msgspec.json.Decoder[Fact] | None = None


F = TypeVar("F", bound=Fact)

_by_name: Final[dict[str, _Entry]] = {}
_by_class: Final[dict[type[Fact], tuple[str, int]]] = {}
_outlines: Final[dict[type[Fact], type[Fact]]] = {}  # outline → the event type that it is of
_upcasters: Final[dict[tuple[str, int], Upcaster]] = {}


def event(name: str, *, schema: int = 1) -> Callable[[type[F]], type[F]]:
    """Register a fact under a name of ours, with the schema number it has today."""

    def register(cls: type[F]) -> type[F]:
        if name in _by_name:
            raise ValueError(f"two event types are called {name}")
        _by_name[name] = _Entry(cls, schema, msgspec.json.Decoder(cls))
        _by_class[cls] = (name, schema)
        return cls

    return register


def outline_of(cls: type[Fact]) -> Callable[[type[F]], type[F]]:
    """Register how folds read an event type.

    An outline has some members of the event, under their names, and of large ones no more than a
    fold must know: the rest stays as it is spelled, a `msgspec.Raw`.
    """

    def register(outline: type[F]) -> type[F]:
        name, _ = _registered(cls)
        _by_name[name] = _by_name[name]._replace(outline=msgspec.json.Decoder(outline))
        _outlines[outline] = cls
        return outline

    return register


def upcaster(name: str, schema: int) -> Callable[[Upcaster], Upcaster]:
    """Register the step that turns the fields of one schema into those of the next."""

    def register(step: Upcaster) -> Upcaster:
        if (name, schema) in _upcasters:
            raise ValueError(f"two upcasters lead on from {name} {schema}")
        _upcasters[name, schema] = step
        return step

    return register


def names() -> frozenset[str]:
    """Return every registered event name."""
    return frozenset(_by_name)


def name_of(fact: Fact | type[Fact]) -> str:
    """Return the registered name of a fact or of its class."""
    return _registered(fact if isinstance(fact, type) else type(fact))[0]


def kind_of(fact: Fact) -> type[Fact]:
    """Return the event type of a fact or of its outline."""
    return _outlines.get(type(fact), type(fact))


def outlined(fact: Fact) -> Fact:
    """Return a fact as folds read it: its outline where its type has one, else itself."""
    found = _by_class.get(type(fact))
    outline = None if found is None else _by_name[found[0]].outline
    return fact if outline is None else outline.decode(encode(fact).payload)


def encode(fact: Fact) -> Encoded:
    """Spell a fact in canonical bytes, with its name and schema number.

    Raises UnknownEvent for a class that was never registered, NotCanonical for a
    value that has no canonical spelling.
    """
    name, schema = _registered(type(fact))
    try:
        fields = msgspec.to_builtins(fact)
    except (TypeError, ValueError, RecursionError) as exc:
        raise canonical.NotCanonical(
            "a field holds what cannot be written", type=name, reason=str(exc)
        ) from exc
    return Encoded(name, schema, canonical.canonical(fields))


def decode(name: str, schema: int, payload: bytes, *, blob: Blob | None = None) -> Fact:
    """Give back the fact, brought to today's schema.

    blob  looks up values that were stored aside; see `events.blobs`
    Raises UnknownEvent for a name or schema number this release does not know,
    MalformedFact when the fields do not fit the class.
    """
    entry = _by_name.get(name)
    if entry is None or schema > entry.schema:
        raise UnknownEvent(
            "the log holds an event that this release does not know",
            type=name,
            schema=schema,
            hint="nothing was changed; use the release that wrote it, or a newer one",
        )
    try:
        if schema == entry.schema and not canonical.is_marked(payload):
            return entry.decoder.decode(payload)
        fields = _upcast(name, schema, entry.schema, canonical.parse(payload, blob=blob))
        return msgspec.convert(fields, entry.cls)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, RecursionError) as exc:
        raise _malformed(name, schema, exc) from exc


def decode_outline(name: str, schema: int, payload: bytes, *, blob: Blob | None = None) -> Fact:
    """Give back the fact as folds read it: its outline where its type has one, else all of it.

    Raises as `decode` does, but for what stays spelled.
    """
    entry = _by_name.get(name)
    if entry is None or entry.outline is None:
        return decode(name, schema, payload, blob=blob)
    try:
        if schema != entry.schema or canonical.may_be_literal(payload):
            payload = encode(decode(name, schema, payload, blob=blob)).payload
        elif blob is not None:
            payload = canonical.with_blobs(payload, blob)
        return entry.outline.decode(payload)
    except (msgspec.MsgspecError, ValueError) as exc:
        raise _malformed(name, schema, exc) from exc


def _malformed(name: str, schema: int, exc: Exception) -> MalformedFact:
    return MalformedFact(
        "the stored fields do not fit the event type",
        type=name,
        schema=schema,
        reason=str(exc),
        hint="run `labeltrail verify`: bytes that match their leaf were written so",
    )


def _upcast(name: str, schema: int, schema_today: int, fields: Builtins) -> Builtins:
    for step in range(schema, schema_today):
        if (name, step) not in _upcasters:
            raise UnknownEvent("no upcaster leads on from this schema", type=name, schema=step)
        fields = _upcasters[name, step](fields)
    return fields


def _registered(cls: type[Fact]) -> tuple[str, int]:
    try:
        return _by_class[cls]
    except KeyError as exc:
        raise UnknownEvent("the class is not registered as an event", cls=cls.__name__) from exc
