"""Prove to a CVAT server who we are."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

from daemon.cvat.server import BasicLogin, Credentials, LegacyToken, PasswordLogin, PersonalToken


class Login:
    """Keeps the `Authorization` header, and fetches it where it must be asked for.

    fetch_key  POST /api/auth/login, returns the session's key
    """

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        fetch_key: Callable[[PasswordLogin], Awaitable[str]],
    ) -> None:
        self._credentials = credentials
        self._fetch_key = fetch_key
        self._lock = asyncio.Lock()
        self._header = _fixed_header(credentials)

    async def header(self) -> str | None:
        """Return the header's value, None for an anonymous client; may log in first."""
        if isinstance(self._credentials, PasswordLogin) and self._header is None:
            return await self.renew(refused=None)
        return self._header

    @property
    def renewable(self) -> bool:
        """Tell whether another login can help against a 401."""
        return isinstance(self._credentials, PasswordLogin)

    async def renew(self, *, refused: str | None) -> str:
        """Log in, unless somebody else did since `refused` was in use; return the new header."""
        assert isinstance(self._credentials, PasswordLogin)
        async with self._lock:
            if self._header is None or self._header == refused:
                self._header = None
                self._header = f"Token {await self._fetch_key(self._credentials)}"
            return self._header


def _fixed_header(credentials: Credentials | None) -> str | None:
    match credentials:
        case BasicLogin(username=user, password=password):
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        case LegacyToken(token=token):
            return f"Token {token}"
        case PersonalToken(token=token):
            return f"Bearer {token}"
        case PasswordLogin() | None:
            return None
