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
ASK_AGAIN_S: Final = 600.0
USERS_MAX: Final = 10_000


async def names_of(app: App, actors: Iterable[str | None]) -> dict[str, str]:
    """Return actor → name, for those who have one. Never fails: a name is a courtesy.

    The daemon asks CVAT for those whom it does not know yet, now and then, and not for long.
    """
    asked = {actor for actor in actors if actor}
    wanted = {one for actor in asked for one in actor.split(",") if ACTOR.fullmatch(one)}
    if not wanted:
        return {}
    found: dict[str, Person] = {}
    with suppress(SyncError, TimeoutError):
        found = await app.people.known(wanted)
        if app.address is not None and (unknown := _due(app, wanted - found.keys())):
            async with asyncio.timeout(ASK_S):
                await _ask(app, unknown)
            found = await app.people.known(wanted)
    shown = {actor: one.shown or actor for actor, one in found.items()}
    # Where several may have made a change, the log joins them by a comma.
    names = {actor: ", ".join(shown.get(one, one) for one in actor.split(",")) for actor in asked}
    return {actor: name for actor, name in names.items() if name.replace(", ", ",") != actor}


async def with_names(app: App, found: list[Json]) -> list[Json]:
    """Return the same objects, each with the name of its actor, None where none is known.

    A comment on an issue gets its text too, as long as that was not erased.
    """
    names = await names_of(app, (one["actor"] for one in found))
    comments = [one["fact"]["text"] for one in found if _is_comment(one)]
    texts: dict[str, str] = {}
    if comments:
        with suppress(SyncError):
            texts = await app.people.texts(comments)
    return [
        one
        | {"actor_name": names.get(one["actor"])}
        | ({"comment": texts.get(one["fact"]["text"])} if _is_comment(one) else {})
        for one in found
    ]


def _is_comment(found: Json) -> bool:
    return found.get("type") == "IssueCommented" and "fact" in found


def _due(app: App, actors: set[str]) -> set[str]:
    """Return those who were not asked for lately, and note that they are now."""
    now_s, asked = app.clock.monotonic_s(), app.people.asked
    due = {actor for actor in actors if now_s - asked.get(actor, -ASK_AGAIN_S) >= ASK_AGAIN_S}
    asked.update(dict.fromkeys(due, now_s))
    return due


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
