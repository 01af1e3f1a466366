"""Checkpoints say one thing, and only under a signature that fits."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.store.checkpoints import (
    BadCheckpoint,
    BadKey,
    Checkpoint,
    Signer,
    read_note,
    read_public_key,
    read_published,
    write_durably,
)

SAID = Checkpoint(
    log_id=bytes(range(16)), epoch=1, position=1200, root=b"r" * 32, recorded_at=1_790_000_000
)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


def test_a_signed_note_comes_back_as_it_was_said(signer: Signer) -> None:
    """The file that lies elsewhere is all that remains when a log was cut off."""
    note = signer.sign(SAID)

    assert read_note(note, signer.public_key) == SAID
    assert note.startswith("labeltrail/000102030405060708090a0b0c0d0e0f\n1200\n")


def test_the_same_key_signs_after_a_restart(tmp_path: Path) -> None:
    """A key made anew at each start would prove nothing about yesterday."""
    note = Signer(tmp_path).sign(SAID)

    Signer(tmp_path)

    assert read_note(note, read_public_key(tmp_path)) == SAID


@given(st.data())
def test_no_changed_character_passes(signer: Signer, data: st.DataObject) -> None:
    """Whoever edits position, root or time must be found by the signature."""
    note = signer.sign(SAID)
    text, _, _ = note.partition("\n\n")
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda one: one != note[place]))

    with pytest.raises(BadCheckpoint):
        read_note(note[:place] + other + note[place + 1 :], signer.public_key)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_nonsense_is_refused(signer: Signer, note: str) -> None:
    """The published file lies where others write too."""
    with pytest.raises(BadCheckpoint):
        read_note(note, signer.public_key)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("\n1200\n", "\n01200\n"),
        lambda note: note.replace("\n1200\n", "\n+1200\n"),
        lambda note: note.replace("\n1200\n", "\n1_200\n"),
        lambda note: note.replace("epoch 1", "epoch  1"),
        lambda note: note.replace("\n\n", "\nmore\n\n"),
        lambda note: note.split("\n\n")[0] + "\n\n",
        lambda note: note.replace("— labeltrail", "— somebody"),
        lambda note: note.replace("0a0b0c", "0A0B0C"),
        lambda note: note.rstrip()[:-4] + "\n",
        lambda note: note.rstrip() + "!!\n",
    ],
)
def test_another_spelling_is_refused(signer: Signer, change: object) -> None:
    """One checkpoint has one text; what merely reads the same was not signed."""
    assert callable(change)
    note = signer.sign(SAID)
    assert change(note) != note

    with pytest.raises(BadCheckpoint):
        read_note(change(note), signer.public_key)


def test_another_key_is_refused(signer: Signer, tmp_path: Path) -> None:
    """A stranger can sign too, but not with the log's key."""
    forged = Signer(tmp_path).sign(SAID)

    with pytest.raises(BadCheckpoint, match="no signature by the log's key"):
        read_note(forged, signer.public_key)


def test_a_note_may_carry_signatures_of_others(signer: Signer, tmp_path: Path) -> None:
    """A witness adds a line of its own; that takes nothing from ours."""
    witness = Signer(tmp_path).sign(SAID).split("\n\n")[1]
    text, ours = signer.sign(SAID).split("\n\n")

    assert read_note(f"{text}\n\n{witness}{ours}", signer.public_key) == SAID


@pytest.mark.parametrize("secret", [b"", b"short", b"x" * 33])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, secret: bytes) -> None:
    """Making a new key over a damaged one would break every proof so far."""
    (tmp_path / "checkpoint.key").write_bytes(secret)
    (tmp_path / "checkpoint.key").chmod(0o600)

    with pytest.raises(BadKey):
        Signer(tmp_path)


@pytest.mark.parametrize("public", [None, b"", b"!!!", base64.b64encode(b"short")])
def test_a_missing_or_damaged_public_key_is_said(tmp_path: Path, public: bytes | None) -> None:
    """Verifying without a key must not pass as verifying."""
    if public is not None:
        (tmp_path / "checkpoint.pub").write_bytes(public)

    with pytest.raises(BadKey):
        read_public_key(tmp_path)


def test_a_published_file_is_read_within_a_limit(tmp_path: Path) -> None:
    """It may be anything by now, also a disk image."""
    (tmp_path / "large").write_bytes(b"x" * 100_000)

    assert len(read_published(tmp_path / "large") or "") == 4096
    assert read_published(tmp_path / "missing") is None


def test_a_file_is_in_place_whole_or_not_at_all(tmp_path: Path) -> None:
    """A half-written checkpoint would take the last good one with it."""
    path = tmp_path / "checkpoint"
    write_durably(path, b"first", mode=0o644)
    path.with_name("taken").mkdir()

    with pytest.raises(OSError, match="taken"):
        write_durably(tmp_path / "taken", b"second", mode=0o644)

    assert path.read_bytes() == b"first"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["checkpoint", "taken"]
