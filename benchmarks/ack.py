"""How fast a webhook delivery is acknowledged: on disk, against an endpoint that only checks it.

Both run in processes of their own, and by turns get distinct signed deliveries over CONNECTIONS
connections. Ours follows the log with its projections meanwhile, as the daemon does, and must have
caught up before the other's turn. Afterwards the log is opened anew: every 204 must be found in it.
`loaded` is ours while it scans a large manifest and compares one state of a large job with another,
again and again (`benchmarks.load`).
"""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import uvloop
from aiohttp import web

from benchmarks import load
from benchmarks.pairs import PAIRS, Figure, figure
from daemon import logs
from daemon.app import open_app
from daemon.clock import SystemClock
from daemon.cvat.signatures import SIGNATURE_HEADER, check, sign
from daemon.http import listener
from daemon.store.sqlite import SqliteStore

CONNECTIONS = 64
LOADED_MIN = 4_000  # as many as take longer than the next append of samples is away
SECRET = "a secret of the benchmark"
SETTINGS = """
[data]
folder = "{folder}/data"
[http]
port = 0
connections_max = 512
[servers.main]
url = "http://127.0.0.1:9"
webhook_secrets = ["{secret}"]
"""


async def measure(*, quick: bool) -> dict[str, Figure]:
    """Return `ack` (ratio), `ack_p99_ms` and `ack_loaded_p99_ms`."""
    count = 1_200 if quick else 20_000
    times, p99s = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _configure(folder)
        async with _serving("ours", folder) as ours, _serving("bare", folder) as bare:
            ports = [await side.port() for side in (ours, bare)]
            for pair in range(PAIRS):
                taken = [0.0, 0.0]
                for nth, side in [(0, ours), (1, bare)][:: 1 if pair % 2 else -1]:
                    taken[nth], waits = await _send_all(ports[nth], count, pair * count)
                    await side.catch_up()
                    if side is ours:
                        p99s.append(_p99_ms(waits))
                times.append((taken[0], taken[1]))
        assert await _found(folder) == PAIRS * count, "a 204 is not in the log"
    return {
        "ack": figure(times, count),
        "ack_p99_ms": {"ms": round(statistics.median(p99s), 1)},
        "ack_loaded_p99_ms": {"ms": round(await _loaded(count, quick=quick), 1)},
    }


async def _loaded(count: int, *, quick: bool) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _configure(folder)
        load.prepare(folder, quick=quick)
        count = max(count, LOADED_MIN)
        async with _serving("loaded", folder) as loaded:
            _, waits = await _send_all(await loaded.port(), count, 0)
        assert await _found(folder) == count, "a 204 is not in the log"
    return _p99_ms(waits)


def _p99_ms(waits: list[float]) -> float:
    return statistics.quantiles(waits, n=100)[98] * 1_000


async def _send_all(port: int, count: int, first: int) -> tuple[float, list[float]]:
    """Send distinct deliveries; return the seconds for all of them, and for each."""
    requests = iter([_request(number) for number in range(first, first + count)])
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    senders = [_Sender(requests, waits, loop.create_future()) for _ in range(CONNECTIONS)]
    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(sender.connect("127.0.0.1", port))
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(sender.send())
    return time.perf_counter() - started, waits


class _Sender(asyncio.Protocol):
    """One connection: each delivery goes out once the one before it is acknowledged.

    It works in the loop's own calls, so that what is measured is the server: both sides share the
    machine's processors, and streams would take as much of them as an endpoint does.
    """

    def __init__(
        self, requests: Iterator[bytes], waits: list[float], ended: asyncio.Future[None]
    ) -> None:
        self._requests, self._waits, self._ended = requests, waits, ended
        self._answer = b""

    async def connect(self, host: str, port: int) -> None:
        """Open the connection."""
        await asyncio.get_running_loop().create_connection(lambda: self, host, port)

    async def send(self) -> None:
        """Send until there are no more. Raises what kept it from that."""
        self._send_next()
        try:
            await self._ended
        finally:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"\r\n\r\n"):
            return  # A 204 ends with its head.
        self._waits.append(time.perf_counter() - self._began_s)
        if not self._answer.startswith(b"HTTP/1.1 204"):
            self._end(AssertionError(self._answer))
            return
        self._answer = b""
        self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionResetError("the server closed the connection"))

    def _send_next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._end(None)
            return
        self._began_s = time.perf_counter()
        self._transport.write(request)

    def _end(self, exc: Exception | None) -> None:
        if self._ended.done():
            return
        if exc is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(exc)


