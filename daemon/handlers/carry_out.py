"""Load, decide, append: the three beats of every handler, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from daemon.clock import Clock
from daemon.ports.projections import Projections
from daemon.ports.store import EventStore, WrongVersion
from events.envelope import Evidence, NewEvent
from projections.decision import Decision, Draft
from projections.tables import Tables

# A stream moves on between the question and the append only while somebody else works on it.
TRIES_MAX: Final = 20


@dataclass(frozen=True)
class Journal:
    """The log with the state that follows from it: what a decision is asked of and goes into.

    actor, evidence  of facts that the decision itself gives no actor
    """

    store: EventStore
    projections: Projections
    clock: Clock
    actor: str | None = None
    evidence: Evidence = "unknown"

    async def carry_out(self, decide: Callable[[Tables], Decision]) -> Decision:
        """Decide on the state at the head and append; decide anew when it moved meanwhile.

        Raises WrongVersion when it keeps moving, and whatever `decide` and the store raise.
        """
        for tries_left in reversed(range(TRIES_MAX)):
            decision = await self.projections.ask(decide)
            if not decision.drafts:
                return decision
            try:
                await self.store.append(
                    [self._event(draft) for draft in decision.drafts], expects=decision.expects
                )
            except WrongVersion:
                if not tries_left:
                    raise
            else:
                return decision
        raise AssertionError("the last try returns or raises")

    def _event(self, draft: Draft) -> NewEvent:
        known = draft.actor is not None or draft.evidence != "unknown"
        return NewEvent(
            id=self.clock.new_id(),
            stream=draft.stream,
            fact=draft.fact,
            occurred_at=draft.occurred_at,
            actor=draft.actor if known else self.actor,
            evidence=draft.evidence if known else self.evidence,
        )
