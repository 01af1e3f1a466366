"""What the store on disk promises beyond the contract: disk, crash, strangers, limits."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.ports.store import (
    Appended,
    DiskFull,
    EventRefused,
    QueueFull,
    StoreFailed,
    WrongVersion,
)
from daemon.store import prepare, rows, sqlite, writer
from daemon.store.checkpoints import BadCheckpoint, BadKey, read_note, read_public_key
from daemon.store.driver import has_wal_reset_bug, sqlite3
from daemon.store.lock import DataFolderLocked, FolderLock
from daemon.store.packing import Packed
from daemon.store.reader import SqliteReader
from daemon.store.schema import LogTooNew, NotALog
from daemon.store.sqlite import SqliteStore
from daemon.store.verify import verify
from daemon.store.writer import LogDamaged
from events import registry
from events.registry import Encoded, Fact
from tests.contract.noted import FakeClock, noted

Stranger = Callable[[str], str]

ROW = "SELECT position, stream, version, id, type, schema, recorded_at, occurred_at, actor,"
ROW += " evidence, correlation, causation, codec, payload, leaf FROM events WHERE position = 1"

GAP = "4, stream, 9, randomblob(16)"  # the next position, but no next version


async def written(path: Path, clock: FakeClock, events: int = 3) -> None:
    """Make a log with some events, and close it."""
    store = await SqliteStore.open(path / "log.db", clock)
    for _ in range(events):
        await store.append([noted(clock, value="x" * 5_000)])
    await store.close()


# Strangers.


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE events SET actor = 'x'",
        "UPDATE events SET rowid = 99",
        "DELETE FROM events WHERE position = 3",
        f"INSERT OR REPLACE INTO events {ROW}",
        f"REPLACE INTO events {ROW.replace('position,', '4,', 1)}",
        f"REPLACE INTO events {ROW.replace('position,', '4,', 1).replace('version,', '4,', 1)}",
        f"INSERT INTO events {ROW.replace('position,', '9,', 1).replace('id,', 'leaf,', 1)}",
        f"INSERT INTO events {ROW}".replace("position, stream, version, id", GAP),
        "UPDATE blobs SET value = x''",
        "DELETE FROM blobs",
        "REPLACE INTO blobs SELECT name, codec, x'' FROM blobs",
        "UPDATE streams SET name = 'x'",
        "DELETE FROM streams",
        "REPLACE INTO streams SELECT id, 'x' FROM streams",
        "REPLACE INTO streams SELECT 99, name FROM streams",
        "DELETE FROM types",
        "UPDATE meta SET value = x'00'",
        "REPLACE INTO meta SELECT name, x'00' FROM meta",
        "DELETE FROM checkpoints",
        "REPLACE INTO checkpoints SELECT position, 'x', x'' FROM checkpoints",
    ],
)
async def test_a_plain_sqlite_shell_is_refused(
    tmp_path: Path, clock: FakeClock, stranger: Stranger, sql: str
) -> None:
    """Mistakes happen in other tools, which know nothing of our rules or settings."""
    await written(tmp_path, clock)

    assert "the log is append-only" in stranger(sql)

    assert verify(tmp_path / "log.db").ok


# Opening.


async def test_one_process_owns_the_folder(tmp_path: Path, clock: FakeClock) -> None:
    """Two writers would number the same positions."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    program = (
        "import sys, pathlib; from daemon.store.lock import *\n"
        "try: FolderLock(pathlib.Path(sys.argv[1]))\n"
        "except DataFolderLocked as exc: print(exc.facts['pid'])"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]

    other = await asyncio.to_thread(subprocess.check_output, command, text=True, timeout=30)

    assert other.split() == [str(os.getpid())]
    with pytest.raises(DataFolderLocked):
        await SqliteStore.open(tmp_path / "log.db", clock)
    await store.close()
    await (await SqliteStore.open(tmp_path / "log.db", clock)).close()


FORKING = """
import os, pathlib, sys, time
from daemon.store.lock import FolderLock
lock = FolderLock(pathlib.Path(sys.argv[1]))
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()  # until the test lets go
    os._exit(0)
os._exit(0)
"""


