"""An answer as bytes."""

from __future__ import annotations

import json
from typing import TypeAlias

from daemon.sandbox.call import Reply

# Status, headers, body.
Answer: TypeAlias = tuple[int, dict[str, str], bytes]


def rendered(reply: Reply) -> Answer:
    """Write an answer; raises ValueError for numbers that JSON does not have."""
    headers = dict(reply.headers)
    match reply.body:
        case None:
            return reply.status, headers, b""
        case bytes() as content:
            headers["Content-Type"] = reply.content_type
        case str() as text if text.lstrip().startswith("<"):
            headers["Content-Type"] = "text/html; charset=utf-8"
            content = text.encode()
        case body:
            headers["Content-Type"] = reply.content_type
            # What has an address of its own names it when it was made.
            if reply.status == 201 and "url" in body:
                headers["Location"] = body["url"]
            written = json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
            content = written.encode("utf-8", "surrogatepass")
    return reply.status, headers, content
