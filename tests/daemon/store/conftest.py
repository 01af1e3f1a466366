"""Logs to read, and a stranger who writes into them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.noted import FakeClock

# Python's own SQLite in a process of its own: never two copies on one file in one process.
_STRANGER = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
try:
    conn.executescript(sys.argv[2])
except sqlite3.Error as exc:
    print(exc)
finally:
    conn.close()
"""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def stranger(tmp_path: Path) -> Callable[[str], str]:
    """Return a plain SQLite shell on the log; it answers with the error, or nothing."""

    def run(sql: str) -> str:
        command: list[Any] = [sys.executable, "-I", "-c", _STRANGER, tmp_path / "log.db", sql]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    return run
