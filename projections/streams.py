"""The version of every stream: what a decision names when it is appended."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from events.envelope import Recorded
from events.registry import Fact
from projections.fold import Fold
from projections.tables import Table, Tables


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream and its last event: the version there, and its place in the whole log."""

    stream: str
    version: int
    position: int


STREAMS = Table("streams", ("stream",), Stream)


def versions(tables: Tables, streams: Iterable[str]) -> dict[str, int]:
    """Return the version of each stream, 0 where nothing was ever written to it."""
    return {name: row.version if (row := tables.get(STREAMS, name)) else 0 for name in streams}


def _moved(tables: Tables, at: Recorded, _fact: Fact) -> None:
    tables.put(STREAMS, Stream(stream=at.stream, version=at.version, position=at.position))


STREAMS_FOLD = Fold(name="streams", revision=1, tables=(STREAMS,), handlers={Fact: _moved})
