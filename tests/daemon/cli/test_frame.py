"""How a command ends, and what it may say of an operation that failed."""

from __future__ import annotations

import pytest

from daemon.cli.frame import Ending, FailedAtOnce

ERROR = {
    "kind": "error",
    "message": "the server is down",
    "hint": None,
    "facts": {},
    "exit_code": 5,
}


def test_a_failure_at_once_is_not_shown_as_an_empty_list():
    """`load` with the server down said "the run has no jobs", and then that the server is down."""
    ending = Ending()

    with pytest.raises(FailedAtOnce):
        list(ending.watched(iter([ERROR])))

    assert ending.code(as_json=True) == 5


def test_what_was_found_before_a_failure_is_shown():
    """Half a list and the reason why it is half a list say more than the reason alone."""
    ending = Ending()

    shown = list(ending.watched(iter([{"kind": "job", "job": 1}, ERROR])))

    assert shown == [{"kind": "job", "job": 1}]
    assert ending.code(as_json=True) == 5


def test_an_empty_list_is_an_empty_list():
    """Nothing found is fine."""
    ending = Ending()

    assert list(ending.watched(iter([{"kind": "exit", "code": 0}]))) == []
    assert ending.code(as_json=False) == 0