def test_a_worker_that_outlives_the_daemon_does_not_hold_the_folder(tmp_path: Path) -> None:
    """After kill -9 systemd starts the daemon anew at once, while pool workers still die."""
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        daemon.wait(timeout=30)
        assert daemon.stdout is not None
        assert daemon.stdout.read() == b""  # the worker has begun: it closed its end

        FolderLock(tmp_path).release()


async def test_a_lock_that_the_caller_holds_is_left_to_the_caller(
    tmp_path: Path, clock: FakeClock
) -> None:
    """The daemon locks the folder before the log is opened, and after it is closed."""
    lock = FolderLock(tmp_path)
    store = await SqliteStore.open(tmp_path / "log.db", clock, lock=lock)
    await store.close()

    with pytest.raises(DataFolderLocked):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


async def test_a_failed_opening_gives_the_folder_back(tmp_path: Path, clock: FakeClock) -> None:
    """Whoever repairs the log must be able to open it then."""
    sqlite3.connect(tmp_path / "log.db").executescript("CREATE TABLE other (a)").close()

    for _ in range(2):
        with pytest.raises(NotALog):
            await SqliteStore.open(tmp_path / "log.db", clock)


async def test_a_log_of_a_newer_release_is_left_alone(
    tmp_path: Path, clock: FakeClock, stranger: Stranger
) -> None:
    """An older release would write rows that break the newer one's promises."""
    await written(tmp_path, clock)
    stranger("PRAGMA user_version = 99")

    with pytest.raises(LogTooNew):
        await SqliteStore.open(tmp_path / "log.db", clock)


async def test_a_log_goes_on_where_it_ended(tmp_path: Path, clock: FakeClock) -> None:
    """Versions, ids and time are asked of the file, not remembered."""
    await written(tmp_path, clock, events=3)
    clock.now -= 10_000_000

    store = await SqliteStore.open(tmp_path / "log.db", clock)
    appended = await store.append([noted(clock)], expects={"notes": 3})
    await store.close()

    assert appended.positions == (4,)
    report = verify(tmp_path / "log.db")
    assert (report.ok, report.head, report.checkpoints, report.unproven) == (True, 4, 2, 0)


async def test_a_log_that_lost_its_tail_is_not_written_on(
    tmp_path: Path, clock: FakeClock, stranger: Stranger
) -> None:
    """Writing on would number new events with old positions and sign that."""
    await written(tmp_path, clock)
    stranger("DROP TRIGGER events_refuse_delete; DELETE FROM events WHERE position > 1")

    with pytest.raises(LogDamaged):
        await SqliteStore.open(tmp_path / "log.db", clock)


async def test_a_published_checkpoint_is_never_wound_back(tmp_path: Path, clock: FakeClock) -> None:
    """Overwriting it would remove the only witness of what was cut off."""
    publish, path = tmp_path / "elsewhere" / "checkpoint", tmp_path / "log.db"
    store = await SqliteStore.open(path, clock, publish=publish)
    await store.append([noted(clock)])
    await store.close()
    backup = path.read_bytes()
    store = await SqliteStore.open(path, clock, publish=publish)
    await store.append([noted(clock)])
    await store.close()

    path.write_bytes(backup)

    with pytest.raises(LogDamaged) as refused:
        await SqliteStore.open(path, clock, publish=publish)
    assert refused.value.facts["position_published"] == 2


async def test_a_published_file_of_something_else_is_not_overwritten(
    tmp_path: Path, clock: FakeClock
) -> None:
    """A typing mistake in the settings must not destroy a file, or another log's witness."""
    publish = tmp_path / "elsewhere" / "checkpoint"
    other = tmp_path / "other"
    other.mkdir()
    store = await SqliteStore.open(other / "log.db", clock, publish=publish)
    await store.append([noted(clock)])
    await store.close()
    for text in (publish.read_text(), "shopping list"):
        publish.write_text(text)

        with pytest.raises(BadCheckpoint):
            await SqliteStore.open(tmp_path / "log.db", clock, publish=publish)

        assert publish.read_text() == text


