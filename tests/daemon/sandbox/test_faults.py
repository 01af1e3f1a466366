"""Faults are counted, so that the same calls meet the same faults."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path

import pytest

from daemon.sandbox import ConnectionLost, RequestFault
from tests.conformance.clock import StepClock
from tests.daemon.sandbox.client import Client, jpeg, sandbox
from tests.daemon.sandbox.conftest import World

SAVE = ["update:job", "update:task", "update:project"]


async def test_a_delivery_is_lost_repeated_or_overtaken_by_its_number(world: World) -> None:
    """The three things that a receiver must survive."""
    await world.hears()
    faults, first = world.sandbox.faults, world.sandbox.faults.next_delivery

    faults.lose.add(first)
    await world.create(world.box())
    lost = await world.hears()
    faults.repeat.add(first + 4)
    await world.create(world.box())
    repeated = await world.hears()
    faults.hold_back[first + 6] = 1
    await world.create(world.box())
    overtaken = await world.hears()

    assert lost == ["update:task", "update:project"]
    assert repeated == ["update:job", "update:task", "update:task", "update:project"]
    assert overtaken == ["update:task", "update:job", "update:project"]


async def test_held_back_deliveries_come_at_last(world: World) -> None:
    """Nothing that is only late gets lost."""
    await world.hears()
    world.sandbox.faults.hold_back[world.sandbox.faults.next_delivery] = 99

    await world.create(world.box())

    assert await world.hears() == [*SAVE[1:], SAVE[0]]


async def test_what_happens_while_a_delivery_is_under_way_is_delivered_too(
    world: World,
) -> None:
    """A receiver that is slow loses nothing and turns no order around."""
    await world.hears()
    entered, leave = asyncio.Event(), asyncio.Event()
    send = world.sandbox.outbox.send

    async def slowly(url: str, headers: dict[str, str], body: bytes) -> int | tuple[int, str]:
        entered.set()
        await leave.wait()
        return await send(url, headers, body)

    world.sandbox.outbox.send = slowly
    async with world.sandbox:
        await world.create(world.box())
        await entered.wait()
        await world.admin.patch(f"/api/jobs/{world.first}", {"state": "completed"})
        again = asyncio.create_task(world.sandbox.outbox.drain())
        leave.set()
        await world.sandbox.deliveries_idle()
        await again

    assert world.heard.events == [*SAVE, "update:job"]


async def test_a_repeated_delivery_is_two_rows(world: World) -> None:
    """Back-filling from the list of deliveries sees both."""
    world.sandbox.faults.repeat.add(world.sandbox.faults.next_delivery)
    await world.create(world.box())
    await world.sandbox.outbox.drain()

    rows = (await world.admin.get("/api/webhooks/1/deliveries"))["results"]

    assert len({row["id"] for row in rows}) == len(rows) == 4


async def test_an_error_before_the_commit_changes_nothing(world: World) -> None:
    """The write may be repeated."""
    world.sandbox.faults.requests.append(RequestFault("before", "PATCH", status=503))

    await world.create(world.box())

    assert world.admin.status == 503
    assert (await world.read())["shapes"] == []


async def test_an_error_after_the_commit_changes_all(world: World) -> None:
    """A repeated write would double it: read first."""
    await world.hears()
    world.sandbox.faults.requests.append(RequestFault("after", path=r".*/annotations"))

    await world.create(world.box())

    assert world.admin.status == 500
    assert len((await world.read())["shapes"]) == 1
    assert await world.hears() == SAVE


@pytest.mark.parametrize(("kind", "shapes"), [("reset", 0), ("reset-after", 1)])
async def test_a_connection_is_cut_before_or_after_the_write(
    world: World, kind: str, shapes: int
) -> None:
    """To the caller both look alike."""
    fault = RequestFault(kind, "PATCH", skip=1)  # type: ignore[arg-type]
    world.sandbox.faults.requests.append(fault)
    await world.admin.patch(f"/api/jobs/{world.first}", {"state": "new"})

    with pytest.raises(ConnectionLost):
        await world.create(world.box())

    assert len((await world.read())["shapes"]) == shapes


async def test_deliveries_have_a_pace(world: World) -> None:
    """The first comes at once; whoever asks after it finds the others still missing."""
    clock = StepClock()
    world.sandbox.state.clock = clock
    world.sandbox.faults.pace_s = 0.1
    await world.sandbox.outbox.drain()
    world.heard.requests.clear()
    await world.create(world.box())
    sending = asyncio.create_task(world.sandbox.outbox.drain())
    came = []

    for _ in range(2):
        await clock.asleep.wait()
        came.append(len(world.heard.requests))
        clock.asleep.clear()
        clock.advance(0.1)
    await sending

    assert [*came, len(world.heard.requests)] == [1, 2, 3]


async def test_a_delayed_delivery_holds_up_all_later_ones(world: World) -> None:
    """One worker, one queue: a pause is everybody's."""
    await world.hears()
    clock = StepClock()
    world.sandbox.state.clock = clock
    world.sandbox.faults.delay_s[world.sandbox.faults.next_delivery + 1] = 30.0
    await world.create(world.box())

    draining = asyncio.create_task(world.sandbox.outbox.drain())
    await clock.asleep.wait()
    before = world.heard.events
    clock.advance(30)
    await draining

    assert before == SAVE[:1]
    assert world.heard.events == SAVE


async def test_shuffled_keys_are_signed_anew(world: World) -> None:
    """The same JSON in other bytes, as after a stay in the database."""
    await world.hears()
    world.sandbox.faults.shuffle_keys.add(world.sandbox.faults.next_delivery)
    await world.create(world.box())
    await world.sandbox.outbox.drain()

    _, headers, body = world.heard.requests[0]

    expected = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert list(json.loads(body)) == ["job", "event", "sender", "webhook_id", "before_update"]
    assert headers["X-Signature-256"] == f"sha256={expected}"


async def test_latency_is_waited_on_the_clock(world: World) -> None:
    """A fake clock makes a slow server fast to test."""
    clock = StepClock()
    world.sandbox.clock = clock
    world.sandbox.faults.latency_s = 5.0

    asking = asyncio.create_task(world.admin.get("/api/server/about"))
    await clock.asleep.wait()
    early = asking.done()
    clock.advance(5)

    assert (await asking)["version"] == "2.15.0"
    assert not early


async def test_the_journal_says_what_was_committed_in_spite_of_an_error(tmp_path: Path) -> None:
    """A script that counts edits must count a write whose answer was a 500, and no refused one."""
    journal = tmp_path / "journal.jsonl"
    server = sandbox(journal=journal)
    async with server:
        admin = await Client(server).login()
        task = (await admin.post("/api/tasks", {"name": "t", "labels": [{"name": "a"}]}))["id"]
        await admin.upload(task, {"a.jpg": jpeg(8, 8)})
        shape = {"type": "rectangle", "frame": 0, "label_id": 1, "points": [1, 2, 3, 4]}
        path = "/api/jobs/1/annotations"

        server.faults.requests = [RequestFault("before"), RequestFault("after", skip=0)]
        for sent in (shape, shape, shape | {"label_id": 99}):
            await admin.patch(path, {"shapes": [sent]}, action="create")

    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    writes = [line for line in lines if line["path"] == path]
    assert [(line["status"], line["committed"]) for line in writes] == [
        (500, False),
        (500, True),
        (400, False),
    ]
