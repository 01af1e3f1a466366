"""`labeltrail doctor` against a sandbox, with a daemon and without."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daemon.sandbox import Sandbox
from tests.daemon.cli.conftest import Desk, Served, desk, serve

__all__ = ["desk", "serve"]


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a CVAT sandbox in a thread, as another machine would."""
    started, stop = threading.Event(), threading.Event()
    made: list[Sandbox] = []

    async def run() -> None:
        async with Sandbox(version=getattr(request, "param", "2.15")) as one:
            made.append(one)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    started.wait()
    try:
        yield made[0]
    finally:
        stop.set()
        thread.join()


def findings(desk: Desk, *, code: int) -> dict[str, list[dict[str, Any]]]:
    ran = desk.run("doctor", "--json")
    assert ran.code == code, ran.out + ran.err
    found: dict[str, list[dict[str, Any]]] = {}
    for one in ran.objects:
        found.setdefault(one["check"], []).append(one)
    return found


def declare(desk: Desk, sandbox: Sandbox) -> None:
    added = desk.run("server", "add", "main", sandbox.url, "--user", "admin", typed="admin\n")
    assert added.code == 0, added.err


def test_all_is_well_on_a_fresh_machine(desk: Desk, sandbox: Sandbox):
    """Nothing to do is exit code 0; what was looked at is said all the same."""
    declare(desk, sandbox)

    found = findings(desk, code=0)

    assert {"disk", "file-system", "rights", "sqlite", "reach", "login"} <= set(found)
    assert "CVAT 2.15.0" in found["version"][0]["what"]
    assert "admin" in found["login"][0]["what"]


def test_a_server_that_does_not_answer_is_exit_code_5(desk: Desk):
    """A script waits and asks again; it need not read the text."""
    desk.run("server", "add", "main", "http://127.0.0.1:1", "--user", "a", typed="b\n")

    found = findings(desk, code=5)

    assert found["reach"][0]["level"] == "problem"
    assert found["reach"][0]["todo"]
    assert "login" not in found


def test_a_wrong_password_is_a_problem_with_the_login(desk: Desk, sandbox: Sandbox):
    """The server is there, so it is not exit code 5."""
    desk.run("server", "add", "main", sandbox.url, "--user", "admin", typed="wrong\n")

    found = findings(desk, code=1)

    assert (found["reach"][0]["level"], found["login"][0]["level"]) == ("ok", "problem")


@pytest.mark.parametrize("sandbox", ["2.73"], indirect=True)
def test_a_read_only_token_is_known_as_such(desk: Desk, sandbox: Sandbox):
    """It is enough to record, and a person should know what it is not enough for."""
    admin = next(user for user in sandbox.state.users.values() if user.is_admin)
    for read_only, word in ((True, "read-only"), (False, "may write")):
        token = asyncio.run(_token(sandbox, admin.key, read_only=read_only))
        desk.run("server", "rm", "main")
        desk.run("server", "add", "main", sandbox.url, "--personal-token", typed=f"{token}\n")

        found = findings(desk, code=0)

        rights = [one for one in found["rights"] if one["where"] == "main"]
        assert word in rights[0]["what"]


async def _token(sandbox: Sandbox, key: str, *, read_only: bool) -> str:
    import aiohttp

    body = {"name": "t", "read_only": read_only}
    headers = {"Authorization": f"Token {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{sandbox.url}/api/auth/access_tokens", json=body) as response,
    ):
        return str((await response.json())["value"])


def test_cvat_tries_the_way_back_and_a_wrong_secret_is_named(
    desk: Desk, sandbox: Sandbox, serve: Callable[[], Served]
):
    """The ping goes from CVAT to our port and back, as deliveries do."""
    declare(desk, sandbox)
    asyncio.run(_project(sandbox))
    served = serve()
    installed = desk.run("hook", "install", "1")
    well = findings(desk, code=0)
    hook = next(iter(sandbox.state.webhooks.values()))
    hook.secret = "another"

    ill = findings(desk, code=1)
    served.stop()

    assert installed.code == 0, installed.err
    assert [one["what"] for one in well["hook"]] == ["CVAT's ping reached us"]
    assert "401" in ill["hook"][0]["what"]
    assert "secret" in ill["hook"][0]["todo"]
    assert "outside a project" in well["coverage"][0]["what"]


async def _project(sandbox: Sandbox) -> None:
    """Make a project, and a task that is in none."""
    import aiohttp

    admin = next(user for user in sandbox.state.users.values() if user.is_admin)
    headers = {"Authorization": f"Token {admin.key}"}
    async with aiohttp.ClientSession(sandbox.url, headers=headers) as session:
        for path, body in (
            ("/api/projects", {"name": "p", "labels": []}),
            ("/api/tasks", {"name": "loose", "labels": [{"name": "car"}]}),
        ):
            async with session.post(path, json=body) as response:
                assert response.status == 201


def test_people_are_told_what_to_do(desk: Desk):
    """One line for what is wrong, the next for what helps."""
    desk.run("server", "add", "main", "http://127.0.0.1:1", "--user", "a", typed="b\n")

    ran = desk.run("doctor")

    assert ran.code == 5
    assert "✗ reach  main" in ran.out
    assert "→ check `url`" in ran.out
