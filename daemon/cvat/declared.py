"""The client of a server that the settings declare."""

from __future__ import annotations

from config.settings import Server
from daemon.clock import Clock
from daemon.cvat.client import CvatClient, connect
from daemon.cvat.server import (
    BasicLogin,
    Credentials,
    LegacyToken,
    PasswordLogin,
    PersonalToken,
    ServerConfig,
)


async def connect_declared(name: str, server: Server, clock: Clock) -> CvatClient:
    """Return a client; nothing is sent yet. Raises BadServerUrl and its like."""
    return await connect(
        ServerConfig(
            name=name,
            url=server.url,
            credentials=_credentials(server),
            organization=server.organization,
            headers={key: value.get_secret_value() for key, value in server.headers.items()},
            ca_file=server.ca_file,
            proxy=server.proxy.get_secret_value() if server.proxy else None,
            trust_env=server.trust_env,
        ),
        clock,
    )


def _credentials(server: Server) -> Credentials | None:
    if server.personal_token is not None:
        return PersonalToken(server.personal_token.get_secret_value())
    if server.token is not None:
        return LegacyToken(server.token.get_secret_value())
    if server.password is not None and server.user is not None:
        kind = BasicLogin if server.basic else PasswordLogin
        return kind(server.user, server.password.get_secret_value())
    return None
