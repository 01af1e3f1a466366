"""Read what a CVAT server answered, and say what a refusal means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from daemon.ports.cvat import (
    AnswerTooLarge,
    CvatError,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    Refused,
    ServerMoved,
    ServerTrouble,
    Throttled,
    Unauthorized,
)

READS = frozenset({"GET", "HEAD"})
READ_BYTES = 256 * 1024
REASON_BYTES_MAX = 64 * 1024
REASON_CHARS_MAX = 300
REASON_PARTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer. `where` names the request in errors: server, method, path."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    where: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Which request it answers, and how it ended."""
        return {**self.where, "status": self.status}

    def json(self) -> Any:
        """Decode the body. Raises what `unreadable` returns when it is no JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as exc:
            raise self.unreadable("the server's answer is not JSON") from exc

    def row(self) -> Mapping[str, Any]:
        """Decode a JSON object."""
        row = self.json()
        if not isinstance(row, dict):
            raise self.unreadable("the server's answer is not an object")
        return row

    def page(self, rows_max: int) -> tuple[list[Any], bool]:
        """Decode one page of a list: its rows, as yet of any kind, and whether there is another."""
        page = self.row()
        rows = page.get("results")
        if not isinstance(rows, list) or len(rows) > rows_max:
            raise self.unreadable("the server's answer is not a page of objects")
        return rows, page.get("next") is not None

    def unreadable(self, message: str) -> CvatError:
        """Make the error of an answer that cannot be used: a write was carried out all the same."""
        kind = ServerTrouble if self.where.get("method") in READS else OutcomeUnknown
        hint = "check that the url is that of CVAT, not of its login page or a proxy"
        return kind(message, **self.facts, hint=hint)


async def read_body(
    response: aiohttp.ClientResponse, *, bytes_max: int, where: Mapping[str, Any]
) -> bytes:
    """Read a body up to a limit; leaving the response closes the socket on the rest."""
    pieces: list[bytes] = []
    left = bytes_max
    async for piece in response.content.iter_chunked(READ_BYTES):
        left -= len(piece)
        if left < 0:
            raise AnswerTooLarge(
                "the server's answer is larger than allowed", **where, bytes_max=bytes_max
            )
        pieces.append(piece)
    return b"".join(pieces)


async def refusal(
    response: aiohttp.ClientResponse, *, now_us: int, where: Mapping[str, Any]
) -> CvatError:
    """Turn an answer that is not 2xx into the error that tells the caller what to do."""
    facts: dict[str, Any] = {**where, "status": response.status}
    if 300 <= response.status < 400:
        return _moved(response, facts)
    if reason := await _reason(response):
        facts["reason"] = reason
    match response.status:
        case 401:
            return Unauthorized("the server does not accept the credentials", **facts)
        case 403:
            return Forbidden("the server does not allow this", **facts)
        case 404:
            return NotFound("the server has no such object", **facts)
        case 429:
            return Throttled("too many requests", **facts, wait_s=wait_s(response, now_us))
        case status if status >= 500 or status in (407, 408):
            return ServerTrouble("the server failed", **facts, wait_s=wait_s(response, now_us))
        case _:
            return Refused("the server refused the request", **facts)


def wait_s(response: aiohttp.ClientResponse, now_us: int) -> float:
    """Return the pause that `Retry-After` asks for, in seconds; 0 without a usable one."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - now_us / 1e6)
    except (ValueError, OverflowError, OSError):
        return 0.0


def _moved(response: aiohttp.ClientResponse, facts: Mapping[str, Any]) -> ServerMoved:
    # Only the origin is shown: a path or a query may carry a one-time token.
    try:
        parts = urlsplit(response.headers.get("Location", ""))
        target = f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another path"
    except ValueError:
        target = "an unreadable place"
    return ServerMoved(
        "the server redirects, which is not followed",
        **facts,
        target=target[:REASON_CHARS_MAX],
        hint="set the server's url to where it really is",
    )


async def _reason(response: aiohttp.ClientResponse) -> str:
    # A page of HTML comes from a proxy or a debug server: it explains nothing and may show much.
    if "html" in response.content_type:
        return ""
    try:
        body = await read_body(response, bytes_max=REASON_BYTES_MAX, where={})
    except (AnswerTooLarge, aiohttp.ClientError, TimeoutError):
        return ""
    try:
        parts = list(_words(orjson.loads(body)))
    except (orjson.JSONDecodeError, RecursionError):
        parts = [body[: 4 * REASON_CHARS_MAX].decode("utf-8", "replace")]
    return bounded("; ".join(parts[:REASON_PARTS_MAX]))


def _words(found: Any, name: str = "") -> Iterator[str]:
    """Flatten Django's errors, {"name": ["may not be blank"]}, into "name: may not be blank"."""
    if isinstance(found, dict):
        for key, value in found.items():
            quiet = key in ("detail", "non_field_errors", "message")
            yield from _words(value, name if quiet else f"{name}{key}: ")
    elif isinstance(found, list):
        for value in found:
            yield from _words(value, name)
    else:
        yield f"{name}{found}"


def bounded(text: str) -> str:
    """Make foreign text fit for a log line: printable, on one line, not long."""
    clean = "".join(c if c.isprintable() else " " for c in text[: 4 * REASON_CHARS_MAX])
    clean = " ".join(clean.split())
    return clean if len(clean) <= REASON_CHARS_MAX else clean[: REASON_CHARS_MAX - 1] + "…"
