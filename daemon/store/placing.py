"""Where an append comes to stand: the rules that every store shares, without any I/O.

A ledger answers what is in the log already; `Placing` answers for what was placed
in the same group but is not in the log yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from daemon.ports.store import Appended, IdReused, WrongVersion
from daemon.store.packing import Packed
from daemon.store.prepare import Batch, Prepared
from events.envelope import Codec, Evidence, leaf_hash


class Known(NamedTuple):
    """What the log says about an event id."""

    position: int
    stream: str
    type: str


# The fields of Recorded in their order; a struct for each would cost as much as its leaf.
Row = tuple[
    int,
    str,
    int,
    bytes,
    str,
    int,
    int,
    int | None,
    str | None,
    Evidence,
    bytes | None,
    bytes | None,
    Codec,
    bytes,
    bytes,
]


class Ledger(Protocol):
    """What is in the log."""

    def version(self, stream: str) -> int:
        """Return the version of a stream, 0 if it was never written."""

    def known(self, id: bytes) -> Known | None:
        """Return the event with this id."""


class Head(NamedTuple):
    """The end of the log.

    id_last  the greatest event id, so that a later one needs no look-up
    """

    position: int = 0
    recorded_at: int = 0
    id_last: bytes = b""


class Placing:
    """One group of appends on its way into one transaction."""

    def __init__(self, ledger: Ledger, head: Head, now_us: int) -> None:
        self._ledger = ledger
        self._position = head.position
        self._id_last = head.id_last
        # Time never goes back in the log, even if the clock does.
        self._recorded_at = max(now_us, head.recorded_at)
        self._known: dict[bytes, Known] = {}
        self._indexed = 0  # how many rows `_known` has
        self.versions: dict[str, int] = {}
        self.rows: list[Row] = []
        self.blobs: dict[bytes, Packed] = {}

    @property
    def head(self) -> Head:
        """The end of the log once this group is written."""
        return Head(self._position, self._recorded_at, self._id_last)

    def place(self, batch: Batch) -> Appended:
        """Give every event of an append its place, or refuse all of it.

        Raises WrongVersion, IdReused; then the group stands as it stood before.
        """
        if repeated := self._repeated(batch):
            return repeated
        for stream, expected in batch.expects.items():
            if (actual := self._version(stream)) != expected:
                raise WrongVersion(stream=stream, version_expected=expected, version_actual=actual)
        self.blobs.update(batch.blobs)
        before = self._position
        self._add(batch.events)
        return Appended(positions=tuple(range(before + 1, self._position + 1)))

    def _repeated(self, batch: Batch) -> Appended | None:
        # Ids rise with time (UUIDv7), so most are greater than all before: no look-up.
        if min([one.event.id for one in batch.events]) > self._id_last:
            return None
        found = [self._found(one.event.id) for one in batch.events]
        if not any(found):
            return None
        for known, one in zip(found, batch.events, strict=True):
            if known is None or (known.stream, known.type) != (one.event.stream, one.type):
                raise IdReused(
                    "some ids of this append are in the log, but not all of it as given",
                    id=one.event.id.hex(),
                    stream=one.event.stream,
                    position=known and known.position,
                    hint="nothing was written; a repeated append gives the same events again",
                )
        return Appended(positions=tuple(k.position for k in found if k), repeated=True)

    def _found(self, id: bytes) -> Known | None:
        if id > self._id_last:
            return None
        for row in self.rows[self._indexed :]:
            self._known[row[3]] = Known(row[0], row[1], row[4])
        self._indexed = len(self.rows)
        return self._known.get(id) or self._ledger.known(id)

    def _version(self, stream: str) -> int:
        version = self.versions.get(stream)
        return self._ledger.version(stream) if version is None else version

    def _add(self, events: Sequence[Prepared]) -> None:
        # The only loop over the events of a large append that is all Python: no call but the hash.
        position, versions, recorded_at = self._position, self.versions, self._recorded_at
        for one in events:
            event = one.event
            position += 1
            stream = event.stream
            version = versions[stream] = (versions.get(stream) or self._version(stream)) + 1
            row = (
                position,
                stream,
                version,
                event.id,
                one.type,
                one.schema,
                recorded_at,
                event.occurred_at,
                event.actor,
                event.evidence,
                event.correlation,
                event.causation,
                one.codec,
                one.payload,
            )
            self.rows.append((*row, leaf_hash(*row)))
        self._position = position
        self._id_last = max(self._id_last, *[one.event.id for one in events])
