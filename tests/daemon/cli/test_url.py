"""`--url`: the command as the client of a daemon elsewhere."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable

import pytest

from events.server import DeliveryRefused, SweepCompleted
from tests.daemon.cli.conftest import Desk, Served

Serve = Callable[[], Served]


@pytest.fixture
def elsewhere(desk: Desk, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Return a daemon with two events; the command's own settings lead to another folder."""
    desk.record("server/main", SweepCompleted(jobs=1), DeliveryRefused(reason="signature"))
    served = serve()
    secret = desk.run("token", "make", "laptop", "--scope", "write").out.strip()
    monkeypatch.setenv("LABELTRAIL_TOKEN", secret)
    here = desk.folder / "here.toml"
    here.write_text('[data]\nfolder = "here"\n')
    monkeypatch.setenv("LABELTRAIL_CONFIG", str(here))
    return served


def test_a_command_asks_the_daemon_at_an_address(desk: Desk, elsewhere: Served):
    """The same output as beside the daemon, and nothing is made on this machine."""
    lines = desk.run("log", "--url", elsewhere.address, "--json")
    shown = desk.run("status", "--url", f"{elsewhere.address}/")

    assert [one["type"] for one in lines.objects] == ["SweepCompleted", "DeliveryRefused"]
    assert shown.code == 0
    assert "log: 2 events" in shown.out
    assert not (desk.folder / "here").exists()


def test_the_address_may_stand_in_the_environment(
    desk: Desk, elsewhere: Served, monkeypatch: pytest.MonkeyPatch
):
    """Who works with one daemon all day says so once."""
    monkeypatch.setenv("LABELTRAIL_URL", elsewhere.address)

    assert "log: 2 events" in desk.run("status").out


def test_errors_and_exit_codes_are_those_of_the_daemon(desk: Desk, elsewhere: Served):
    """A script need not know where a command ran."""
    url = elsewhere.address

    unknown = desk.run("show", "@9", "--url", url)
    withheld = desk.run("export", "pets", str(desk.folder / "x"), "--url", url)
    resolved = desk.run("resolve", "c1", "--cvat", "--url", url)

    assert (unknown.code, "the log has no such position" in unknown.err) == (1, True)
    assert (withheld.code, "not offered over HTTP" in withheld.err) == (1, True)
    assert "run it at the machine of the daemon" in withheld.err
    assert (resolved.code, "nothing waits under this id" in resolved.err) == (1, True)


def test_a_wrong_token_is_said_and_a_missing_one_too(
    desk: Desk, elsewhere: Served, monkeypatch: pytest.MonkeyPatch
):
    """The two mistakes of a first try."""
    monkeypatch.setenv("LABELTRAIL_TOKEN", "labeltrail_" + "x" * 43)
    wrong = desk.run("status", "--url", elsewhere.address)
    monkeypatch.delenv("LABELTRAIL_TOKEN")
    missing = desk.run("status", "--url", elsewhere.address)

    assert (wrong.code, "a valid token is needed" in wrong.err) == (1, True)
    assert (missing.code, "labeltrail token make" in missing.err) == (2, True)
    assert "x" * 43 not in wrong.err


def test_the_token_may_lie_in_a_credential_file(
    desk: Desk, elsewhere: Served, monkeypatch: pytest.MonkeyPatch
):
    """The environment of a process is seen by more than a file of mode 0600."""
    secret = os.environ["LABELTRAIL_TOKEN"]
    monkeypatch.delenv("LABELTRAIL_TOKEN")
    (desk.folder / "credentials").mkdir()
    (desk.folder / "credentials/api.token").write_text(secret + "\n")

    assert desk.run("status", "--url", elsewhere.address).code == 0


def test_a_token_is_not_sent_in_the_clear(desk: Desk, elsewhere: Served):
    """Whoever listens on the way could use it."""
    ran = desk.run("status", "--url", "http://labeltrail.example.com")
    bad = [desk.run("status", "--url", url) for url in ("nonsense", "https://u:p@host", "ftp://x")]

    assert (ran.code, "over https only" in ran.err) == (2, True)
    assert [one.code for one in bad] == [2, 2, 2]
    assert "u:p" not in bad[1].err


def test_nobody_at_the_address_is_exit_code_5(desk: Desk, elsewhere: Served):
    """Not reachable, as for a CVAT server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    ran = desk.run("status", "--url", f"http://127.0.0.1:{port}")

    assert (ran.code, "no daemon answers there" in ran.err) == (5, True)


def test_the_log_is_followed_from_elsewhere_too(desk: Desk, elsewhere: Served):
    """`log -f --url` waits for as long as nothing happens, and ends with Ctrl-C."""
    following = desk.popen("log", "-f", "--json", "--url", elsewhere.address)
    assert following.stdout is not None
    first = json.loads(following.stdout.readline())
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=10)

    assert first["type"] == "SweepCompleted"
    assert following.returncode == 130
    assert elsewhere.stop() == 0
