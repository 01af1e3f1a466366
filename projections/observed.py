"""What an observation means for a job: its annotations, and who made the changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from events.annotations import KINDS, Annotation, kind_of
from events.envelope import Recorded
from events.job import ActorLearned, AnnotationsObserved, Change, JobSchemaChanged, JobSettled
from projections.attribution import date_us
from projections.facets import Facets, with_facets
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
from projections.tables import Tables

_replace = msgspec.structs.replace

# One function an event, named for it.


def schema_changed(tables: Tables, at: Recorded, fact: JobSchemaChanged) -> None:
    row = job_at(tables, at)
    _apply(tables, at, row, fact.carried, touch=False)
    _remove(tables, at, row, fact.removed, by_schema=True)
    update_job(
        tables,
        at,
        labels=fact.labels,
        annotations=row.annotations - len(fact.removed),
        removed_id=_highest_id(row, fact.removed),
    )


def observed(tables: Tables, at: Recorded, fact: AnnotationsObserved) -> None:
    row = job_at(tables, at)
    removed_id = _highest_id(row, fact.removed)
    _remove(tables, at, row, fact.removed)
    _apply(tables, at, row, fact.changed)
    _add(tables, at, row, fact.added, removed_id)
    nameless_us = _note_author(tables, at, row, fact)
    count = row.annotations + len(fact.added) - len(fact.removed)
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


def _note_author(tables: Tables, at: Recorded, row: JobRow, fact: AnnotationsObserved) -> int:
    """Write down who it was; return where the observation ends if nobody knows, else 0."""
    since_us, until_us = date_us(fact.since or ""), date_us(fact.updated_date)
    author = AuthorRow(
        server=row.server,
        job=row.job,
        position=at.position,
        since_us=since_us,
        until_us=until_us,
        actor=at.actor,
        evidence=at.evidence,
    )
    tables.put(AUTHORS, author)
    is_nameless = author.evidence == "unknown" and since_us > 0
    if is_nameless:
        tables.put(NAMELESS, _nameless(author))
    source = source_of(tables, row.server, row.project)
    if until_us > source.changed_us:
        tables.put(SOURCES, _replace(source, changed_us=until_us))
    return until_us if is_nameless else 0


def _highest_id(row: JobRow, removed: Iterable[Annotation]) -> int:
    return max([row.removed_id, *(annotation.id for annotation in removed)])


def _nameless(author: AuthorRow) -> NamelessRow:
    return NamelessRow(
        server=author.server,
        job=author.job,
        until_us=author.until_us,
        position=author.position,
        since_us=author.since_us,
    )


# Many annotations in one step: an observation names each at most once. What rows have in common
# they share, and nobody changes it: memory that is not in the processor's cache costs the most.

_UNTOUCHED: dict[str, int] = {}


def _add(
    tables: Tables, at: Recorded, job: JobRow, added: Iterable[Annotation], removed_id: int
) -> None:
    server, number, position = job.server, job.job, at.position
    rows = {}
    for annotation in added:
        kind, id = KINDS[type(annotation)], annotation.id
        # Ids grow: hardly ever does one come back that was gone, by an undo in the editor.
        if id <= removed_id:
            tables.delete(REMOVED, server, number, kind, id)
        rows[server, number, kind, id] = AnnotationRow(
            server, number, kind, id, annotation, position, _UNTOUCHED
        )
    tables.put_all(ANNOTATIONS, rows)


def _apply(
    tables: Tables, at: Recorded, job: JobRow, changes: Sequence[Change], *, touch: bool = True
) -> None:
    server, number, position = job.server, job.job, at.position
    keys = [(server, number, change.kind, change.id) for change in changes]
    moved = {"geometry": position}
    rows = {}
    for key, row, change in zip(keys, tables.get_all(ANNOTATIONS, keys), changes, strict=True):
        assert row is not None, f"there is no {change.kind} {change.id}"
        annotation, touched = row.annotation, row.touched
        old: Facets = change.old
        new: Facets = change.new
        if touch and len(new) == 1 == len(old) and "geometry" in new and "geometry" in old:
            # A box was moved: most changes are this one, so it takes no detour.
            annotation = _replace(annotation, points=tuple(new["geometry"]))
            touched = touched | moved if touched else moved
        else:
            annotation = with_facets(annotation, old, new)
            if touch:
                touched = touched | dict.fromkeys((*new, *old), position)
        rows[key] = AnnotationRow(server, number, row.kind, row.id, annotation, row.added, touched)
    assert len(rows) == len(keys), f"{at.position} changes an annotation twice"
    tables.put_all(ANNOTATIONS, rows)


def _remove(
    tables: Tables,
    at: Recorded,
    job: JobRow,
    removed: Sequence[Annotation],
    *,
    by_schema: bool = False,
) -> None:
    server, number, position = job.server, job.job, at.position
    keys = [(server, number, kind_of(one), one.id) for one in removed]
    rows = {}
    for key, row in zip(keys, tables.get_all(ANNOTATIONS, keys), strict=True):
        assert row is not None, f"{at.stream} has no {key[2]} {key[3]}"
        tables.delete(ANNOTATIONS, *key)
        rows[key] = RemovedRow(
            server=server,
            job=number,
            kind=row.kind,
            id=row.id,
            position=position,
            annotation=row.annotation,
            added=row.added,
            touched=row.touched,
            by_schema=by_schema,
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
    tables.delete(NAMELESS, *NAMELESS.key_of(_nameless(author)))
    tables.delete(LATE, author.server, author.job, author.position)
