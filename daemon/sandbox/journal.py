"""The record of a sandbox: what was asked, what was answered, what was told.

A script that knows nothing of the product counts edits from it, so each
annotation write names the annotations of its jobs before and after.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import IO, Any

from daemon.sandbox.model import Delivery
from daemon.sandbox.state import State, as_date


class Journal:
    """JSON lines, flushed one by one; without a path nothing is written."""

    def __init__(self, path: Path | None, state: State) -> None:
        self.state = state
        self.seq = count(1)
        self.file: IO[str] | None = path.open("a", encoding="utf-8") if path else None

    def write(self, line: dict[str, Any]) -> None:
        """Append a line."""
        if self.file is None:
            return
        head = {"seq": next(self.seq), "at": as_date(self.state.clock.now_us())}
        self.file.write(json.dumps(head | line) + "\n")
        self.file.flush()

    def delivery(self, row: Delivery, *, fault: str | None) -> None:
        """Note one attempt to deliver; `fault` says what the sandbox did to it."""
        if self.file is not None:
            self.write(
                {
                    "delivery": row.id,
                    "webhook": row.webhook,
                    "status": None if fault == "lost" else row.status_code,
                    "event": row.event,
                    "request": row.request,
                    "fault": fault,
                }
            )

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
