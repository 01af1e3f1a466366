"""Lines about our own work, on stderr: JSON for machines, colours for a terminal."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, MutableMapping
from functools import lru_cache
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import Processor

from daemon.clock import SystemClock
from events.errors import SyncError

MASK: Final = "***"
SECRET_CHARS_MIN: Final = 4  # shorter ones would mask half of every line
_SECRET_KEYS = re.compile(r"password|secret|token|authorization|cookie|signature|credential", re.I)

TOLD_OF_ERRORS: Final = ("method", "status")

Event = MutableMapping[str, Any]

_clock = SystemClock()


class Masking:
    """Takes secrets out of a line: members that are named like one, and texts that hold one.

    secrets  returns those in force
    """

    def __init__(self, secrets: Callable[[], Collection[str]]) -> None:
        self._secrets = secrets

    def __call__(self, logger: object, method: str, event: Event) -> Event:
        known = [secret for secret in self._secrets() if len(secret) >= SECRET_CHARS_MIN]
        for name, value in event.items():
            if _is_secret(name):
                event[name] = MASK
            elif type(value) is str:
                # As `_masked` does, without its price: most values are short texts.
                for secret in known:
                    if secret in value:
                        event[name] = value = value.replace(secret, MASK)
            elif type(value) is not int and type(value) is not float:
                event[name] = _masked(value, known)
        return event


# Names are those of our own lines: few, and the same ones again and again.
@lru_cache(maxsize=512)
def _is_secret(name: str) -> bool:
    return _SECRET_KEYS.search(name) is not None


def _masked(value: Any, known: Collection[str]) -> Any:
    match value:
        case str():
            for secret in known:
                value = value.replace(secret, MASK)
            return value
        case dict():
            return {
                str(name): MASK if _SECRET_KEYS.search(str(name)) else _masked(one, known)
                for name, one in value.items()
            }
        case list() | tuple():
            return [_masked(one, known) for one in value]
        case int() | float() | None:
            return value
    return _masked(str(value), known)


def trouble(exc: SyncError) -> dict[str, object]:
    """Return what a line may tell of an error of ours.

    Neither its text nor its other facts: they may quote what a server or a file said, and that may
    be anybody's name.
    """
    told: dict[str, object] = {"error": type(exc).__name__, "message": exc.message}
    return told | {name: exc.facts[name] for name in TOLD_OF_ERRORS if name in exc.facts}


class Lines:
    """A stream for lines: those of one turn of the event loop go out in one write.

    A write to a pipe is a system call, which gives other threads their turn. Whoever answers
    thousands of requests a second must not pay for one with each.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[str] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None  # that will write what waits

    def write(self, text: str) -> None:
        """Write at once, or on an event loop at the end of its turn. Any thread may."""
        self._waiting.append(text)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write_out()
            return
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self.write_out)

    def flush(self) -> None:
        """Do nothing: what asks for it does so after each line."""

    def write_out(self) -> None:
        """Write what waits."""
        self._loop = None
        found = []
        while self._waiting:
            try:
                found.append(self._waiting.popleft())
            except IndexError:  # another thread was faster
                break
        if found:
            self._stream.write("".join(found))
            self._stream.flush()


def _stamped(logger: object, method: str, event: Event) -> Event:
    """Put the time in. Python's own spelling of a date takes as long as the rest of a line."""
    second, us = divmod(_clock.now_us(), 1_000_000)
    event["timestamp"] = f"{_spelled(second)}.{us:06}Z"
    return event


@lru_cache(maxsize=2)
def _spelled(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _rendered(logger: object, method: str, event: Event) -> str:
    try:
        return orjson.dumps(event).decode()
    except orjson.JSONEncodeError:
        # A lone surrogate, or an integer beyond 64 bits.
        return json.dumps(event, default=str)


def configure(level: str, secrets: Callable[[], Collection[str]]) -> None:
    """Send our lines, and those of the libraries, to stderr."""
    lines = Lines(sys.stderr)
    atexit.register(lines.write_out)
    logger = structlog.WriteLogger(lines)  # type: ignore[arg-type]
    shared: list[Processor] = [structlog.stdlib.add_log_level, _stamped]
    renderer: Processor = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else _rendered
    # Tracebacks become text first, so that secrets in them are masked like all others.
    last: list[Processor] = [structlog.processors.format_exc_info, Masking(secrets), renderer]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: logger,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
