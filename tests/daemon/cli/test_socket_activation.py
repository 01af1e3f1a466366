"""systemd holds the port: a restart of the daemon refuses no delivery."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys

import aiohttp

from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from tests.daemon.cli.conftest import ROOT, Desk
from tests.daemon.http.conftest import delivery

SECRET = "a secret that no line may show"
SENDERS = 4
PORT_FD = 3
RESTARTS = 3
DELIVERIES = 100  # answered between two restarts
ANSWER_S = 40.0


class Manager:
    """Does what systemd does: holds the port, gives it to each daemon, hears that it is ready."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.port = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(desk.folder / "notify"))
        self.heard: list[str] = []
        self.daemon: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.getsockname()[1]}/webhooks/cvat/main"

    async def start(self) -> None:
        """Start a daemon with the port at file descriptor 3; return when it says READY=1."""
        # The process itself must write its id into $LISTEN_PID, as systemd does after the fork.
        script = f'exec {PORT_FD}<&{self.port.fileno()}; LISTEN_PID=$$ exec "$0" -m daemon serve'
        self.daemon = await asyncio.create_subprocess_exec(
            "/bin/bash", "-c", script, sys.executable,
            cwd=ROOT,
            pass_fds=[self.port.fileno()],
            env=os.environ | {
                "LABELTRAIL_CONFIG": str(self._desk.config),
                "LISTEN_FDS": "1",
                "NOTIFY_SOCKET": str(self._desk.folder / "notify"),
            },
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        while (said := await asyncio.to_thread(self.notices.recv, 4096)) != b"READY=1":
            self.heard.append(said.decode())
        self.heard.append(said.decode())

    async def stop(self) -> None:
        """Stop the daemon in order."""
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        assert await self.daemon.wait() == 0

    def close(self) -> None:
        if self.daemon is not None and self.daemon.returncode is None:
            self.daemon.kill()
        self.port.close()
        self.notices.close()


class Senders:
    """Send deliveries without a pause, each on a connection of its own, as CVAT does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ids = itertools.count(1)
        self.statuses: dict[int, int] = {}
        self.stop = False
        self._answered = asyncio.Condition()

    async def send(self) -> None:
        """Send until told to stop."""
        while not self.stop:
            body = delivery(id=(number := next(self.ids)))
            headers = {SIGNATURE_HEADER: sign(body, SECRET), "Connection": "close"}
            timeout = aiohttp.ClientTimeout(total=ANSWER_S)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.url, data=body, headers=headers) as answer,
                self._answered,
            ):
                self.statuses[number] = answer.status
                self._answered.notify_all()

    async def more(self, count: int) -> None:
        """Wait until so many more deliveries were answered."""
        wanted = len(self.statuses) + count
        async with self._answered:
            await self._answered.wait_for(lambda: len(self.statuses) >= wanted)


async def test_no_delivery_is_refused_while_the_daemon_restarts(desk: Desk):
    """CVAT 2.15 never sends a delivery again, so one that finds no listener is lost to it."""
    desk.config.write_text(
        desk.config.read_text()
        + f'\n[servers.main]\nurl = "http://127.0.0.1:9"\nwebhook_secrets = ["{SECRET}"]\n'
    )
    manager = Manager(desk)
    senders = Senders(manager.url)
    try:
        await manager.start()
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(senders.send())
            for _ in range(RESTARTS):
                await senders.more(DELIVERIES)
                await manager.stop()
                await manager.start()
            await senders.more(DELIVERIES)
            senders.stop = True
        await manager.stop()
    finally:
        manager.close()
    ran = await asyncio.to_thread(desk.run, "log", "--type", "DeliveryReceived", "--json")

    assert set(senders.statuses.values()) == {204}
    assert sorted(found["fact"]["job"] for found in ran.objects) == sorted(senders.statuses)
    assert manager.heard == ["READY=1", "STOPPING=1"] * RESTARTS + ["READY=1"]
