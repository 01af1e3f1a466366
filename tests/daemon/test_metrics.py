"""`/metrics`: each figure moves when the thing that it is about happens, on real parts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon import wiring
from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from daemon.demo.dataset import make_dataset
from daemon.demo.editor import Editor
from daemon.handlers.observe import JobWatch
from daemon.http.scrape import CONDITIONS, TABLES_EVERY_S, WAITING
from daemon.observer import Observer
from daemon.operations.registry import find
from daemon.sandbox.faults import Faults, RequestFault
from daemon.sandbox.sandbox import Sandbox
from daemon.store.driver import sqlite3
from daemon.store.sqlite import SqliteStore
from events.server import DeliveryRefused
from tests.daemon.http.api_client import Served, served
from tests.daemon.http.conftest import delivery, reordered

SECRET = "the webhook secret"
REFUSED = DeliveryRefused(reason="signature")


class Monitor:
    """Scrapes a daemon, as Prometheus does."""

    def __init__(self, daemon: Served, *, follows: bool = False) -> None:
        self.daemon = daemon
        self.follows = follows
        self.token = daemon.token("prometheus")
        self.text = ""

    async def scrape(self) -> None:
        """Fetch everything, with the tables looked at anew."""
        self.daemon.clock.seconds += TABLES_EVERY_S
        if self.follows:
            # As the daemon's projector does by itself; a scrape waits for nothing.
            await self.daemon.app.projections.ask(lambda tables: None)
        answer = await self.daemon.ask("/metrics", self.token)
        assert answer.status == 200
        self.text = answer.body.decode()

    def value(self, name: str, **labels: str) -> float:
        """Return a sample of the last scrape."""
        (found,) = [
            sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == f"labeltrail_{name}" and sample.labels == labels
        ]
        return found

    async def now(self, name: str, **labels: str) -> float:
        """Scrape, and return a sample."""
        await self.scrape()
        return self.value(name, **labels)


@pytest.fixture
async def monitor(tmp_path: Path) -> AsyncIterator[Monitor]:
    """Return the monitor of a daemon that knows a server, but has not reached it."""
    server = f'[servers.main]\nurl = "http://127.0.0.1:9"\nwebhook_secrets = ["{SECRET}"]\n'
    async with served(tmp_path, server) as daemon:
        yield Monitor(daemon)


async def deliver(daemon: Served, body: bytes, secret: str = SECRET) -> int:
    headers = {SIGNATURE_HEADER: sign(body, secret)}
    return (
        await daemon.ask("/webhooks/cvat/main", method="POST", data=body, headers=headers)
    ).status


async def test_the_exposition_parses_and_its_labels_are_bounded(monitor: Monitor):
    """No label may hold an id or a name of a person: each new one is a series for ever."""
    await deliver(monitor.daemon, delivery())
    for path in ("/api/v1/none", "/api/v1/none2", "/elsewhere", "/webhooks/cvat/unknown"):
        await monitor.daemon.ask(path, monitor.token)

    await monitor.scrape()

    families = list(text_string_to_metric_families(monitor.text))
    ours = [family for family in families if family.name.startswith("labeltrail_")]
    assert all(family.documentation for family in ours)
    assert {name for family in ours for sample in family.samples for name in sample.labels} <= {
        "method", "route", "status", "server", "outcome", "dataset", "run", "what", "condition",
        "le",
    }  # fmt: skip
    assert {
        sample.labels["route"]
        for family in ours
        for sample in family.samples
        if "route" in sample.labels
    } <= {"/webhooks/cvat/{server}", "/api/{path}", "other", "/metrics"}


async def test_it_is_shown_to_a_token_and_without_one_to_this_machine_if_the_settings_say_so(
    tmp_path: Path,
):
    """Names of datasets and runs are nobody else's business."""
    async with served(tmp_path) as daemon:
        closed = [
            (await daemon.ask("/metrics")).status,
            (await daemon.ask("/metrics", daemon.token())).status,
        ]
    async with served(tmp_path, "[api]\nmetrics_on_loopback = true\n") as daemon:
        opened = (await daemon.ask("/metrics")).status

    assert closed == [401, 200]
    assert opened == 200


async def test_requests_are_counted_by_route_and_status(monitor: Monitor):
    """The first thing that is looked at when something is slow or refused."""
    for path in ("/api/v1/status", "/api/v1/status", "/api/v1/log?last=x"):
        await monitor.daemon.ask(path, monitor.token)
    await monitor.daemon.ask("/api/v1/status")

    await monitor.scrape()

    def counted(route: str, status: int) -> float:
        labels = {"method": "GET", "route": route, "status": str(status)}
        return monitor.value("http_requests_total", **labels)

    assert counted("/api/v1/status", 200) == 2
    assert counted("/api/v1/status", 401) == 1
    assert counted("/api/v1/log", 400) == 1


