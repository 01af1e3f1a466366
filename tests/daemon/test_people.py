"""Names of people beside the log: kept, shown, and erased so that no byte is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.app import open_app
from daemon.clock import SystemClock
from daemon.http.bodies import Bodies, Body
from daemon.operations import people as operations
from daemon.people import Erased, People, PeopleUnusable, Person, person
from daemon.store.driver import open_reader

ANN = Person(
    actor="main/5", username="annelore77", first_name="Annelore", last_name="Quist",
    email="annelore@example.org",
)  # fmt: skip
BOB = Person(actor="main/6", username="bob")


@pytest.fixture
async def people(tmp_path: Path) -> AsyncIterator[People]:
    made = People(tmp_path)
    yield made
    await made.close()


def bytes_below(folder: Path) -> bytes:
    """Return every byte of every file, as somebody with the disk in their hands reads them."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_reading_makes_no_file(people: People, tmp_path: Path):
    """Most logs are read where nobody's name is known."""
    assert await people.known(["main/5"]) == {}
    assert await people.named("annelore77") == []
    assert await people.texts(["0" * 64]) == {}
    assert bytes_below(tmp_path) == b""
    assert not await asyncio.to_thread((tmp_path / "people.db").exists)


async def test_names_are_kept_and_found_both_ways(people: People, tmp_path: Path):
    """By actor for the log, by user name for whoever types one; readable for the owner alone."""
    await people.keep([ANN, BOB])

    assert await people.known(["main/5", "main/7"]) == {"main/5": ANN}
    assert await people.named("bob") == [BOB]
    assert [ANN.shown, BOB.shown] == ["Annelore Quist (annelore77)", "bob"]
    assert (tmp_path / "people.db").stat().st_mode & 0o077 == 0


async def test_forgetting_leaves_no_byte_of_name_mail_or_text(people: People, tmp_path: Path):
    """The right to be forgotten is about bytes: in pages, in free pages, and in the WAL."""
    await people.keep([ANN, BOB])
    for number in range(50):
        text = f"a remark by Annelore, {number} " * 200
        await people.keep_text(f"text {number}", "main/5", b"salt", text)
    await people.keep_text("kept", "main/6", b"salt", "a remark by bob \ud800")
    assert b"Annelore" in bytes_below(tmp_path)

    erased = await people.forget("main/5")

    left = bytes_below(tmp_path)
    assert erased == Erased(names=1, texts=50, deliveries=0)
    assert b"nnelore" not in left
    assert b"Quist" not in left
    assert await people.texts(["text 7", "kept"]) == {"kept": "a remark by bob \ud800"}
    assert (await people.known(["main/5"]))["main/5"].shown is None


async def test_who_was_forgotten_is_not_learned_again(people: People, tmp_path: Path):
    """CVAT still knows the name, and would tell it at the next request."""
    await people.keep([ANN])
    await people.forget("main/5")

    await people.keep([ANN])
    await people.keep_text("again", "main/5", b"salt", "Annelore again")

    assert b"nnelore" not in bytes_below(tmp_path)
    assert (await people.known(["main/5"])) == {"main/5": Person(actor="main/5", forgotten=True)}
    assert await people.texts(["again"]) == {}


async def test_somebody_unknown_is_forgotten_in_advance(people: People):
    """The request may come before the first look at the name."""
    assert await people.forget("main/9") == Erased(names=0, texts=0, deliveries=0)

    await people.keep([Person(actor="main/9", username="zoe")])

    assert (await people.known(["main/9"]))["main/9"].forgotten


