"""What the judge counts where people save faster than the log reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daemon.clock import SystemClock
from daemon.demo.judge import Journal, Judge, Log
from daemon.store.sqlite import SqliteStore
from events.annotations import Annotation, Shape
from events.envelope import NewEvent
from events.job import AnnotationsObserved, Change

Json = dict[str, Any]
LABELS = [{"id": 1, "name": "car", "attributes": []}]
POINTS = (0.0, 0.0, 10.0, 10.0)


class Server:
    """Writes the journal of a server with one job, a second after the other."""

    def __init__(self) -> None:
        self.lines: list[Json] = [
            {"labels": LABELS},
            {"method": "POST", "path": "/api/projects", "user": "labeltrail", "status": 201},
        ]
        self.shapes: dict[int, Json] = {}
        self.second = 0

    def save(self, user: str, action: str, *shapes: Json) -> str:
        """Save some shapes of the job; return the job's date."""
        self.second += 1
        date = f"2026-01-01T08:00:{self.second:02}Z"
        before = {"tags": [], "shapes": list(self.shapes.values()), "tracks": []}
        for shape in shapes:
            if action == "delete":
                del self.shapes[shape["id"]]
            else:
                self.shapes[shape["id"]] = shape
        if action == "replace":
            self.shapes = {shape["id"]: shape for shape in shapes}
        document = {"tags": [], "shapes": list(shapes), "tracks": []}
        self.lines.append(
            {
                "seq": len(self.lines),
                "at": date,
                "user": user,
                "method": "PUT" if action == "replace" else "PATCH",
                "path": "/api/jobs/7/annotations",
                "query": [] if action == "replace" else [["action", action]],
                "status": 200,
                "request": document,
                "response": document,
                "before": {"7": before},
            }
        )
        sender = {"username": user, "id": {"labeltrail": 1, "ana": 2, "ben": 3}[user]}
        told = {"sender": sender, "job": {"id": 7, "updated_date": date}}
        self.lines.append(
            {"delivery": 1, "event": "update:job", "request": told, "status": None, "fault": "lost"}
        )
        return date

    async def judged(self, folder: Path, reads: Sequence[tuple[str, AnnotationsObserved]]) -> Json:
        """Hold a log with some reads, each with its actor, against the journal."""
        journal = folder / "journal.jsonl"
        journal.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        clock = SystemClock()
        store = await SqliteStore.open(folder / "log.db", clock)
        for actor, fact in reads:
            event = NewEvent(
                id=clock.new_id(),
                stream="job/main/7",
                fact=fact,
                actor=actor,
                evidence="webhook",
            )
            await store.append([event])
        await store.close()
        return Judge(Journal(str(journal)), Log(str(folder / "log.db"))).verdict()


def box(id: int, *points: float) -> Json:
    """Return a box as the server shows it."""
    return {
        "id": id,
        "type": "rectangle",
        "frame": 0,
        "label_id": 1,
        "points": list(points or POINTS),
        "attributes": [],
    }


def shape(id: int, *points: float) -> Annotation:
    """Return the same box as the log tells of it."""
    return Shape(id=id, frame=0, label="car", type="rectangle", points=points or POINTS)


def moved(id: int, old: tuple[float, ...], new: tuple[float, ...]) -> Change:
    """Return what the log tells of a box that was moved."""
    sides = ({"geometry": list(side)} for side in (old, new))
    return Change(kind="shape", id=id, frame=0, old=next(sides), new=next(sides))


HERE, THERE = (1.0, 1.0, 9.0, 9.0), (2.0, 2.0, 8.0, 8.0)


