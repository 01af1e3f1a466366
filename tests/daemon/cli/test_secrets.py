"""Secrets, names and bodies are planted everywhere, then every line and file is searched for them.

Log lines are shipped to places where nobody may read a password or a person's name, and files are
copied. What is kept of people lies in two files of its own, which `forget` empties.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from daemon.demo.dataset import make_dataset
from daemon.demo.editor import Editor
from daemon.sandbox.faults import Faults
from daemon.sandbox.sandbox import Sandbox
from tests.daemon.cli.conftest import Desk, Served
from tests.daemon.http.conftest import delivery

PASSWORD = "pass-Xyzzy-Plugh-1"
HOOK_SECRET = "hook-Xyzzy-Plugh-2"
GUESSED = "labeltrail_" + "Guess" * 8 + "abc"
PERSON = "Zephyrine.Quux"
BODY = "body-Xyzzy-Plugh-3"
OBSERVED_S = 20.0
# Made to hold what is known of people; see docs/operations.md.
OF_PEOPLE = ("people.db", "deliveries.db")


@dataclass
class Sandboxed:
    """A CVAT server in another thread, as another machine would run it."""

    url: str = ""
    started: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def cvat() -> Iterator[str]:
    made = Sandboxed()

    async def serve() -> None:
        users = {"admin": PASSWORD, PERSON: "pw"}
        async with Sandbox(users=users, faults=Faults(task_creation_s=0)) as sandbox:
            made.url = sandbox.url
            made.started.set()
            await asyncio.to_thread(made.stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    made.started.wait()
    try:
        yield made.url
    finally:
        made.stop.set()
        thread.join()


@dataclass
class Told:
    """What a daemon with all that planted in it left behind."""

    planted: dict[str, str]
    lines: list[dict[str, Any]]
    folder: Path
    outputs: str
    log: str


def declare(desk: Desk, url: str) -> None:
    make_dataset(desk.folder / "street")
    credentials = desk.folder / "credentials"
    credentials.mkdir()
    (credentials / "servers.main.password").write_text(PASSWORD)
    (credentials / "servers.main.webhook_secrets").write_text(HOOK_SECRET)
    desk.config.write_text(
        desk.config.read_text()
        + f'[servers.main]\nurl = "{url}"\nuser = "admin"\nsettle_s = 0.1\ndebounce_s = 0.1\n'
        'poll_s = 0.5\n[datasets.street]\nmanifest = "street"\nquiet_s = 0.1\n'
        '[logging]\nlevel = "debug"\n'
    )


async def annotate(url: str, job: int) -> None:
    """Let the admin give the job to the person, who moves a box."""
    async with (
        Editor(url, "admin", lambda job, labels: None) as admin,
        Editor(url, PERSON, lambda job, labels: None) as person,
    ):
        await admin.login(PASSWORD)
        await person.login("pw")
        number = (await person.ask("GET", "/api/users/self"))["id"]
        await admin.ask("PATCH", f"/api/jobs/{job}", {"assignee": number})
        shape = (await person.open(job))["shapes"][0]
        await person.save(job, update=[person.moved(shape, 5, 5)])


async def pester(address: str, token: str) -> list[int]:
    """Send requests, right and wrong, with something planted in each."""
    good = {"Authorization": f"Bearer {token}"}
    named = json.loads(delivery())
    named |= {"sender": {"id": 5, "username": PERSON}, "note": BODY}
    body = json.dumps(named).encode()
    signed = {SIGNATURE_HEADER: sign(body, HOOK_SECRET)}
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/api/v1/status", {"headers": good}),
        ("GET", "/metrics", {"headers": good}),
        ("GET", f"/api/v1/show?what={BODY}", {"headers": good}),
        ("GET", f"/api/v1/status?token={token}", {}),
        ("GET", f"/{token}/{PERSON}", {}),
        ("GET", f"/api/v1/{token}", {"headers": good}),
        ("GET", "/api/v1/status", {"headers": {"Authorization": f"Bearer {GUESSED}"}}),
        ("GET", "/api/v1/status", {"headers": {"Cookie": f"sessionid={GUESSED}"}}),
        ("POST", "/api/v1/log", {"headers": good, "json": {BODY: PERSON}}),
        ("POST", "/api/v1/log", {"headers": good, "data": f"{{{BODY}"}),
        ("POST", "/webhooks/cvat/main", {"data": body, "headers": signed}),
        ("POST", "/webhooks/cvat/main", {"data": body, "headers": {SIGNATURE_HEADER: BODY}}),
        ("POST", f"/webhooks/cvat/{GUESSED}", {"data": body}),
    ]
    async with aiohttp.ClientSession(address) as session:
        statuses = []
        for method, path, options in requests:
            async with session.request(method, path, **options) as answer:
                await answer.read()
                statuses.append(answer.status)
    return statuses


@pytest.fixture
def told(desk: Desk, serve: Callable[[], Served], monkeypatch: pytest.MonkeyPatch) -> Told:
    """Play it all once, on real sockets and processes."""
    with cvat() as url:
        declare(desk, url)
        served = serve()
        token = desk.run("token", "make", "monitor").out.strip()
        monkeypatch.setenv("LABELTRAIL_TOKEN", token)
        ran = [
            desk.run("dataset", "scan", "street"),
            desk.run("annotate", "street", "first", "--field", "boxes", "--json"),
        ]
        run = ran[-1].objects[-1]
        asyncio.run(annotate(url, run["jobs"][0]["job"]))
        observed = wait_for(desk, "AnnotationsObserved", 0, actor="main/2")
        wait_for(desk, "JobSettled", observed)
        ran += [
            desk.run("load", "street", "first"),
            desk.run("status", "--url", served.address),
            desk.run("status", "--url", f"{served.address}/{BODY}"),
            desk.run("show", BODY),
            desk.run("server", "test", "main"),
        ]
        statuses = asyncio.run(pester(served.address, token))
        events = desk.run("log", "--json").objects
        assert served.stop() == 0
    assert statuses == [200, 200, 404, 401, 404, 404, 401, 401, 400, 400, 204, 401, 404]
    planted = {
        "password": PASSWORD,
        "webhook secret": HOOK_SECRET,
        "token": token,
        "guessed token": GUESSED,
        "person": PERSON,
        "body": BODY,
    }
    outputs = "".join(one.out + one.err for one in ran)
    # Put beside each event when it is read, from the file that `forget` empties.
    log = json.dumps([event | {"actor_name": None} for event in events])
    return Told(planted, served.lines, desk.folder, outputs, log)


def wait_for(desk: Desk, type: str, after: int, actor: str | None = None) -> int:
    """Wait until the daemon recorded something after a position; return its own."""
    until = time.monotonic() + OBSERVED_S
    while time.monotonic() < until:
        for found in desk.run("log", f"@{after}..", "--type", type, "--json").objects:
            if actor in (None, found["actor"]):
                return int(found["position"])
    raise AssertionError(f"no {type} after @{after}")


def test_no_line_file_or_event_holds_what_was_planted(told: Told):
    """One run of everything, then one search: passwords, tokens, a person's name, a body."""
    secrets = {name: told.planted[name] for name in told.planted if name not in ("person", "body")}
    lines = json.dumps(told.lines)
    files = {
        path.relative_to(told.folder / "data"): path.read_bytes()
        for path in sorted((told.folder / "data").rglob("*"))
        if path.is_file() and "keys" not in path.relative_to(told.folder / "data").parts
    }

    found = [f"{name} in a line" for name, text in told.planted.items() if text in lines]
    found += [f"{name} in the log" for name, text in told.planted.items() if text in told.log]
    found += [f"{name} in an output" for name, text in secrets.items() if text in told.outputs]
    for path, content in files.items():
        sought = secrets if path.name.startswith(OF_PEOPLE) else told.planted
        found += [f"{name} in {path}" for name, text in sought.items() if text.encode() in content]

    assert found == []
    # What is not found has to have been there.
    of_people = b"".join(content for path, content in files.items() if path.name in OF_PEOPLE)
    assert PERSON.encode() in of_people
    assert {"log.db", "projections.db", "deliveries.db"} <= {str(path) for path in files}
    _check_lines(told.lines)


def _check_lines(lines: list[dict[str, Any]]) -> None:
    """Hold that each unit of work has one line, with its ids and how long it took."""
    ids = {
        "request": {"method", "path", "status", "peer"},
        "deliveries": {"server", "received", "first", "last"},
        "operation": {"operation", "uid", "exit_code"},
        "observation": {"server", "job", "outcome", "changed"},
        "settle and merge": {"server", "job", "settled", "facts"},
        "manifest": {"dataset", "outcome", "samples", "labels"},
    }
    for event, names in ids.items():
        mine = [line for line in lines if line["event"] == event]
        assert mine, f"no line tells of any {event}"
        for line in mine:
            assert names <= line.keys(), line
            assert line["ms"] >= 0
    requests = [line for line in lines if line["event"] == "request"]
    assert {line.get("actor") for line in requests} == {None, "token/monitor"}
    assert {line["path"] for line in requests} >= {"/api/v1/status", "/api/{path}", "other"}
