"""The table of endpoints: which function answers which method and path."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from daemon.sandbox.call import Call, Reply

Handler: TypeAlias = Callable[[Call], Awaitable[Reply]]

TABLE: dict[tuple[str, str], Handler] = {}
SINCE: dict[tuple[str, str], str] = {}
OPEN: set[Handler] = set()
# Newer versions put the number of the user before the id of an upload.
UUID = re.compile(r"(\d+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def route(
    method: str, path: str, *, login: bool = True, since: str = "2.15"
) -> Callable[[Handler], Handler]:
    """Register a handler.

    path   `{id}` stands for digits, `{uuid}` for the id of an upload, `{request}` for
           that of a background request
    since  the version that has it first
    """

    def register(handler: Handler) -> Handler:
        TABLE[method, path] = handler
        SINCE[method, path] = since
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
        is_request = part.startswith("action=")
        if is_id or is_uuid or is_request:
            ids.append(part)
        known = "{id}" if is_id else "{uuid}" if is_uuid else "{request}" if is_request else part
        parts.append(known)
    return "/".join(parts), tuple(ids)