def test_a_log_that_is_not_there_is_said_in_our_words(tmp_path: Path) -> None:
    """An operator reads what to do, not a traceback of a driver."""
    (tmp_path / "text.db").write_text("no database" * 1_000)

    for name in ("missing.db", "text.db"):
        with pytest.raises(StoreFailed, match="cannot be read"):
            SqliteReader(tmp_path / name).head()
        with pytest.raises(StoreFailed, match="cannot be read"):
            verify(tmp_path / name)


# Checkpoints.


async def test_closing_signs_and_publishes_the_head(tmp_path: Path, clock: FakeClock) -> None:
    """After an orderly stop nothing is unproven."""
    publish = tmp_path / "elsewhere" / "checkpoint"
    store = await SqliteStore.open(tmp_path / "log.db", clock, publish=publish)
    await store.append([noted(clock) for _ in range(5)])
    await store.close()

    checkpoint = read_note(publish.read_text(), read_public_key(tmp_path / "keys"))

    assert (checkpoint.position, checkpoint.log_id) == (5, store.meta.id)
    report = verify(tmp_path / "log.db", against=publish)
    assert (report.ok, report.unproven) == (True, 0)


async def test_the_store_signs_by_itself_as_the_log_grows(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that is killed must leave a short unproven tail only, also one that never rests."""
    monkeypatch.setattr(writer, "SIGN_EVENTS_IDLE", 10)
    monkeypatch.setattr(writer, "SIGN_EVENTS_CAP", 10)
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    for _ in range(25):
        await store.append([noted(clock)])
    await store.append([noted(clock)])

    report = verify(store.path)

    assert report.ok
    assert report.checkpoints == 2
    await store.close()


async def test_the_store_signs_when_nothing_comes_for_a_moment(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is answered comes again at once, and is not to wait behind a signature."""
    monkeypatch.setattr(writer, "SIGN_EVENTS_IDLE", 10)
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    signed = _hear_signing(store, monkeypatch)
    for _ in range(12):
        await store.append([noted(clock)])

    await signed.wait()

    assert verify(store.path).proven_upto >= 10
    await store.close()


def _hear_signing(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    signed, loop, sign = asyncio.Event(), asyncio.get_running_loop(), store._writer.sign

    def sign_and_tell() -> object:
        checkpoint = sign()
        loop.call_soon_threadsafe(signed.set)
        return checkpoint

    monkeypatch.setattr(store._writer, "sign", sign_and_tell)
    return signed


async def test_a_tail_does_not_stay_unproven_for_long(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quiet server gives few events; they must be proven before the next thousand."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    await store.append([noted(clock)])
    await store.append([noted(clock)])
    assert store._writer.unsigned == 2

    await clock.sleep(writer.SIGN_S)
    await store.append([noted(clock)])
    await store.append([noted(clock)])  # answered once the writer had signed

    assert store._writer.unsigned < 4
    await store.close()


async def test_the_writer_wakes_from_a_quiet_to_sign(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last events before a night must not stay unproven until the morning."""
    monkeypatch.setattr(sqlite, "QUIET_S", 0.01)
    monkeypatch.setattr(writer, "SIGN_S", 0.0)
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    tidy = store._writer.tidy
    monkeypatch.setattr(store._writer, "tidy", lambda idle: None)
    await store.append([noted(clock)])

    signed = _hear_signing(store, monkeypatch)
    monkeypatch.setattr(store._writer, "tidy", tidy)
    await signed.wait()

    assert verify(store.path).proven_upto == 1
    await store.close()


async def test_the_signing_key_is_for_its_owner_alone(tmp_path: Path, clock: FakeClock) -> None:
    """Who reads the key can sign another history."""
    await written(tmp_path, clock)
    key = tmp_path / "keys" / "checkpoint.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600

    key.chmod(0o644)

    with pytest.raises(BadKey):
        await SqliteStore.open(tmp_path / "log.db", clock)


# Limits.


async def test_a_full_queue_refuses_at_once(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver answers 503 and the sender retries; waiting would fill the memory."""
    monkeypatch.setattr(sqlite, "QUEUE_APPENDS_MAX", 3)
    store = await SqliteStore.open(tmp_path / "log.db", clock)

    outcomes = await asyncio.gather(
        *[store.append([noted(clock)]) for _ in range(10)], return_exceptions=True
    )

    assert sum(isinstance(one, QueueFull) for one in outcomes) == 7
    assert (await store.append([noted(clock)])).positions == (4,)
    await store.close()


async def test_a_cancelled_append_is_written_or_not_but_never_half(
    tmp_path: Path, clock: FakeClock
) -> None:
    """A client that hangs up must not leave the queue or its neighbours behind."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    events = [noted(clock), noted(clock)]
    gone = asyncio.ensure_future(store.append(events))
    await asyncio.sleep(0)

    gone.cancel()
    stays = await store.append([noted(clock, "other")])
    again = await store.append(events)

    assert gone.cancelled()
    assert len(stays.positions) == 1
    assert again.repeated
    assert await store.head() == 3
    await store.close()


async def test_the_wal_is_emptied_as_it_grows(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Automatic checkpoints are off: without ours the WAL would fill the disk."""
    monkeypatch.setattr(writer, "WAL_BYTES", 200_000)
    monkeypatch.setattr(writer, "WAL_BYTES_CAP", 400_000)
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    value = [{"n": n, "id": n * 7919 % 100_003} for n in range(2_000)]

    for _ in range(100):
        await store.append([noted(clock, value=value)])

    assert (tmp_path / "log.db").stat().st_size > 500_000
    assert (tmp_path / "log.db-wal").stat().st_size < 1_500_000
    await store.close()


async def test_a_large_group_seldom_waits_until_the_wal_is_empty(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a group wait for it: of deliveries that come 64 at once it was one of sixty."""
    emptied: list[str] = []
    monkeypatch.setattr(writer.LogWriter, "_empty_wal", lambda _, how: emptied.append(how))
    monkeypatch.setattr(writer, "WAL_BYTES", 100_000)
    monkeypatch.setattr(sqlite, "IDLE_S", 600.0)
    store = await SqliteStore.open(tmp_path / "log.db", clock)

    for _ in range(10):
        await store.append([noted(clock, value=n) for n in range(40)])
    await store.checkpoint()
    while_large = [*emptied]
    await store.append([noted(clock, value=1)])
    await store.checkpoint()
    await store.close()

    assert while_large == []
    assert emptied[0] == "PASSIVE"


async def test_the_wal_is_emptied_also_where_somebody_always_reads(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader keeps SQLite from writing the WAL from its start again; the next one takes over."""
    monkeypatch.setattr(writer, "WAL_BYTES", 200_000)
    monkeypatch.setattr(writer, "WAL_BYTES_CAP", 600_000)
    path = tmp_path / "log.db"
    store = await SqliteStore.open(path, clock)
    value = [{"n": n, "id": n * 7919 % 100_003} for n in range(2_000)]
    enough = threading.Event()

    def read_always() -> None:
        before = sqlite3.connect(path)
        while not enough.is_set():
            reader = sqlite3.connect(path)
            reader.execute("BEGIN")
            reader.execute("SELECT max(position) FROM events").fetchone()
            before.close()
            before = reader
        before.close()

    reading = asyncio.create_task(asyncio.to_thread(read_always))
    for _ in range(200):
        await store.append([noted(clock, value=value)])
    grown = (tmp_path / "log.db-wal").stat().st_size
    enough.set()
    await reading

    assert grown < 1_500_000
    await store.close()


async def test_an_append_has_limits(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes from outside is bounded somewhere; here is the last place to do it."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    large = noted(clock, value=[os.urandom(500).hex() for _ in range(3)])
    for name, limit in [
        ("EVENTS_PER_APPEND_MAX", 1),
        ("PAYLOAD_BYTES_MAX", 2_000),
        ("APPEND_BYTES_MAX", 1_000),
    ]:
        with monkeypatch.context() as limited:
            limited.setattr(prepare, name, limit)
            with pytest.raises(EventRefused):
                await store.append([large, large] if limit == 1 else [large])

    assert (await store.append([large])).positions == (1,)
    await store.close()


async def test_a_cancelled_opening_gives_the_folder_back(tmp_path: Path, clock: FakeClock) -> None:
    """A stop during a slow start must not leave a connection behind that nobody closes."""
    lock = FolderLock(tmp_path)
    lock.release()
    opening = asyncio.ensure_future(SqliteStore.open(tmp_path / "log.db", clock))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    async with asyncio.timeout(20):
        store = None
        while store is None:
            store = await opened(tmp_path / "log.db", clock)

    assert (await store.append([noted(clock)])).positions == (1,)
    await store.close()


async def opened(path: Path, clock: FakeClock) -> SqliteStore | None:
    """Open a log, or return None while another owns it."""
    try:
        return await SqliteStore.open(path, clock)
    except DataFolderLocked:
        return await asyncio.sleep(0)


async def test_names_that_were_forgotten_are_asked_of_the_file(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log of a million streams must not keep a million names in memory."""
    monkeypatch.setattr(writer, "NAMES_KEPT_MAX", 2)
    monkeypatch.setattr(rows, "NAMES_KEPT_MAX", 2)
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    for number in range(12):
        expects = {"job/0": (number + 4) // 5}
        await store.append([noted(clock, f"job/{number % 5}")], expects=expects)

    reader = store.reader()
    names = [event.stream for event in reader.read()]
    reader.close()

    assert names == [f"job/{number % 5}" for number in range(12)]
    await store.close()


# A disk without room.


async def test_a_checkpoint_that_cannot_be_written_is_said(
    tmp_path: Path, clock: FakeClock
) -> None:
    """Whoever asked for one is told; what was acknowledged is on disk all the same."""
    publish = tmp_path / "elsewhere" / "checkpoint"
    store = await SqliteStore.open(tmp_path / "log.db", clock, publish=publish)
    await store.append([noted(clock)])
    publish.parent.write_text("a file where a folder should be")

    with pytest.raises(StoreFailed, match="could not be published"):
        await store.checkpoint()

    publish.parent.unlink()
    await store.append([noted(clock)])
    await store.close()
    assert verify(store.path, against=publish).problems == ()


async def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, clock: FakeClock) -> None:
    """What was acknowledged stays, what was not can be sent again once there is room."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    await store.append([noted(clock, "kept")])
    conn = store._writer._conn
    [pages] = conn.execute("PRAGMA page_count").fetchone()
    conn.execute(f"PRAGMA max_page_count = {pages + 2}")
    large = [noted(clock, "large", value=[f"{n}" for n in range(5_000)]) for _ in range(30)]

    outcomes = await asyncio.gather(
        store.append(large),
        store.append([noted(clock, "small")], expects={"large": 0}),
        return_exceptions=True,
    )

    assert isinstance(outcomes[0], DiskFull)
    assert await store.version("large") == 0
    conn.execute("PRAGMA max_page_count = 1000000")
    assert len((await store.append(large, expects={"large": 0})).positions) == 30
    await store.close()
    assert verify(store.path).ok


async def test_a_disk_that_fills_in_the_middle_of_a_large_append_refuses_all_of_it(
    tmp_path: Path, clock: FakeClock
) -> None:
    """Its first rows went in well, and its neighbours too; none may stay."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    await store.append([noted(clock, "kept")])
    conn = store._writer._conn
    [pages] = conn.execute("PRAGMA page_count").fetchone()
    conn.execute(f"PRAGMA max_page_count = {pages + 40}")
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    large = [noted(clock, "large", value="x" * 500) for _ in range(1_000)]

    with pytest.raises(DiskFull):
        await store.append(large)

    conn.set_trace_callback(None)
    assert len({one for one in statements if one.startswith("INSERT INTO events")}) > 1
    assert "COMMIT" not in statements
    conn.execute("PRAGMA max_page_count = 1000000")
    assert (await store.append(large)).positions == tuple(range(2, 1_002))
    await store.close()
    assert verify(store.path).ok


@pytest.mark.parametrize(
    ("wrong", "error"), [({"actor": "\0"}, EventRefused), ({"fact": None}, AssertionError)]
)
async def test_what_the_writer_cannot_prepare_is_its_senders_alone(
    tmp_path: Path, clock: FakeClock, wrong: dict[str, Any], error: type[Exception]
) -> None:
    """It prepares what comes alone; what comes behind is written in the same turn."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    large = [noted(clock, f"{n}") for n in range(prepare.WRITER_EVENTS_MAX)]
    bad = [*large[:-1], msgspec.structs.replace(large[-1], **wrong)]

    refused, appended = await asyncio.gather(
        store.append(bad), store.append([noted(clock, "small")]), return_exceptions=True
    )

    assert isinstance(refused, error)
    assert isinstance(appended, Appended)
    assert await store.head() == 1
    await store.append(large)
    await store.close()
    assert verify(store.path).ok


async def test_what_is_large_is_not_prepared_by_the_writer(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries wait for that thread; what there is to compress is compressed elsewhere."""
    threads: list[str] = []
    encoded: list[str] = []

    def packing(spelled: bytes) -> Packed:
        threads.append(threading.current_thread().name)
        return pack(spelled)

    def encoding(fact: Fact) -> Encoded:
        encoded.append(threading.current_thread().name)
        return encode(fact)

    pack, encode = prepare.pack, registry.encode
    monkeypatch.setattr(prepare, "pack", packing)
    monkeypatch.setattr(registry, "encode", encoding)
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    small = [noted(clock, value="x" * 2_000) for _ in range(100)]
    large = [noted(clock, value="x" * 20_000) for _ in range(100)]

    await store.append(small)
    assert set(threads) == {"log-writer"}
    threads.clear()
    encoded.clear()
    await store.append(large)

    assert encoded.count("log-writer") <= prepare.WRITER_BYTES_MAX // 20_000 + 1
    assert threads
    assert "log-writer" not in threads
    assert await store.head() == len(small) + len(large)
    await store.close()
    assert verify(store.path).ok


async def test_a_refused_append_leaves_a_large_neighbour_whole(
    tmp_path: Path, clock: FakeClock
) -> None:
    """Rows of a group go in together, whichever append they come from."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    large = [noted(clock, f"job/{number % 7}", value=number) for number in range(1_000)]

    outcomes = await asyncio.gather(
        store.append([noted(clock, "small")], expects={"small": 3}),
        store.append(large),
        store.append([noted(clock, "small")], expects={"small": 0}),
        return_exceptions=True,
    )

    assert isinstance(outcomes[0], WrongVersion)
    reader = store.reader()
    found = {event.id: event.stream for event in reader.read()}
    reader.close()
    assert [found[event.id] for event in large] == [event.stream for event in large]
    assert len(found) == 1_001
    await store.close()
    assert verify(store.path).ok


LIMITED = """
import asyncio, resource, sys, pathlib
from daemon.ports.store import StoreFailed
from daemon.store.sqlite import SqliteStore
from tests.contract.noted import FakeClock, noted

async def main(path):
    clock = FakeClock()
    store = await SqliteStore.open(path, clock)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    acked = 0
    refused = None
    while refused is None:
        try:
            await store.append([noted(clock, value=[str(n * 7919) for n in range(900)])])
            acked += 1
        except StoreFailed as exc:
            refused = type(exc).__name__
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.append([noted(clock)])
    print(refused, acked, await store.version("notes"))
    await store.close()

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def test_the_system_refusing_a_write_is_said_and_loses_nothing(tmp_path: Path) -> None:
    """A real write(2) that fails half-way, and a store that goes on once it works again."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "log.db")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    refused, acked, version = done.stdout.split()[-3:]
    assert refused in {"DiskFull", "StoreFailed"}
    assert int(version) == int(acked) + 1
    assert verify(tmp_path / "log.db").ok


async def test_a_writer_that_dies_fails_whoever_waits(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours must end in an error, not in an append that waits for ever."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    following = asyncio.ensure_future(store.wait_beyond(0))

    def die(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(store._writer, "write", die)

    with pytest.raises(StoreFailed, match="writer died"):
        await store.append([noted(clock)])
    with pytest.raises(StoreFailed):
        await store.append([noted(clock)])
    with pytest.raises(StoreFailed):
        await following
    await store.close()


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("3.6.23", False),
        ("3.7.0", True),
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.50.4", True),
        ("3.50.7", False),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.53.4", False),
    ],
)
def test_versions_with_the_wal_reset_bug_are_known(version: str, affected: bool) -> None:
    """Operators are told at start; sqlite.org/wal.html lists the versions."""
    assert has_wal_reset_bug(version) == affected
