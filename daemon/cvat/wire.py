"""Exchange HTTP requests with one CVAT server: bounded, repeated only where that is safe."""

from __future__ import annotations

import asyncio
import random
import ssl
import urllib.request
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from yarl import URL

from daemon.clock import Clock
from daemon.cvat.answers import READS, Answer, read_body, refusal
from daemon.cvat.login import Login
from daemon.cvat.server import BadServerConfig, Limits, PasswordLogin, ServerConfig
from daemon.ports.cvat import (
    AnswerTooLarge,
    CvatError,
    OutcomeUnknown,
    Refused,
    ServerTrouble,
    ServerUnreachable,
    Throttled,
    Unauthorized,
    waited_s,
)
from events.errors import SyncError

ACCEPT = "application/vnd.cvat+json; version=2.0"
Query = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Stream:
    """A request body that is read from disk while it is sent, anew for each attempt."""

    open: Callable[[], AsyncIterable[bytes]]
    size: int
    content_type: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `repeatable`: doing it twice is the same as doing it once."""

    method: str
    path: str
    query: Query = field(default_factory=dict)
    body: bytes | Stream | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    repeatable: bool = False
    login: bool = True
    bytes_max: int | None = None


class Wire:
    """The connections to one server."""

    def __init__(
        self,
        config: ServerConfig,
        session: aiohttp.ClientSession,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.config = config
        self.clock = clock
        self._session = session
        self._base = str(URL(config.url)).rstrip("/")  # host and path as they go on the wire
        self._jitter = jitter
        self._slots = asyncio.Semaphore(config.limits.concurrency)
        self._login = Login(config.credentials, fetch_key=self._fetch_key)
        self._proxy = config.proxy or (_proxy_of_environment(config) if config.trust_env else None)

    async def get(
        self, path: str, query: Query | None = None, *, bytes_max: int | None = None
    ) -> Answer:
        """Read something; repeated on trouble."""
        return await self.send(Call("GET", path, query or {}, repeatable=True, bytes_max=bytes_max))

    async def write(self, method: str, path: str, document: object = None) -> Answer:
        """Change something, once."""
        return await self.send(
            Call(method, path, body=None if document is None else encode(document))
        )

    async def send(self, call: Call) -> Answer:
        """Do one call, with as many attempts as are safe and allowed.

        Raises OutcomeUnknown for a write once any attempt may have been carried out.
        """
        uncertain = False
        for attempt in range(1, self.config.limits.attempts + 1):
            try:
                return await self._authorized(call)
            except (ServerTrouble, AnswerTooLarge) as exc:
                uncertain = uncertain or call.method not in READS
                error: CvatError = exc
                again = call.repeatable and isinstance(exc, ServerTrouble)
            except (ServerUnreachable, Throttled) as exc:
                error, again = exc, True
            except CvatError as exc:
                error, again = exc, False
            pause_s = self._pause_s(attempt, error)
            if not again or pause_s is None:
                break
            await self.clock.sleep(pause_s)
            waited_s.set(waited_s.get() + pause_s)
        raise _unknown(error) if uncertain else error

    async def close(self) -> None:
        await self._session.close()

    def _pause_s(self, attempt: int, error: CvatError) -> float | None:
        """Return how long to wait before the next attempt, None when there is none."""
        limits = self.config.limits
        asked = error.facts.get("wait_s")
        asked_s = asked if isinstance(asked, float) else 0.0
        if attempt >= limits.attempts or asked_s > limits.retry_after_s_max:
            return None
        return max(asked_s, self.backoff_s(attempt))

    def backoff_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row."""
        limits = self.config.limits
        backoff_s = min(limits.backoff_s * 2.0 ** (failures - 1), limits.backoff_s_max)
        # Half fixed, half random: clients that failed together do not come back together.
        return backoff_s * (0.5 + self._jitter() / 2)

    async def _authorized(self, call: Call) -> Answer:
        """Do one attempt; when a session's token has expired, log in again, once."""
        if not call.login:
            return await self._attempt(call, None)
        header = await self._login.header()
        try:
            return await self._attempt(call, header)
        except Unauthorized:
            if not self._login.renewable:
                raise
        return await self._attempt(call, await self._login.renew(refused=header))

    async def _attempt(self, call: Call, authorization: str | None) -> Answer:
        where = {"server": self.config.name, "method": call.method, "path": call.path}
        async with self._slots:
            try:
                async with self._open(call, authorization) as response:
                    if not 200 <= response.status < 300:
                        raise await refusal(response, now_us=self.clock.now_us(), where=where)
                    bytes_max = call.bytes_max or self.config.limits.answer_bytes_max
                    body = await read_body(response, bytes_max=bytes_max, where=where)
                    return Answer(response.status, response.headers, body, where)
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                error = _translated(exc, where)
        # Outside the handler, so that no foreign exception, whose parts hold headers, is chained.
        raise error

    def _open(
        self, call: Call, authorization: str | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        # Ours come last: aiohttp keeps the last of each name, whatever its case.
        headers = {**self.config.headers, "Accept": ACCEPT, **call.headers}
        if self.config.organization is not None and call.login:
            headers["X-Organization"] = self.config.organization
        if authorization is not None:
            headers["Authorization"] = authorization
        data: Any = call.body
        if isinstance(call.body, Stream):
            headers["Content-Type"] = call.body.content_type
            headers["Content-Length"] = str(call.body.size)
            data = call.body.open()
        elif call.body is not None:
            headers["Content-Type"] = "application/json"
        return self._session.request(
            call.method,
            URL(self._base + call.path, encoded=True).with_query(dict(call.query)),
            data=data,
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
            timeout=timeout_of(call, self.config.limits),
        )

    async def _fetch_key(self, login: PasswordLogin) -> str:
        body = encode({"username": login.username, "password": login.password})
        try:
            call = Call("POST", "/api/auth/login", body=body, login=False)
            key = (await self._attempt(call, None)).row().get("key")
        except Refused as exc:
            # CVAT answers 400 to a wrong password.
            raise Unauthorized(
                "the server does not accept this user name and password",
                **exc.facts,
                hint="check the credentials of this server",
            ) from exc
        except (ServerTrouble, AnswerTooLarge, OutcomeUnknown) as exc:
            # For a write that waits for the login nothing is uncertain.
            raise ServerUnreachable(
                f"no login to the server: {exc.message}",
                **exc.facts,
                hint="the request that needs it was not sent",
            ) from exc
        if not isinstance(key, str) or not key.isalnum():
            raise ServerUnreachable("the server's login gave no key", server=self.config.name)
        return key


def timeout_of(call: Call, limits: Limits) -> aiohttp.ClientTimeout:
    """Return how long a call may take: an upload the longer, the more it sends."""
    size = call.body.size if isinstance(call.body, Stream) else len(call.body or b"")
    return aiohttp.ClientTimeout(
        total=limits.total_s + size / limits.upload_bytes_per_s_min,
        sock_connect=limits.connect_s,
        sock_read=limits.read_s,
    )


async def open_wire(
    config: ServerConfig, clock: Clock, *, jitter: Callable[[], float] = random.random
) -> Wire:
    """Prepare the connections to a server; none is made yet. May raise BadServerConfig."""
    try:
        context = await asyncio.to_thread(ssl.create_default_context, cafile=config.ca_file)
    except OSError as exc:
        raise BadServerConfig(
            "the file of certificate authorities cannot be used",
            server=config.name,
            ca_file=str(config.ca_file),
            reason=exc.strerror,
            hint="it must be a PEM file that the daemon may read",
        ) from exc
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=context,
            # Unlimited here: waiting for a place would count as time of the exchange.
            limit=0,
            # Shorter than what servers allow (uvicorn: 5 s): a write on a connection that the
            # server is just closing ends as "unknown" without need.
            keepalive_timeout=4.0,
        ),
        # CVAT opens a session beside each token; its cookies would bring its CSRF checks in.
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "labeltrail"},
        # Never the session's own trust_env: it reads ~/.netrc too, over our credentials.
        trust_env=False,
    )
    return Wire(config, session, clock, jitter=jitter)


