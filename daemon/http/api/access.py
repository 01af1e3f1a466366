"""Who asks, and whether they may: addresses and tokens, each with a rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from daemon.http.api.problems import NotAuthorized, ScopeTooSmall
from daemon.http.api.rates import Rates, bucket_of
from daemon.http.requests import peer_of
from daemon.tokens import SECRET_CHARS, Scope, Token, Tokens

if TYPE_CHECKING:
    from aiohttp import web

    from daemon.app import App

SCHEME: Final = "bearer "


class Access:
    """The door of everything that needs a token."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._tokens = Tokens(app.folder)
        self._rates = Rates(app.clock.monotonic_s)

    def enter(self, request: web.Request) -> Token:
        """Return the token of a request.

        Raises TooManyRequests, NotAuthorized, TokensUnreadable.
        """
        # Before the token is looked at, so that nobody can guess faster than that.
        self._count(bucket_of(peer_of(request)))
        token = self._tokens.find(_secret(request))
        if token is None:
            raise NotAuthorized("a valid token is needed")
        self._count(token.actor)
        return token

    def is_good(self, token: Token) -> bool:
        """Tell whether a token is still in force."""
        return token in self._tokens.all()

    def _count(self, name: str) -> None:
        api = self._app.settings.api
        self._rates.take(name, per_s=api.requests_per_s, burst=api.burst)


def check_scope(token: Token, scope: Scope) -> None:
    """Raise ScopeTooSmall where the token is not good for it."""
    if not token.may(scope):
        raise ScopeTooSmall(
            "the token may not do this",
            scope=token.scope,
            scope_needed=scope,
            hint=f"make one with `labeltrail token make NAME --scope {scope}`",
        )


def _secret(request: web.Request) -> str:
    given = request.headers.get("Authorization", "")
    if given[: len(SCHEME)].lower() != SCHEME or len(given) != len(SCHEME) + SECRET_CHARS:
        return ""
    return given[len(SCHEME) :]
