"""The listening port: what is served there, its limits, its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from config import load
from daemon import notify
from daemon.crash import crash
from daemon.http import scrape
from daemon.http.api import cors
from daemon.http.api.access import Access
from daemon.http.api.api import ROUTE, Api
from daemon.http.bodies import Bodies
from daemon.http.desk import StartFront, standing
from daemon.http.front.front import BACKLOG, STOP_S
from daemon.http.front.wire import Limits
from daemon.http.health import Readyz, healthz
from daemon.http.receiver import Receiver
from daemon.http.requests import Requests
from daemon.http.webhook import NO_SERVER, PATH
from daemon.loops import collect_seldom, take_short_turns
from daemon.metrics import Metrics
from daemon.store.driver import bind_directly
from events.errors import SyncError

if TYPE_CHECKING:
    from config.settings import Http
    from daemon.app import App

SOCKET_MODE: Final = 0o600


log = structlog.get_logger(__name__)
_aiohttp = logging.Logger(f"{__name__}.aiohttp")


class _Failures(logging.Handler):
    """Tells of what a request failed with, and quotes nothing of it, as aiohttp's own lines do."""

    def emit(self, record: logging.LogRecord) -> None:
        exc = record.exc_info[1] if record.exc_info else None
        log.error("request_failed", **(crash(exc) if exc else {"error": record.msg}))


_aiohttp.addHandler(_Failures())


class PortTaken(SyncError):
    """Another program listens at the address."""


class PortRefused(SyncError):
    """The address cannot be listened at."""


@asynccontextmanager
async def listening(app: App, start: StartFront | None = None) -> AsyncIterator[str]:
    """Serve webhooks, health and the API; yields the address.

    start  runs a front, in a process of its own unless given

    Raises PortTaken, PortRefused, FrontFailed.
    """
    http, kept = app.settings.http, app.settings.deliveries
    bound = notify.listening_socket() or bind(http.host, http.port)
    address = address_of(bound)
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
    take_short_turns()
    bind_directly()
    flushing = asyncio.create_task(receiver.refusals.flush_now_and_then(), name="refusals")
    try:
        requests = Requests(Metrics())
        site = make_site(requests, Readyz(app.store, app.projections), http)
        add_api(site, app, requests.metrics)
        place = load.control_socket(app.settings)
        with app.hearing_deliveries(receiver.heard):
            async with in_front(receiver, requests, site, place, bound, http, start):
                yield address
    finally:
        flushing.cancel()
        await receiver.refusals.flush()
        await asyncio.to_thread(bodies.close)


@asynccontextmanager
async def in_front(
    receiver: Receiver,
    requests: Requests,
    site: web.Application,
    place: Path,
    bound: socket.socket,
    http: Http,
    start: StartFront | None,
) -> AsyncIterator[None]:
    """Serve deliveries and a site on a bound socket, within limits, until left.

    place  the daemon's own socket; beside it is the one that leads the front to the site
    """
    path = place.with_name(f"{place.name}-http")
    limits = Limits(http.connections_max, http.body_bytes_max, http.request_s, http.keepalive_s)
    async with serving(site, path), standing(receiver, requests, bound, path, limits, start):
        try:
            yield
        finally:
            # What would not end by itself, such as feeds, must not be waited for.
            await site.shutdown()


def make_site(requests: Requests, readyz: Readyz, http: Http) -> web.Application:
    """Return the routes of all that is no delivery."""
    around = requests.middleware()
    site = web.Application(middlewares=[around], client_max_size=http.body_bytes_max)
    # Those with a name that a server can have went another way.
    site.router.add_post(PATH, _nobody)
    site.router.add_get("/healthz", healthz)
    site.router.add_get("/readyz", readyz.handle)
    return site


async def _nobody(request: web.Request) -> web.Response:
    return web.Response(status=NO_SERVER.status, text=NO_SERVER.text)


def add_api(site: web.Application, app: App, metrics: Metrics) -> None:
    """Add the routes that need a token."""
    access = Access(app)
    api = Api(app, access)
    app.store.hear(metrics.appended)
    site.router.add_route("*", ROUTE, api.handle)
    site.router.add_get(scrape.PATH, scrape.Scrape(app, access, metrics).handle)
    site.on_response_prepare.append(cors.mark)
    site.on_shutdown.append(api.stop)


@asynccontextmanager
async def serving(site: web.Application, path: Path) -> AsyncIterator[None]:
    """Serve a site at a socket that only this user can open."""
    runner = web.AppRunner(
        site,
        access_log=None,
        auto_decompress=False,
        lingering_time=0,
        logger=_aiohttp,
        shutdown_timeout=STOP_S,
    )
    await runner.setup()
    await web.SockSite(runner, _bind_alone(path)).start()
    try:
        yield
    finally:
        await runner.cleanup()
        _remove(path)


def _bind_alone(path: Path) -> socket.socket:
    """Bind a socket for this user; a daemon that was killed may have left one behind."""
    _remove(path)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(path))
    # Nobody can connect before `listen`, so there is no moment with other rights.
    path.chmod(SOCKET_MODE)
    return bound


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


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
