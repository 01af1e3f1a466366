"""Commands as a person types them, on real files and against a sandbox behind real sockets."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.demo.dataset import BOXES, NAME, make_dataset
from daemon.demo.editor import Editor
from daemon.demo.shell import CommandFailed, Shell
from daemon.demo.story import free_port
from daemon.demo.telling import Teller
from daemon.sandbox import Sandbox
from tests.acceptance.conftest import DEMO_S, Played

pytestmark = pytest.mark.timeout(DEMO_S)

RUN = "first-pass"
SETTINGS = """
[data]
folder = "data"
[http]
port = {port}
[servers.main]
url = "{url}"
user = "admin"
password = "admin"
settle_s = 0.2
[datasets.street]
manifest = "street"
quiet_s = 0.05
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a short path: a socket will lie below it."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="lt-") as made:
        yield Path(made)


@pytest.fixture
async def left(played: Played, folder: Path) -> AsyncIterator[Shell]:
    """Return a shell in a copy of what the demo left; its CVAT server is gone."""
    shutil.copytree(played.folder, folder, dirs_exist_ok=True)
    shell = Shell(folder, Teller(None))
    yield shell
    await shell.clean_up()


async def failed(shell: Shell, *words: str) -> tuple[int, dict[str, Any]]:
    """Run a command that must fail; return its exit code and its error object."""
    with pytest.raises(CommandFailed) as caught:
        await shell.ask(*words)
    facts = caught.value.facts
    return int(str(facts["exit_code"])), json.loads(str(facts["printed"]))


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("load", NAME, "nope"), 1, "UnknownRun"),
        (("run", "info", NAME, "nope"), 1, "UnknownRun"),
        (("annotate", NAME, RUN, "--field", BOXES), 1, "RunExists"),
        (("annotate", "nope", "other", "--field", BOXES), 1, "UnknownDataset"),
        (("annotate", NAME, "other"), 1, "NoFields"),
        (("annotate", NAME, "other", "--field", "nope"), 1, "UnknownField"),
        (("load", NAME, RUN), 5, "ServerUnreachable"),
        (("show", "@999999"), 1, "UnknownThing"),
        (("at", "now", "nope"), 1, "UnknownTarget"),
        (("resolve", "nope", "--cvat"), 1, "NothingWaits"),
    ],
)
async def test_what_cannot_be_done_is_an_object_and_an_exit_code(
    left: Shell, words: tuple[str, ...], code: int, error: str
):
    """Scripts tell `wrong` (1) from `not reachable` (5), and nobody reads a traceback."""
    before = events_in(left.folder)

    ended, said = await failed(left, *words)

    assert ended == code
    assert said["error"] == error
    assert said["message"]
    assert events_in(left.folder) == before


def events_in(folder: Path) -> int:
    """Count the events of a log as any SQLite tool would."""
    db = sqlite3.connect(folder / "data" / "log.db")
    try:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])
    finally:
        db.close()


async def test_differences_are_exit_code_3_and_none_is_0(left: Shell):
    """As with diff(1), so that scripts can ask."""
    assert await left.ask("diff", "@1..now", NAME, codes=(3,))
    [none] = await left.ask("diff", "now..now", NAME)
    assert none["differences"] == 0


async def test_a_daemon_that_was_killed_leaves_a_log_that_commands_and_daemons_open(left: Shell):
    """The socket and the lock file of the dead one lie there still."""
    left_url = _address(left.folder)
    await left.serve(left_url)
    served = await left.ask("status")
    await left.kill()

    alone = await left.ask("status")
    await left.serve(left_url)
    again = await left.ask("status")
    await left.stop()
    [verified] = await left.ask("verify")

    assert served[0]["daemon"] == again[0]["daemon"] == left_url
    assert alone[0]["daemon"] is None
    assert served[1:] == alone[1:] == again[1:]
    assert verified["ok"]


