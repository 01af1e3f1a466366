"""Commands on the files, without a daemon: output, exit codes, and what a user is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from click.shell_completion import ShellComplete

from daemon.cli import labeltrail
from daemon.sandbox.sandbox import Sandbox
from daemon.store.lock import FolderLock
from events.dataset import DatasetOpened
from events.server import DeliveryRefused, SweepCompleted
from tests.daemon.cli.conftest import Desk


@pytest.fixture
def pets(desk: Desk) -> Path:
    """Return an empty FiftyOneDataset export."""
    folder = desk.folder / "pets"
    folder.mkdir()
    (folder / "samples.json").write_text('{"samples": []}')
    (folder / "metadata.json").write_text(
        '{"name": "pets", "version": "1.8", "media_type": "image", "sample_fields": [], "info": {}}'
    )
    return folder


@contextlib.contextmanager
def sandbox() -> Iterator[str]:
    """Run a CVAT sandbox in a thread, as another machine would; yield its address."""
    started, stop = threading.Event(), threading.Event()
    address: list[str] = []

    async def serve() -> None:
        async with Sandbox() as made:
            address.append(made.url)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    try:
        yield address[0]
    finally:
        stop.set()
        thread.join()


def test_a_dataset_is_declared_listed_and_forgotten(desk: Desk, pets: Path):
    """The settings file is the only place where datasets are declared."""
    added = desk.run("dataset", "add", "pets", str(pets))
    listed = desk.run("dataset", "ls", "--json")
    removed = desk.run("dataset", "rm", "pets")

    assert (added.code, listed.code, removed.code) == (0, 0, 0)
    (found,) = listed.objects
    assert (found["name"], found["manifest"], found["found"]) == ("pets", str(pets), True)
    assert desk.run("dataset", "ls", "--json").objects == []


def test_a_dry_run_says_the_direction_and_writes_nothing(desk: Desk, pets: Path):
    """Whoever is careful must see where a command would write."""
    before = desk.config.read_text()

    ran = desk.run("dataset", "add", "pets", str(pets), "--dry-run")

    assert ran.code == 0
    assert ran.out.startswith("→ settings (dry run")
    assert desk.config.read_text() == before


def test_a_manifest_that_is_not_there_is_refused_at_once(desk: Desk):
    """A typo should not wait for the first scan."""
    ran = desk.run("dataset", "add", "pets", "/nowhere")

    assert ran.code == 1
    assert ran.err.startswith("error: there is no such manifest (path=/nowhere)\nhint: ")


@pytest.mark.parametrize("words", [["dataset", "scan", "cats"], ["dataset", "rm", "cats"]])
def test_an_unknown_dataset_is_named_with_those_that_are_known(
    desk: Desk, pets: Path, words: list[str]
):
    """One line says what was wrong and what would be right."""
    desk.run("dataset", "add", "pets", str(pets))

    ran = desk.run(*words)

    assert ran.code == 1
    assert "error: no such dataset is declared (dataset=cats, known=pets)" in ran.err
    assert "hint: declare it with `labeltrail dataset add NAME MANIFEST`" in ran.err


def test_an_error_is_an_object_for_programs(desk: Desk):
    """Scripts must not parse sentences; standard output holds results alone."""
    ran = desk.run("dataset", "scan", "cats", "--json")

    assert ran.out == ""
    assert '"error": "UnknownDataset"' in ran.err
    assert '"exit_code": 1' in ran.err


def test_settings_that_cannot_be_read_are_explained_line_by_line(desk: Desk):
    """Every command says the same, and none shows a traceback."""
    desk.config.write_text("[http]\nprot = 1\n[datasets.x]\n")

    ran = desk.run("log")

    assert ran.code == 1
    assert ran.err.splitlines() == [
        "error: the settings cannot be used",
        f"  {desk.config}:2: http.prot: there is no such setting; did you mean `port`?",
        f"  {desk.config}:3: datasets.x.manifest: it is missing; "
        "add `manifest = …` to [datasets.x]",
    ]


def test_a_scan_opens_the_dataset_and_a_second_one_finds_nothing(desk: Desk, pets: Path):
    """The command works on the files where no daemon runs."""
    desk.config.write_text(desk.config.read_text() + f"[datasets.pets]\nmanifest = '{pets}'\n")
    desk.config.write_text(desk.config.read_text() + "quiet_s = 0.001\n")

    first = desk.run("dataset", "scan", "--json")
    second = desk.run("dataset", "scan", "--json")
    recorded = desk.run("log", "--type", "DatasetOpened", "--json")

    assert first.code == 0, first
    assert first.objects[0]["outcome"] == "taken"
    assert second.objects[0]["outcome"] in ("taken", "unchanged")
    (opened,) = recorded.objects
    assert opened["stream"] == "dataset/pets"


def test_a_scan_that_takes_nothing_ends_with_code_3(desk: Desk, pets: Path):
    """A script that scans must notice."""
    desk.run("dataset", "add", "pets", str(pets))
    (pets / "samples.json").unlink()
    pets.joinpath("metadata.json").unlink()
    pets.rmdir()

    ran = desk.run("dataset", "scan")

    assert ran.code == 3, ran
    assert "pets: rejected" in ran.out


def test_a_server_is_declared_with_its_password_out_of_sight(desk: Desk):
    """Arguments are seen by every user of the machine; the settings file is copied around."""
    with sandbox() as url:
        added = desk.run("server", "add", "main", url, "--user", "admin", typed="admin\n")
        tested = desk.run("server", "test", "main", "--json")
    listed = desk.run("server", "ls", "--json")

    assert (added.code, tested.code) == (0, 0), (added, tested)
    (reached,) = tested.objects
    assert (reached["user"], reached["version"]) == ("admin", "2.15.0")
    assert listed.objects[0]["login"] == "password"
    assert "password" not in desk.config.read_text()
    assert "admin\n" in (desk.folder / "credentials/servers.main.password").read_text()


def test_a_server_may_be_used_by_token_or_by_basic_login_too(desk: Desk):
    """Some have no password to give away, some stand behind a proxy that wants one each time."""
    with sandbox() as url:
        login = Request(
            f"{url}/api/auth/login",
            data=b'{"username": "annotator1", "password": "pw1"}',
            headers={"Content-Type": "application/json"},
        )
        with urlopen(login) as answer:
            key = json.load(answer)["key"]
        desk.run("server", "add", "token", url, "--token", typed=f"{key}\n")
        desk.run("server", "add", "basic", url, "--user", "annotator2", typed="pw2\n")
        desk.config.write_text(desk.config.read_text() + "basic = true\n")
        reached = [desk.run("server", "test", name, "--json") for name in ("token", "basic")]
    listed = desk.run("server", "ls", "--json")

    assert [ran.objects[0]["user"] for ran in reached] == ["annotator1", "annotator2"]
    assert {found["name"]: found["login"] for found in listed.objects} == {
        "token": "token",
        "basic": "basic",
    }


def test_two_ways_to_log_in_are_one_too_many(desk: Desk):
    """A usage error, before anything is asked or written."""
    ran = desk.run("server", "add", "main", "http://x", "--user", "a", "--token")

    assert ran.code == 2
    assert "exclude each other" in ran.err


def test_a_wrong_password_is_told_and_never_shown(desk: Desk):
    """The first thing that goes wrong for a new user."""
    with sandbox() as url:
        desk.run("server", "add", "main", url, "--user", "admin", typed="hush-hush\n")
        ran = desk.run("server", "test", "main")

    assert ran.code == 1
    assert ran.err.startswith("error: ")
    assert "server=main" in ran.err
    assert "hush-hush" not in ran.out + ran.err


def test_a_server_that_is_down_ends_with_code_5(desk: Desk):
    """A script must tell `not reachable` from `wrong`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    desk.run("server", "add", "main", f"http://127.0.0.1:{port}", "--user", "a", typed="b\n")

    ran = desk.run("server", "test", "main")

    assert ran.code == 5
    assert "no connection to the server" in ran.err


