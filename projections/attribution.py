"""Who made an observed change, and how that is known.

CVAT's webhooks name a sender, but each is a hint: it may be lost, late or repeated. A sender is
named only where the deliveries account for *every* step from the last observed date to this one;
a gap could hide somebody else's save.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec

from events.envelope import Evidence

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
# One date is looked at several times: by checks, decisions and folds of the same delivery.
DATES_KEPT_MAX = 4_096


@lru_cache(maxsize=DATES_KEPT_MAX)
def date_us(text: str) -> int:
    """Return the µs since 1970 UTC of a date as CVAT writes it, 0 for an empty one.

    CVAT leaves the fraction out where it is zero, so its texts do not sort as times.
    """
    if not text:
        return 0
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=_EPOCH.tzinfo)
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One update:job delivery: the job went from one `updated_date` to another.

    before_us  None where the server does not tell (CVAT ≥ 2.76)
    saved      False when other members changed: stage, state or assignee
    """

    updated_us: int
    before_us: int | None
    sender: int | None
    saved: bool


class Author(NamedTuple):
    """`actor` is "<server>/<user id>"; several are joined by a comma; None: nobody is known."""

    actor: str | None
    evidence: Evidence


UNKNOWN = Author(None, "unknown")


def joined(authors: Iterable[Author]) -> Author:
    """Return several authors as one. Where one of them is not known nobody is named."""
    found = set(authors)
    if len(found) == 1:
        return found.pop()
    names = {name for author in found for name in (author.actor or "").split(",")}
    if "" in names or not {author.evidence for author in found} <= {"webhook", "several"}:
        return UNKNOWN
    return Author(",".join(sorted(names)), "several" if len(names) > 1 else "webhook")


def author_of(steps: Iterable[Step], *, server: str, since_us: int, until_us: int) -> Author:
    """Name the author of what changed in (since_us, until_us].

    The user of our own credentials is a sender as all others are: what we write ourselves is
    recorded when it is written, and a person may work under the same name.
    """
    inside = {step for step in map(_hashable, steps) if since_us < step[0] <= until_us}
    if not inside or not _accounts_for_all(inside, since_us, until_us):
        return UNKNOWN
    senders = {sender for _, _, sender, saved in inside if saved}
    if not senders or None in senders:
        return UNKNOWN
    named = ",".join(f"{server}/{sender}" for sender in sorted(filter(None, senders)))
    return Author(named, "webhook" if len(senders) == 1 else "several")


def changed_by(steps: Iterable[Step], *, server: str, since_us: int, until_us: int) -> Author:
    """Name who changed members of a job (stage, state, assignee) in (since_us, until_us].

    Where the server does not tell saves from other changes, only one sender of all is sure.
    """
    inside = {step for step in map(_hashable, steps) if since_us < step[0] <= until_us}
    if not inside or not _accounts_for_all(inside, since_us, until_us):
        return UNKNOWN
    changes = {sender for _, _, sender, saved in inside if not saved}
    senders = changes or {sender for _, _, sender, _ in inside}
    if None in senders or not senders or (not changes and len(senders) > 1):
        return UNKNOWN
    named = ",".join(f"{server}/{sender}" for sender in sorted(filter(None, senders)))
    return Author(named, "webhook" if len(senders) == 1 else "several")


def _hashable(step: Step) -> tuple[int, int | None, int | None, bool]:
    return step.updated_us, step.before_us, step.sender, step.saved


def _accounts_for_all(
    steps: set[tuple[int, int | None, int | None, bool]], since_us: int, until_us: int
) -> bool:
    """Tell whether the steps lead from one date to the other without a gap."""
    if all(before is None for _, before, _, _ in steps):
        # The server does not tell where a step began: only the end can be checked.
        return max(updated for updated, *_ in steps) == until_us
    came_from = {updated: before for updated, before, _, _ in steps}
    date: int | None = until_us
    for _ in came_from:
        date = came_from.get(date) if date is not None else None
        if date == since_us:
            return True
    return False
