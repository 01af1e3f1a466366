"""How a command starts: at once, and only as ourselves."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.app import know_all_events
from daemon.cli import labeltrail
from daemon.operations.here import HERE
from daemon.operations.registry import find
from tests.daemon.cli.conftest import ROOT, Desk, Served

HELP_S = 0.35
HELP_PROCESSOR_S = 0.2
TRIES = 5

# What `--help` may import besides the standard library. Everything heavier waits for its use.
OURS = {"daemon", "events"}
THEIRS = {"click"}

IMPORTED = """
import json, sys
before = set(sys.modules)
sys.argv = ["labeltrail", *{words!r}]
from daemon.__main__ import main
try:
    main()
except SystemExit:
    names = {{name.partition(".")[0] for name in set(sys.modules) - before}}
    print(json.dumps(sorted(names - sys.stdlib_module_names)))
"""


@pytest.mark.parametrize(
    "words",
    [["--help"], *([name, "--help"] for name in sorted(labeltrail.commands))],
    ids=lambda words: words[0],
)
def test_help_imports_click_and_the_standard_library_only(words: list[str]):
    """numpy, scipy, aiohttp and pydantic take longer than a person waits for help."""
    ran = subprocess.run(
        [sys.executable, "-c", IMPORTED.format(words=words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    imported = set(json.loads(ran.stdout.splitlines()[-1]))
    assert imported - OURS <= THEIRS


@pytest.mark.parametrize(
    ("words", "theirs"),
    [
        (["status"], {"click", "rich"}),
        (["status", "--json"], {"click"}),
        (["log", "--json", "-n", "1"], {"click"}),
    ],
    ids=["status", "status --json", "log --json"],
)
def test_a_command_that_the_daemon_answers_imports_no_more_than_it_shows_with(
    desk: Desk, serve: Callable[[], Served], words: list[str], theirs: set[str]
):
    """Reading settings and the log is the daemon's; its imports took twice as long as the rest."""
    serve()

    ran = subprocess.run(
        [sys.executable, "-c", IMPORTED.format(words=words)],
        cwd=ROOT,
        env=os.environ | {"LABELTRAIL_CONFIG": str(desk.config)},
        capture_output=True,
        text=True,
        check=True,
    )

    imported = set(json.loads(ran.stdout.splitlines()[-1]))
    assert imported - OURS - {"config"} == theirs


def test_help_is_there_in_a_third_of_a_second():
    """By the clock at the best of some tries, as others may share the machine."""
    took, worked = [], []
    for _ in range(TRIES):
        before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "daemon", "--help"], cwd=ROOT, capture_output=True, check=True
        )
        took.append(time.monotonic() - began_s)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        worked.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert min(took) < HELP_S
    assert min(worked) < HELP_PROCESSOR_S


def test_every_operation_that_runs_here_is_one():
    """A misspelled name in the list would send its operation to the daemon, with its rights."""
    assert all(find(name).here for name in HERE)


@pytest.mark.parametrize("name", ["events", "config", "projections"])
def test_a_package_of_somebody_else_is_named_and_never_run(tmp_path: Path, name: str):
    """PyPI's Events, python-daemon and config install packages of our names."""
    intruder = tmp_path / name / "__init__.py"
    intruder.parent.mkdir()
    intruder.write_text("raise SystemExit('the intruder ran')")

    ran = subprocess.run(
        [sys.executable, str(ROOT / "daemon/__main__.py"), "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 1
    assert ran.stderr.startswith(f"error: the package `{name}` is not Labeltrail's")
    assert str(intruder) in ran.stderr
    assert "the intruder ran" not in ran.stdout + ran.stderr


def test_every_event_type_is_known_before_a_log_is_read():
    """A command that reads the log imports as little as it can, and must not take too little."""
    defining = {
        path.stem
        for path in (ROOT / "events").glob("*.py")
        if re.search(r"^@event\(", path.read_text(), re.MULTILINE)
    }

    known = {module.__name__ for module in know_all_events()}
    assert known == {f"events.{name}" for name in defining}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str):
    """The script names the variable by which the shell asks us."""
    ran = subprocess.run(
        [sys.executable, "-m", "daemon", "completion", shell],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "_LABELTRAIL_COMPLETE" in ran.stdout
