"""Two states of a dataset or a job, label by label: what `diff` and `at` show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from events.registry import Fact
from projections import history, jobs
from projections.label_fields import LABELS
from projections.runs import Address
from projections.tables import MemoryTables, Tables

Values = dict[str, Any]


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One label or annotation that differs: changed members only, or whole where one side lacks it.

    where  its address, as name → value
    """

    where: Values
    operation: str
    old: Values | None = None
    new: Values | None = None


def label_at(tables: Tables, dataset: str, address: Address) -> Values | None:
    """Return a label's document, None where there is no such label."""
    row = tables.get(LABELS, dataset, *address)
    return None if row is None else row.document


def labels_of(
    tables: Tables, dataset: str, *, sample: str | None = None, field: str | None = None
) -> Iterator[tuple[Address, Values]]:
    """Yield the labels of a dataset, of one sample or field alone if named."""
    prefix = (dataset,) if sample is None else (dataset, sample)
    for row in tables.scan(LABELS, *prefix):
        if field is None or row.field == field:
            yield Address(row.sample, row.frame, row.field, row.label), row.document


def annotations_of(
    tables: Tables, server: str, job: int
) -> Iterator[tuple[tuple[str, int], Values]]:
    """Yield the annotations of a job as they were observed."""
    for row in tables.scan(jobs.ANNOTATIONS, server, job):
        yield (row.kind, row.id), msgspec.to_builtins(row.annotation)


def annotation_at(tables: Tables, server: str, job: int, kind: str, id: int) -> Values | None:
    """Return an annotation as it was observed, None where there is none."""
    row = tables.get(jobs.ANNOTATIONS, server, job, kind, id)
    return None if row is None else msgspec.to_builtins(row.annotation)


def difference(where: Values, old: Values | None, new: Values | None) -> Difference | None:
    """Compare two values of one thing, None where they are the same."""
    if old == new:
        return None
    if old is None:
        return Difference(where=where, operation="added", new=new)
    if new is None:
        return Difference(where=where, operation="removed", old=old)
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return Difference(
        where=where,
        operation="changed",
        old={name: old[name] for name in sorted(changed & old.keys())},
        new={name: new[name] for name in sorted(changed & new.keys())},
    )


def touched_labels(events: Iterable[tuple[Any, Fact]], dataset: str) -> list[Address]:
    """Return the labels of a dataset that events name, in order of address."""
    tables = MemoryTables()
    for at, fact in events:
        history.HISTORY_FOLD.apply(tables, at, fact)
    return sorted(
        {
            Address(row.sample, row.frame, row.field, row.label)
            for row in tables.scan(history.LABEL_EVENTS, dataset)
        }
    )


def touched_annotations(
    events: Iterable[tuple[Any, Fact]], server: str, job: int
) -> list[tuple[str, int]]:
    """Return the annotations of a job that events name."""
    tables = MemoryTables()
    for at, fact in events:
        history.HISTORY_FOLD.apply(tables, at, fact)
    return sorted(
        {(row.kind, row.id) for row in tables.scan(history.ANNOTATION_EVENTS, server, job)}
    )
