"""Bearer tokens of the HTTP API: shown once, kept as hashes in `keys/` of the data folder.

A token is 32 random bytes, so its plain SHA-256 is enough: there is nothing to guess or to look up
in a dictionary, which slow password hashes are made against.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Final, Literal

import msgspec

from daemon.store.checkpoints import write_durably
from events.errors import SyncError

FOLDER: Final = "keys"
FILE_NAME: Final = "tokens.json"
FILE_MODE: Final = 0o600
FILE_BYTES_MAX: Final = 1_048_576
TOKENS_MAX: Final = 1_000
SECRET_BYTES: Final = 32
# Scanners for leaked secrets know tokens by what they begin with.
PREFIX: Final = "labeltrail_"
SECRET_CHARS: Final = len(PREFIX) + 43
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

Scope = Literal["read", "write"]


class BadTokenName(SyncError):
    """The name cannot be that of a token."""

    exit_code = 2


class TokenExists(SyncError):
    """There is a token of this name."""


class UnknownToken(SyncError):
    """There is no token of this name."""


class TooManyTokens(SyncError):
    """No further token can be made."""


class TokensUnreadable(SyncError):
    """The file of the tokens cannot be read."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token. digest: SHA-256 (hex) of the whole secret; made_at: µs UTC."""

    name: str
    scope: Scope
    digest: str
    made_at: int

    @property
    def actor(self) -> str:
        """Who acts, as the log names them."""
        return f"token/{self.name}"

    def may(self, scope: Scope) -> bool:
        """Tell whether the token is good for something of this scope."""
        return scope in ("read", self.scope)


class Tokens:
    """The tokens of a data folder. The owner of the folder's lock alone may change them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FOLDER / FILE_NAME
        self._stamp: tuple[int, int, int] | None = None
        self._kept: tuple[Token, ...] = ()

    def all(self) -> tuple[Token, ...]:
        """Return all tokens by name; the file is read when it changed. Raises TokensUnreadable."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise self._unreadable(exc.strerror or str(exc)) from exc
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._kept = self._read(found.st_size)
            self._stamp = stamp
        return self._kept

    def find(self, secret: str) -> Token | None:
        """Return the token whose secret this is. Takes the same time whichever it is."""
        digest = digest_of(secret)
        found = None
        for token in self.all():
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def make(self, name: str, scope: Scope, *, made_at: int) -> str:
        """Keep a new token, and return its secret, which is kept nowhere.

        Raises BadTokenName, TokenExists, TooManyTokens, TokensUnreadable.
        """
        known = self.all()
        self.check_new(name)
        secret = PREFIX + _text(secrets.token_bytes(SECRET_BYTES))
        token = Token(name=name, scope=scope, digest=digest_of(secret), made_at=made_at)
        self._write((*known, token))
        return secret

    def check_new(self, name: str) -> None:
        """Raise BadTokenName, TokenExists or TooManyTokens where `make` would."""
        known = self.all()
        if not NAME.fullmatch(name):
            hint = "letters, digits, dot, dash and underscore; at most 63 of them"
            raise BadTokenName("this cannot be the name of a token", name=name[:80], hint=hint)
        if any(token.name == name for token in known):
            hint = "revoke it first, or choose another name: the log names tokens as authors"
            raise TokenExists("there is a token of this name", name=name, hint=hint)
        if len(known) >= TOKENS_MAX:
            raise TooManyTokens("there are too many tokens", tokens=len(known), hint="revoke some")

    def revoke(self, name: str) -> Token:
        """Forget a token, from the next request on. Raises UnknownToken, TokensUnreadable."""
        token = self.named(name)
        self._write(tuple(kept for kept in self.all() if kept is not token))
        return token

    def named(self, name: str) -> Token:
        """Return the token of this name. Raises UnknownToken, TokensUnreadable."""
        for token in self.all():
            if token.name == name:
                return token
        hint = "see `labeltrail token ls`"
        raise UnknownToken("there is no token of this name", name=name[:80], hint=hint)

    def _read(self, size: int) -> tuple[Token, ...]:
        try:
            if size > FILE_BYTES_MAX:
                raise ValueError(f"it is larger than {FILE_BYTES_MAX} bytes")
            return msgspec.json.decode(self.path.read_bytes(), type=tuple[Token, ...])
        except (OSError, ValueError) as exc:
            raise self._unreadable(str(exc)) from exc

    def _write(self, tokens: tuple[Token, ...]) -> None:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        ordered = sorted(tokens, key=lambda token: token.name)
        write_durably(self.path, msgspec.json.encode(ordered), mode=FILE_MODE)

    def _unreadable(self, reason: str) -> TokensUnreadable:
        return TokensUnreadable(
            "the file of the API tokens cannot be read",
            path=str(self.path),
            reason=reason,
            hint="mend or delete it, then make the tokens anew",
        )


def digest_of(secret: str) -> str:
    """Return what is kept of a secret. A text that is no secret has a digest too."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _text(random: bytes) -> str:
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()