def test_a_forgotten_server_takes_its_credentials_along(desk: Desk):
    """A password that nobody needs any more should not lie around."""
    desk.run("server", "add", "main", "http://127.0.0.1:9", "--user", "a", typed="b\n")

    ran = desk.run("server", "rm", "main")

    assert ran.code == 0
    assert list((desk.folder / "credentials").iterdir()) == []
    assert desk.run("server", "ls", "--json").objects == []


@pytest.fixture
def history(desk: Desk) -> Desk:
    """Return a desk whose log holds five events."""
    desk.record("server/main", *(SweepCompleted(jobs=number) for number in range(3)))
    desk.record("server/other", DeliveryRefused(reason="signature"))
    desk.record("dataset/pets", DatasetOpened(format="fiftyone"))
    return desk


@pytest.mark.parametrize(
    ("words", "positions"),
    [
        ([], [1, 2, 3, 4, 5]),
        (["-n", "2"], [4, 5]),
        (["-n", "0"], []),
        (["@1..@3"], [2, 3]),
        (["@3.."], [4, 5]),
        (["..@2"], [1, 2]),
        (["--since", "@4"], [5]),
        (["--until", "@1"], [1]),
        (["--since", "now"], []),
        (["--until", "@{1 hour ago}"], []),
        (["--stream", "server/main"], [1, 2, 3]),
        (["--stream", "server/"], [1, 2, 3, 4]),
        (["--stream", "d*"], [5]),
        (["--type", "DeliveryRefused", "--type", "DatasetOpened"], [4, 5]),
        (["--stream", "server/main", "-n", "1"], [3]),
        (["--type", "SweepCompleted", "-n", "2", "..@2"], [1, 2]),
    ],
    ids=str,
)
def test_the_log_is_read_by_range_stream_type_and_number(
    history: Desk, words: list[str], positions: list[int]
):
    """Each way to ask finds exactly what it names."""
    ran = history.run("log", "--json", *words)

    assert ran.code == 0, ran
    assert [found["position"] for found in ran.objects] == positions


