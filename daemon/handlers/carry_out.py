"""Load, decide, append: the three beats of every handler, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from daemon.clock import Clock
from daemon.handlers.apart import decided
from daemon.pool import Pool
from daemon.ports.cvat import CvatError
from daemon.ports.projections import Projections, ProjectionsFailed, ProjectionsStuck
from daemon.ports.store import DiskFull, EventStore, QueueFull, WrongVersion
from events.envelope import Evidence, NewEvent
from projections.decision import Decision, Draft
from projections.questions import AnyQuestion
from projections.tables import Tables

# A stream moves on between the question and the append only while somebody else works on it. That
# of a server does with each delivery: while many come, a decision on it loses most of its races.
TRIES_MAX: Final = 100
# Trouble that passes by itself: whoever works in the background waits, and tries again.
PASSING: Final = (CvatError, WrongVersion, QueueFull, DiskFull, ProjectionsStuck)


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

    async def carry_out(
        self, decide: Callable[[Tables], Decision], *, apart: Pool | None = None
    ) -> Decision:
        """Decide on the state at the head and append; decide anew when it moved meanwhile.

        apart  the pool that is to decide, where the question takes long

        Raises WrongVersion when it keeps moving, and whatever `decide` and the store raise.
        """
        for tries_left in reversed(range(TRIES_MAX)):
            decision = await self.decided(decide, apart=apart)
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

    async def decided(
        self, decide: Callable[[Tables], Decision], *, apart: Pool | None = None
    ) -> Decision:
        """Decide on the state at the head, and append nothing."""
        if apart is None or not isinstance(decide, AnyQuestion):
            return await self.projections.ask(decide)
        if (file := await self.projections.file()) is None:
            return await self.projections.ask(decide)
        try:
            return await decided(decide, file, apart)
        except ProjectionsFailed:
            # Whoever keeps the tables knows how to mend them.
            return await self.projections.ask(decide)

    def _event(self, draft: Draft) -> NewEvent:
        known = draft.actor is not None or draft.evidence != "unknown"
        return NewEvent(
            id=self.clock.new_id(),
            stream=draft.stream,
            fact=draft.fact,
            encoded=draft.encoded,
            occurred_at=draft.occurred_at,
            actor=draft.actor if known else self.actor,
            evidence=draft.evidence if known else self.evidence,
        )
