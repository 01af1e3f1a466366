"""Every setting with its unit, its limits and its default. `example.toml` explains them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

SERVER_NAME: Final = r"^[a-z][a-z0-9_-]{0,62}$"
# A dataset's name is part of stream names and addresses, so it holds no slash, blank or colon.
DATASET_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"

ServerName = Annotated[str, Field(pattern=SERVER_NAME)]
DatasetName = Annotated[str, Field(pattern=DATASET_NAME)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 30, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]

One = TypeVar("One")


def _several(value: object) -> object:
    # Credential files and the environment hold text: one value a line or word.
    return value.split() if isinstance(value, str) else value


Several = Annotated[tuple[One, ...], BeforeValidator(_several)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Data(_Section):
    """Where the log and everything made from it live."""

    folder: Path | None = None
    socket: Path | None = None


class Http(_Section):
    """The port that CVAT's webhooks and people reach."""

    host: str = "127.0.0.1"
    port: int = Field(default=8787, ge=0, le=65_535)
    public_url: str | None = None
    body_bytes_max: int = Field(default=1_048_576, ge=1_024, le=64 * 1_048_576)
    connections_max: Count = 256
    request_s: Seconds = 10.0
    keepalive_s: Seconds = 30.0

    @field_validator("public_url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        return url if url is None else _http_url(url)


class Api(_Section):
    """The HTTP API under /api/v1, and /metrics."""

    requests_per_s: float = Field(default=50.0, gt=0, le=10_000, allow_inf_nan=False)
    burst: Count = 100
    operations_max: Count = 32
    feeds_max: Count = 32
    cors_origins: Several[str] = ()
    metrics_on_loopback: bool = False

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"https?://[^/\s@*]+", origin) for origin in origins):
            raise ValueError("an origin is a scheme, a host and maybe a port, with no path")
        return origins


class Server(_Section):
    """One CVAT server and how to reach it."""

    url: str
    organization: str | None = None
    user: str | None = None
    password: SecretStr | None = None
    basic: bool = False
    token: SecretStr | None = None
    personal_token: SecretStr | None = None
    headers: dict[str, SecretStr] = {}
    ca_file: Path | None = None
    proxy: SecretStr | None = None
    trust_env: bool = False
    webhook_secrets: Several[SecretStr] = ()
    projects: Several[int] = ()
    poll_s: Seconds = 30.0
    sweep_s: Seconds = 3_600.0
    debounce_s: Seconds = 1.0
    settle_s: Seconds = 10.0

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return _http_url(url)

    @field_validator("webhook_secrets")
    @classmethod
    def _not_empty(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(not secret.get_secret_value() for secret in secrets):
            raise ValueError("an empty secret would accept what anybody signs with nothing")
        return secrets

    @model_validator(mode="after")
    def _one_way_in(self) -> Server:
        ways = {
            "user and password": self.password,
            "token": self.token,
            "personal_token": self.personal_token,
        }
        given = [name for name, secret in ways.items() if secret is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other, keep one of them")
        if self.password is not None and self.user is None:
            raise ValueError("a password needs the user it belongs to, add `user = …`")
        return self


class Dataset(_Section):
    """One dataset: its manifest, and where its media may lie."""

    manifest: Path
    media_roots: Several[Path] = ()
    quiet_s: Seconds = 2.0
    rescan_s: Seconds = 300.0
    polling: bool = False
    removed_share_max: float = Field(default=0.2, ge=0, le=1)


class Checkpoints(_Section):
    """Signed roots of the log, also kept where the log is not."""

    publish: Path | None = None


class Deliveries(_Section):
    """Raw bodies of webhook deliveries, kept beside the log for a while."""

    keep_days: Count = 30
    bytes_max: Count = 256 * 1_048_576


class Logging(_Section):
    """Lines about our own work, on stderr."""

    level: str = Field(default="info", pattern="^(debug|info|warning|error)$")


class Settings(_Section):
    """All of it, frozen."""

    data: Data = Data()
    http: Http = Http()
    api: Api = Api()
    servers: dict[ServerName, Server] = {}
    datasets: dict[DatasetName, Dataset] = {}
    checkpoints: Checkpoints = Checkpoints()
    deliveries: Deliveries = Deliveries()
    logging: Logging = Logging()

    def secrets(self) -> tuple[str, ...]:
        """Return every secret in the settings, so that nothing prints one by mistake."""
        return tuple(_secrets(self))


def _http_url(url: str) -> str:
    if not re.match(r"^https?://[^/\s@]+(/\S*)?$", url):
        raise ValueError("this is no http(s) address without user and password in it")
    return url.rstrip("/")


def _secrets(held: object) -> Iterator[str]:
    match held:
        case SecretStr():
            yield held.get_secret_value()
        case BaseModel():
            for _, value in held:
                yield from _secrets(value)
        case dict():
            for value in held.values():
                yield from _secrets(value)
        case tuple():
            for value in held:
                yield from _secrets(value)
