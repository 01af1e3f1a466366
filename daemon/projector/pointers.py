"""Which SQLite tables hold which fold, how far they have come, and which of them answer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, Final, Literal, cast

import msgspec
import msgspec.inspect

from daemon.projector.rows import parts_of
from daemon.projector.tables import create
from daemon.store.driver import sqlite3
from events.envelope import Recorded
from projections.fold import Fold
from projections.tables import Table

State = Literal["live", "building"]


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """One set of tables of one fold.

    color     blue or green: the new tables of a fold stand beside the old
    shape     hash of the fold's tables, their keys and the types of their rows
    position  the last event that is in the tables; all live sets stand at the same one
    leaf      its leaf hash (hex), which tells this log from another, and from its own restored copy
    """

    fold: str
    color: str
    revision: int
    shape: str
    state: State
    position: int
    leaf: str

    def table(self, name: str) -> str:
        """Return the SQLite name of one of the tables."""
        return f"{self.fold}_r{self.revision}_{self.color}_{name}"

    def fits(self, fold: Fold) -> bool:
        """Tell whether today's code may go on with these tables."""
        return self.revision == fold.revision and self.shape == shape_of(fold)


_KEY: Final = ("fold", "color")
_MEMBERS: Final = Pointer.__struct_fields__


class Pointers:
    """The table `pointers` and the tables that it speaks of. Changes want a transaction."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def create(self) -> None:
        """Make the table of pointers."""
        import sqlite_utils

        types: dict[str, Any] = dict.fromkeys(_MEMBERS, str) | {"revision": int, "position": int}
        sqlite_utils.Database(self._conn).table("pointers").create(
            types, pk=_KEY, not_null=_MEMBERS, strict=True
        )

    def all(self, state: State) -> dict[str, Pointer]:
        """Return fold name → pointer."""
        found = self._conn.execute(
            f"SELECT {', '.join(_MEMBERS)} FROM pointers WHERE state = ?",  # noqa: S608
            (state,),
        )
        rows = (Pointer(**dict(zip(_MEMBERS, row, strict=True))) for row in found)
        return {row.fold: row for row in rows}

    def make(self, folds: Iterable[Fold], state: State) -> None:
        """Make empty tables for folds, in the color that is not taken."""
        taken = {row.fold: row.color for row in self.all("live").values()}
        for fold in folds:
            row = Pointer(
                fold=fold.name,
                color="green" if taken.get(fold.name) == "blue" else "blue",
                revision=fold.revision,
                shape=shape_of(fold),
                state=state,
                position=0,
                leaf="",
            )
            for table in fold.tables:
                create(self._conn, table, row.table(table.name))
            marks = ", ".join("?" * len(_MEMBERS))
            self._conn.execute(
                f"INSERT INTO pointers VALUES ({marks})",  # noqa: S608
                tuple(getattr(row, member) for member in _MEMBERS),
            )

    def drop(self, rows: Iterable[Pointer]) -> None:
        """Drop sets of tables, with whatever tables they have."""
        for row in rows:
            prefix = row.table("")
            for (name,) in self._conn.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, ?) = ?",
                (len(prefix), prefix),
            ).fetchall():
                self._conn.execute(f'DROP TABLE "{name}"')
            self._conn.execute(
                "DELETE FROM pointers WHERE fold = ? AND color = ?", (row.fold, row.color)
            )

    def moved(self, state: State, last: Recorded) -> None:
        """Write down how far the tables came, in the transaction that brought them there."""
        self._conn.execute(
            "UPDATE pointers SET position = ?, leaf = ? WHERE state = ?",
            (last.position, last.leaf.hex(), state),
        )

    def built(self, folds: Collection[str], last: Recorded, *, after: int) -> int:
        """Write it down for the new tables of some folds; return how many stood at `after`."""
        marks = ", ".join("?" * len(folds))
        return self._conn.execute(
            "UPDATE pointers SET position = ?, leaf = ?"  # noqa: S608
            f" WHERE state = 'building' AND position = ? AND fold IN ({marks})",
            (last.position, last.leaf.hex(), after, *folds),
        ).rowcount

    def switch(self) -> None:
        """Let the new tables answer from now on, and drop those whose place they take."""
        new = self.all("building")
        self.drop(row for name, row in self.all("live").items() if name in new)
        self._conn.execute("UPDATE pointers SET state = 'live'")

    def name_live(self, folds: Collection[Fold]) -> None:
        """Give the live tables their plain names, as views, for people with an SQLite tool."""
        for (name,) in self._conn.execute(
            "SELECT name FROM sqlite_master WHERE type = 'view'"
        ).fetchall():
            self._conn.execute(f'DROP VIEW "{name}"')
        for fold in folds:
            row = self.all("live").get(fold.name)
            for table in fold.tables if row and row.fits(fold) else ():
                assert row is not None
                self._conn.execute(
                    f'CREATE VIEW "{table.name}" AS SELECT * FROM "{row.table(table.name)}"'  # noqa: S608
                )


def shape_of(fold: Fold) -> str:
    """Return a hash of the tables' names, keys and row types; no docstrings, no defaults."""
    return _shape_of(fold.tables)


@cache  # Types do not change, and looking into all of them takes 50 ms.
def _shape_of(tables: tuple[Table[Any], ...]) -> str:
    shapes = [
        [table.name, table.key, [_shape(part) for part in parts_of(cast("Any", table.row))]]
        for table in tables
    ]
    return hashlib.sha256(msgspec.json.encode(shapes)).hexdigest()[:16]


def _shape(part: object) -> list[str]:
    match part:
        case msgspec.inspect.Field(encode_name=name, required=required):
            return ["field", name, str(required)]
        case msgspec.inspect.StructType(cls=cls, tag=tag):
            return ["struct", cls.__name__, str(tag)]
        case msgspec.inspect.LiteralType(values=values):
            return ["literal", *sorted(map(str, values))]
        case msgspec.inspect.Type():
            return [type(part).__name__]
    return []
