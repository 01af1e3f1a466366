"""The best assignment: which box that came is which box that went."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.assignment import LIKENESS_MIN, OTHERS_WEIGHT, SAVE_US_MAX, Box, assign

SIDE = st.integers(0, 12)
VALUES = st.fixed_dictionaries({"rotation": st.sampled_from((0.0, 90.0)), "score": st.text("ab")})


@st.composite
def boxes(draw: st.DrawFn, most: int = 5) -> list[Box]:
    """Draw some boxes on a small image, so that many of them overlap."""
    corners = st.tuples(SIDE, SIDE, st.integers(1, 12), st.integers(1, 12))
    return [
        Box((x, y, x + width, y + height), draw(VALUES), at_us=0)
        for x, y, width, height in draw(st.lists(corners, max_size=most))
    ]


def likeness_of(old: Box, new: Box) -> float:
    """Say the rule once more, for one pair and in plain numbers."""
    a, b = old.points_px, new.points_px
    shared = math.prod(max(min(a[k + 2], b[k + 2]) - max(a[k], b[k]), 0) for k in (0, 1))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    differ = sum(old.others[name] != new.others[name] for name in old.others) / len(old.others)
    found = shared / (areas - shared) * (1 - OTHERS_WEIGHT * differ)
    return found if found >= LIKENESS_MIN else 0.0


def box(x: float = 0, y: float = 0, *, at_us: int = 0, **others: object) -> Box:
    """Return a box of 10 × 10 pixels."""
    return Box((x, y, x + 10, y + 10), others, at_us)


@settings(deadline=None)
@given(boxes(), boxes())
def test_no_other_assignment_is_better(went: list[Box], came: list[Box]) -> None:
    """Against all assignments, one by one."""
    choices = assign(went, came)

    table = [[likeness_of(old, new) for new in came] for old in went]
    if len(went) > len(came):
        table = [list(column) for column in zip(*table, strict=True)] if came else []
    places = range(len(table[0]) if table else 0)
    best = max(
        sum(row[place] for row, place in zip(table, order, strict=True))
        for order in permutations(places, len(table))
    )
    assert sum(choice.likeness for choice in choices) == pytest.approx(best)


@settings(deadline=None)
@given(boxes(), boxes())
def test_each_box_is_taken_once_and_as_alike_as_is_said(went: list[Box], came: list[Box]) -> None:
    """One label, one annotation; and nothing that was drawn anew takes a label's place."""
    choices = assign(went, came)

    taken = [choice.went for choice in choices if choice.went is not None]
    assert len(set(taken)) == len(taken)
    assert len({choice.came for choice in choices}) == len(choices)
    for choice in choices:
        table = [likeness_of(old, came[choice.came]) for old in went]
        assert choice.alike == tuple(place for place, like in enumerate(table) if like)
        chosen = 0.0 if choice.went is None else table[choice.went]
        assert choice.likeness == pytest.approx(chosen)


@settings(deadline=None)
@given(boxes(), boxes())
def test_the_same_boxes_are_assigned_alike_each_time(went: list[Box], came: list[Box]) -> None:
    """Two processes that decide on one look must decide the same."""
    assert assign(went, came) == assign(list(went), list(came))


@given(st.lists(st.tuples(SIDE, SIDE), unique=True, max_size=20))
def test_boxes_that_moved_a_little_and_stand_apart_are_all_known(
    places: list[tuple[int, int]],
) -> None:
    """That is what it is for."""
    went = [box(20 * x, 20 * y) for x, y in places]
    came = [box(20 * x + 2, 20 * y - 1) for x, y in places]

    choices = assign(went, came)

    assert [(choice.came, choice.went) for choice in choices] == [(n, n) for n in range(len(came))]


def test_of_two_that_overlap_each_goes_where_both_fare_best() -> None:
    """Taking the nearest first would leave the second one without a partner."""
    went = [box(0), box(3)]
    came = [box(3.1), box(6)]

    choices = assign(went, came)

    assert [(choice.came, choice.went) for choice in choices] == [(0, 0), (1, 1)]
    assert choices[0].alike == (0, 1)


def test_one_more_box_at_the_same_place_is_nobodys_and_may_be_either() -> None:
    """Its author is in doubt, not its being new."""
    [first, second] = assign([box(0)], [box(1), box(2)])

    assert (first.went, first.alike) == (0, (0,))
    assert (second.went, second.likeness, second.alike) == (None, 0.0, (0,))


def test_a_box_whose_other_values_all_differ_must_lie_where_the_old_one_lay() -> None:
    """It was drawn anew, with defaults."""
    old = [box(0, score="1", crowd="true")]

    assert assign(old, [box(1, score="", crowd="")]) == []
    assert assign(old, [box(1, score="1", crowd="")])[0].went == 0
    assert assign(old, [box(0, score="", crowd="")])[0].likeness == LIKENESS_MIN


def test_what_went_and_came_in_two_saves_is_not_the_same_box() -> None:
    """Deleted on Monday, drawn on Tuesday, and nothing was loaded in between."""
    late = SAVE_US_MAX + 1

    assert assign([box(0)], [box(1, at_us=late)]) == []
    assert assign([box(0, at_us=late)], [box(1)]) == []
    assert assign([box(0)], [box(1, at_us=SAVE_US_MAX)])[0].went == 0


@given(st.lists(st.tuples(*[st.floats()] * 4), max_size=4))
def test_hostile_numbers_are_like_nothing_or_like_themselves(
    corners: list[tuple[float, float, float, float]],
) -> None:
    """A server may answer 1e400; no warning, no error."""
    hostile = [Box(points, {}, 0) for points in corners]

    choices = assign(hostile, hostile)

    assert all(
        LIKENESS_MIN <= choice.likeness <= 1 for choice in choices if choice.went is not None
    )


def test_corners_may_come_in_any_order() -> None:
    """CVAT keeps them as they were dragged."""
    dragged = Box((10, 10, 0, 0), {}, 0)

    assert assign([dragged], [box(0)])[0].likeness == 1.0
