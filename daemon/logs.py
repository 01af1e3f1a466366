"""Lines about our own work, on stderr: JSON for machines, colours for a terminal."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Collection, MutableMapping
from typing import Any, Final

import structlog
from structlog.typing import Processor

MASK: Final = "***"
SECRET_CHARS_MIN: Final = 4  # shorter ones would mask half of every line
_SECRET_KEYS = re.compile(r"password|secret|token|authorization|cookie|signature|credential", re.I)

Event = MutableMapping[str, Any]


class Masking:
    """Takes secrets out of a line: members that are named like one, and texts that hold one.

    secrets  returns those in force
    """

    def __init__(self, secrets: Callable[[], Collection[str]]) -> None:
        self._secrets = secrets

    def __call__(self, logger: object, method: str, event: Event) -> Event:
        known = [secret for secret in self._secrets() if len(secret) >= SECRET_CHARS_MIN]
        for name, value in event.items():
            event[name] = MASK if _SECRET_KEYS.search(name) else _masked(value, known)
        return event


def _masked(value: Any, known: Collection[str]) -> Any:
    match value:
        case str():
            for secret in known:
                value = value.replace(secret, MASK)
            return value
        case dict():
            return {
                name: MASK if _SECRET_KEYS.search(str(name)) else _masked(one, known)
                for name, one in value.items()
            }
        case list() | tuple():
            return [_masked(one, known) for one in value]
        case int() | float() | None:
            return value
    return _masked(str(value), known)


def configure(level: str, secrets: Callable[[], Collection[str]]) -> None:
    """Send our lines, and those of the libraries, to stderr."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    # Tracebacks become text first, so that secrets in them are masked like all others.
    last: list[Processor] = [structlog.processors.format_exc_info, Masking(secrets), renderer]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
