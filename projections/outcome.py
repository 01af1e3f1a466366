"""What the merge of one job came to, as facts in an order in which they can be folded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from events.registry import Fact
from events.run import (
    Conflict,
    ConflictRaised,
    EditRejected,
    LabelEdit,
    LabelsLinked,
    LabelsMerged,
    Link,
)
from projections.attribution import UNKNOWN, Author
from projections.runs import Address

Item = TypeVar("Item")

# Labels in one event. A larger merge is several events of one atomic append.
EVENT_LABELS_MAX = 1_000


@dataclass
class Outcome:
    """What was decided so far, grouped so that each event has one author."""

    job: int
    facts: list[tuple[Fact, Author]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    merged: dict[Author, list[LabelEdit]] = field(default_factory=lambda: defaultdict(list))
    conflicts: dict[Author, list[Conflict]] = field(default_factory=lambda: defaultdict(list))
    rejected: dict[tuple[str, Author], list[LabelEdit]] = field(
        default_factory=lambda: defaultdict(list)
    )
    added: set[tuple[str, str]] = field(default_factory=set)
    removed: set[Address] = field(default_factory=set)

    def merge(self, who: Author, edit: LabelEdit) -> None:
        """Take an edit over, and remember what that leaves room for."""
        self.merged[who].append(edit)
        if edit.operation == "added":
            self.added.add((edit.sample, edit.field))
        elif edit.operation == "removed":
            self.removed.add(Address(edit.sample, edit.frame, edit.field, edit.label))

    def all(self) -> Iterator[tuple[Fact, Author]]:
        """Yield the facts in an order in which they can be folded: links before edits."""
        for links in _chunks(self.links):
            yield LabelsLinked(job=self.job, links=links), UNKNOWN
        for who, edits in self.merged.items():
            for some in _chunks(edits):
                yield LabelsMerged(job=self.job, edits=some), who
        for (restriction, who), edits in self.rejected.items():
            for some in _chunks(edits):
                yield EditRejected(job=self.job, restriction=restriction, edits=some), who
        for who, conflicts in self.conflicts.items():
            for clashing in _chunks(conflicts):
                yield ConflictRaised(job=self.job, conflicts=clashing), who
        yield from self.facts


def _chunks(items: list[Item]) -> Iterator[tuple[Item, ...]]:
    for first in range(0, len(items), EVENT_LABELS_MAX):
        yield tuple(items[first : first + EVENT_LABELS_MAX])
