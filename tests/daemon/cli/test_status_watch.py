"""`status --watch` looks again and again, until somebody stops it."""

from __future__ import annotations

import json
import signal

from tests.daemon.cli.conftest import Desk


def test_status_watch_goes_on_until_it_is_interrupted(desk: Desk):
    """Each look is whole: a screen that is drawn anew shows no mixture."""
    process = desk.popen("status", "--watch", "--json")
    assert process.stdout is not None

    kinds = []
    for line in process.stdout:
        kinds.append(json.loads(line)["kind"])
        if kinds.count("look") == 2:
            break
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 130
    assert kinds[0] == kinds[-1] == "look"
    assert kinds[1] == "log"
