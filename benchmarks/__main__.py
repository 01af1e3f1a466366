"""`make bench`: every figure as a ratio to its limit, taken in the same run on this machine.

    python -m benchmarks [--quick]

One line a figure on the way; one JSON object of all of them on the last line. `--quick` takes
smaller samples, and should end in under 45 s: docs/benchmarks.md tells where it does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks import ack, append, command, fold, growth, packing, rebuild, size, sync
from benchmarks.pairs import Figure
from daemon.loops import collect_seldom, loop_factory, take_short_turns
from daemon.store.driver import bind_directly

MEASURES = (append, packing, fold, rebuild, size, ack, growth, sync, command)


def main(*, quick: bool) -> None:
    """Take the figures of one module after the other, print them."""
    found: dict[str, Figure] = {}
    for nth in range(len(MEASURES)):
        # A process each, as the daemon is one: how those before left the heap is no part of it.
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as alone:
            figures = alone.submit(_measured, nth, quick).result()
        for name, figure in figures.items():
            print(f"{name:18} {figure}", flush=True)
        found |= figures
    print(json.dumps(found))


def _measured(nth: int, quick: bool) -> dict[str, Figure]:
    # As in a serving daemon, as is the loop. It is the process's, so the limits have it too.
    collect_seldom()
    take_short_turns()
    bind_directly()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(MEASURES[nth].measure(quick=quick))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
