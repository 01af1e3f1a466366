"""The table of endpoints: which function answers which method and path."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from daemon.sandbox.call import Call, Reply

Handler: TypeAlias = Callable[[Call], Awaitable[Reply]]

TABLE: dict[tuple[str, str], Handler] = {}
OPEN: set[Handler] = set()
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def route(method: str, path: str, *, login: bool = True) -> Callable[[Handler], Handler]:
    """Register a handler; `{id}` stands for digits, `{uuid}` for the id of an upload."""

    def register(handler: Handler) -> Handler:
        TABLE[method, path] = handler
        if not login:
            OPEN.add(handler)
        return handler

    return register


def template(path: str) -> tuple[str, tuple[str, ...]]:
    """Split a path into its template and the ids in it."""
    ids = []
    parts = []
    for part in path.rstrip("/").split("/"):
        is_uuid = UUID.fullmatch(part)
        is_id = part.isascii() and part.isdigit()
        if is_id or is_uuid:
            ids.append(part)
        parts.append("{id}" if is_id else "{uuid}" if is_uuid else part)
    return "/".join(parts), tuple(ids)
