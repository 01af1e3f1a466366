"""`/api/v1/events`: nothing is missed, nobody is waited for, and a restored log is no riddle."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.http.api import answers, feed
from daemon.tokens import Tokens
from events.dataset import DatasetOpened
from events.server import DeliveryRefused
from tests.daemon.http.api_client import Served, served

REFUSED = DeliveryRefused(reason="signature")
OPENED = DatasetOpened(media_type="image", format="fiftyone", metadata={"name": "pets"})
WAIT_S = 10.0


@dataclass
class Message:
    """One server-sent event, or a comment (type "")."""

    type: str
    id: int | None
    data: Any


@dataclass
class Reader:
    """A client's end of a feed."""

    answer: aiohttp.ClientResponse

    async def next(self) -> Message:
        """Return the next message."""
        fields: dict[str, str] = {}
        while line := (await asyncio.wait_for(self.answer.content.readline(), WAIT_S)).decode():
            if line == "\n":
                break
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        if "" in fields:
            return Message("", None, fields[""])
        id = int(fields["id"]) if "id" in fields else None
        return Message(fields.get("event", "message"), id, json.loads(fields["data"]))


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Served]:
    """Return a daemon whose log has three events."""
    async with served(tmp_path) as running:
        await running.record("server/main", REFUSED, REFUSED)
        await running.record("dataset/pets", OPENED)
        yield running