def test_the_log_shows_a_line_an_event_to_people(history: Desk):
    """Position, time, stream, type, who, and what in a few words."""
    line = history.run("log", "-n", "1", "--stream", "server/main").out.split()

    assert line[0] == "3"
    assert line[2:4] == ["server/main", "SweepCompleted"]
    assert line[-1] == "jobs=2"


def test_the_log_shows_programs_the_whole_fact(history: Desk):
    """A stable object a line, with ids as UUIDs and times in ISO."""
    (found,) = history.run("log", "--json", "@2..@3").objects

    assert found["fact"] == {"jobs": 2}
    assert found["kind"] == "event"
    assert len(found["id"]) == 36
    assert found["recorded_at"].endswith("Z")


@pytest.mark.parametrize(
    "words",
    [["@{whenever}"], ["--since", "x"], ["@1..@2", "--since", "@1"], ["-f", "--until", "@1"]],
    ids=str,
)
def test_what_cannot_be_asked_of_the_log_is_a_usage_error(desk: Desk, words: list[str]):
    """Exit code 2, with the usage, before anything is opened."""
    ran = desk.run("log", *words)

    assert ran.code == 2
    assert "Usage: " in ran.err
    assert not (desk.folder / "data").exists()


def test_texts_from_outside_cannot_play_with_the_terminal(desk: Desk):
    """A class name may hold an escape sequence that clears the screen, or hides a line."""
    desk.record("server/main", DeliveryRefused(reason="\x1b[2J\u202egnp.exe"))

    people, programs = desk.run("log"), desk.run("log", "--json")

    assert "reason=\\x1b[2J\\u202egnp.exe" in people.out
    assert "\x1b" not in people.out + programs.out
    assert programs.objects[0]["fact"] == {"reason": "\x1b[2J\u202egnp.exe"}


@pytest.mark.parametrize("words", [["log"], ["log", "--json"]], ids=str)
def test_a_reader_that_has_seen_enough_is_no_error(desk: Desk, words: list[str]):
    """`labeltrail log | head` is how people look."""
    desk.record("server/main", *(SweepCompleted(jobs=number) for number in range(1_000)))

    process = desk.popen(*words)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()

    assert process.wait(20) == 0
    assert said == ""
    assert desk.run("verify").code == 0


def test_a_log_that_stands_still_is_not_followed(desk: Desk):
    """The command itself would hold the lock, and keep every daemon from starting."""
    ran = desk.run("log", "-f")

    assert ran.code == 1
    assert "error: no daemon runs" in ran.err


def test_status_knows_what_the_log_knows(history: Desk):
    """Also of what is not declared any more."""
    ran = history.run("status", "--json")

    kinds = {(found["kind"], found.get("name")) for found in ran.objects}
    assert ran.objects[0]["position"] == 5
    assert ran.objects[0]["daemon"] is None
    assert kinds >= {("log", None), ("server", "main"), ("server", "other"), ("work", None)}
    assert "server main: 0 jobs" in history.run("status").out


def test_a_replay_gives_the_same_state(history: Desk):
    """Promise 1, as a command."""
    ran = history.run("replay", "--json")

    assert ran.code == 0, ran
    assert ran.objects[-1]["identical"] is True
    assert ran.objects[-1]["position"] == 5
    assert ran.objects[-1]["rows"] > 0


