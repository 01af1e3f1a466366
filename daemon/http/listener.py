"""The listening port: what is served there, its limits, its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from daemon import notify
from daemon.http import scrape
from daemon.http.api import cors
from daemon.http.api.access import Access
from daemon.http.api.api import ROUTE, Api
from daemon.http.bodies import Bodies
from daemon.http.guard import Guard
from daemon.http.health import Readyz, healthz
from daemon.http.receiver import Receiver
from daemon.http.requests import Requests
from daemon.http.webhook import PATH, Webhook
from daemon.metrics import Metrics
from events.errors import SyncError

if TYPE_CHECKING:
    from config.settings import Http
    from daemon.app import App

BACKLOG: Final = 1_024
STOP_S: Final = 5.0
HEADS_S: Final = 1.0  # how long a stop waits for the first word on connections that were accepted
LINGER_S: Final = 0.5  # how long the rest of a refused body is read and thrown away
HEAD_BYTES_MAX: Final = 8_190
COLLECT_EVERY: Final = 10_000  # new objects; Python's own is 700
METRICS: Final[web.AppKey[Metrics]] = web.AppKey("metrics", Metrics)
WEBHOOK: Final[web.AppKey[Webhook]] = web.AppKey("webhook", Webhook)


log = structlog.get_logger(__name__)
_aiohttp = logging.getLogger(f"{__name__}.aiohttp")


def _in_short(record: logging.LogRecord) -> bool:
    """Tell of what is no HTTP in one line of ours.

    aiohttp writes an error with a traceback for each, and quotes what was sent: anybody could fill
    the disk, and a header with a slip in it may hold a secret.
    """
    exc = record.exc_info[1] if record.exc_info else None
    if not isinstance(exc, HttpProcessingError | web.RequestPayloadError):
        return True
    log.info("bad_request", error=type(exc).__name__)
    return False


_aiohttp.addFilter(_in_short)


class PortTaken(SyncError):
    """Another program listens at the address."""


class PortRefused(SyncError):
    """The address cannot be listened at."""


@asynccontextmanager
async def listening(app: App) -> AsyncIterator[str]:
    """Serve webhooks and health; yields the address. Raises PortTaken, PortRefused."""
    limits, kept = app.settings.http, app.settings.deliveries
    bound = notify.listening_socket() or bind(limits.host, limits.port)
    bodies = Bodies(app.folder, app.clock, keep_days=kept.keep_days, bytes_max=kept.bytes_max)
    receiver = Receiver(
        app.store,
        app.projections,
        app.clock,
        secrets=app.webhook_secrets,
        on_delivery=app.delivered,
        bodies=bodies,
    )
    await receiver.recall()
    collect_seldom()
    flushing = asyncio.create_task(receiver.refusals.flush_now_and_then(), name="refusals")
    try:
        site = make_site(receiver, Readyz(app.store, app.projections), limits)
        add_api(site, app)
        with app.hearing_deliveries(receiver.heard):
            async with serving(site, bound, limits):
                yield address_of(bound)
    finally:
        flushing.cancel()
        await receiver.refusals.flush()
        await asyncio.to_thread(bodies.close)


def collect_seldom() -> None:
    """Keep the garbage collector from holding deliveries up.

    What was imported stays for ever; a full collection that looked at all of it again stopped the
    loop for 0.1 s, and the small ones took a fifth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])


def make_site(receiver: Receiver, readyz: Readyz, limits: Http) -> web.Application:
    """Return the routes."""
    metrics = Metrics()
    requests = Requests(metrics)
    around = requests.middleware()
    site = web.Application(middlewares=[around], client_max_size=limits.body_bytes_max)
    webhook = Webhook(
        receiver, requests, body_bytes_max=limits.body_bytes_max, body_s=limits.request_s
    )
    site[METRICS] = metrics
    site[WEBHOOK] = webhook
    site.router.add_post(PATH, webhook.handle)
    site.router.add_get("/healthz", healthz)
    site.router.add_get("/readyz", readyz.handle)
    return site


def add_api(site: web.Application, app: App) -> None:
    """Add the routes that need a token."""
    access, metrics = Access(app), site[METRICS]
    api = Api(app, access)
    app.store.hear(metrics.appended)
    site.router.add_route("*", ROUTE, api.handle)
    site.router.add_get(scrape.PATH, scrape.Scrape(app, access, metrics).handle)
    site.on_response_prepare.append(cors.mark)
    site.on_shutdown.append(api.stop)


@asynccontextmanager
async def serving(site: web.Application, bound: socket.socket, limits: Http) -> AsyncIterator[None]:
    """Serve on a bound socket, within limits, until left; then let running requests end."""
    runner = web.AppRunner(
        site,
        access_log=None,
        keepalive_timeout=limits.keepalive_s,
        lingering_time=LINGER_S,
        # A signature is over what was sent, and nothing is unpacked for a stranger.
        auto_decompress=False,
        logger=_aiohttp,
        max_line_size=HEAD_BYTES_MAX,
        max_field_size=HEAD_BYTES_MAX,
        shutdown_timeout=STOP_S,
    )
    await runner.setup()
    assert runner.server is not None
    runner.server.request_handler = site[WEBHOOK].shortcut(runner.server.request_handler)
    guard = Guard(runner.server, connections_max=limits.connections_max, head_s=limits.request_s)
    server = await asyncio.get_running_loop().create_server(guard, sock=bound, backlog=BACKLOG)
    try:
        yield
    finally:
        server.close()
        await guard.all_spoken(HEADS_S)
        await runner.cleanup()


def bind(host: str, port: int) -> socket.socket:
    """Bind a TCP address. Raises PortTaken, PortRefused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as exc:
        kind = PortTaken if exc.errno == errno.EADDRINUSE else PortRefused
        what = "is taken" if kind is PortTaken else "cannot be used"
        raise kind(
            f"the address to listen at {what}",
            host=host,
            port=port,
            reason=exc.strerror or str(exc),
            hint="stop what listens there, or set another `port` or `host` in [http]",
        ) from exc


def address_of(bound: socket.socket) -> str:
    """Return the http address of a bound socket."""
    with contextlib.suppress(ValueError):
        host, port = bound.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return f"unix:{bound.getsockname()}"
