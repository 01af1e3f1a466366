"""Throw a million hostile inputs at all that comes from outside: `python -m tests.fuzz`.

Prints one JSON object. A run is decided by its seed; each error names the input that made it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from tests.fuzz.piece import taken

# Shares of all inputs: a manifest is several files and takes the longest.
SHARES: Final = {"webhooks": 0.35, "answers": 0.35, "merges": 0.15, "manifests": 0.15}
WORKERS: Final = 2
INPUTS_A_PIECE: Final = 20_000
RSS_GROWTH_MIB_MAX: Final = 64


def main() -> int:
    """Run; the exit code says whether nothing broke and memory stayed where it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--only", choices=sorted(SHARES), help="one target alone")
    asked = parser.parse_args()
    shares = {asked.only: 1.0} if asked.only else SHARES
    began_s = time.monotonic()
    pieces = [
        (name, first, min(first + INPUTS_A_PIECE, round(asked.inputs * share)), asked.seed)
        for name, share in shares.items()
        for first in range(0, round(asked.inputs * share), INPUTS_A_PIECE)
    ]
    ended: dict[str, Counter[str]] = {name: Counter() for name in shares}
    rss_mib: dict[str, int] = {}
    broken: list[str] = []
    # A new process a piece, so that its peak is that of its own inputs.
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), max_tasks_per_child=1) as pool:
        for (name, _, last, _), (counts, grown_mib, error) in zip(
            pieces, pool.map(taken, pieces), strict=True
        ):
            ended[name] += counts
            rss_mib[name] = max(rss_mib.get(name, 0), grown_mib)
            broken += [error] if error else []
            print(f"{name}: {last} inputs {error}".rstrip(), file=sys.stderr)
    found = {
        "seed": asked.seed,
        "inputs": sum(counts.total() for counts in ended.values()),
        "broken": broken,
        "rss_growth_mib": rss_mib,
        "ended": {name: dict(counts.most_common()) for name, counts in ended.items()},
        "seconds": round(time.monotonic() - began_s, 1),
    }
    is_bounded = all(grown_mib <= RSS_GROWTH_MIB_MAX for grown_mib in rss_mib.values())
    print(json.dumps({"ok": not broken and is_bounded, **found}, indent=1))
    return 0 if not broken and is_bounded else 1


if __name__ == "__main__":
    raise SystemExit(main())
