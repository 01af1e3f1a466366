"""Where a CVAT server is, who we are there, and how much we let it cost us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from events.errors import SyncError

MIB = 1 << 20


class BadServerConfig(SyncError):
    """A setting of a server cannot be used: its address, a header, a token, a file."""


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """Log in once for a session token; log in again when it has expired."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BasicLogin:
    """Send user name and password with each request (RFC 7617)."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LegacyToken:
    """CVAT's `Token` key, one per user, that never expires."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A personal access token (CVAT 2.48 or later); a read-only one is enough to record."""

    token: str = field(repr=False)


Credentials = PasswordLogin | BasicLogin | LegacyToken | PersonalToken


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server may cost in time, memory and connections."""

    connect_s: float = 10.0
    read_s: float = 120.0  # silence between two pieces of an answer
    total_s: float = 600.0  # one whole exchange; uploads get more, by their size
    upload_bytes_per_s_min: int = 64 * 1024  # slower than this is taken for stuck
    annotation_bytes_max: int = 512 * MIB
    answer_bytes_max: int = 64 * MIB
    concurrency: int = 4
    attempts: int = 4
    backoff_s: float = 0.5  # the first pause; each next one is twice as long
    backoff_s_max: float = 30.0
    retry_after_s_max: float = 120.0
    page_size: int = 200  # rows; a server that sends more is none
    page_bytes_max: int = 16 * MIB
    pages_max: int = 10_000
    group_bytes_max: int = 100 * MIB  # one multipart request, as CVAT's own SDK cuts them
    group_files_max: int = 500
    tus_chunk_bytes: int = 10 * MIB
    poll_s: float = 0.2  # of a task that is being made; grows up to poll_s_max
    poll_s_max: float = 5.0


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One CVAT server as the settings describe it.

    url           scheme, host and, behind some proxies, a path; no credentials in it
    organization  its slug; "" means the personal workspace, None all that the user may see
    headers       sent with each request, for what stands in front of the server
    ca_file       PEM file of the authorities to trust instead of the system's
    proxy         url of an HTTP proxy, may carry credentials; else with trust_env the environment's
    """

    name: str
    url: str
    credentials: Credentials | None = None
    organization: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    trust_env: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        _check_url(self.name, self.url)
        if self.proxy is not None and not self.proxy.startswith(("http://", "https://")):
            raise BadServerConfig("a proxy must be an http or https url", server=self.name)
        for header, value in {**self.headers, **self._secrets()}.items():
            if not (header.isprintable() and header.isascii() and value.isprintable()):
                raise BadServerConfig(
                    "this cannot be sent in an HTTP header",
                    server=self.name,
                    setting=header,
                    hint="it contains a line break or another control character",
                )
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def _secrets(self) -> dict[str, str]:
        """Return what else goes into headers as it is, by the name of its setting."""
        found = {} if self.organization is None else {"organization": self.organization}
        if isinstance(self.credentials, LegacyToken | PersonalToken):
            found["token"] = self.credentials.token
        return found

    @property
    def origin(self) -> str:
        """Return scheme, host and port: "https://cvat.example.com"."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def _check_url(server: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise BadServerConfig(
            "the address of a CVAT server must be an http or https url",
            server=server,
            hint="for example https://cvat.example.com",
        )
    if parts.username is not None or parts.query or parts.fragment:
        # The address ends up in log lines and pages; a password in it would too.
        raise BadServerConfig(
            "the address of a CVAT server must not carry credentials, a query or a fragment",
            server=server,
            hint="give the credentials in their own settings",
        )
