"""An annotation is put together from how it appeared and the last edit of each facet."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from events.annotations import Annotation, Shape
from events.job import AnnotationsObserved, ChangeOutline, ObservedOutline
from events.registry import outlined
from projections.facets import (
    UNTOUCHED,
    Edit,
    annotation_of,
    carried,
    change_between,
    edited,
    spelled,
)

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
    edits: tuple[Edit, ...] = ()
    touched: dict[str, int] = {}
    for position, (old, new) in enumerate(pairwise(states), 1):
        if change := outline_of_change(old, new):
            edits = edited(edits, change, position)
            touched |= dict.fromkeys(change.old.keys() | change.new.keys(), position)

    assert in_order(annotation_of(spelled(states[0]), edits)) == in_order(states[-1])
    assert {name: position for position, name, _ in edits} == touched
    assert len(edits) == len(touched)


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


def test_an_edit_keeps_nothing_of_its_event_but_its_value() -> None:
    """A row may outlive an event of a megabyte by months."""
    value: Any = msgspec.json.decode(b'["' + b"x" * 1_000 + b'",[1,2]]', type=list[msgspec.Raw])[1]
    change = ChangeOutline("shape", 7, old={"geometry": value}, new={"geometry": value})
    other = ChangeOutline("shape", 7, old={"class": value}, new={"class": value})

    edits = edited(edited((), change, 1), other, 2)

    # Only what has bytes of its own is given back as it is by `copy`.
    assert all(held.copy() is held for _, _, held in edits)
    assert value.copy() is not value
