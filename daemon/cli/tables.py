"""Tables as every listing prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]


def table(*columns: tuple[str, str], empty: str) -> Callable[[Iterator[Json], Console], None]:
    """Return a renderer: a table with (member, heading) columns, or the words for an empty one."""

    def shows(objects: Iterator[Json], console: Console) -> None:
        rows = [[cell(found.get(member)) for member, _ in columns] for found in objects]
        if not rows:
            console.print(empty)
            return
        print_table([heading for _, heading in columns], rows, console)

    return shows


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print rows under headings."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        grid.add_column(heading, overflow="fold")
    for row in rows:
        grid.add_row(*map(_escaped, row))
    console.print(grid)


def cell(value: object) -> str:
    """Return a value as a table shows it."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(cell, value)) or "–"
    return str(value)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
