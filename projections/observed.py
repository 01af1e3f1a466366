"""What an observation means for a job: its annotations, and who made the changes."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from events.annotations import Kind, Named, kind_of, named
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
from projections.tables import Tables

_replace = msgspec.structs.replace
_key = attrgetter("kind", "id")

# One function an event, named for it.


def schema_changed(tables: Tables, at: Recorded, fact: JobSchemaChanged) -> None:
    row = job_at(tables, at)
    changes = [_outline(change) for change in fact.carried]
    assert len(set(map(_key, changes))) == len(changes), f"{at.position} carries one twice"
    _edit(tables, at, row, changes, touch=False)
    removed = [Named(kind_of(one), one.id) for one in fact.removed]
    removed_id = _remove(tables, at, row, removed, by_schema=True)
    update_job(
        tables,
        at,
        labels=fact.labels,
        annotations=row.annotations - len(removed),
        removed_id=removed_id,
    )


def _outline(change: Change) -> ChangeOutline:
    old = {name: spelled(value) for name, value in change.old.items()}
    new = {name: spelled(value) for name, value in change.new.items()}
    return ChangeOutline(change.kind, change.id, old, new)


def observed(tables: Tables, at: Recorded, fact: ObservedOutline) -> None:
    server, job = job_of(at.stream)
    # Also for one row: a key that is cut and joined for each look took a twentieth of folding.
    jobs = tables.rows(JOBS, server)
    row = jobs[job]
    assert row is not None, f"{at.stream} has no JobDiscovered"
    removed_id = _remove(tables, at, row, fact.removed)
    _edit(tables, at, row, fact.changed)
    _add(tables, at, row, fact.added, removed_id)
    nameless_us = _note_author(tables, at, row, fact)
    count = row.annotations + len(fact.added) - len(fact.removed)
    jobs[job] = _replace(
        row,
        observed_date=fact.updated_date,
        observed=at.position,
        observed_us=at.recorded_at,
        annotations=count,
        removed_id=removed_id,
        nameless_us=max(row.nameless_us, nameless_us),
    )


def _note_author(tables: Tables, at: Recorded, row: JobRow, fact: ObservedOutline) -> int:
    """Write down who it was; return where the observation ends if nobody knows, else 0."""
    since_us, until_us = date_us(fact.since or ""), date_us(fact.updated_date)
    server, job, position, evidence = row.server, row.job, at.position, at.evidence
    authors = tables.rows(AUTHORS, server, job)
    authors[position] = AuthorRow(server, job, position, since_us, until_us, at.actor, evidence)
    source = source_of(tables, server, row.project)
    if until_us > source.changed_us:
        tables.put(SOURCES, _replace(source, changed_us=until_us))
    if evidence != "unknown" or since_us == 0:
        return 0
    nameless = tables.rows(NAMELESS, server, job, until_us)
    nameless[position] = NamelessRow(server, job, until_us, position, since_us)
    return until_us


# A spelled value is a view of its whole event until it is copied, and a row must not keep that.


def _add(
    tables: Tables, at: Recorded, job: JobRow, added: Sequence[msgspec.Raw], removed_id: int
) -> None:
    server, number, position = job.server, job.job, at.position
    kind: Kind | None = None
    for annotation in added:
        one = named(annotation)
        if one.kind != kind:
            kind = one.kind
            rows = tables.rows(ANNOTATIONS, server, number, kind)
        id = one.id
        rows[id] = AnnotationRow(server, number, kind, id, annotation.copy(), position)
        # Ids grow: hardly ever does one come back that was gone, by an undo in the editor.
        if id <= removed_id:
            tables.delete(REMOVED, server, number, kind, id)


def _edit(
    tables: Tables,
    at: Recorded,
    job: JobRow,
    changes: Sequence[ChangeOutline],
    *,
    touch: bool = True,
) -> None:
    server, number, position = job.server, job.job, at.position
    kind: Kind | None = None
    for change in changes:
        if change.kind != kind:
            kind = change.kind
            rows = tables.rows(ANNOTATIONS, server, number, kind)
        id, old, new = change.id, change.old, change.new
        row = rows[id]
        assert row is not None, f"{at.stream} has no {kind} {id}"
        assert row.changed != position, f"{position} changes {kind} {id} twice"
        if touch and len(new) == 1 == len(old):
            # Most changes are a box that was moved and nothing else, so it takes no detour.
            (facet,) = new
            if facet in old:
                earlier = row.earlier
                if row.facet and row.facet != facet:
                    earlier = tuple([edit for edit in row.edits if edit[1] != facet])
                rows[id] = AnnotationRow(
                    server, number, kind, row.id, row.spelled, row.added,
                    position, facet, new[facet].copy(), earlier,
                )  # fmt: skip
                continue
        assert old or new, f"{position} changes nothing of {kind} {id}"
        edits = edited(row.edits, change, position) if touch else carried(row.edits, change)
        last = edits[-1] if edits else NO_EDIT
        rows[id] = AnnotationRow(
            server, number, kind, row.id, row.spelled, row.added, *last, edits[:-1]
        )


def _remove(
    tables: Tables,
    at: Recorded,
    job: JobRow,
    removed: Sequence[Named],
    *,
    by_schema: bool = False,
) -> int:
    """Take annotations away; return the highest id of all that ever were."""
    server, number, position = job.server, job.job, at.position
    highest = job.removed_id
    kind: Kind | None = None
    for one in removed:
        if one.kind != kind:
            kind = one.kind
            rows = tables.rows(ANNOTATIONS, server, number, kind)
            gone = tables.rows(REMOVED, server, number, kind)
        id = one.id
        row = rows.take(id)
        assert row is not None, f"{at.stream} has no {kind} {id}"
        gone[id] = RemovedRow(
            server, number, kind, id, row.spelled, row.added,
            row.changed, row.facet, row.value, row.earlier, position, by_schema,
        )  # fmt: skip
        highest = max(highest, id)
    return highest


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
