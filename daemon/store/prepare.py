"""From new events to what will be stored of them: checked, encoded, lifted, compressed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from daemon.ports.store import EventRefused
from daemon.store.packing import COMPRESS_BYTES_MIN, PAYLOAD_BYTES_MAX, Packed, pack
from events import blobs, registry
from events.envelope import EVIDENCE, ID_BYTES, STREAM_BYTES_MAX, Codec, NewEvent

ACTOR_BYTES_MAX: Final = 512
EVENTS_PER_APPEND_MAX: Final = 100_000
APPEND_BYTES_MAX: Final = 256 * 2**20

# Past these an append is prepared in a thread: the loop answers webhooks meanwhile.
INLINE_EVENTS_MAX: Final = 64
INLINE_BYTES_MAX: Final = 64 * 1024
# So much the thread that writes it may prepare as well, which takes less than to write it.
WRITER_EVENTS_MAX: Final = 1_000
WRITER_BYTES_MAX: Final = 2**20

_TIME_MIN, _TIME_MAX = -(2**62), 2**62


class TooLarge(Exception):
    """An append is more than the thread that writes may prepare, since deliveries wait for it."""


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """One event, ready to get its place."""

    event: NewEvent
    type: str
    schema: int
    codec: Codec
    payload: bytes


class Batch(NamedTuple):
    """One append, ready to be written; `blobs` by name."""

    events: Sequence[Prepared]
    blobs: Mapping[bytes, Packed]
    expects: Mapping[str, int]
    bytes: int


async def prepare(events: Sequence[NewEvent], expects: Mapping[str, int], salt: bytes) -> Batch:
    """Check and encode an append, in a thread when it is large.

    Raises EventRefused, NotCanonical, UnknownEvent.
    """
    expects = dict(expects)
    if len(events) > INLINE_EVENTS_MAX:
        return await asyncio.to_thread(lambda: _packed(_encoded(events), expects, salt))
    encoded = _encoded(events)
    if _bytes(encoded) > INLINE_BYTES_MAX:
        return await asyncio.to_thread(_packed, encoded, expects, salt)
    return _packed(encoded, expects, salt)


def prepare_small(events: Sequence[NewEvent], expects: Mapping[str, int], salt: bytes) -> Batch:
    """Check and encode an append in this thread. Raises TooLarge, and as `prepare` does."""
    _check_all(events)
    spelled: list[Prepared] = []
    size = 0
    for event in events:
        spelled.append(one := _spelled(event))
        size += len(one.payload)
        if size > WRITER_BYTES_MAX:
            raise TooLarge
    return _packed(spelled, expects, salt)


def is_for_writer(events: Sequence[NewEvent]) -> bool:
    """Tell whether the thread that writes may prepare an append that nothing else waits for.

    To hand a thousand events from one thread to another costs a twelfth of what they take in all.
    What is encoded already may be large, and is compressed elsewhere.
    """
    return INLINE_EVENTS_MAX < len(events) <= WRITER_EVENTS_MAX and all(
        event.encoded is None for event in events
    )


def _encoded(events: Sequence[NewEvent]) -> list[Prepared]:
    _check_all(events)
    return [_spelled(event) for event in events]


def _check_all(events: Sequence[NewEvent]) -> None:
    if not events:
        raise EventRefused("an append needs at least one event")
    if len(events) > EVENTS_PER_APPEND_MAX:
        raise EventRefused(
            "an append holds too many events", events=len(events), limit=EVENTS_PER_APPEND_MAX
        )
    if len({event.id for event in events}) < len(events):
        raise EventRefused("two events of one append have the same id")
    _check(events)


def _spelled(event: NewEvent) -> Prepared:
    encoded = event.encoded
    if encoded is None:
        assert event.fact is not None, "an event has a fact, its bytes, or both"
        encoded = registry.encode(event.fact)
    return Prepared(event, encoded.type, encoded.schema, "json", encoded.payload)


def _bytes(prepared: Sequence[Prepared]) -> int:
    return sum([len(one.payload) for one in prepared])


def _packed(spelled: Sequence[Prepared], expects: Mapping[str, int], salt: bytes) -> Batch:
    """Lift out and compress what is worth it; most events are too small."""
    lifted: dict[bytes, bytes] = {}
    prepared = [
        one if len(one.payload) <= COMPRESS_BYTES_MIN else _smaller(one, salt, lifted)
        for one in spelled
    ]
    packed = {name: pack(spelled) for name, spelled in lifted.items()}
    size = _bytes(prepared) + sum([len(blob.stored) for blob in packed.values()])
    if size > APPEND_BYTES_MAX:
        raise EventRefused("an append is too large", bytes=size, limit=APPEND_BYTES_MAX)
    return Batch(prepared, packed, expects, size)


def _smaller(one: Prepared, salt: bytes, lifted: dict[bytes, bytes]) -> Prepared:
    payload = one.payload
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise EventRefused(
            "an event is too large", type=one.type, bytes=len(payload), limit=PAYLOAD_BYTES_MAX
        )
    if len(payload) > blobs.BLOB_BYTES_MIN:
        payload, found = blobs.lift(payload, salt)
        lifted |= found
    codec, stored = pack(payload)
    return Prepared(one.event, one.type, one.schema, codec, stored)


def _check(events: Sequence[NewEvent]) -> None:
    # Names are few in a large append, and looked at once each.
    for stream in {event.stream for event in events}:
        _check_name("stream", stream, STREAM_BYTES_MAX)
    for actor in {event.actor for event in events}:
        if actor is not None:
            _check_name("actor", actor, ACTOR_BYTES_MAX)
    for evidence in {event.evidence for event in events}:
        if evidence not in EVIDENCE:
            raise EventRefused("an unknown kind of evidence", evidence=evidence)
    for event in events:
        if not (_is_id(event.id) and _is_cause(event.correlation) and _is_cause(event.causation)):
            raise EventRefused("an id is not 16 bytes", stream=event.stream)
        if event.occurred_at is not None and not _TIME_MIN < event.occurred_at < _TIME_MAX:
            raise EventRefused("a time that is no time", occurred_at=event.occurred_at)


def _is_id(id: object) -> bool:
    return type(id) is bytes and len(id) == ID_BYTES


def _is_cause(id: object) -> bool:
    return id is None or _is_id(id)


def _check_name(what: str, name: str, bytes_max: int) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError as exc:
        raise EventRefused(f"a {what} name is not valid Unicode", name=ascii(name)[:80]) from exc
    if not 0 < size <= bytes_max or "\0" in name:
        raise EventRefused(
            f"a {what} name is empty, too long or holds NUL", name=name[:80], limit_bytes=bytes_max
        )
