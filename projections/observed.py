"""What an observation means for a job: its annotations, and who made the changes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from events.annotations import kind_of, named
from events.envelope import Recorded
from events.job import (
    ActorLearned,
    Change,
    ChangeOutline,
    JobSchemaChanged,
    JobSettled,
    ObservedOutline,
)
from projections.attribution import date_us
from projections.facets import NO_EDIT, carried, edited, spelled
from projections.jobs import (
    ANNOTATIONS,
    AUTHORS,
    JOBS,
    LATE,
    NAMELESS,
    REMOVED,
    SOURCES,
    AnnotationRow,
    AuthorRow,
    JobRow,
    NamelessRow,
    RemovedRow,
    job_at,
    job_of,
    source_of,
    update_job,
)
from projections.tables import Key, Tables

_replace = msgspec.structs.replace

# One function an event, named for it.


def schema_changed(tables: Tables, at: Recorded, fact: JobSchemaChanged) -> None:
    row = job_at(tables, at)
    _edit(tables, at, row, [_outline(change) for change in fact.carried], touch=False)
    removed = [(row.server, row.job, kind_of(one), one.id) for one in fact.removed]
    _remove(tables, at, removed, by_schema=True)
    update_job(
        tables,
        at,
        labels=fact.labels,
        annotations=row.annotations - len(removed),
        removed_id=_highest_id(row, removed),
    )


def _outline(change: Change) -> ChangeOutline:
    old = {name: spelled(value) for name, value in change.old.items()}
    new = {name: spelled(value) for name, value in change.new.items()}
    return ChangeOutline(change.kind, change.id, old, new)


def observed(tables: Tables, at: Recorded, fact: ObservedOutline) -> None:
    row = job_at(tables, at)
    removed = [(row.server, row.job, one.kind, one.id) for one in fact.removed]
    removed_id = _highest_id(row, removed)
    _remove(tables, at, removed)
    _edit(tables, at, row, fact.changed)
    _add(tables, at, row, fact.added, removed_id)
    nameless_us = _note_author(tables, at, row, fact)
    count = row.annotations + len(fact.added) - len(removed)
    tables.put(
        JOBS,
        _replace(
            row,
            observed_date=fact.updated_date,
            observed=at.position,
            observed_us=at.recorded_at,
            annotations=count,
            removed_id=removed_id,
            nameless_us=max(row.nameless_us, nameless_us),
        ),
    )


def _note_author(tables: Tables, at: Recorded, row: JobRow, fact: ObservedOutline) -> int:
    """Write down who it was; return where the observation ends if nobody knows, else 0."""
    since_us, until_us = date_us(fact.since or ""), date_us(fact.updated_date)
    server, job, position, evidence = row.server, row.job, at.position, at.evidence
    author = AuthorRow(server, job, position, since_us, until_us, at.actor, evidence)
    tables.put_all(AUTHORS, {(server, job, position): author})
    source = source_of(tables, server, row.project)
    if until_us > source.changed_us:
        tables.put(SOURCES, _replace(source, changed_us=until_us))
    if evidence != "unknown" or since_us == 0:
        return 0
    nameless = NamelessRow(server, job, until_us, position, since_us)
    tables.put_all(NAMELESS, {(server, job, until_us, position): nameless})
    return until_us


def _highest_id(row: JobRow, removed: Sequence[Key]) -> int:
    return max(row.removed_id, *[key[-1] for key in removed]) if removed else row.removed_id


# Many annotations in one step: an observation names each at most once. A spelled value is a view of
# its whole event until it is copied, and a row must not keep that.


def _add(
    tables: Tables, at: Recorded, job: JobRow, added: Sequence[msgspec.Raw], removed_id: int
) -> None:
    server, number, position = job.server, job.job, at.position
    rows = {
        (server, number, one.kind, one.id): AnnotationRow(
            server, number, one.kind, one.id, annotation.copy(), position
        )
        for one, annotation in zip(map(named, added), added, strict=True)
    }
    # Ids grow: hardly ever does one come back that was gone, by an undo in the editor.
    for key in rows:
        if key[-1] <= removed_id:
            tables.delete(REMOVED, *key)
    tables.put_all(ANNOTATIONS, rows)


def _edit(
    tables: Tables,
    at: Recorded,
    job: JobRow,
    changes: Sequence[ChangeOutline],
    *,
    touch: bool = True,
) -> None:
    server, number, position = job.server, job.job, at.position
    keys = [(server, number, change.kind, change.id) for change in changes]
    rows = {}
    for key, row, change in zip(keys, tables.get_all(ANNOTATIONS, keys), changes, strict=True):
        assert row is not None, f"there is no {change.kind} {change.id}"
        old, new = change.old, change.new
        if touch and len(new) == 1 == len(old):
            # Most changes are a box that was moved and nothing else, so it takes no detour.
            (facet,) = new
            if facet in old:
                earlier = row.earlier
                if row.facet and row.facet != facet:
                    earlier = tuple([edit for edit in row.edits if edit[1] != facet])
                rows[key] = AnnotationRow(
                    server, number, row.kind, row.id, row.spelled, row.added,
                    position, facet, new[facet].copy(), earlier,
                )  # fmt: skip
                continue
        edits = edited(row.edits, change, position) if touch else carried(row.edits, change)
        last = edits[-1] if edits else NO_EDIT
        rows[key] = AnnotationRow(
            server, number, row.kind, row.id, row.spelled, row.added, *last, edits[:-1]
        )
    assert len(rows) == len(keys), f"{at.position} changes an annotation twice"
    tables.put_all(ANNOTATIONS, rows)


def _remove(tables: Tables, at: Recorded, keys: Sequence[Key], *, by_schema: bool = False) -> None:
    rows = {}
    for key, row in zip(keys, tables.get_all(ANNOTATIONS, keys), strict=True):
        assert row is not None, f"{at.stream} has no {key[2]} {key[3]}"
        tables.delete(ANNOTATIONS, *key)
        rows[key] = RemovedRow(
            row.server,
            row.job,
            row.kind,
            row.id,
            row.spelled,
            row.added,
            row.changed,
            row.facet,
            row.value,
            row.earlier,
            at.position,
            by_schema,
        )
    tables.put_all(REMOVED, rows)


def settled(tables: Tables, at: Recorded, fact: JobSettled) -> None:
    row = job_at(tables, at)
    # What a delivery told before the last settling was weighed since, and did not suffice.
    for late in list(tables.scan(LATE, row.server, row.job)):
        if late.step < row.settled:
            tables.delete(LATE, *LATE.key_of(late))
    update_job(tables, at, settled=at.position)


def learned(tables: Tables, at: Recorded, fact: ActorLearned) -> None:
    author = tables.get(AUTHORS, *job_of(at.stream), fact.position)
    assert author is not None, f"{at.stream} observed nothing at {fact.position}"
    tables.put(AUTHORS, _replace(author, learned=fact.actors))
    tables.delete(NAMELESS, author.server, author.job, author.until_us, author.position)
    tables.delete(LATE, author.server, author.job, author.position)
