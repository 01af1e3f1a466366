"""One demo, played once, that several tests look at."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LABELTRAIL = (sys.executable, "-I", "-m", "daemon")
DEMO_S = 150
NOWHERE = Path("/")


@dataclass(frozen=True)
class Played:
    """What a demo left behind, and what it said."""

    folder: Path
    code: int
    out: str
    err: str

    @property
    def outcome(self) -> dict[str, Any]:
        """Return its one object."""
        return json.loads(self.out)

    @property
    def journal(self) -> Path:
        """Return the sandbox's record."""
        return self.folder / "cvat-requests.jsonl"

    @property
    def log(self) -> Path:
        """Return the log."""
        return self.folder / "data" / "log.db"

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the journal."""
        return [json.loads(line) for line in self.journal.read_text().splitlines()]


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play the demo, from a folder that has nothing to do with it; once for all test processes."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, said = shared / "demo", shared / "demo.json"
    with (shared / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            done = subprocess.run(
                [*LABELTRAIL, "demo", "--json", "--keep", str(folder)],
                cwd=NOWHERE,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
                timeout=DEMO_S,
                check=False,
            )
            said.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return Played(folder, *json.loads(said.read_text()))
