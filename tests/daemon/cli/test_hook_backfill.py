"""`hook backfill` as a person types it, without a daemon."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import aiohttp

from tests.daemon.cli.conftest import Desk
from tests.daemon.cli.test_commands import sandbox

ADMIN = {"Authorization": f"Basic {base64.b64encode(b'admin:admin').decode()}"}


async def work(url: str) -> None:
    """Make a project with a task in it, as somebody who knows nothing of us."""
    async with aiohttp.ClientSession(url, headers=ADMIN) as session:
        body = {"name": "t", "project_id": 1}
        async with session.post("/api/tasks", json=body) as response:
            assert response.status == 201


async def project(url: str) -> None:
    async with aiohttp.ClientSession(url, headers=ADMIN) as session:
        body = {"name": "p", "labels": [{"name": "car"}]}
        async with session.post("/api/projects", json=body) as response:
            assert response.status == 201


def test_what_nobody_heard_is_recorded_afterwards(desk: Desk):
    """No daemon ran: CVAT's deliveries were refused, and it does not repeat them."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(sandbox())
        desk.run("server", "add", "main", url, "--user", "admin", typed="admin\n")
        asyncio.run(project(url))
        installed = desk.run("hook", "install", "1")
        asyncio.run(work(url))
        dry = desk.run("hook", "backfill", "--dry-run", "--json")
        filled = desk.run("hook", "backfill", "--json")
        again = desk.run("hook", "backfill", "--json")

    assert installed.code == 0, installed.err
    assert (dry.code, filled.code) == (0, 0), filled.err
    assert dry.objects[0]["new"] == filled.objects[0]["new"] > 0
    assert again.objects[0]["new"] == 0
    recorded = desk.run("log", "--since", "@0", "--type", "DeliveryReceived", "--json")
    assert len(recorded.objects) == filled.objects[0]["new"]