async def test_two_saves_between_two_reads_are_recorded_by_what_they_come_to(tmp_path: Path):
    """CVAT keeps no history: what was there between two reads is nobody's to know."""
    server = Server()
    first = server.save("ana", "create", box(1))
    server.save("ana", "update", box(1, *HERE))
    last = server.save("ana", "update", box(1, *THERE))

    found = await server.judged(
        tmp_path,
        [
            ("main/2", AnnotationsObserved(updated_date=first, baseline=True, added=(shape(1),))),
            ("main/2", AnnotationsObserved(updated_date=last, changed=(moved(1, POINTS, THERE),))),
        ],
    )

    assert (found["edits_made"], found["edits_recorded"], found["in_net_effect"]) == (3, 3, 1)
    assert found["ok"]


async def test_what_the_log_says_between_two_saves_must_have_been_so(tmp_path: Path):
    """A read that names the value before the last one was never made."""
    server = Server()
    server.save("ana", "create", box(1))
    last = server.save("ana", "update", box(1, *THERE))

    found = await server.judged(
        tmp_path, [("main/2", AnnotationsObserved(updated_date=last, added=(shape(1, *HERE),)))]
    )

    assert (found["lost"], found["untrue"]) == (2, 1)
    assert not found["ok"]


async def test_what_was_made_and_undone_between_two_reads_needs_no_event(tmp_path: Path):
    """The net effect is nothing, and the log says nothing."""
    server = Server()
    first = server.save("ana", "create", box(1))
    server.save("ben", "create", box(2))
    server.save("ben", "delete", box(2))

    found = await server.judged(
        tmp_path, [("main/2", AnnotationsObserved(updated_date=first, added=(shape(1),)))]
    )

    assert (found["edits_made"], found["lost"]) == (3, 0)
    assert found["ok"]


async def test_a_new_id_is_one_edit_and_needs_both_ids(tmp_path: Path):
    """A log that tells of the new id alone would show the box twice."""
    server = Server()
    server.save("labeltrail", "create", box(1), box(2, *HERE))
    last = server.save("ben", "replace", box(3), box(4, *HERE))
    both = AnnotationsObserved(
        updated_date=last, removed=(shape(1),), added=(shape(3), shape(4, *HERE))
    )
    upload = AnnotationsObserved(
        updated_date="2026-01-01T08:00:01Z", added=(shape(1), shape(2, *HERE))
    )

    found = await server.judged(tmp_path, [("main/1", upload), ("main/3", both)])

    assert found["kinds"] == {"renumbered": 2}
    assert (found["edits_recorded"], found["lost"]) == (1, 1)


async def test_an_edit_of_the_other_person_in_the_same_window_needs_both_names(tmp_path: Path):
    """One read, two people: who names one of them is wrong about the other's edit."""
    server = Server()
    server.save("ana", "create", box(1))
    last = server.save("ben", "create", box(2))
    told = AnnotationsObserved(updated_date=last, added=(shape(1), shape(2)))

    one = await server.judged(tmp_path, [("main/2", told)])
    (tmp_path / "both").mkdir()
    both = await server.judged(tmp_path / "both", [("main/2,main/3", told)])

    assert one["authors"] == {"right": 1, "several": 0, "unknown": 0, "wrong": 1}
    assert both["authors"] == {"right": 0, "several": 2, "unknown": 0, "wrong": 0}


async def test_an_edit_after_the_last_read_is_lost(tmp_path: Path):
    """The last save of the day is the one that is easiest to miss."""
    server = Server()
    first = server.save("ana", "create", box(1))
    server.save("ben", "delete", box(1))

    found = await server.judged(
        tmp_path, [("main/2", AnnotationsObserved(updated_date=first, added=(shape(1),)))]
    )

    assert (found["edits_made"], found["lost"]) == (2, 1)
    assert not found["final_state_equal"]


async def test_a_read_that_says_a_thing_twice_repeats_it(tmp_path: Path):
    """Also within one event nothing may be there twice."""
    server = Server()
    first = server.save("ana", "create", box(1))

    found = await server.judged(
        tmp_path, [("main/2", AnnotationsObserved(updated_date=first, added=(shape(1), shape(1))))]
    )

    assert (found["lost"], found["repeated"]) == (0, 1)
    assert not found["ok"]
