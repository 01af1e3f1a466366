"""`make bench`: every figure as a ratio to its limit, taken in the same run on this machine.

    python -m benchmarks [--quick]

One line a figure on the way; one JSON object of all of them on the last line. `--quick` takes
smaller samples and ends in under 45 s.
"""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks import ack, append, command, fold, growth, packing, rebuild, size, sync
from benchmarks.pairs import Figure
from daemon.loops import collect_seldom, loop_factory, take_short_turns
from daemon.store.driver import bind_directly

MEASURES = (append, packing, fold, rebuild, size, ack, growth, sync, command)


async def main(*, quick: bool) -> None:
    # As in a serving daemon, as is the loop. It is the process's, so the limits have it too.
    collect_seldom()
    take_short_turns()
    bind_directly()
    found: dict[str, Figure] = {}
    for module in MEASURES:
        for name, figure in (await module.measure(quick=quick)).items():
            print(f"{name:18} {figure}", flush=True)
            found[name] = figure
    print(json.dumps(found))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main(quick="--quick" in sys.argv[1:]))
