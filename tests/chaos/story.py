"""A long day: people save without end, the network fails, the daemon dies again and again."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from daemon.demo import judge
from daemon.demo.dataset import BOXES, NAME, SCENE, make_dataset
from daemon.demo.shell import Shell
from daemon.demo.story import free_port
from daemon.demo.telling import Teller
from daemon.sandbox import Sandbox
from tests.chaos.people import Person
from tests.chaos.reckoning import completed, recorded, shown
from tests.chaos.weather import Weather

Json = dict[str, Any]

RUN: Final = "chaos"
MACHINE: Final = "labeltrail"
NAMES: Final = ("ana", "ben", "cem", "dora")
PASSWORD: Final = "chaos"
POLL_S: Final = 5.0
# More than a save has deliveries, so that the forecast never ends.
DELIVERIES_PER_SAVE: Final = 6
CONVERGE_S: Final = 120.0
LOOK_S: Final = 0.5
SETTINGS: Final = """\
[data]
folder = "data"

[http]
port = {port}

[servers.main]
url = "{url}"
user = "labeltrail"
password = "chaos"
poll_s = {poll_s}
debounce_s = 0.2
settle_s = 1.5

[datasets.{name}]
manifest = "{name}"
quiet_s = 0.2
"""


@dataclass(frozen=True)
class Plan:
    """How much happens. pause_s: of each annotator between two saves, on average."""

    saves: int
    kills: int
    seed: int
    pause_s: float = 0.1


async def play(folder: Path, plan: Plan) -> Json:
    """Play in an empty folder; return what was counted. `ok` says whether every claim holds."""
    rng = random.Random(plan.seed)
    weather = Weather(rng=random.Random(plan.seed + 1))
    journal = folder / "cvat-requests.jsonl"
    users = dict.fromkeys((MACHINE, *NAMES), PASSWORD)
    async with AsyncExitStack() as stack:
        sandbox = Sandbox(users=users, faults=weather, journal=journal)
        await stack.enter_async_context(sandbox)
        shell = Shell(folder, Teller(None))
        stack.push_async_callback(shell.clean_up)
        day = Day(folder, plan, rng, sandbox, shell, weather)
        for name in (MACHINE, *NAMES):
            own = random.Random(rng.getrandbits(64))
            person = Person(sandbox.url, name, day.note_classes, own)
            day.people.append(await stack.enter_async_context(person))
        day.boss = day.people.pop(0)
        return await day.run()


class Day:
    """The steps, in order."""

    boss: Person

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        rng: random.Random,
        sandbox: Sandbox,
        shell: Shell,
        weather: Weather,
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.rng = rng
        self.sandbox = sandbox
        self.shell = shell
        self.weather = weather
        self.people: list[Person] = []
        self.kills = 0
        self.url = ""

    def note_classes(self, job: int, labels: list[Json]) -> None:
        """Let the judge read what is written."""
        self.sandbox.journal.write({"job": job, "labels": labels})

    async def run(self) -> Json:
        """Live through the day, and count."""
        began_s = time.monotonic()
        await self._begin()
        await self._work()
        found = await self._converge()
        # Late deliveries and reads may still name authors of what was recorded.
        await asyncio.sleep(2 * POLL_S)
        found |= await self._judge()
        found["seconds"] = round(time.monotonic() - began_s, 1)
        return found

    async def _begin(self) -> None:
        """Send a dataset to the server, one image a job, and let everybody in."""
        make_dataset(self.folder / NAME)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        text = SETTINGS.format(port=port, url=self.sandbox.url, name=NAME, poll_s=POLL_S)
        (self.folder / "labeltrail.toml").write_text(text, encoding="utf-8")
        await self.shell.serve(self.url)
        await self.shell.run("dataset", "scan", NAME)
        fields = ("--field", BOXES, "--field", SCENE)
        await self.shell.run("annotate", NAME, RUN, *fields, "--segment-size", "1")
        for person in (self.boss, *self.people):
            await person.login(PASSWORD)
        await self._let_in()

    async def _let_in(self) -> None:
        """Give the project to one, its task to another, its jobs to the other two."""
        jobs = (await self.boss.ask("GET", "/api/jobs?sort=id&page_size=100"))["results"]
        ids = [(await one.ask("GET", "/api/users/self"))["id"] for one in self.people]
        project, task = jobs[0]["project_id"], jobs[0]["task_id"]
        await self.boss.ask("PATCH", f"/api/projects/{project}", {"assignee_id": ids[0]})
        await self.boss.ask("PATCH", f"/api/tasks/{task}", {"assignee_id": ids[1]})
        for n, job in enumerate(jobs):
            await self.boss.ask("PATCH", f"/api/jobs/{job['id']}", {"assignee": ids[2 + n % 2]})
        frames = {job["id"]: job["start_frame"] for job in jobs}
        for number, person in enumerate(self.people):
            whose = (0, 1) if number < 2 else (number - 2,)
            person.jobs = {job: at for n, (job, at) in enumerate(frames.items()) if n % 2 in whose}

    async def _work(self) -> None:
        """Let people save until there are enough saves, and the daemon die meanwhile."""
        await self.sandbox.deliveries_idle()
        deliveries = DELIVERIES_PER_SAVE * self.plan.saves
        self.weather.forecast(self.weather.next_delivery, deliveries)
        self.weather.rages = True
        async with asyncio.TaskGroup() as tasks:
            for person in self.people:
                tasks.create_task(person.work(self._is_over, self.plan.pause_s))
            tasks.create_task(self._kill_now_and_then())

    def saves(self) -> int:
        """Return how many saves were made whole."""
        return sum(person.counts["saves"] for person in self.people)

    def _is_over(self) -> bool:
        return self.saves() >= self.plan.saves and self.kills >= self.plan.kills

    async def _kill_now_and_then(self) -> None:
        share = self.plan.saves / (self.plan.kills + 1)
        for number in range(1, self.plan.kills + 1):
            due = share * (number + self.rng.uniform(-0.4, 0.4))
            while self.saves() < due:  # noqa: ASYNC110 - four people count
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            await self._kill()

    async def _kill(self) -> None:
        """Kill the daemon; one time in five the next one is killed too, while it starts."""
        await self.shell.kill()
        self.kills += 1
        if self.rng.random() < 0.2:
            dead, starting = self.shell.daemon, asyncio.create_task(self.shell.serve(self.url))
            while self.shell.daemon is dead and not starting.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(self.rng.uniform(0, 1.5))
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await self.shell.kill()
            self.kills += 1
        await self.shell.serve(self.url)

    async def _converge(self) -> Json:
        """Wait until the log shows what the server holds; the requests go on failing."""
        log = self.folder / "data" / "log.db"
        # The judge learns the date of each write from its delivery, also from those that are lost.
        await self.sandbox.deliveries_idle()
        server = {job: await self.boss.open(job) for job in self._jobs()}
        completed(self.folder / "cvat-requests.jsonl", self.folder / "completed.jsonl", server)
        held = judge.Journal(str(self.folder / "completed.jsonl"))
        wanted = shown(held, server)
        deadline_s = time.monotonic() + CONVERGE_S
        while True:
            states, last = recorded(log)
            if states == wanted or time.monotonic() > deadline_s:
                break
            await asyncio.sleep(LOOK_S)
        saved = max(writes[-1].date for writes in held.writes.values())
        return {
            "server_equal": states == wanted,
            "converged_after_s": round(max(0.0, _since(log, last, saved)), 2),
            "poll_s": POLL_S,
        }

    def _jobs(self) -> list[int]:
        return sorted({job for person in self.people for job in person.jobs})

    async def _judge(self) -> Json:
        """Stop the daemon in good order, check the log, and let the judge count."""
        await self.sandbox.deliveries_idle()
        self.weather.rages = False
        await self.shell.stop()
        verified = await self.shell.run("verify", codes=(0, 4))
        replayed = await self.shell.run("replay", codes=(0, 4))
        files = ("completed.jsonl", "data/log.db")
        found: Json = json.loads(await self.shell.python(Path(judge.__file__), *files))
        faults = {name: count for name, count in sorted(self.weather.counts.items())}
        return {
            "seed": self.plan.seed,
            "saves": self.saves(),
            "failed_saves": sum(person.counts["failed"] for person in self.people),
            "kills": self.kills,
            **faults,
            "faults_of_deliveries": _delivery_faults(self.folder / "completed.jsonl"),
            **found,
            "verify_ok": verified == 0,
            "replay_ok": replayed == 0,
        }


def _since(log: Path, position: int, saved: datetime) -> float:
    """Return the seconds from a date of the server's to the recording of an event."""
    db = sqlite3.connect(f"file:{log}?mode=ro", uri=True)
    (recorded_us,) = db.execute(
        "SELECT recorded_at FROM events WHERE position = ?", (position,)
    ).fetchone()
    db.close()
    return float(recorded_us / 1e6 - saved.timestamp())


def _delivery_faults(journal: Path) -> Json:
    counts: dict[str, int] = {"deliveries": 0}
    for text in journal.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if "delivery" in line:
            counts["deliveries"] += 1
            told = line["fault"] or ("refused" if line["status"] != 204 else None)
            if told:
                counts[told] = counts.get(told, 0) + 1
    return counts
