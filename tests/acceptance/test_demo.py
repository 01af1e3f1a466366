"""`labeltrail demo`: what it proves, what it leaves, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from daemon.cli.demo import demo
from daemon.demo import judge, story
from daemon.demo.dataset import HEIGHT_PX, WIDTH_PX
from daemon.demo.telling import Teller
from tests.acceptance.conftest import DEMO_S, LABELTRAIL, NOWHERE, Played

pytestmark = pytest.mark.timeout(DEMO_S)


def test_every_edit_is_in_the_log_once_and_under_the_right_name(played: Played):
    """The main job: nothing lost, nothing twice, though webhooks were and the daemon was killed."""
    assert (played.code, played.err) == (0, "")

    found = played.outcome

    assert found["edits_recorded"] == found["edits_made"] > 30
    assert (found["lost"], found["repeated"], found["untrue"]) == (0, 0, 0)
    assert found["authors"]["wrong"] == 0
    assert found["authors"]["right"] > found["authors"]["unknown"]
    assert found["final_state_equal"]
    assert found["replay_identical"]
    assert found["log_ok"]


def test_the_network_and_the_people_did_what_the_demo_says(played: Played):
    """A demo that stops breaking things would go on proving that nothing breaks."""
    lines = played.lines()

    deliveries = [line for line in lines if "delivery" in line]
    faults = [line["fault"] for line in deliveries if line["fault"]]
    assert sorted(faults) == ["lost", "repeated"]
    # 502 is what CVAT notes where nobody listens: the daemon was dead.
    assert any(line["status"] == 502 for line in deliveries)
    saves = {line["user"]: line["method"] for line in lines if "before" in line}
    assert saves.keys() == {"labeltrail", "ana", "ben"}
    kinds = played.outcome["kinds"]
    assert kinds.keys() == {"added", "changed", "removed", "renumbered"}


def test_what_is_left_behind_answers(played: Played):
    """Whoever looks around after the demo finds a log that commands read."""
    verified = command(played.folder, "verify", "--json")
    events = command(played.folder, "log", "--json")

    assert [found["ok"] for found in verified] == [True]
    assert len(events) == played.outcome["events"]


def test_the_export_holds_what_the_server_shows(played: Played):
    """A dataset in, labels out: image by image, class, corners and attributes of every label."""
    journal = judge.Journal(str(played.journal))
    shown = sorted(
        (facets["frame"], *label)
        for job in journal.writes
        for (kind, _), facets in journal.state(job).items()
        for label in [as_shown(kind, facets)]
    )

    samples = json.loads((played.folder / "export" / "samples.json").read_text())["samples"]

    # The samples are in the order of the task's frames.
    assert shown == sorted(
        (frame, *label) for frame, sample in enumerate(samples) for label in as_exported(sample)
    )


def as_shown(kind: str, facets: dict[str, Any]) -> tuple[Any, ...]:
    """Return what of an annotation on the server a label holds; corners to a 1000th of a pixel."""
    if kind == "tag":
        return ("scene", facets["class"])
    corners = tuple(round(value, 3) for value in facets["geometry"])
    parked = facets["attribute:parked"] == "true"
    return ("boxes", facets["class"], corners, parked, facets["attribute:plate"])


def as_exported(sample: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the same of each label of a sample."""
    yield ("scene", sample["scene"]["label"])
    for box in sample["boxes"]["detections"]:
        x, y, width, height = box["bounding_box"]
        sides = (x * WIDTH_PX, y * HEIGHT_PX, (x + width) * WIDTH_PX, (y + height) * HEIGHT_PX)
        corners = tuple(round(side, 3) for side in sides)
        yield ("boxes", box["label"], corners, box.get("parked", False), box.get("plate", ""))


def command(folder: Path, *words: str) -> list[dict[str, object]]:
    """Run a command in the folder of the demo."""
    done = subprocess.run(
        [*LABELTRAIL, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("words", "said"), [(["--json"], '"lost": 1'), ([], "NOT PROVED")])
def test_what_is_not_proved_is_exit_code_1(
    played: Played, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
):
    """`make demo` must fail where the log failed."""

    async def play(folder: Path, teller: Teller) -> dict[str, Any]:
        return {**played.outcome, "lost": 1, "ok": False}

    monkeypatch.setattr(story, "play", play)

    result = CliRunner().invoke(demo, words)

    assert result.exit_code == 1
    assert said in result.output


@pytest.fixture
def shallow() -> Iterator[Path]:
    """Return a folder with a short path: a socket will lie below it."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="lt-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_no_process_and_no_file(
    shallow: Path, number: signal.Signals
):
    """Ctrl-C is how most first looks end."""
    process = subprocess.Popen(
        [*LABELTRAIL, "demo"],
        cwd=NOWHERE,
        env={**os.environ, "TMPDIR": str(shallow), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any("$ labeltrail annotate" in line for line in process.stdout)
        assert at_work_in(shallow)

        process.send_signal(number)

        process.communicate(timeout=60)
        assert process.returncode == 130
        assert at_work_in(shallow) == []
        assert list(shallow.iterdir()) == []
    finally:
        process.kill()
        process.communicate()


def at_work_in(folder: Path) -> list[int]:
    """Return the processes whose working folder lies below a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink().is_relative_to(folder):
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found


def test_a_folder_that_holds_something_is_not_played_in(tmp_path: Path):
    """A dataset of somebody's may lie there."""
    (tmp_path / "mine").touch()

    done = subprocess.run(
        [*LABELTRAIL, "demo", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_path_too_long_for_a_socket_is_said_before_anything_is_made(tmp_path: Path):
    """Temporary folders can be deep; the system's own message would be `AF_UNIX path too long`."""
    deep = tmp_path / ("deep" * 25)

    done = subprocess.run(
        [*LABELTRAIL, "demo", "--json", "--keep", str(deep)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert json.loads(done.stderr)["error"] == "FolderUnfit"
    assert not deep.exists()
