"""What the projector's thread works on: live tables, and new ones beside them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from projections.tables import Tables


class Keeper(Protocol):
    """The live tables, which all stand at one position, and those of a rebuild, if one runs.

    Synchronous, and used by the one thread that made it.
    """

    @property
    def position(self) -> int:
        """Return where the live tables stand."""

    @property
    def building(self) -> int | None:
        """Return where the new tables stand; None when none are built."""

    @property
    def away(self) -> bool:
        """Tell whether others build the new tables, so that here is nothing to do for them."""

    @property
    def frozen(self) -> bool:
        """Tell whether live tables cannot move on, since their fold's code changed or is new."""

    def readable(self, names: Collection[str] | None) -> bool:
        """Tell whether the live tables of these folds (None: all) can be read by today's code."""

    def tables(self) -> Tables:
        """Return the live tables, for reading."""

    def advance(self, upto: int) -> None:
        """Bring the live tables forward by at most a batch."""

    def begin(self, names: Collection[str]) -> None:
        """Start new, empty tables for these folds, and for those that are being built."""

    def build(self) -> None:
        """Bring the new tables forward by at most a batch; live ones reached, they take over.

        Raises what kept others from building them.
        """

    def abandon(self) -> None:
        """Drop the new tables, unless the live ones are frozen without them."""

    def heal(self, exc: Exception) -> bool:
        """Begin anew where an error came from damaged tables; False: it came from elsewhere."""

    def close(self) -> None:
        """Give everything back."""
