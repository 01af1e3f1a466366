"""Load, decide, append: a decision that was overtaken is taken anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from daemon.handlers.carry_out import TRIES_MAX, Journal
from daemon.ports.store import WrongVersion
from daemon.store.memory import MemoryStore
from events.envelope import NewEvent
from events.server import SweepCompleted
from projections.decision import Decision, Draft
from projections.folds import FOLDS
from projections.streams import versions
from projections.tables import Tables
from tests.fakes.clock import FakeClock, run_virtual
from tests.fakes.projections import InlineProjections

STREAM = "server/main"


@dataclass
class Rival:
    """Somebody else who appends between the decision and its append, some times."""

    store: MemoryStore
    clock: FakeClock
    left: int
    asked: list[int] = field(default_factory=list)

    async def append(self, events: Any, *, expects: Any) -> Any:
        if self.left:
            self.left -= 1
            fact = SweepCompleted(jobs=99)
            theirs = NewEvent(id=self.clock.new_id(), stream=STREAM, fact=fact)
            await self.store.append([theirs])
        return await self.store.append(events, expects=expects)


def play(rival_appends: int, **who: Any) -> tuple[list[int], list[tuple[str | None, str]]]:
    """Carry one decision out; return the versions it was asked at, and the actors recorded."""
    clock = FakeClock()
    asked: list[int] = []

    def decide(tables: Tables) -> Decision:
        expects = versions(tables, [STREAM])
        asked.append(expects[STREAM])
        return Decision([Draft(STREAM, SweepCompleted(jobs=1))], expects)

    async def main() -> list[tuple[str | None, str]]:
        store = MemoryStore(clock)
        rival: Any = Rival(store, clock, rival_appends)
        journal = Journal(rival, InlineProjections(store, FOLDS), clock, **who)
        await journal.carry_out(decide)
        return [(at.actor, at.evidence) for at in store.reader().read()]

    return asked, run_virtual(clock, main)


def test_a_decision_that_was_overtaken_is_taken_anew_on_what_is_true_then() -> None:
    """Nothing is decided on a state that has passed."""
    asked, actors = play(2)

    assert asked == [0, 1, 2]
    assert len(actors) == 3


def test_one_wins_in_the_end_though_most_races_are_lost() -> None:
    """A server's stream moves on with each delivery: 20 tries were lost in a half hour's load."""
    asked, _ = play(60)

    assert len(asked) == 61


def test_one_that_is_overtaken_for_ever_gives_up() -> None:
    """Every loop has a limit."""
    with pytest.raises(WrongVersion):
        play(TRIES_MAX)


def test_facts_without_an_actor_get_the_one_who_commands() -> None:
    """A command's actor is known."""
    _, actors = play(0, actor="anna", evidence="command")

    assert actors == [("anna", "command")]