def test_a_state_that_does_not_follow_from_the_log_is_found_and_put_right(history: Desk):
    """Somebody edited the projections: exit code 4 names the row, `--rebuild` mends it."""
    from daemon.store.driver import sqlite3

    history.run("status")
    with contextlib.closing(sqlite3.connect(history.folder / "data/projections.db")) as conn:
        (table,) = (
            name
            for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name.startswith("streams")
        )
        conn.execute(f'DELETE FROM "{table}" WHERE rowid = 1')
        conn.commit()

    broken = history.run("replay", "--json", "--rebuild")
    mended = history.run("replay", "--json")

    assert (broken.code, mended.code) == (4, 0), (broken, mended)
    assert [found["table"] for found in broken.objects[:-1]] == ["streams"]
    assert broken.objects[0]["live"] is False
    assert broken.objects[-1]["differing"] == ["streams"]


def test_an_export_is_written_once_and_never_where_a_manifest_is_watched(desk: Desk, pets: Path):
    """Our own export must not come back to us as the dataset's side."""
    desk.run("dataset", "add", "pets", str(pets))
    text = desk.config.read_text() + "quiet_s = 0.001\n"
    desk.config.write_text(text)
    desk.run("dataset", "scan")
    out = desk.folder / "out"

    tried = desk.run("export", "pets", str(out), "--dry-run")
    untouched = not out.exists()
    first = desk.run("export", "pets", str(out), "--json")
    second = desk.run("export", "pets", str(out))
    inside = desk.run("export", "pets", str(pets / "out"))
    past = desk.run("export", "pets", str(desk.folder / "past"), "--at", "@0")

    assert untouched
    assert [ran.code for ran in (tried, first, second, inside, past)] == [0, 0, 1, 1, 1]
    assert first.objects[0]["samples"] == 0
    assert (
        json.loads((out / "metadata.json").read_text())["info"]["labeltrail"]["dataset"] == "pets"
    )
    assert "never written where a manifest is watched" in inside.err
    assert "the log knows no such dataset" in past.err


@pytest.mark.parametrize(
    ("typed", "found"),
    [("dataset scan ", ["cats", "cows"]), ("export co", ["cows"]), ("server test ", ["main"])],
)
def test_the_shell_completes_names_that_are_declared(desk: Desk, typed: str, found: list[str]):
    """Nobody types what the machine knows."""
    declared = '[datasets.cats]\nmanifest = "a"\n[datasets.cows]\nmanifest = "b"\n'
    desk.config.write_text(declared + '[servers.main]\nurl = "http://x"\n')
    *words, part = typed.split(" ")

    completer = ShellComplete(labeltrail, {}, "labeltrail", "_LABELTRAIL_COMPLETE")

    assert [item.value for item in completer.get_completions(words, part)] == found


def test_an_empty_log_replays_and_verifies(desk: Desk):
    """Nothing is a state too."""
    assert desk.run("verify").code == 1
    assert desk.run("log").out == ""
    assert desk.run("replay").code == 0
    assert desk.run("verify").code == 0


def test_verify_finds_the_change_of_a_stranger_who_dropped_a_trigger(history: Desk):
    """Promise 7: the log shows what was done to it. Exit code 4."""
    from daemon.store.driver import sqlite3

    whole = history.run("verify", "--json")
    with contextlib.closing(sqlite3.connect(history.folder / "data/log.db")) as conn:
        triggers = conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            conn.execute(f'DROP TRIGGER "{name}"')
        conn.execute("UPDATE events SET recorded_at = recorded_at + 1 WHERE position = 2")
        conn.commit()
    changed = history.run("verify", "--json")

    assert whole.code == 0, whole
    assert whole.objects[-1]["ok"] is True
    assert changed.code == 4, changed
    assert changed.objects[-1]["ok"] is False
    assert {"edited", "trigger"} <= {found.get("sort") for found in changed.objects}


def test_a_folder_that_is_in_use_and_silent_is_explained(desk: Desk):
    """Another command is at work, or the daemon is just starting."""
    (desk.folder / "data").mkdir()
    lock = FolderLock(desk.folder / "data")
    try:
        ran = desk.run("log")
    finally:
        lock.release()

    assert ran.code == 1
    assert "the data folder is in use, and no daemon answers at its socket" in ran.err
    assert "hint: " in ran.err


def test_a_data_folder_that_cannot_be_made_is_explained(desk: Desk):
    """No traceback for a wrong path."""
    (desk.folder / "data").write_text("a file")

    ran = desk.run("log")

    assert ran.code == 1
    assert "error: the data folder cannot be used" in ran.err
