"""The PyPI package `eventsourcing`, in an environment of its own, replaying what we replay.

`LABELTRAIL_PEER`, else `~/.cache/labeltrail/peer`, is that environment. `make bench` installs it
once, which needs the package index; a quick run leaves it out where it is not there.
"""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.changes import saves
from events.job import AnnotationsObserved

PACKAGES = ("eventsourcing==9.5.6", "typing_extensions==4.16.0")
SIDE = Path(__file__).with_name("peer_side.py")


def environment(*, install: bool) -> Path | None:
    """Return the peer's environment; None where it is not there and not to be installed."""
    cache = os.environ.get("LABELTRAIL_PEER") or Path.home() / ".cache/labeltrail/peer"
    folder = Path(cache).absolute()
    done = folder / "installed.json"
    if done.exists() and json.loads(done.read_text()) == [*PACKAGES]:
        return folder
    if not install:
        return None
    print(f"installing {' '.join(PACKAGES)} into {folder}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, *PACKAGES], check=True)
    done.write_text(json.dumps(PACKAGES))
    return folder


@contextmanager
def replaying(
    installed: Path, folder: Path, jobs: int, count: int
) -> Iterator[Callable[[], float]]:
    """Yield what lets the peer replay once and returns the seconds that it took.

    jobs, count  as in `benchmarks.changes.saves`: the peer holds the same label changes as we
    """
    changes = folder / "changes.json"
    observed = [
        (stream, fact)
        for stream, fact in saves(jobs, count)
        if isinstance(fact, AnnotationsObserved)
    ]
    changes.write_bytes(msgspec.json.encode(observed))
    command = [str(installed / "bin" / "python"), str(SIDE), str(changes), str(folder / "peer.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout
        assert told.readline() == b"filled\n", "the peer could not be filled"

        def once() -> float:
            asked.write(b"\n")
            asked.flush()
            return float(told.readline())

        yield once
        asked.close()
