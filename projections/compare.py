"""Two sets of tables, row by row, in canonical form: does a replay give the same state?"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from typing import Any

import msgspec

from events.canonical import canonical
from projections.fold import Fold
from projections.tables import Key, Row, Table, Tables, plain


class Dumped(msgspec.Struct, frozen=True):
    """One row: where it stands, and its canonical bytes."""

    table: str
    key: Key
    row: bytes


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A row that two sets of tables do not share; None where there is no such row."""

    table: str
    key: Key
    left: bytes | None
    right: bytes | None


def dump(tables: Tables, fold: Fold) -> Iterator[Dumped]:
    """Yield every row of a fold, table by table and in key order; never all at once in memory."""
    for table in fold.tables:
        for key, row in _rows(tables, table):
            yield Dumped(table.name, key, row)


def compare(left: Tables, right: Tables, fold: Fold) -> Iterator[Difference]:
    """Yield what differs between two states of a fold. Both are read once, in key order."""
    for table in fold.tables:
        sides = merge(_marked(left, table, "left"), _marked(right, table, "right"))
        for key, found in groupby(sides, key=lambda one: one[0]):
            rows = {side: row for _, side, row in found}
            if rows.get("left") != rows.get("right"):
                yield Difference(
                    table=table.name, key=key, left=rows.get("left"), right=rows.get("right")
                )


def _marked(tables: Tables, table: Table[Any], side: str) -> Iterator[tuple[Key, str, bytes]]:
    for key, row in _rows(tables, table):
        yield key, side, row


def _rows(tables: Tables, table: Table[Row]) -> Iterator[tuple[Key, bytes]]:
    for row in tables.scan(table):
        yield table.key_of(row), canonical(plain(row))