def _request(number: int) -> bytes:
    job = number % 500 + 1
    date = f"2026-11-22T10:18:{number // 1_000_000 % 60:02}.{number % 1_000_000:06}Z"
    body = json.dumps(
        {
            "event": "update:job",
            "job": {
                "id": job,
                "task_id": 7,
                "project_id": 1,
                "updated_date": date,
                "pad": "x" * 900,
            },
            "before_update": {"updated_date": date},
            "sender": {"id": 3, "username": "annotator"},
            "webhook_id": 1,
        }
    ).encode()
    head = (
        f"POST /webhooks/cvat/main HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        f"{SIGNATURE_HEADER}: {sign(body, SECRET)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _found(folder: Path) -> int:
    """Open the log anew; return how many deliveries it holds."""
    store = await SqliteStore.open(folder / "data" / "log.db", SystemClock())
    reader = store.reader()
    found = sum(one.type == "DeliveryReceived" for one in reader.read(stream="server/main"))
    reader.close()
    await store.close()
    return found


class _Served(NamedTuple):
    """A side as a process of its own."""

    process: asyncio.subprocess.Process
    log: Path

    async def port(self) -> int:
        """Wait until it serves, and return where. To be asked once."""
        return int(await self._line())

    async def catch_up(self) -> None:
        """Wait until nothing that was sent is left to be done."""
        self.process.send_signal(signal.SIGUSR1)
        await self._line()

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, _end_of(self.log)
        return line


def _end_of(log: Path) -> str:
    return f"{log.name}: {log.read_text(errors='replace')[-2_000:]}"


def _configure(folder: Path) -> None:
    (folder / "labeltrail.toml").write_text(SETTINGS.format(secret=SECRET, folder=folder))


@asynccontextmanager
async def _serving(side: str, folder: Path) -> AsyncIterator[_Served]:
    said = folder / f"{side}.log"
    with said.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.ack", side, str(folder)),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        yield _Served(process, said)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
    assert process.returncode == 0, _end_of(said)


async def _serve(side: str, folder: Path) -> None:
    """Serve until SIGTERM; print the port, and a line for each SIGUSR1 once nothing is left."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    logs.configure("info", tuple)
    serving = _bare() if side == "bare" else _ours(folder, loaded=side == "loaded")
    async with serving as (address, catch_up):

        async def tell() -> None:
            await catch_up()
            print("caught up", flush=True)

        loop.add_signal_handler(signal.SIGUSR1, lambda: loop.create_task(tell()))
        print(address.rpartition(":")[2], flush=True)
        await stop.wait()


@asynccontextmanager
async def _ours(folder: Path, *, loaded: bool) -> Any:
    async with (
        open_app(folder / "labeltrail.toml", actor="benchmark") as app,
        listener.listening(app) as address,
    ):
        tasks = [asyncio.create_task(app.projections.follow())]
        beside = load.Load(app, folder) if loaded else None
        if beside is not None:
            tasks += [asyncio.create_task(work) for work in beside.work()]
            await beside.begun()
        before = beside.appends if beside else 0
        yield address, lambda: app.projections.ask(lambda _: None)
        assert beside is None or beside.appends > before, "no sample was appended meanwhile"
        for task in tasks:
            assert not task.done(), f"ended before the deliveries did: {task}"
            task.cancel()
        await asyncio.wait(tasks)


@asynccontextmanager
async def _bare() -> Any:
    async def receive(request: web.Request) -> web.Response:
        check(await request.read(), request.headers[SIGNATURE_HEADER], [SECRET])
        return web.Response(status=204)

    site = web.Application()
    site.router.add_post("/webhooks/cvat/main", receive)
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    try:
        bound = web.TCPSite(runner, "127.0.0.1", 0)
        await bound.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", partial(asyncio.sleep, 0)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], Path(sys.argv[2])))