async def test_raw_deliveries_that_name_the_person_go_too(people: People, tmp_path: Path):
    """Bodies are kept for 30 days, and hold the sender's and the assignee's names."""
    bodies = Bodies(tmp_path, SystemClock(), keep_days=30, bytes_max=10**6)
    for number, body in enumerate(
        [
            b'{"sender": {"id": 5, "username": "annelore77"}}',
            b'{"sender": {"id": 6, "username": "bob"}, "job": {"assignee": [{"id": 5, "username": '
            b'"annelore77"}]}}',
            b'{"sender": {"id": 6, "username": "bob"}, "job": {"id": 5}}',
        ]
    ):
        bodies.keep(Body(SystemClock().now_us(), "main", f"{number}", body))
    bodies.keep(
        Body(SystemClock().now_us(), "other", "9", b'{"sender": {"id": 5, "username": "x"}}')
    )
    await asyncio.to_thread(bodies.close)

    would = await people.forget("main/5", dry_run=True)
    before = bytes_below(tmp_path)
    erased = await people.forget("main/5")

    assert would.deliveries == erased.deliveries == 2
    assert b"annelore77" in before
    left = bytes_below(tmp_path)
    assert b"annelore77" not in left
    assert b'"job": {"id": 5}' in left
    assert b'"username": "x"' in left


async def test_bytes_that_a_reader_holds_are_not_called_erased(people: People, tmp_path: Path):
    """A backup that runs right now keeps old pages alive; the command says so, and is repeated."""
    await people.keep([ANN])
    reader = open_reader(tmp_path / "people.db")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM people").fetchall()

    with pytest.raises(PeopleUnusable, match="somebody reads"):
        await people.forget("main/5")
    reader.close()
    await people.forget("main/5")

    assert b"nnelore" not in bytes_below(tmp_path)


async def test_a_stranger_in_the_place_of_the_file_is_an_error_in_our_words(
    people: People, tmp_path: Path
):
    """The log does not need the file, and whoever reads the log must not fail over it."""
    await asyncio.to_thread((tmp_path / "people.db").write_bytes, b"no database at all" * 100)

    with pytest.raises(PeopleUnusable):
        await people.known(["main/5"])


def test_only_texts_of_a_bounded_length_are_taken_from_a_server():
    """A user may call themselves anything."""
    row = {"id": 5, "username": "x" * 10_000, "first_name": None, "last_name": "\ud800", "email": 7}

    assert person("main", row) == Person(actor="main/5", username="x" * 200, last_name="?")


async def test_a_server_that_is_down_costs_the_name_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whoever reads the log at night must not wait for CVAT, nor again for each line."""
    config = tmp_path / "labeltrail.toml"
    config.write_text(
        '[data]\nfolder = "data"\n[servers.main]\nurl = "http://127.0.0.1:9"\ntoken = "t"\n'
    )
    monkeypatch.setattr(operations, "ASK_S", 0.05)
    began: list[int] = []

    async with open_app(config, actor="test", state=False) as app:
        app.address = "a daemon's"
        real = app.cvat

        async def cvat(name: str) -> object:
            began.append(1)
            return await real(name)

        monkeypatch.setattr(app, "cvat", cvat)
        named = [await operations.names_of(app, ["main/5", "main/6", None]) for _ in range(3)]
        await app.people.keep([ANN])
        known = await operations.names_of(app, ["main/5", "main/6", "main/5,main/6"])

    assert named == [{}, {}, {}]
    assert len(began) == 1
    assert known == {
        "main/5": "Annelore Quist (annelore77)",
        "main/5,main/6": "Annelore Quist (annelore77), main/6",
    }


async def test_damaged_bodies_are_told_and_nobody_is_half_forgotten(people: People, tmp_path: Path):
    """They are not synced, so a power cut may leave such a file, with names in it."""
    await people.keep([ANN])
    path = tmp_path / "deliveries.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4_080)

    with pytest.raises(PeopleUnusable, match="bodies") as raised:
        await people.forget("main/5")
    path.unlink()

    assert raised.value.facts["path"] == str(path)
    assert raised.value.hint
    assert (await people.known(["main/5"]))["main/5"].shown == ANN.shown
    assert (await people.forget("main/5")).names == 1
