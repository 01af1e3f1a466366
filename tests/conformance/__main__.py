"""Hold the sandbox against recorded traffic: `python -m tests.conformance`."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.conformance.sessions import SESSIONS, run_session


def main(names: list[str]) -> int:
    """Play all sessions, or the named ones; ends with one JSON object."""
    results = {}
    for session in SESSIONS:
        if names and not {session.name, *session.recordings} & set(names):
            continue
        for name, outcome in asyncio.run(run_session(session)).items():
            results[name] = {
                "exchanges": outcome.exchanges,
                "equal": outcome.equal,
                "skipped": outcome.skipped,
            }
            for text in outcome.differences.values():
                print(f"{name} {text}", file=sys.stderr)
    print(json.dumps(results, indent=1))
    return 0 if all(r["exchanges"] == r["equal"] + r["skipped"] for r in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
