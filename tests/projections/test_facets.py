"""An annotation is put together from how it appeared and the last edit of each facet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from events.annotations import Annotation, Shape
from events.job import AnnotationsObserved, ChangeOutline, JobDiscovered, ObservedOutline
from events.registry import Fact, outlined
from projections.facets import (
    UNTOUCHED,
    Edit,
    annotation_of,
    carried,
    change_between,
    edited,
    spelled,
)
from projections.jobs import ANNOTATIONS, REMOVED, AnnotationRow, RemovedRow
from projections.jobs_fold import JOBS_FOLD
from projections.tables import MemoryTables
from tests.projections.test_datasets import recorded

POINTS = st.lists(st.sampled_from([0.0, 0.1, 1e300, math.inf]), max_size=4).map(tuple)
TEXTS = st.sampled_from(["", "null", 'a"$blob', "{$numberDouble}", "é"])
SHAPES = st.builds(
    Shape,
    id=st.just(7),
    frame=st.integers(0, 2),
    label=TEXTS,
    type=st.just("polygon"),
    points=POINTS,
    occluded=st.booleans(),
    attributes=st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, min_size=2).map(tuple), max_size=3),
    elements=st.lists(
        st.builds(Shape, id=st.just(8), frame=st.just(0), label=TEXTS, type=TEXTS, points=POINTS),
        max_size=2,
    ).map(tuple),
)


def outline_of_change(old: Annotation, new: Annotation) -> ChangeOutline | None:
    """Return what a fold reads of a change, through the bytes of the log."""
    change = change_between(old, new)
    if change is None:
        return None
    outline = outlined(AnnotationsObserved(updated_date="", changed=(change,)))
    assert isinstance(outline, ObservedOutline)
    return outline.changed[0]


def in_order(annotation: Annotation) -> Annotation:
    """Return an annotation with its attributes sorted, as the log spells them."""
    attributes = dict(sorted(annotation.attributes.items()))
    return msgspec.structs.replace(annotation, attributes=attributes)


# Most saves change one facet of a box, and then perhaps another one.
STEPS = st.tuples(st.sampled_from(["label", "points", "occluded", "attributes", "all"]), SHAPES)


def after(state: Shape, member: str, other: Shape) -> Shape:
    """Return a state with one member, or all, of another one."""
    if member == "all":
        return other
    return msgspec.structs.replace(state, **{member: getattr(other, member)})


@given(SHAPES, st.lists(STEPS, max_size=6))
def test_edits_lead_to_the_last_state_and_name_who_touched_each_facet(
    first: Shape, steps: list[tuple[str, Shape]]
) -> None:
    """Rows are written far more often than read: they are put together when somebody looks."""
    states = list(accumulate(steps, lambda state, step: after(state, *step), initial=first))
    facts: list[Fact] = [
        JobDiscovered(task=1, start_frame=0, stop_frame=9),
        AnnotationsObserved(updated_date="", added=(first,)),
    ]
    touched: dict[str, int] = {}
    for old, new in pairwise(states):
        if change := change_between(old, new):
            facts.append(AnnotationsObserved(updated_date="", changed=(change,)))
            touched |= dict.fromkeys(change.old.keys() | change.new.keys(), len(facts))

    row = folded(facts)

    assert in_order(row.annotation) == in_order(states[-1])
    assert row.touched == touched
    assert len(row.edits) == len(touched)
    gone = folded([*facts, AnnotationsObserved(updated_date="", removed=(states[-1],))])
    assert isinstance(gone, RemovedRow)
    assert (gone.annotation, gone.edits) == (row.annotation, row.edits)
    assert gone.position == len(facts) + 1


def folded(facts: Sequence[Fact]) -> AnnotationRow:
    """Return the one annotation of a job that facts were recorded of, also where it is gone."""
    tables = MemoryTables()
    for position, fact in enumerate(facts, 1):
        JOBS_FOLD.apply(tables, recorded(position, "job/main/7"), outlined(fact))
    [row] = [*tables.scan(ANNOTATIONS, "main"), *tables.scan(REMOVED, "main")]
    return row


@given(SHAPES, SHAPES, SHAPES)
def test_a_change_that_nobody_made_leaves_the_author_of_a_facet(
    first: Shape, second: Shape, third: Shape
) -> None:
    """A renamed class is no edit, and who gave the box its class still did."""
    edits: tuple[Edit, ...] = ()
    if change := outline_of_change(first, second):
        edits = edited(edits, change, 5)
    touched = {name for _, name, _ in edits}

    if change := outline_of_change(second, third):
        edits = carried(edits, change)

    assert in_order(annotation_of(spelled(first), edits)) == in_order(third)
    assert {name: position for position, name, _ in edits if position != UNTOUCHED} == (
        dict.fromkeys(touched, 5)
    )


@given(SHAPES, st.lists(STEPS, max_size=4))
def test_a_row_keeps_nothing_of_its_events_but_its_values(
    first: Shape, steps: list[tuple[str, Shape]]
) -> None:
    """It may outlive an event of a megabyte by months."""
    states = list(accumulate(steps, lambda state, step: after(state, *step), initial=first))
    changes = [change for old, new in pairwise(states) if (change := change_between(old, new))]

    row = folded(
        [
            JobDiscovered(task=1, start_frame=0, stop_frame=9),
            AnnotationsObserved(updated_date="", added=(first,)),
            *[AnnotationsObserved(updated_date="", changed=(change,)) for change in changes],
        ]
    )

    # Only what has bytes of its own is given back as it is by `copy`.
    assert all(held.copy() is held for held in (row.spelled, *[held for *_, held in row.edits]))
