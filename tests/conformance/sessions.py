"""The recorded sessions, and what has to be known to play them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.conformance import earlier
from tests.conformance.deliveries import heard_deliveries, read_deliveries
from tests.conformance.recording import read
from tests.conformance.replay import USERS, Outcome, Plan, Receiver, Replay


@dataclass(frozen=True)
class Session:
    """Recordings that were made one after the other on one server."""

    name: str
    version: str
    recordings: tuple[str, ...]
    plans: dict[str, Plan] = field(default_factory=dict)
    before: Callable[[Replay], Awaitable[None]] | None = None
    receiver: Receiver = field(default_factory=Receiver)
    # Who had logged in before.
    known: tuple[str, ...] = tuple(USERS)
    # The recording of webhook deliveries that the first recording caused, if there is one.
    heard: str | None = None
    # Whether it holds all of them.
    heard_whole: bool = True


def _by(user: str, *ranges: tuple[int, int]) -> dict[int, str]:
    return {seq: user for first, last in ranges for seq in range(first, last + 1)}


EXPORT = "file export is not covered"
IMPORT = "file import is not covered"
# Sessions that take seconds.
LARGE = {"fiftyone-long-session"}
# By then the first retry of a failed delivery was made.
RETRIED_BY_S = 10.0
SESSIONS: tuple[Session, ...] = (
    Session(
        "sync-daemon",
        "2.15",
        ("sync-daemon",),
        {"sync-daemon": Plan(users=_by("annotator1", (40, 59), (70, 70)))},
        receiver=Receiver(failing={53: 503}),
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
            ),
            "edge-cases": Plan(
                users=_by("annotator1", (4, 11)) | _by("annotator2", (12, 14)),
            ),
        },
        before=earlier.reviewed_tasks,
        receiver=Receiver((200, '{"ok":true}'), failing={68: 500}),
        heard="deliveries",
    ),
    Session("fiftyone-all-label-types", "2.15", ("fiftyone-all-label-types",)),
    Session(
        "fiftyone-long-session",
        "2.15",
        ("fiftyone-long-session",),
        before=earlier.projects_of_others,
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
            )
        },
        # It took about 0.2 s for each, and was asked when it had taken 33.
        receiver=Receiver(failing=dict.fromkeys(range(27, 34), 503), slow=(34, 89)),
        before=earlier.jobs_of_others,
        known=("annotator1",),
        heard="deliveries-2.73",
        heard_whole=False,
    ),
    Session("tracks-and-skeletons", "2.73", ("tracks-and-skeletons-2.73",)),
    Session("fiftyone-all-label-types", "2.73", ("fiftyone-all-label-types-2.73",)),
)


async def run_session(session: Session) -> dict[str, Outcome]:
    """Play the recordings of a session; one that this machine lacks is left out."""
    replay = Replay(session.version, session.receiver)
    await replay.warm_up(session.known)
    if session.before is not None:
        await session.before(replay)
    outcomes = {}
    for name in session.recordings:
        exchanges = read(name, session.version)
        if exchanges is None:
            continue
        outcomes[name] = await replay.play(exchanges, session.plans.get(name, Plan()))
        if session.heard is not None and name == session.recordings[0]:
            outcomes[session.heard] = await heard(replay, session, session.heard)
    return outcomes


async def heard(replay: Replay, session: Session, name: str) -> Outcome:
    """Compare the webhook deliveries that a recording caused with the recorded ones."""
    await replay.settle()
    replay.clock.advance(RETRIED_BY_S)
    await replay.settle()
    recorded = read_deliveries(name, session.version)
    return heard_deliveries(replay, recorded or [], is_whole=session.heard_whole)
