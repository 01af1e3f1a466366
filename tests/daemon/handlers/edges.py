"""A CVAT server without a network, a run on it, and a process of ours, on a clock that jumps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from daemon.handlers.annotate import Annotate
from daemon.ports.cvat import CvatApi
from events.registry import Fact, name_of
from projections.tables import MemoryTables
from projections.upload import AnnotateRequest, FieldRequest
from tests.fakes.clock import run_virtual
from tests.fakes.store import Life
from tests.simulation.process import Process
from tests.simulation.world import CLASSES, World


class Edge:
    """One world and one process; `jobs` of the run `k` of dataset `d`, once it is annotated."""

    def __init__(self, folder: Path) -> None:
        self.world = World(11, folder, faulty=False)
        self.process = self.new_process()

    def new_process(self, life: Life | None = None) -> Process:
        """Start a process anew, over the log that is there."""
        self.process = Process(self.world, life or Life(), latency=False)
        return self.process

    @property
    def cvat(self) -> CvatApi:
        return self.process.watch.cvat

    @property
    def state(self) -> Any:
        return self.world.sandbox.state

    async def annotate(self, samples: int = 2) -> list[int]:
        """Bring a run to the server; return its jobs."""
        await self.world.open_dataset(samples)
        await self.process.annotate("manual")
        return self.world.jobs()

    async def annotate_outside(self, samples: int = 2) -> list[int]:
        """Bring a run to tasks outside any project; return its jobs."""
        await self.world.open_dataset(samples)
        watch = self.process.watch
        handler = Annotate(watch, watch.journal, lambda document: Path(document["filepath"]))
        fields = (FieldRequest(name="gt", classes=CLASSES[:2]),)
        asked = AnnotateRequest(dataset="d", key="k", server="main", fields=fields, hooked=False)
        await handler.request(asked)
        await handler.resume("d", "k")
        return self.world.jobs()

    async def ask(self, method: str, path: str, body: Any = None, *, user: str = "admin") -> Any:
        """Make a request as somebody."""
        path, _, query = path.partition("?")
        return await self.world.ask(user, method, path, query, body)

    async def shapes(self, job: int) -> list[dict[str, Any]]:
        """Return the shapes of a job, by id."""
        found = await self.ask("GET", f"/api/jobs/{job}/annotations")
        return sorted(found["shapes"], key=lambda shape: int(shape["id"]))

    async def move(self, job: int, *, user: str, by: float = 1.0) -> None:
        """Save one box a little to the right."""
        shape = (await self.shapes(job))[0]
        shape["points"] = [point + by for point in shape["points"]]
        body = {"tags": [], "shapes": [shape], "tracks": []}
        await self.ask("PATCH", f"/api/jobs/{job}/annotations?action=update", body, user=user)

    async def delivered(self) -> None:
        """Let the server send what waits."""
        await self.world.sandbox.outbox.drain()

    async def tables(self) -> MemoryTables:
        """Return the state at the head of the log."""
        self.process.projections.fold(await self.world.disk.head())
        return self.process.projections.shelf.tables

    def facts(self, *kinds: type[Fact], after: int = 0) -> list[Any]:
        """Return what is in the log, of these types or all."""
        reader = self.world.disk.reader()
        found = [reader.fact(row) for row in reader.read(after=after)]
        return [fact for fact in found if not kinds or isinstance(fact, kinds)]

    def names(self, after: int = 0) -> list[str]:
        """Return the names of what is in the log."""
        return [name_of(fact) for fact in self.facts(after=after)]


def play(folder: Path, scene: Callable[[Edge], Awaitable[None]]) -> None:
    """Play a scene to its end, in no time."""
    edge = Edge(folder)

    async def main() -> None:
        await scene(edge)

    run_virtual(edge.world.clock, main)