def _address(folder: Path) -> str:
    """Give a copied folder a port of its own; return the daemon's address."""
    port = free_port()
    path = folder / "labeltrail.toml"
    lines = path.read_text().splitlines()
    named = [f"port = {port}" if line.startswith("port =") else line for line in lines]
    path.write_text("\n".join(named))
    return f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_daemon_ends_well_when_it_is_asked_to(left: Shell, number: signal.Signals):
    """Exit code 0, and no lock is left: systemd and people restart it all the time."""
    await left.serve(_address(left.folder))
    assert left.daemon is not None

    left.daemon.send_signal(number)

    assert await left.daemon.wait() == 0
    assert (await left.ask("status"))[0]["daemon"] is None


@asynccontextmanager
async def annotated(folder: Path) -> AsyncIterator[tuple[Shell, Editor, int]]:
    """Make a dataset and bring it to a sandbox, without a daemon; give an editor and its job."""
    make_dataset(folder / NAME)
    shell = Shell(folder, Teller(None))
    async with Sandbox() as sandbox, Editor(sandbox.url, "admin", lambda job, labels: None) as ana:
        settings = SETTINGS.format(port=free_port(), url=sandbox.url)
        (folder / "labeltrail.toml").write_text(settings)
        await shell.ask("dataset", "scan", NAME)
        *_, run = await shell.ask("annotate", NAME, RUN, "--field", BOXES, "--limit", "2")
        await ana.login("admin")
        yield shell, ana, run["jobs"][0]["job"]


async def test_a_conflict_waits_until_somebody_decides(folder: Path):
    """Promise 4: both sides moved one box. `load` and `pending` end with 3 until it is resolved."""
    async with annotated(folder) as (shell, ana, job):
        box = (await ana.open(job))["shapes"][0]
        label = ana.value_of(job, box, "label_id")
        await ana.save(job, update=[ana.moved(box, 48, 0)])
        move_in_dataset(folder / NAME, label, 0.5)
        await shell.ask("dataset", "scan", NAME)

        await shell.ask("load", NAME, RUN, codes=(3,))
        [waits] = await shell.ask("pending", codes=(3,))
        before = await left_edge(shell, label)
        await shell.ask("resolve", waits["id"], "--cvat")
        await shell.ask("pending", codes=(0,))
        await shell.ask("load", NAME, RUN, codes=(0,))

        assert waits["label"] == label
        assert before == 0.5
        assert await left_edge(shell, label) == pytest.approx((box["points"][0] + 48) / 480)


async def test_who_loads_an_edit_is_not_who_made_it(folder: Path):
    """No daemon ran and no delivery came: nobody knows the author, least of all by who looked."""
    async with annotated(folder) as (shell, ana, job):
        box = (await ana.open(job))["shapes"][0]
        since = (await shell.ask("log", "-n", "1"))[0]["position"]
        await ana.save(job, update=[ana.moved(box, 48, 0)])

        await shell.ask("load", NAME, RUN)

        told = await shell.ask("log", f"@{since}..")
        about = {found["type"]: found for found in told}
        for kind in ("AnnotationsObserved", "LabelsMerged"):
            assert (about[kind]["actor"], about[kind]["evidence"]) == (None, "unknown")


def move_in_dataset(dataset: Path, label: str, left: float) -> None:
    """Export the dataset again, with a box somewhere else."""
    path = dataset / "samples.json"
    found = json.loads(path.read_text())
    boxes = [box for sample in found["samples"] for box in sample[BOXES]["detections"]]
    next(box for box in boxes if box["_id"]["$oid"] == label)["bounding_box"][0] = left
    path.write_text(json.dumps(found))
    (dataset / "metadata.json").touch()


async def left_edge(shell: Shell, label: str) -> float:
    """Return where a box of the dataset begins."""
    first = (await shell.ask("show", label))[0]
    return float(first["document"]["bounding_box"][0])


async def test_a_dry_run_reaches_nobody(folder: Path):
    """What is asked for is shown; neither the log nor the server hears of it."""
    async with annotated(folder) as (shell, ana, _):
        before = await shell.ask("log", "-n", "1")
        tasks = (await ana.ask("GET", "/api/tasks"))["count"]

        plan = await shell.ask("annotate", NAME, "second", "--field", BOXES, "--dry-run")

        assert [found["stream"] for found in plan] == [f"run/{NAME}/second"] * 2
        assert await shell.ask("log", "-n", "1") == before
        assert (await ana.ask("GET", "/api/tasks"))["count"] == tasks
