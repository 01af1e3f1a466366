"""State as ordered tables of typed rows: what folds write and decisions read.

A fold knows only this port. In memory it serves decisions at any position and the tests; the
shell keeps the same tables in SQLite.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, takewhile
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

import msgspec

Row = TypeVar("Row", bound=msgspec.Struct)
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A named table. `key` names the members of a row that make its key, in sort order.

    A key member is a str or an int, never None.
    """

    name: str
    key: tuple[str, ...]
    row: type[Row]

    @cached_property
    def key_of(self) -> Callable[[Row], Key]:
        """Return what gives a row's key. Made once: it is called with every write."""
        get = attrgetter(*self.key)
        return get if len(self.key) > 1 else lambda row: (get(row),)


class Tables(Protocol):
    """What a fold and a decision may ask of state."""

    def get(self, table: Table[Row], *key: str | int) -> Row | None:
        """Return the row under a whole key, None where there is none."""

    def put(self, table: Table[Row], row: Row) -> None:
        """Write a row, in place of the one under the same key."""

    def delete(self, table: Table[Row], *key: str | int) -> None:
        """Take the row under a whole key away; nothing happens where there is none."""

    def scan(self, table: Table[Row], *prefix: str | int, start: Key = ()) -> Iterator[Row]:
        """Yield the rows whose key begins with `prefix`, in key order.

        start  the first members after the prefix to begin at (inclusive)
        """


class MemoryTables:
    """`Tables` in dicts; a sorted list of keys a table makes scans cheap."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Key, Any]] = {}
        self._keys: dict[str, list[Key]] = {}

    def get(self, table: Table[Row], *key: str | int) -> Row | None:
        row: Row | None = self._rows.get(table.name, {}).get(key)
        return row

    def put(self, table: Table[Row], row: Row) -> None:
        key = table.key_of(row)
        rows = self._rows.setdefault(table.name, {})
        if key not in rows:
            insort(self._keys.setdefault(table.name, []), key)
        rows[key] = row

    def delete(self, table: Table[Row], *key: str | int) -> None:
        if self._rows.get(table.name, {}).pop(key, None) is not None:
            keys = self._keys[table.name]
            del keys[bisect_left(keys, key)]

    def scan(self, table: Table[Row], *prefix: str | int, start: Key = ()) -> Iterator[Row]:
        keys = self._keys.get(table.name, [])
        rows = self._rows.get(table.name, {})
        first = bisect_left(keys, (*prefix, *start))
        # A copy of the keys ahead: the caller may write while it reads.
        ahead = takewhile(lambda key: key[: len(prefix)] == prefix, islice(keys, first, None))
        for key in list(ahead):
            if key in rows:
                yield rows[key]

    def dump(self) -> dict[str, list[Any]]:
        """Return every row of every table as plain values, for comparison."""
        return {
            name: [msgspec.to_builtins(self._rows[name][key]) for key in keys]
            for name, keys in sorted(self._keys.items())
            if keys
        }
