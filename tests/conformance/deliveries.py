"""Webhook deliveries of a played session against the recorded ones."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.conformance.compare import Known, difference
from tests.conformance.recording import SAMPLES, SHARED
from tests.conformance.replay import Outcome, Replay


def read_deliveries(name: str, version: str) -> list[dict[str, Any]] | None:
    """Read recorded deliveries; None where this machine does not have them."""
    for path in (SAMPLES / version / f"{name}.jsonl.gz", SHARED / f"{name}.jsonl.gz"):
        if path.exists():
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                return [json.loads(line) for line in lines]
    return None


def heard_deliveries(replay: Replay, recorded: list[dict[str, Any]], *, is_whole: bool) -> Outcome:
    """Compare the bodies, member order included, in the order in which they came.

    A recording holds the deliveries of several sessions; those whose webhook
    was made in this session count. Deliveries of a file import, which the
    sandbox does not do, are skipped.

    is_whole  whether the recording of deliveries ends as late as the session
    """
    hooks = {theirs for table, theirs in replay.known.ids if table == "webhook"}
    theirs = [row["body"] for row in recorded if _hook(json.loads(row["body"])) in hooks]
    ours = [body.decode() for body in replay.received]
    outcome = Outcome(exchanges=len(theirs))
    rest = _in_order(_first_sendings(theirs), _first_sendings(ours), replay.known, outcome)
    _retries(_repeated(theirs), _repeated(ours), replay.known, outcome)
    if rest and is_whole:
        outcome.differences.append(f"{rest} deliveries more than recorded")
    return outcome


def _in_order(theirs: list[Any], ours: list[Any], known: Known, outcome: Outcome) -> int:
    """Compare what was sent for the first time, in order; returns how many more we sent."""
    rest = list(ours)
    for place, left in enumerate(theirs):
        if _by_worker(left) and not (rest and _by_worker(rest[0])):
            outcome.skipped += 1
            continue
        found = _unlike(left, rest.pop(0), known) if rest else "did not come"
        outcome.note(found, f"#{place} {left['event']}")
    return len(rest)


def _retries(theirs: list[Any], ours: list[Any], known: Known, outcome: Outcome) -> None:
    """Look up what was sent again: a retry has the bytes of its first sending.

    Their order among each other is that of a scheduler, and not compared.
    """
    for left in theirs:
        match = next((right for right in ours if _unlike(left, right, known.copy()) is None), None)
        outcome.note(None if match else "was not sent again", left["event"])
        if match:
            ours.remove(match)


def _unlike(theirs: Any, ours: Any, known: Known) -> str | None:
    table = theirs["event"].rpartition(":")[2]
    return difference(theirs, ours, known, table=table) or order(theirs, ours)


def _first_sendings(bodies: list[str]) -> list[Any]:
    return [json.loads(body) for place, body in enumerate(bodies) if body not in bodies[:place]]


def _repeated(bodies: list[str]) -> list[Any]:
    return [json.loads(body) for place, body in enumerate(bodies) if body in bodies[:place]]


def _hook(body: dict[str, Any]) -> int:
    return int(body["webhook_id"] if "webhook_id" in body else body["webhook"]["id"])


def _by_worker(body: dict[str, Any]) -> bool:
    return "email" in body.get("sender", {})


def order(theirs: Any, ours: Any, at: str = "") -> str | None:
    """Return where the order of members differs, or None: signatures hold for bytes."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if list(theirs) != list(ours):
            return f"{at}: members {list(ours)}, not {list(theirs)}"
        return next(
            (
                found
                for name in theirs
                if (found := order(theirs[name], ours[name], f"{at}.{name}"))
            ),
            None,
        )
    return None