@asynccontextmanager
async def following(
    daemon: Served, query: str = "", token: str | None = None, **headers: str
) -> AsyncIterator[Reader]:
    given = {"Authorization": f"Bearer {token or daemon.token()}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{daemon.address}/api/v1/events{query}"
    async with daemon.session.get(url, headers=given) as answer:
        assert answer.status == 200
        yield Reader(answer)


async def test_the_feed_begins_after_a_position_and_goes_on_with_what_is_appended(daemon: Served):
    """A consumer that keeps the last id misses nothing and sees nothing twice."""
    async with following(daemon, "?after=1") as reader:
        told = await reader.next()
        first = [await reader.next(), await reader.next()]
        await daemon.record("server/main", REFUSED)
        later = await reader.next()

    assert reader.answer.headers["Content-Type"] == "text/event-stream"
    identity = daemon.app.store.identity()
    assert told == Message(
        "log", 1, {"log_id": identity.id.hex(), "epoch": identity.epoch, "position": 1}
    )
    assert [message.id for message in [*first, later]] == [2, 3, 4]
    assert first[1].data["type"] == "DatasetOpened"
    assert first[1].data["fact"]["metadata"] == {"name": "pets"}


async def test_last_event_id_goes_before_the_address(daemon: Served):
    """A browser's EventSource asks the same address again, with this header."""
    async with following(daemon, "?after=0", Last_Event_ID="2") as reader:
        await reader.next()
        message = await reader.next()

    assert message.id == 3


async def test_without_a_position_the_feed_begins_now(daemon: Served):
    """Who wants the past says from where."""
    async with following(daemon) as reader:
        told = await reader.next()
        await daemon.record("server/main", REFUSED)
        message = await reader.next()

    assert (told.id, message.id) == (3, 4)


async def test_streams_types_and_facts_are_chosen_as_in_the_log(daemon: Served):
    """A consumer of one job does not have to read all."""
    async with following(daemon, "?after=0&stream=dataset/&facts=false") as reader:
        await reader.next()
        message = await reader.next()

    assert (message.data["stream"], "fact" in message.data) == ("dataset/pets", False)


async def test_a_client_that_has_seen_further_than_the_log_is_told_so(daemon: Served):
    """After a restore it would wait for ever, or skip what is new under old positions."""
    token = daemon.token()
    identity = daemon.app.store.identity()
    same = f"log_id={identity.id.hex()}&epoch={identity.epoch}"

    further = await daemon.ask("/api/v1/events?after=4", token)
    epoch = await daemon.ask(f"/api/v1/events?after=1&epoch={identity.epoch + 1}", token)
    other = await daemon.ask(f"/api/v1/events?after=1&log_id={'0' * 32}", token)
    async with following(daemon, f"?after=3&{same}", token) as reader:
        fine = await reader.next()

    for answer in (further, epoch, other):
        assert (answer.status, answer.json["error"]) == (409, "SeenFurther")
        assert "after=0" in answer.json["hint"]
        assert answer.json["facts"]["position"] == 3
        assert answer.json["facts"]["log_id"] == identity.id.hex()
    assert fine.type == "log"


@pytest.mark.parametrize("given", ["x", "-1", "1" * 19, "1.5", "²"])
async def test_a_last_event_id_that_is_no_position_is_refused(daemon: Served, given: str):
    """It is a header, so it may hold anything."""
    headers = {"Last-Event-ID": given}

    answer = await daemon.ask("/api/v1/events", daemon.token(), headers=headers)

    assert (answer.status, answer.json["error"]) == (400, "BadArguments")


async def test_a_quiet_feed_gives_signs_of_life(daemon: Served, monkeypatch: pytest.MonkeyPatch):
    """Proxies cut connections that say nothing, and a dead client is noticed by writing to it."""
    monkeypatch.setattr(feed, "HEARTBEAT_S", 0.02)
    async with following(daemon) as reader:
        await reader.next()
        comment = await reader.next()

    assert comment == Message("", None, "still here")


async def test_a_revoked_token_ends_its_feeds(daemon: Served, monkeypatch: pytest.MonkeyPatch):
    """Who leaves does not go on listening."""
    monkeypatch.setattr(feed, "HEARTBEAT_S", 0.02)
    async with following(daemon) as reader:
        await reader.next()
        Tokens(daemon.app.folder).revoke("reader")
        while (message := await reader.next()).type == "":
            pass

    assert (message.type, message.data) == ("end", {"reason": "the token was revoked"})


async def test_a_client_that_takes_nothing_is_let_go(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
):
    """Its feed stands still, holding no more than one event, until its time is over."""
    monkeypatch.setattr(answers, "WRITE_S", 0.2)
    metadata = {"x": "y" * 1_000_000}
    for number in range(20):
        large = DatasetOpened(media_type="image", format="fiftyone", metadata=metadata)
        await daemon.record(f"dataset/large-{number}", large)
    token = daemon.token()
    host, port = daemon.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.setblocking(False)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.sendall(
            f"GET /api/v1/events?after=0 HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        head = await asyncio.get_running_loop().sock_recv(slow, 15)
        (feeding,) = [task for task in asyncio.all_tasks() if task.get_name() == "client"]

        done, _ = await asyncio.wait({feeding}, timeout=WAIT_S)

    assert head == b"HTTP/1.1 200 OK"
    assert done


async def test_more_feeds_than_allowed_are_told_to_come_later(tmp_path: Path):
    """Each holds a reader of the log."""
    async with served(tmp_path, "[api]\nfeeds_max = 1\n") as daemon:
        token = daemon.token()
        async with following(daemon, token=token) as reader:
            await reader.next()
            second = await daemon.ask("/api/v1/events", token)

    assert (second.status, second.json["error"]) == (503, "Busy")


async def test_a_stop_ends_feeds_cleanly(tmp_path: Path):
    """The client sees an end with its reason, not a connection that broke."""
    async with aiohttp.ClientSession() as session:
        async with served(tmp_path) as daemon:
            token = daemon.token()
            headers = {"Authorization": f"Bearer {token}"}
            answer = await session.get(f"{daemon.address}/api/v1/events", headers=headers)
            reader = Reader(answer)
            await reader.next()
        message = await reader.next()
        rest = await answer.read()

    assert (message.type, message.data) == ("end", {"reason": "the daemon is stopping"})
    assert rest == b""
