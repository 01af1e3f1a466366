"""Long work that says how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.handlers.annotate import Progress
    from daemon.operations.registry import Json


async def with_progress(
    work: Callable[[Progress], Awaitable[Json]],
) -> AsyncGenerator[Json, None]:
    """Yield a `progress` object for each step of some work, then what it returns."""
    steps: asyncio.Queue[Json | None] = asyncio.Queue()

    def progress(what: str, done: int, total: int) -> None:
        steps.put_nowait({"kind": "progress", "what": what, "done": done, "total": total})

    async def run() -> Json:
        try:
            return await work(progress)
        finally:
            steps.put_nowait(None)

    task = asyncio.ensure_future(run())
    try:
        while (step := await steps.get()) is not None:
            yield step
        yield await task
    finally:
        task.cancel()
