"""`labeltrail forget`, and names where people read the log."""

from __future__ import annotations

import asyncio

import pytest

from daemon.app import open_app
from daemon.people import Person
from events.envelope import NewEvent
from events.job import IssueCommented, IssueOpened
from events.server import SweepCompleted
from tests.daemon.cli.conftest import Desk

ANN = Person(actor="main/5", username="annelore77", first_name="Annelore", last_name="Quist")


@pytest.fixture
def known(desk: Desk) -> Desk:
    """Return a desk whose log holds an event of Ann's, and whose people are known."""

    async def record() -> None:
        async with open_app(desk.config, actor="test", state=False) as app:
            await app.people.keep([ANN, Person(actor="other/5", username="bob")])
            await app.people.keep([Person(actor="main/6", username="bob")])
            event = NewEvent(
                id=app.clock.new_id(), stream="server/main", fact=SweepCompleted(jobs=1),
                actor="main/5", evidence="webhook",
            )  # fmt: skip
            await app.store.append([event])

    asyncio.run(record())
    return desk


def test_people_read_names_and_programs_both(known: Desk):
    """Nobody knows who `main/5` is; a program must not depend on a name that can go."""
    shown = known.run("log")
    told = known.run("log", "--json").objects[0]
    event = known.run("show", "@1", "--json").objects[0]

    assert "Annelore Quist (annelore77) (webhook)" in shown.out
    assert (told["actor"], told["actor_name"]) == ("main/5", "Annelore Quist (annelore77)")
    assert event["actor_name"] == "Annelore Quist (annelore77)"


def test_a_forgotten_person_is_in_no_file_and_the_log_still_verifies(known: Desk):
    """Erasure is an event, and changes no byte of what was recorded before."""
    before = known.run("log", "--json").objects

    ran = known.run("forget", "annelore77", "--json")

    after = known.run("log", "--json").objects
    data = b"".join(path.read_bytes() for path in known.folder.rglob("*") if path.is_file())
    assert ran.objects == [
        {"kind": "forgotten", "person": "main/5", "names": 1, "texts": 0, "deliveries": 0}
    ]
    assert b"nnelore" not in data
    assert [found["leaf"] for found in after[:1]] == [found["leaf"] for found in before]
    assert after[0]["actor_name"] is None
    assert (after[1]["type"], after[1]["fact"]) == ("PersonForgotten", {"person": "main/5"})
    assert known.run("verify").code == 0
    assert known.run("replay").code == 0


def test_the_text_of_a_comment_is_shown_until_its_author_is_forgotten(known: Desk):
    """The log holds a name of the text that tells nothing of it, before and afterwards."""

    async def record() -> None:
        async with open_app(known.config, actor="test", state=False) as app:
            await app.people.keep_text("name of the text", "main/5", b"salt", "the ear is cut off")

    asyncio.run(record())
    said = IssueCommented(issue=1, comment=2, text="name of the text", updated_date="")
    known.record("job/main/7", IssueOpened(issue=1, frame=0), said)

    before = known.run("log", "--type", "IssueCommented", "--json").objects[0]
    known.run("forget", "main/5")
    after = known.run("log", "--type", "IssueCommented", "--json").objects[0]

    assert (before["comment"], after["comment"]) == ("the ear is cut off", None)
    assert before["leaf"] == after["leaf"]


def test_a_dry_run_erases_nothing(known: Desk):
    """There is no way back, so there is a way to look first."""
    ran = known.run("forget", "main/5", "--dry-run")

    assert "would erase 1 names" in ran.out
    assert known.run("log", "--json").objects[0]["actor_name"] == "Annelore Quist (annelore77)"


@pytest.mark.parametrize(
    ("person", "said"), [("bob", "more than one person"), ("nobody", "nobody known")]
)
def test_a_name_must_mean_one_person(known: Desk, person: str, said: str):
    """The wrong person's names cannot be brought back."""
    ran = known.run("forget", person)

    assert ran.code == 1
    assert said in ran.err
    assert len(known.run("log", "--json").objects) == 1
