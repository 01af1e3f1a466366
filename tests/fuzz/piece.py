"""Some thousand inputs in a process of their own, whose memory is theirs alone."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.fuzz.targets import run, scratch

# Imports and caches grow at first; after that nothing should.
WARM_UP: Final = 1_000


def taken(piece: tuple[str, int, int, int]) -> tuple[Counter[str], int, str]:
    """Take some inputs; return how they ended, by how many MiB the peak grew, and what broke."""
    name, first, last, seed = piece
    with scratch() as folder:
        try:
            warm = min(last, first + WARM_UP)
            counts = _take(name, range(first, warm), seed, Path(folder) / "warm")
            before_mib = _peak_mib()
            counts += _take(name, range(warm, last), seed, Path(folder) / "main")
        except Exception as exc:
            told: Any = getattr(exc, "__notes__", [])
            return Counter(), 0, f"{type(exc).__name__}: {exc} ({'; '.join(told)})"
        return counts, _peak_mib() - before_mib, ""


def _take(name: str, numbers: range, seed: int, folder: Path) -> Counter[str]:
    folder.mkdir()
    return asyncio.run(run(name, iter(numbers), seed, folder))


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
