"""Names for the actors of the log, as far as they are known or can be asked for in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from daemon import people
from daemon.people import ACTOR, Person
from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.app import App

Json = dict[str, Any]

ASK_S: Final = 2.0
USERS_MAX: Final = 10_000


async def names_of(app: App, actors: Iterable[str | None]) -> dict[str, str]:
    """Return actor → name, for those who have one. Never fails: a name is a courtesy.

    The daemon asks CVAT for those whom it does not know yet, once, and not for long.
    """
    wanted = {actor for actor in actors if actor and ACTOR.fullmatch(actor)}
    if not wanted:
        return {}
    found: dict[str, Person] = {}
    with suppress(SyncError, TimeoutError):
        found = await app.people.known(wanted)
        if app.address is not None and (unknown := wanted - found.keys() - app.people.asked):
            app.people.asked |= unknown
            async with asyncio.timeout(ASK_S):
                await _ask(app, unknown)
            found = await app.people.known(wanted)
    return {actor: name for actor, one in found.items() if (name := one.shown)}


async def with_names(app: App, found: list[Json]) -> list[Json]:
    """Return the same objects, each with the name of its actor, None where none is known."""
    names = await names_of(app, (one["actor"] for one in found))
    return [one | {"actor_name": names.get(one["actor"])} for one in found]


async def _ask(app: App, actors: set[str]) -> None:
    for server in {actor.split("/")[0] for actor in actors} & app.settings.servers.keys():
        cvat = await app.cvat(server)
        left = {actor for actor in actors if actor.startswith(f"{server}/")}
        seen = 0
        async for row in cvat.users(""):
            seen += 1
            one = people.person(server, row)
            if one.actor in left:
                await app.people.keep([one])
                left.discard(one.actor)
            if not left or seen >= USERS_MAX:
                break