async def test_deliveries_are_counted_as_received_duplicate_and_refused(monitor: Monitor):
    """A hook that is signed with another secret, or fires twice, shows."""
    statuses = [
        await deliver(monitor.daemon, delivery(id=1)),
        await deliver(monitor.daemon, delivery(id=2)),
        await deliver(monitor.daemon, reordered(delivery(id=1))),
        await deliver(monitor.daemon, delivery(id=3), "another secret"),
        await deliver(monitor.daemon, b"{"),
    ]

    await monitor.scrape()

    assert statuses == [204, 204, 204, 401, 400]
    counts = {
        outcome: monitor.value("webhooks_total", server="main", outcome=outcome)
        for outcome in ("received", "duplicate", "refused")
    }
    assert counts == {"received": 2, "duplicate": 1, "refused": 2}


async def test_appends_are_timed_and_the_log_grows(monitor: Monitor):
    """The tail of this histogram is how long a webhook waits for its answer."""
    await monitor.scrape()
    before = monitor.value("append_seconds_count"), monitor.value("log_position")

    await monitor.daemon.record("server/main", REFUSED, REFUSED)
    await monitor.scrape()

    assert (monitor.value("append_seconds_count"), monitor.value("log_position")) == (
        before[0] + 1,
        before[1] + 2,
    )
    assert 0 < monitor.value("append_seconds_sum") < 60


