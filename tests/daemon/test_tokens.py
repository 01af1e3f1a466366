"""Tokens of the HTTP API: shown once, kept as hashes, gone when revoked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from daemon.tokens import (
    SECRET_CHARS,
    BadTokenName,
    TokenExists,
    Tokens,
    TokensUnreadable,
    UnknownToken,
)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """Return the tokens of an empty data folder."""
    return Tokens(tmp_path)


def test_a_token_is_found_by_its_secret_and_by_nothing_else(tokens: Tokens):
    """Also a text with half a surrogate pair, as a header may bring one, is only no secret."""
    secret = tokens.make("ci", "read", made_at=1)
    tokens.make("bot", "write", made_at=2)

    found = tokens.find(secret)

    assert found is not None
    assert (found.name, found.scope, found.actor) == ("ci", "read", "token/ci")
    assert len(secret) == SECRET_CHARS
    assert [tokens.find(other) for other in (secret[:-1], secret + "x", "", "\udcff")] == [None] * 4


def test_nothing_on_disk_can_be_used_as_a_token(tokens: Tokens):
    """A backup that is lost, or a folder that is read, gives nobody a way in."""
    secret = tokens.make("ci", "read", made_at=1)

    kept = tokens.path.read_text()

    assert secret not in kept
    assert secret.removeprefix("labeltrail_") not in kept
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    (digest,) = [token.digest for token in tokens.all()]
    assert tokens.find(digest) is None


def test_write_includes_read_and_not_the_other_way(tokens: Tokens):
    """A dashboard's token must not be able to resolve a conflict."""
    read = tokens.find(tokens.make("dashboard", "read", made_at=1))
    write = tokens.find(tokens.make("bot", "write", made_at=1))
    assert read is not None
    assert write is not None

    assert [read.may("read"), read.may("write")] == [True, False]
    assert [write.may("read"), write.may("write")] == [True, True]


def test_a_token_that_another_object_revoked_is_gone_at_once(tokens: Tokens, tmp_path: Path):
    """The daemon keeps what it read; a revocation must not wait for its restart."""
    secret = tokens.make("ci", "read", made_at=1)
    daemons = Tokens(tmp_path)
    before = daemons.find(secret)

    tokens.revoke("ci")

    assert before is not None
    assert daemons.find(secret) is None


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-x", "x" * 64, "ä", "a\n"])
def test_a_name_that_could_be_misread_in_the_log_is_refused(tokens: Tokens, name: str):
    """The name becomes an author in the log."""
    with pytest.raises(BadTokenName):
        tokens.make(name, "read", made_at=1)


def test_names_are_not_given_twice_and_unknown_ones_are_said(tokens: Tokens):
    """Two secrets under one name could not be told apart in the log."""
    tokens.make("ci", "read", made_at=1)

    with pytest.raises(TokenExists):
        tokens.make("ci", "write", made_at=2)
    with pytest.raises(UnknownToken):
        tokens.revoke("other")


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"name": "x"}]', b"\xff"])
def test_a_damaged_file_lets_nobody_in_and_says_so(tokens: Tokens, content: bytes):
    """No token is better than any token."""
    tokens.path.parent.mkdir()
    tokens.path.write_bytes(content)

    with pytest.raises(TokensUnreadable, match="mend or delete it"):
        tokens.find("x")
