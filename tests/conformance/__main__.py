"""Hold the sandbox against recorded traffic: `python -m tests.conformance`."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.conformance.interpolation import RECORDING, compare_tracks
from tests.conformance.replay import Outcome
from tests.conformance.sessions import SESSIONS, run_session


def outcomes(names: set[str]) -> dict[str, Outcome]:
    """Play all recordings, or the named ones."""
    found: dict[str, Outcome] = {}
    for session in SESSIONS:
        if names and not {session.name, *session.recordings} & names:
            continue
        for name, outcome in asyncio.run(run_session(session)).items():
            found[name] = found.get(name, Outcome()) + outcome
    if not names or RECORDING in names:
        found |= compare_tracks()
    return found


def main(names: set[str]) -> int:
    """Print a table for people, then one line of JSON: the last line."""
    found = outcomes(names)
    widest = max(map(len, found), default=0)
    print(f"{'recording':{widest}}  exchanges  equal  skipped")
    for name, each in found.items():
        print(f"{name:{widest}}  {each.exchanges:9,}  {each.equal:5,}  {each.skipped:7,}")
    for name, each in found.items():
        for difference in each.differences:
            print(f"{name} {difference}", file=sys.stderr)
    counts = {
        name: {"exchanges": each.exchanges, "equal": each.equal, "skipped": each.skipped}
        for name, each in found.items()
    }
    sys.stderr.flush()
    print(json.dumps(counts, separators=(",", ":")))
    return 0 if all(each.exchanges == each.equal + each.skipped for each in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main(set(sys.argv[1:])))
