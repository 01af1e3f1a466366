"""Faults are counted, so that the same calls meet the same faults."""

from __future__ import annotations

import asyncio

import pytest

from daemon.sandbox import ConnectionLost, RequestFault
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
