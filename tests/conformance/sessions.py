"""The recorded sessions, and what has to be known to play them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.conformance.recording import read
from tests.conformance.replay import Outcome, Plan, Replay


@dataclass(frozen=True)
class Session:
    """Recordings that were made one after the other on one server."""

    name: str
    version: str
    recordings: tuple[str, ...]
    plans: dict[str, Plan] = field(default_factory=dict)


def _by(user: str, *ranges: tuple[int, int]) -> dict[int, str]:
    return {seq: user for first, last in ranges for seq in range(first, last + 1)}


EXPORT = "file export is not covered"
IMPORT = "file import is not covered"
VIDEO_FRAME = "videos are not decoded"
SESSIONS = (
    Session(
        "sync-daemon",
        "2.15",
        ("sync-daemon",),
        {"sync-daemon": Plan(users=_by("annotator1", (40, 59), (70, 70)), broken={80: 503})},
    ),
    Session("tracks-and-skeletons", "2.15", ("tracks-and-skeletons",)),
    Session(
        "sdk-session",
        "2.15",
        ("sdk-session", "edge-cases"),
        {
            "sdk-session": Plan(
                users=_by("annotator1", (69, 70)) | _by("annotator2", (71, 71)),
                skip={n: EXPORT for n in (59, 60, 61)}
                | {n: IMPORT for n in range(62, 68)}
                | {92: VIDEO_FRAME},
                bridge=67,
                answer=(200, '{"ok":true}'),
                broken={72: 500},
            ),
            "edge-cases": Plan(
                users=_by("annotator1", (4, 11)) | _by("annotator2", (12, 14)),
            ),
        },
    ),
    Session("fiftyone-all-label-types", "2.15", ("fiftyone-all-label-types",)),
    Session("fiftyone-long-session", "2.15", ("fiftyone-long-session",)),
)


async def run_session(session: Session) -> dict[str, Outcome]:
    """Play the recordings of a session; one that this machine lacks is left out."""
    replay = Replay(session.version)
    await replay.warm_up()
    outcomes = {}
    for name in session.recordings:
        exchanges = read(name, session.version)
        if exchanges is not None:
            outcomes[name] = await replay.play(exchanges, session.plans.get(name, Plan()))
    return outcomes
