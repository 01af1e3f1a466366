"""A long day of saves, faults and kills: `python -m tests.chaos`; prints one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from pathlib import Path

from tests.chaos.story import POLL_S, Plan, play


def main() -> int:
    """Play once; the exit code says whether every claim holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pause-s", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--keep", type=Path, help="an empty folder for all that is made")
    asked = parser.parse_args()
    plan = Plan(saves=asked.saves, kills=asked.kills, seed=asked.seed, pause_s=asked.pause_s)
    with tempfile.TemporaryDirectory() as folder:
        if asked.keep:
            asked.keep.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(play(asked.keep or Path(folder), plan))
    found["ok"] = holds(found)
    print(json.dumps(found, indent=1))
    return 0 if found["ok"] else 1


def holds(found: dict[str, object]) -> bool:
    """Tell whether all that is claimed was met."""
    converged_s = found["converged_after_s"]
    assert isinstance(converged_s, float)
    proved = ("ok", "server_equal", "verify_ok", "replay_ok")
    return all(found[name] is True for name in proved) and converged_s < 2 * POLL_S


if __name__ == "__main__":
    raise SystemExit(main())
