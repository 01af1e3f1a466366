"""State as ordered tables of typed rows: what folds write and decisions read.

A fold knows only this port. In memory it serves decisions at any position and the tests; the
shell keeps the same tables in SQLite.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, takewhile
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from events.canonical import parse

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


def plain(row: msgspec.Struct) -> Any:
    """Return a row as plain values, also what it holds spelled."""
    return msgspec.to_builtins(row, str_keys=True, enc_hook=_read)


def _read(held: object) -> Any:
    assert isinstance(held, msgspec.Raw), type(held)
    return parse(bytes(held))


class Tables(Protocol):
    """What a fold and a decision may ask of state."""

    def get(self, table: Table[Row], *key: str | int) -> Row | None:
        """Return the row under a whole key, None where there is none."""

    def get_all(self, table: Table[Row], keys: Collection[Key]) -> list[Row | None]:
        """Return the rows under whole keys, None where there is none."""

    def put(self, table: Table[Row], row: Row) -> None:
        """Write a row, in place of the one under the same key."""

    def put_all(self, table: Table[Row], rows: Mapping[Key, Row]) -> None:
        """Write rows, each given under its own whole key; many cost much less than one by one."""

    def delete(self, table: Table[Row], *key: str | int) -> None:
        """Take the row under a whole key away; nothing happens where there is none."""

    def scan(self, table: Table[Row], *prefix: str | int, start: Key = ()) -> Iterator[Row]:
        """Yield the rows whose key begins with `prefix`, in key order.

        start  the first members after the prefix to begin at (inclusive)
        """


class _Rows(dict[Key, Any]):
    """The rows of one table; keys are sorted when somebody scans, not when somebody writes."""

    def __init__(self) -> None:
        super().__init__()
        self._sorted: list[Key] = []
        self._rows_sorted = 0
        self._deleted = 0

    def delete(self, key: Key) -> None:
        if self.pop(key, None) is not None:
            self._deleted += 1

    def in_order(self) -> list[Key]:
        """Return the keys in order; some may be gone, or come twice."""
        # The keys that came since they were sorted are the last here.
        fresh = len(self) - self._rows_sorted + self._deleted
        if fresh > FEW_KEYS:
            self._sorted = sorted(self)
        else:
            for key in islice(reversed(self), fresh):
                insort(self._sorted, key)
        self._rows_sorted, self._deleted = len(self), 0
        return self._sorted


# So many new keys are put in their places one by one; more are worth a sort.
FEW_KEYS = 32


class _Declared(dict[str, _Rows]):
    """Rows of the tables that there are: on disk another one is no table either."""

    def __missing__(self, name: str) -> _Rows:
        raise AssertionError(f"no fold here declares the table {name}")


class MemoryTables:
    """`Tables` in dicts.

    declared  the tables that there are; None: whichever is asked for
    """

    def __init__(self, declared: Iterable[Table[Any]] | None = None) -> None:
        self._tables: dict[str, _Rows] = defaultdict(_Rows)
        if declared is not None:
            self._tables = _Declared((table.name, _Rows()) for table in declared)

    def get(self, table: Table[Row], *key: str | int) -> Row | None:
        row: Row | None = self._tables[table.name].get(key)
        return row

    def get_all(self, table: Table[Row], keys: Collection[Key]) -> list[Row | None]:
        return list(map(self._tables[table.name].get, keys))

    def put(self, table: Table[Row], row: Row) -> None:
        self._tables[table.name][table.key_of(row)] = row

    def put_all(self, table: Table[Row], rows: Mapping[Key, Row]) -> None:
        self._tables[table.name].update(rows)

    def delete(self, table: Table[Row], *key: str | int) -> None:
        self._tables[table.name].delete(key)

    def scan(self, table: Table[Row], *prefix: str | int, start: Key = ()) -> Iterator[Row]:
        rows = self._tables[table.name]
        keys = rows.in_order()
        first = bisect_left(keys, (*prefix, *start))
        # A copy of the keys ahead: the caller may write while it reads.
        ahead = takewhile(lambda key: key[: len(prefix)] == prefix, islice(keys, first, None))
        for key in dict.fromkeys(ahead):
            if key in rows:
                yield rows[key]

    def dump(self) -> dict[str, list[Any]]:
        """Return every row of every table as plain values, for comparison."""
        return {
            name: [plain(rows[key]) for key in sorted(rows)]
            for name, rows in sorted(self._tables.items())
            if rows
        }