def encode(document: object) -> bytes:
    """Encode a request's body; bytes are taken as encoded. Raises Refused for what JSON cannot."""
    if isinstance(document, bytes):
        return document
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError as exc:
        raise Refused(f"this cannot be sent as JSON: {exc}", hint="nothing was sent") from exc


def _translated(exc: Exception, where: Mapping[str, Any]) -> SyncError:
    """Say what a failure of the connection means for the request."""
    if isinstance(exc.__cause__, SyncError):
        # Our own body could not be read to its end, so the server dropped the request.
        return exc.__cause__
    cause = type(exc).__name__
    match exc:
        case aiohttp.ClientConnectorError():
            return ServerUnreachable("no connection to the server", **where, cause=str(exc))
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientHttpProxyError():
            return ServerUnreachable("no connection to the server", **where, cause=cause)
        case TimeoutError():
            return ServerTrouble("the server took too long", **where, cause=cause)
        case _:
            return ServerTrouble("the connection broke", **where, cause=cause)


def _unknown(error: CvatError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"it is not known whether this was done: {error.message}",
        **error.facts,
        hint="read the object again before repeating the request",
    )


def _proxy_of_environment(config: ServerConfig) -> str | None:
    """Return what http_proxy, https_proxy and no_proxy say; other kinds of proxies are not used."""
    url = URL(config.url)
    if urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
        return None
    found = urllib.request.getproxies().get(url.scheme, "")
    return found if found.startswith(("http://", "https://")) else None