async def test_the_queue_of_the_log_shows_when_the_disk_does_not_keep_up(monitor: Monitor):
    """Another process that holds the file up: what came meanwhile waits, and is counted."""
    quiet = await monitor.now("store_queue_appends")
    log = monitor.daemon.app.folder / "log.db"
    with closing(sqlite3.connect(log, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        appends = [
            asyncio.ensure_future(monitor.daemon.record(f"server/s{number}", REFUSED))
            for number in range(3)
        ]
        await asyncio.sleep(0)
        busy = await monitor.now("store_queue_appends")
        size = monitor.value("store_queue_bytes")
        other.execute("ROLLBACK")
    await asyncio.gather(*appends)

    assert (quiet, busy, await monitor.now("store_queue_appends")) == (0, 3, 0)
    assert size > 0


async def test_the_lag_of_the_projections_is_told_in_events_and_in_time(monitor: Monitor):
    """Nothing follows the log here, so the tables stay behind until somebody asks them."""
    await monitor.daemon.record("server/main", REFUSED, REFUSED)
    await monitor.daemon.record("server/main", REFUSED)

    behind = await monitor.now("projection_lag_positions")
    seconds = monitor.value("projection_lag_seconds")
    await monitor.daemon.app.projections.ask(lambda tables: None)

    assert behind == 3
    assert 0 < seconds < 60
    assert await monitor.now("projection_lag_positions") == 0
    assert monitor.value("projection_lag_seconds") == 0


async def test_the_last_checkpoint_shows_how_far_the_log_is_proven(monitor: Monitor):
    """What was cut off after it cannot be seen."""
    await monitor.daemon.record("server/main", REFUSED, REFUSED)
    before = await monitor.now("checkpoint_position"), monitor.value("checkpoint_age_seconds")
    store = monitor.daemon.app.store
    assert isinstance(store, SqliteStore)

    await store.checkpoint()

    assert before[0] == 0
    assert math.isnan(before[1])
    assert await monitor.now("checkpoint_position") == 2
    assert 0 < monitor.value("checkpoint_age_seconds") < 60


async def test_the_last_verification_and_its_age_are_told(monitor: Monitor):
    """A log that nobody verifies any more is an alarm of its own."""
    await monitor.daemon.record("server/main", REFUSED)
    before = await monitor.now("verify_ok")

    async def verify() -> None:
        async for _ in find("verify").start(monitor.daemon.app, {}):
            pass

    await verify()
    fine = await monitor.now("verify_ok")
    age_s = monitor.value("verify_age_seconds")
    with closing(sqlite3.connect(monitor.daemon.app.folder / "log.db")) as stranger:
        stranger.execute("DROP TRIGGER events_refuse_delete")
    await verify()

    assert math.isnan(before)
    assert fine == 1
    assert 0 <= age_s < 60
    assert await monitor.now("verify_ok") == 0


# With a CVAT server


@dataclass
class Story:
    """A run of two samples on a sandbox, and one annotator."""

    monitor: Monitor
    sandbox: Sandbox
    editor: Editor
    watch: JobWatch
    job: int

    async def call(self, name: str, /, **arguments: Any) -> list[Any]:
        """Run an operation as a user does."""
        daemon = self.monitor.daemon
        return [found async for found in find(name).start(daemon.app, arguments)]

    async def move_a_box(self) -> None:
        """Save as the web editor does."""
        shape = (await self.editor.open(self.job))["shapes"][0]
        await self.editor.save(self.job, update=[self.editor.moved(shape, 5, 5)])

    async def lag_s(self) -> float:
        return await self.monitor.now("sync_lag_seconds", dataset="street", run="first")


@asynccontextmanager
async def annotated(folder: Path, **options: Any) -> AsyncIterator[Story]:
    make_dataset(folder / "street")
    async with Sandbox(faults=Faults(task_creation_s=0)) as sandbox:
        settings = (
            f'[servers.main]\nurl = "{sandbox.url}"\nuser = "admin"\npassword = "admin"\n'
            'settle_s = 0.01\n[datasets.street]\nmanifest = "street"\nquiet_s = 0.01\n'
        )
        async with (
            served(folder, settings) as daemon,
            Editor(sandbox.url, "admin", lambda job, labels: None) as admin,
            Editor(sandbox.url, "annotator1", lambda job, labels: None) as editor,
        ):
            await admin.login("admin")
            await editor.login("pw1")
            monitor = Monitor(daemon, follows=True)
            watch = await wiring.watch(daemon.app, "main", by_command=False)
            story = Story(monitor, sandbox, editor, watch, 0)
            await story.call("dataset.scan", name="street")
            wanted = {"dataset": "street", "key": "first", "fields": ["boxes"], "limit": 2}
            run = (await story.call("annotate", **wanted, **options))[-1]
            story.job = run["jobs"][0]["job"]
            annotator = (await editor.ask("GET", "/api/users/self"))["id"]
            await admin.ask("PATCH", f"/api/jobs/{story.job}", {"assignee": annotator})
            await story.call("load", dataset="street", key="first")
            yield story


async def test_the_lag_of_a_run_is_the_age_of_what_is_not_settled_or_not_merged(tmp_path: Path):
    """The one figure that says whether the daemon does its job."""
    async with annotated(tmp_path) as story:
        calm = await story.lag_s()
        await story.move_a_box()
        unseen = await story.lag_s()
        await story.watch.observe(story.job)
        unsettled = await story.lag_s()
        await story.watch.settle(story.job)
        unmerged = await story.lag_s()
        await story.call("load", dataset="street", key="first")
        merged = await story.lag_s()

    assert (calm, unseen, merged) == (0, 0, 0)
    assert 0 < unsettled < unmerged < 60


async def test_a_rejected_edit_counts_as_pending_in_its_dataset(tmp_path: Path):
    """Somebody has to decide, and nobody looks at a list unasked."""
    async with annotated(tmp_path, forbid=["allow_spatial_edits"]) as story:
        kinds = {
            what: await story.monitor.now("pending", dataset="street", what=what)
            for what in WAITING
        }
        await story.move_a_box()
        await story.call("load", dataset="street", key="first")
        rejected = await story.monitor.now("pending", dataset="street", what="rejected")

    assert kinds == dict.fromkeys(WAITING, 0)
    assert rejected == 1


async def test_jobs_that_cannot_be_read_are_counted_by_condition(tmp_path: Path):
    """One poisoned value makes CVAT answer 500 for a job, for everybody."""
    async with annotated(tmp_path) as story:

        async def conditions() -> dict[str, float]:
            await story.monitor.scrape()
            return {
                condition: story.monitor.value("jobs", server="main", condition=condition)
                for condition in CONDITIONS
            }

        before = await conditions()
        path = f"/api/jobs/{story.job}/annotations"
        fault = RequestFault("before", path=path, status=500, times=100)
        story.sandbox.faults.requests.append(fault)
        await story.watch.observe(story.job)
        after = await conditions()

    assert (before["unreadable"], after["unreadable"]) == (0, 1)
    assert (before["unreachable"], after["unreachable"]) == (0, 0)
    assert before["fine"] - after["fine"] == 1


async def test_rows_of_lists_that_cannot_be_read_are_counted(tmp_path: Path):
    """The rest of the list was taken, so nothing else shows that there is one more job."""
    async with annotated(tmp_path) as story:
        before = await story.monitor.now("unreadable_rows", server="main", list="jobs")
        story.sandbox.faults.spoiled["/api/jobs", story.job] = {"task_id": "3"}
        await Observer(story.watch, clock=story.watch.journal.clock).sweep()
        after = await story.monitor.now("unreadable_rows", server="main", list="jobs")

    assert (before, after) == (0, 1)


async def test_a_change_that_no_delivery_told_of_and_one_that_came_late_are_counted(tmp_path: Path):
    """Both say that webhooks get lost: between two machines, or while our port was closed."""
    async with annotated(tmp_path) as story:
        await story.sandbox.outbox.idle.wait()
        (hook,) = story.sandbox.state.webhooks.values()
        reachable, hook.target_url = hook.target_url, "http://127.0.0.1:9/"
        await story.move_a_box()
        await story.sandbox.outbox.idle.wait()
        hook.target_url = reachable
        await story.watch.observe(story.job)
        unheard = await story.monitor.now("webhooks_total", server="main", outcome="unheard")
        await story.call("hook.backfill")
        missed = await story.monitor.now("webhooks_total", server="main", outcome="missed")

    assert unheard == 1
    assert missed >= 1


async def test_a_scrape_does_not_read_the_tables_each_time(monitor: Monitor):
    """Several monitors, or an eager one, must not hold up those who decide on the tables."""
    await monitor.scrape()
    asked = 0
    projections = monitor.daemon.app.projections
    ask = projections.ask

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return await ask(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projections, "ask", counted)
        for _ in range(3):
            await monitor.daemon.ask("/metrics", monitor.token)
        within = asked
        await monitor.scrape()

    assert (within, asked) == (0, 1)
