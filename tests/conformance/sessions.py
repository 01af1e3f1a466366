"""The recorded sessions, and what has to be known to play them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.conformance.deliveries import heard_deliveries, read_deliveries
from tests.conformance.recording import read
from tests.conformance.replay import USERS, Outcome, Plan, Replay


@dataclass(frozen=True)
class Session:
    """Recordings that were made one after the other on one server."""

    name: str
    version: str
    recordings: tuple[str, ...]
    plans: dict[str, Plan] = field(default_factory=dict)
    before: Callable[[Replay], Awaitable[None]] | None = None
    # Who had logged in before.
    known: tuple[str, ...] = tuple(USERS)
    # The recording of webhook deliveries that the session caused, if there is one.
    heard: str | None = None


def _by(user: str, *ranges: tuple[int, int]) -> dict[int, str]:
    return {seq: user for first, last in ranges for seq in range(first, last + 1)}


async def older_tasks(replay: Replay) -> None:
    """Make the two tasks that the recorded server had from before the session."""
    for name, state in (("t2-a", "new"), ("t2-b", "rejected")):
        project = await replay.ask(
            "POST", "/api/projects", {"name": name, "labels": [{"name": "x"}]}
        )
        wanted = {"name": name, "project_id": project["id"], "segment_size": 2}
        task = await replay.ask("POST", "/api/tasks", wanted)
        await replay.upload(task["id"], [f"{n}.jpg" for n in range(4)])
        jobs = await replay.ask("GET", f"/api/jobs?task_id={task['id']}")
        job = jobs["results"][-1]["id"]
        stage = {"stage": "acceptance", "state": state, "assignee": 2}
        await replay.ask("PATCH", f"/api/jobs/{job}", stage)
        issue = {"job": job, "frame": 0, "position": [1, 2], "message": "look"}
        await replay.ask("POST", "/api/issues", issue)


EXPORT = "file export is not covered"
IMPORT = "file import is not covered"
OTHERS = "the answer lists what others had left on the recorded server"
BEHIND = "the recorded server had not sent all deliveries yet"
SESSIONS: tuple[Session, ...] = (
    Session(
        "sync-daemon",
        "2.15",
        ("sync-daemon",),
        {"sync-daemon": Plan(users=_by("annotator1", (40, 59), (70, 70)), broken={80: (503,)})},
        heard="deliveries",
    ),
    Session("tracks-and-skeletons", "2.15", ("tracks-and-skeletons",)),
    Session(
        "sdk-session",
        "2.15",
        ("sdk-session", "edge-cases"),
        {
            "sdk-session": Plan(
                users=_by("annotator1", (69, 70)) | _by("annotator2", (71, 71)),
                skip={n: EXPORT for n in (59, 60, 61)} | {n: IMPORT for n in range(62, 68)},
                bridge=67,
                answer=(200, '{"ok":true}'),
                broken={72: (500,)},
            ),
            "edge-cases": Plan(
                users=_by("annotator1", (4, 11)) | _by("annotator2", (12, 14)),
            ),
        },
        before=older_tasks,
        heard="deliveries",
    ),
    Session("fiftyone-all-label-types", "2.15", ("fiftyone-all-label-types",)),
    Session(
        "fiftyone-long-session",
        "2.15",
        ("fiftyone-long-session",),
        {"fiftyone-long-session": Plan(skip={n: OTHERS for n in range(1215, 1218)})},
    ),
)


SESSIONS += (
    Session(
        "sync-daemon",
        "2.73",
        ("sync-daemon-2.73",),
        {
            "sync-daemon-2.73": Plan(
                users=_by("annotator1", (45, 64), (75, 75)) | _by("token", (9, 12)),
                skip={10: OTHERS} | {n: BEHIND for n in (86, 87, 88)},
                broken={47: (204, 503, 503), 48: (503, 503, 503), 52: (503, 503)},
            )
        },
        known=("annotator1",),
        heard="deliveries-2.73",
    ),
    Session("tracks-and-skeletons", "2.73", ("tracks-and-skeletons-2.73",)),
    Session("fiftyone-all-label-types", "2.73", ("fiftyone-all-label-types-2.73",)),
)


async def run_session(session: Session) -> dict[str, Outcome]:
    """Play the recordings of a session; one that this machine lacks is left out."""
    replay = Replay(session.version)
    await replay.warm_up(session.known)
    if session.before is not None:
        await session.before(replay)
    outcomes = {}
    for name in session.recordings:
        exchanges = read(name, session.version)
        if exchanges is not None:
            outcomes[name] = await replay.play(exchanges, session.plans.get(name, Plan()))
    if outcomes and session.heard is not None:
        outcomes[f"{session.heard} of {session.name}"] = await heard(replay, session)
    return outcomes


async def heard(replay: Replay, session: Session) -> Outcome:
    """Compare the webhook deliveries that a session caused with the recorded ones."""
    await replay.settle()
    assert session.heard is not None
    recorded = read_deliveries(session.heard, session.version)
    return heard_deliveries(replay, recorded or [])
