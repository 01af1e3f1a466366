"""A soak outside of the tests: `python -m tests.soak --seconds 600`; prints one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

from tests.soak.story import Plan, play


def main() -> None:
    """Play once, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_800)
    parser.add_argument("--saves-per-s", type=float, default=100)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--warm-up-s", type=float, default=60)
    asked = parser.parse_args()
    plan = Plan(asked.seconds, asked.saves_per_s, asked.jobs, asked.warm_up_s)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(play(Path(folder), plan)), indent=1))


if __name__ == "__main__":
    main()
