"""Throw a million hostile inputs at all that comes from outside: `python -m tests.fuzz`.

The last line is one JSON object. A run is decided by its seed; each error names the input that made
it, and `python -m tests.fuzz.piece TARGET FIRST LAST SEED` makes it again.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

# Shares of all inputs: a manifest is several files and takes the longest.
SHARES: Final = {"webhooks": 0.35, "answers": 0.35, "merges": 0.15, "manifests": 0.15}
WORKERS: Final = 2
INPUTS_A_PIECE: Final = 10_000
# A hundred times what a piece takes: one that hangs is as broken as one that dies.
PIECE_S: Final = 3_600.0
RSS_GROWTH_MIB_MAX: Final = 64
NOTHING: Final[dict[str, Any]] = {"ended": {}, "peak_mib": 0, "grown_mib": 0}

Piece = tuple[str, int, int, int]


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
    peak_mib = dict.fromkeys(shares, 0)
    grown_mib = dict.fromkeys(shares, 0)
    crashes: list[str] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for (name, _, last, _), taken in zip(pieces, pool.map(take, pieces), strict=True):
            ended[name].update(taken["ended"])
            peak_mib[name] = max(peak_mib[name], taken["peak_mib"])
            grown_mib[name] = max(grown_mib[name], taken["grown_mib"])
            crashes += [taken["crash"]] if taken["crash"] else []
            print(f"{name}: {last} inputs {taken['crash']}".rstrip(), file=sys.stderr, flush=True)
    inputs = {name: counts.total() for name, counts in ended.items()}
    wanted = {name: round(asked.inputs * share) for name, share in shares.items()}
    is_bounded = all(grown <= RSS_GROWTH_MIB_MAX for grown in grown_mib.values())
    found = {
        "ok": not crashes and is_bounded and inputs == wanted,
        "seed": asked.seed,
        "inputs": inputs,
        "crashes": crashes,
        "peak_mib": peak_mib,
        "grown_mib": grown_mib,
        "ended": {name: dict(counts.most_common()) for name, counts in ended.items()},
        "seconds": round(time.monotonic() - began_s, 1),
    }
    print(json.dumps(found))
    return 0 if found["ok"] else 1


def take(piece: Piece) -> dict[str, Any]:
    """Take some inputs in a process of their own: its peak is theirs, and so is its death."""
    command = [sys.executable, "-m", "tests.fuzz.piece", *map(str, piece)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=PIECE_S, check=False)
    except subprocess.TimeoutExpired:
        return NOTHING | {"crash": f"hung: {' '.join(command[1:])}"}
    if done.returncode != 0:
        return NOTHING | {"crash": f"died with {done.returncode}: {' '.join(command[1:])}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
