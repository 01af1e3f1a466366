"""What the last `verify` found, in a file beside the log: the daemon tells it to monitoring."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from daemon.store.checkpoints import write_durably

FILE_NAME: Final = "last-verify.json"
FILE_MODE: Final = 0o640
BYTES_MAX: Final = 4_096


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome, when it was reached (µs UTC), and the position up to which was read."""

    ok: bool
    at: int
    position: int
    problems: int


def note(folder: Path, found: Verified) -> None:
    """Keep the outcome. Whoever may only read the log verifies it all the same."""
    with suppress(OSError):
        write_durably(folder / FILE_NAME, msgspec.json.encode(found), mode=FILE_MODE)


def last(folder: Path) -> Verified | None:
    """Return the outcome that was kept last, None where there is none that can be read."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            return msgspec.json.decode(file.read(BYTES_MAX), type=Verified)
    except (OSError, ValueError):
        return None
