"""Bearer tokens of the HTTP API. They are made and revoked at the machine, never over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon.operations.registry import Json, NoArgs, operation
from daemon.operations.times import iso
from daemon.tokens import Scope, Token, Tokens

if TYPE_CHECKING:
    from daemon.app import App


class MakeToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to make. Its name is the author of what is done with it: `token/NAME`."""

    name: str
    scope: Scope = "read"
    dry_run: bool = False


class RevokeToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token that shall not be taken any more."""

    name: str
    dry_run: bool = False


@operation("token.make", args=MakeToken, writes="folder", state=False)
async def make(app: App, args: MakeToken) -> AsyncGenerator[Json, None]:
    """Make a token; the only time that its secret is seen."""
    tokens = Tokens(app.folder)
    made: Json = {"kind": "token made", "name": args.name, "scope": args.scope}
    if args.dry_run:
        await asyncio.to_thread(tokens.check_new, args.name)
    else:
        made["token"] = await asyncio.to_thread(
            tokens.make, args.name, args.scope, made_at=app.clock.now_us()
        )
    yield made


@operation("token.ls", state=False)
async def ls(app: App, args: NoArgs) -> AsyncGenerator[Json, None]:
    """List the tokens, without anything that could be used as one."""
    for token in await asyncio.to_thread(Tokens(app.folder).all):
        yield _spelled(token)


@operation("token.revoke", args=RevokeToken, writes="folder", state=False)
async def revoke(app: App, args: RevokeToken) -> AsyncGenerator[Json, None]:
    """Forget a token: the next request with it is refused, and its event feeds end."""
    tokens = Tokens(app.folder)
    act = tokens.named if args.dry_run else tokens.revoke
    found = _spelled(await asyncio.to_thread(act, args.name))
    yield found | {"kind": "token revoked"}


def _spelled(token: Token) -> Json:
    return {
        "kind": "token",
        "name": token.name,
        "scope": token.scope,
        "actor": token.actor,
        "made_at": iso(token.made_at),
    }
