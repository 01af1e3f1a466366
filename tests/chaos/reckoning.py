"""What the demo's judge needs to know of saves that were made and answered with an error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from daemon.demo.judge import Journal, Log, State

Json = dict[str, Any]
WRITE: Final = re.compile(r"/api/jobs/(\d+)/annotations")


def completed(journal: Path, target: Path, server: dict[int, Json]) -> None:
    """Write a journal in which each committed write has the answer that it should have had.

    The sandbox notes what it answered: of a write that was committed and answered with 500 nothing
    tells what came of it but what the next write of the job found.

    server  job → its annotations now, as the server shows them
    """
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    after = dict(server)
    for line in reversed(lines):
        found = WRITE.fullmatch(line.get("path", ""))
        if found is None or line["method"] == "GET" or not line.get("committed"):
            continue
        job = int(found[1])
        if line["status"] >= 300:
            line |= {"status": 200, "response": after[job]}
        after[job] = line["before"][str(job)]
    target.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def recorded(log: Path) -> tuple[dict[int, State], int]:
    """Return each job's annotations as the log's reads tell them, and the last read's position."""
    held = Log(str(log))
    states = {job: _last(held, job) for job in held.reads}
    held.db.close()
    return states, max(
        (read.position for reads in held.reads.values() for read in reads), default=0
    )


def _last(log: Log, job: int) -> State:
    state: State = {}
    for read in log.reads[job]:
        for key, what in read.told:
            if "removed" in what:
                del state[key]
            elif "added" in what:
                state[key] = what["added"]
            else:
                kept = {k: v for k, v in state[key].items() if k not in what["old"]}
                state[key] = kept | what["new"]
    return state


def shown(journal: Journal, server: dict[int, Json]) -> dict[int, State]:
    """Return the annotations that the server shows, in the words of the log."""
    return {job: journal._annotations(document) for job, document in server.items()}
