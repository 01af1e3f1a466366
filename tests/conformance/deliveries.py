"""Webhook deliveries of a played session against the recorded ones."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.conformance.compare import difference
from tests.conformance.recording import SAMPLES, SHARED
from tests.conformance.replay import Outcome, Replay


def read_deliveries(name: str, version: str) -> list[dict[str, Any]] | None:
    """Read recorded deliveries; None where this machine does not have them."""
    for path in (SAMPLES / version / f"{name}.jsonl.gz", SHARED / f"{name}.jsonl.gz"):
        if path.exists():
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                return [json.loads(line) for line in lines]
    return None


def heard_deliveries(replay: Replay, recorded: list[dict[str, Any]]) -> Outcome:
    """Compare the bodies, member order included, in the order in which they came.

    A recording holds the deliveries of several sessions; those whose webhook
    was made in this session count. Deliveries of a file import, which the
    sandbox does not do, are skipped.
    """
    outcome = Outcome()
    hooks = {theirs for table, theirs in replay.known.ids if table == "webhook"}
    theirs = [body for row in recorded if _hook(body := json.loads(row["body"])) in hooks]
    ours = [row["body"] for row in replay.received]
    # What is sent again comes when the clock says so; the first sendings have an order.
    theirs, ours = _first_sendings(theirs), _first_sendings(ours)
    outcome.exchanges = len(theirs)
    for place, (left, right) in enumerate(zip(theirs, ours, strict=False)):
        if _by_worker(left) and not _by_worker(right):
            outcome.skipped += 1
            continue
        table = left["event"].rpartition(":")[2]
        found = difference(left, right, replay.known, table=table) or order(left, right)
        if found is None:
            outcome.equal += 1
        else:
            outcome.differences[place] = f"#{place} {left['event']}: {found}"
    if len(ours) < len(theirs):
        outcome.differences[len(ours)] = f"{len(theirs) - len(ours)} deliveries did not come"
    return outcome


def _first_sendings(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if all("changes" not in body for body in bodies):
        return bodies
    seen: dict[str, dict[str, Any]] = {}
    for body in bodies:
        seen.setdefault(json.dumps(body, sort_keys=True), body)
    return list(seen.values())


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
