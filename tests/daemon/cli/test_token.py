"""`labeltrail token`, with and without a daemon."""

from __future__ import annotations

from collections.abc import Callable

from tests.daemon.cli.conftest import Desk, Served


def test_tokens_are_made_listed_and_revoked_by_command(desk: Desk):
    """The secret alone is on standard output, so that it can be piped into a file."""
    dry = desk.run("token", "make", "ci", "--scope", "write", "--dry-run")
    made = desk.run("token", "make", "ci", "--scope", "write")
    listed = desk.run("token", "ls", "--json")
    revoked = desk.run("token", "revoke", "ci")
    again = desk.run("token", "revoke", "ci")

    assert (dry.code, "labeltrail_" in dry.out) == (0, False)
    assert made.out.startswith("labeltrail_")
    assert made.out.count("\n") == 1
    assert [(one["name"], one["scope"], one["actor"]) for one in listed.objects] == [
        ("ci", "write", "token/ci")
    ]
    assert made.out.strip() not in listed.out
    assert revoked.code == 0
    assert (again.code, "no token of this name" in again.err) == (1, True)


def test_tokens_are_made_in_the_running_daemon(desk: Desk, serve: Callable[[], Served]):
    """The daemon owns the data folder; a command is its client here too."""
    served = serve()

    made = desk.run("token", "make", "ci")
    listed = desk.run("token", "ls", "--json")

    assert made.out.startswith("labeltrail_")
    assert [one["scope"] for one in listed.objects] == ["read"]
    assert served.stop() == 0
    assert made.out.strip() not in str(served.lines)
