"""The tables as a question sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from daemon.ports.projections import WriteRefused
from projections.tables import Key, Row, Table, Tables


class View:
    """`Tables` that can be read, for as long as the question runs."""

    def __init__(self, tables: Tables) -> None:
        self._tables: Tables | None = tables

    def get(self, table: Table[Row], *key: str | int) -> Row | None:
        return self._open().get(table, *key)

    def scan(self, table: Table[Row], *prefix: str | int, start: Key = ()) -> Iterator[Row]:
        for row in self._open().scan(table, *prefix, start=start):
            yield row
            # A scan that left the question would read on another thread, from changed tables.
            self._open()

    def put(self, table: Table[Row], row: Row) -> None:
        self._refuse(table)

    def delete(self, table: Table[Row], *key: str | int) -> None:
        self._refuse(table)

    def rows(self, table: Table[Row], *prefix: str | int) -> NoReturn:
        self._refuse(table)

    def close(self) -> None:
        """End the question; whoever still reads gets a RuntimeError."""
        self._tables = None

    def _open(self) -> Tables:
        if self._tables is None:
            raise RuntimeError("a question returned a scan instead of what it found; use list()")
        return self._tables

    def _refuse(self, table: Table[Row]) -> NoReturn:
        raise WriteRefused(
            "a question cannot write",
            table=table.name,
            hint="nothing was written; append an event, a fold turns it into state",
        )
