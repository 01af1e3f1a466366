"""Some thousand inputs in one process: `python -m tests.fuzz.piece TARGET FIRST LAST SEED`.

Prints one JSON object: how the inputs ended, the peak of memory, by how much it grew after the
first thousand, and what broke.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.fuzz.targets import run, scratch

# Imports and caches grow at first; after that nothing should.
WARM_UP: Final = 1_000


def taken(name: str, first: int, last: int, seed: int) -> dict[str, Any]:
    """Take some inputs; tell how that went."""
    counts: Counter[str] = Counter()
    crash, before_mib = "", 0
    warm = min(last, first + WARM_UP)
    with scratch() as folder:
        try:
            counts += _take(name, range(first, warm), seed, Path(folder) / "warm")
            before_mib = _peak_mib()
            counts += _take(name, range(warm, last), seed, Path(folder) / "main")
        except Exception as exc:
            told: Any = getattr(exc, "__notes__", [])
            crash = f"{type(exc).__name__}: {exc} ({'; '.join(told)})"
    peak_mib = _peak_mib()
    grown_mib = peak_mib - before_mib if before_mib else 0
    return {"ended": counts, "peak_mib": peak_mib, "grown_mib": grown_mib, "crash": crash}


def _take(name: str, numbers: range, seed: int, folder: Path) -> Counter[str]:
    folder.mkdir()
    return asyncio.run(run(name, iter(numbers), seed, folder))


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    target, *numbers = sys.argv[1:]
    first, last, seed = map(int, numbers)
    print(json.dumps(taken(target, first, last, seed)))
