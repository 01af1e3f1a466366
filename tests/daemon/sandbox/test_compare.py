"""The comparison with recordings sees what it is there to see."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.compare import Known, difference
from tests.conformance.deliveries import order

EARLY, LATE = "2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:01Z"
MOVED, STAYED = "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": "x"}, {"a": "y"}),
        ({"a": None}, {"a": 0}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"shapes": [{"x": 1}]}, {"shapes": [{"x": 2}]}),
        ({"shapes": [{"x": 1}, {"x": 1}]}, {"shapes": [{"x": 1}, {"x": 2}]}),
        ({"id": 1, "x": [{"id": 1}]}, {"id": 5, "x": [{"id": 6}]}),
        ({"url": "http://a/api/tasks/1"}, {"url": "http://b/api/jobs/1"}),
        ({"a": EARLY}, {"a": "yesterday"}),
        ({"a": EARLY, "b": LATE}, {"a": MOVED, "b": STAYED}),
        ({"a": EARLY, "b": EARLY}, {"a": EARLY, "b": LATE}),
        ({"color": "#ffffff"}, {"color": "white"}),
    ],
)
def test_a_difference_is_found(theirs: Any, ours: Any) -> None:
    """Members, types, values, order where there is one, and dates that (did not) move."""
    assert difference(theirs, ours, Known(), table="task") is not None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"id": 1, "x": [{"id": 1}]}, {"id": 5, "x": [{"id": 5}]}),
        (
            {"shapes": [{"id": 1, "x": 1}, {"id": 2, "x": 2}]},
            {"shapes": [{"id": 8, "x": 2}, {"id": 7, "x": 1}]},
        ),
        ({"url": "http://a/api/tasks/1"}, {"url": "http://b:1/api/tasks/77"}),
        ({"a": EARLY, "b": LATE}, {"a": LATE, "b": EARLY}),
        ({"color": "#ffffff"}, {"color": "#000000"}),
    ],
)
def test_what_may_differ_may_differ(theirs: Any, ours: Any) -> None:
    """Ids, hosts, dates and colours, as long as one stands for one."""
    assert difference(theirs, ours, Known(), table="task") is None


def test_the_order_of_members_counts_for_deliveries() -> None:
    """The signature is made over them."""
    assert order({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}) is not None
    assert order({"a": 1, "b": 2}, {"a": 1, "b": 2}) is None
