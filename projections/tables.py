"""State as ordered tables of typed rows: what folds write and decisions read.

A fold knows only this port. In memory it serves decisions at any position and the tests; the
shell keeps the same tables in SQLite.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
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
        return _members(self.key)

    @cached_property
    def prefix_of(self) -> Callable[[Row], Key]:
        """Return what gives the same but for the last member."""
        return _members(self.key[:-1])

    @cached_property
    def last_of(self) -> Callable[[Row], str | int]:
        """Return what gives the last member of a row's key."""
        return attrgetter(self.key[-1])


def _members(names: tuple[str, ...]) -> Callable[[Any], Key]:
    match names:
        case ():
            return lambda row: ()
        case (name,):
            get = attrgetter(name)
            return lambda row: (get(row),)
        case _:
            return attrgetter(*names)


def plain(row: msgspec.Struct) -> Any:
    """Return a row as plain values, also what it holds spelled."""
    return msgspec.to_builtins(row, str_keys=True, enc_hook=_read)


def _read(held: object) -> Any:
    assert isinstance(held, msgspec.Raw), type(held)
    return parse(bytes(held))


class Rows(Protocol[Row]):
    """Rows of one table by the last member of their keys, which are alike but for that."""

    def __getitem__(self, last: Any, /) -> Row | None:
        """Return a row, None where there is none."""

    def __setitem__(self, last: Any, row: Row, /) -> None:
        """Write a row, given with the last member of its own key."""

    def take(self, last: Any, /) -> Row | None:
        """Return a row and take it away, None where there is none."""


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

    def rows(self, table: Table[Row], *prefix: str | int) -> Rows[Row]:
        """Return the rows whose key has these members before its last one, to read and write many.

        They are the table's own, and stand for it no longer than an event is folded.
        """


class _Rows(dict[Any, Any]):
    """What is under some keys; they are sorted when somebody scans, not when somebody writes."""

    # Of the class until somebody scans or takes: a table may have one of these for each row.
    _sorted: list[Any] | None = None
    _rows_sorted = 0
    _taken = 0

    def __missing__(self, key: Any) -> Any:
        return None

    def take(self, key: Any) -> Any:
        row = self.pop(key, None)
        if row is not None:
            self._taken += 1
        return row

    def in_order(self) -> list[Any]:
        """Return the keys in order; some may be gone, or come twice."""
        # The keys that came since they were sorted are the last here.
        fresh = len(self) - self._rows_sorted + self._taken
        if self._sorted is None or fresh > FEW_KEYS:
            self._sorted = sorted(self)
        else:
            for key in islice(reversed(self), fresh):
                insort(self._sorted, key)
        self._rows_sorted, self._taken = len(self), 0
        return self._sorted


# So many new keys are put in their places one by one; more are worth a sort.
FEW_KEYS = 32


class _Groups(_Rows):
    """The rows of one table: what the key begins with, then its last member."""

    def __missing__(self, prefix: Key) -> _Rows:
        rows = self[prefix] = _Rows()
        return rows

    def begin_at(self, low: Key, width: int) -> Iterator[tuple[Key, Any]]:
        """Yield the keys that are not below one, in order; some may be gone, or come twice.

        width  how many members of a whole key stand before its last one
        """
        prefixes = self.in_order()
        for prefix in prefixes[bisect_left(prefixes, low[:width]) :]:
            lasts = self[prefix].in_order()
            is_first = prefix == low[:width] and len(low) > width
            first = bisect_left(lasts, low[width]) if is_first else 0
            yield from ((prefix, last) for last in lasts[first:])


class _Declared(dict[str, _Groups]):
    """Rows of the tables that there are: on disk another one is no table either."""

    def __missing__(self, name: str) -> _Groups:
        raise AssertionError(f"no fold here declares the table {name}")


class MemoryTables:
    """`Tables` in dicts.

    declared  the tables that there are; None: whichever is asked for
    """

    def __init__(self, declared: Iterable[Table[Any]] | None = None) -> None:
        self._tables: dict[str, _Groups] = defaultdict(_Groups)
        if declared is not None:
            self._tables = _Declared((table.name, _Groups()) for table in declared)

    def get(self, table: Table[Row], *key: str | int) -> Row | None:
        rows = self._tables[table.name].get(key[:-1])
        return rows[key[-1]] if rows else None

    def put(self, table: Table[Row], row: Row) -> None:
        self._tables[table.name][table.prefix_of(row)][table.last_of(row)] = row

    def delete(self, table: Table[Row], *key: str | int) -> None:
        if rows := self._tables[table.name].get(key[:-1]):
            rows.take(key[-1])

    def rows(self, table: Table[Row], *prefix: str | int) -> Rows[Row]:
        rows: Rows[Row] = self._tables[table.name][prefix]
        return rows

    def scan(self, table: Table[Row], *prefix: str | int, start: Key = ()) -> Iterator[Row]:
        groups = self._tables[table.name]
        keys = groups.begin_at((*prefix, *start), len(table.key) - 1)
        # A copy of the keys ahead: the caller may write while it reads.
        ahead = takewhile(lambda key: (*key[0], key[1])[: len(prefix)] == prefix, keys)
        for group, last in dict.fromkeys(ahead):
            row = groups[group][last]
            if row is not None:
                yield row

    def dump(self) -> dict[str, list[Any]]:
        """Return every row of every table as plain values, for comparison."""
        found = {
            name: [plain(rows[last]) for _, rows in sorted(groups.items()) for last in sorted(rows)]
            for name, groups in sorted(self._tables.items())
        }
        return {name: rows for name, rows in found.items() if rows}
