"""Signed checkpoints: what the whole log was up to a position, in 32 bytes and a signature.

The text follows C2SP's tlog-checkpoint in a signed-note envelope (c2sp.org/signed-note),
so that tools for transparency logs read it:

    labeltrail/<log id, hex>        origin, which is also the name of the key
    1200                            position = size of the tree
    <root, base64>
    epoch 1                         extension lines
    recorded_at 1790000000000000    µs UTC, the recorded time of that position

    — labeltrail/<log id, hex> <4 bytes of key hash ‖ Ed25519 signature, base64>
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from events.errors import SyncError

KEY_NAME: Final = "checkpoint.key"
PUBLIC_KEY_NAME: Final = "checkpoint.pub"
NOTE_BYTES_MAX: Final = 4096
_ED25519: Final = b"\x01"  # signed-note's number for this kind of signature
_KEY_BYTES: Final = 32
_DASH: Final = "\N{EM DASH} "


class BadCheckpoint(SyncError):
    """A checkpoint is not well formed, or its signature does not fit."""


class BadKey(SyncError):
    """A key file does not hold a key, or others may read it."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What was true of a log at a position. `recorded_at` is 0 for the empty log."""

    log_id: bytes
    epoch: int
    position: int
    root: bytes
    recorded_at: int

    def text(self) -> str:
        """Return the lines that are signed."""
        return (
            f"{origin(self.log_id)}\n{self.position}\n{base64.b64encode(self.root).decode()}\n"
            f"epoch {self.epoch}\nrecorded_at {self.recorded_at}\n"
        )


def origin(log_id: bytes) -> str:
    """Return the name of a log in checkpoints."""
    return f"labeltrail/{log_id.hex()}"


class Signer:
    """Signs checkpoints with the key of a folder, made there on first use."""

    def __init__(self, keys: Path) -> None:
        """Read `checkpoint.key`, or make it (mode 0600). Raises BadKey."""
        self._key = _read_or_make(keys)
        public = public_bytes(self._key.public_key())
        self.public_key = self._key.public_key()
        write_durably(keys / PUBLIC_KEY_NAME, base64.b64encode(public) + b"\n", mode=0o644)

    def sign(self, checkpoint: Checkpoint) -> str:
        """Return the signed note."""
        text = checkpoint.text()
        name = origin(checkpoint.log_id)
        signature = _key_hash(name, self.public_key) + self._key.sign(text.encode())
        return f"{text}\n{_DASH}{name} {base64.b64encode(signature).decode()}\n"


def read_note(note: str, public_key: Ed25519PublicKey) -> Checkpoint:
    """Return the checkpoint of a signed note whose signature was checked.

    Raises BadCheckpoint.
    """
    checkpoint, signatures = _parse(note)
    name = origin(checkpoint.log_id)
    wanted = _key_hash(name, public_key)
    for line in signatures:
        signed = _decoded(line.removeprefix(f"{_DASH}{name} "))
        if line.startswith(f"{_DASH}{name} ") and signed[:4] == wanted:
            try:
                public_key.verify(signed[4:], checkpoint.text().encode())
            except InvalidSignature as exc:
                raise BadCheckpoint(
                    "the signature does not fit the checkpoint", position=checkpoint.position
                ) from exc
            return checkpoint
    raise BadCheckpoint("no signature by the log's key", position=checkpoint.position)


def read_published(path: Path) -> str | None:
    """Return the text of a published checkpoint, None where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(NOTE_BYTES_MAX).decode("utf-8", "replace")
    except FileNotFoundError:
        return None


def read_public_key(keys: Path) -> Ed25519PublicKey:
    """Return the key that checks signatures. Raises BadKey."""
    path = keys / PUBLIC_KEY_NAME
    try:
        return Ed25519PublicKey.from_public_bytes(
            base64.b64decode(path.read_bytes().strip(), validate=True)
        )
    except (OSError, ValueError) as exc:
        raise BadKey("no public key to check signatures with", path=str(path)) from exc


def public_bytes(key: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a public key."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return a short name of a key for people to compare."""
    return hashlib.sha256(public_bytes(key)).hexdigest()[:16]


def write_durably(path: Path, content: bytes, *, mode: int) -> None:
    """Put a file in place whole or not at all, also through a power cut."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parse(note: str) -> tuple[Checkpoint, list[str]]:
    text, _, signatures = note.partition("\n\n")
    try:
        name, size, root, epoch, recorded_at = text.split("\n")
        checkpoint = Checkpoint(
            log_id=bytes.fromhex(name.removeprefix("labeltrail/")),
            position=int(size),
            root=_decoded(root),
            epoch=int(epoch.removeprefix("epoch ")),
            recorded_at=int(recorded_at.removeprefix("recorded_at ")),
        )
    except ValueError as exc:
        raise BadCheckpoint("not a checkpoint", begins=note[:60]) from exc
    # Spelled again, so that only the one spelling that we sign is taken.
    if checkpoint.text() != f"{text}\n":
        raise BadCheckpoint("not a checkpoint as we write it", begins=note[:60])
    return checkpoint, signatures.splitlines()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # no base64, or no ASCII at all
        return b""


def _key_hash(name: str, key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_bytes(key)).digest()[:4]


def _read_or_make(keys: Path) -> Ed25519PrivateKey:
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = keys / KEY_NAME
    if not path.exists():
        write_durably(path, Ed25519PrivateKey.generate().private_bytes_raw(), mode=0o600)
    if path.stat().st_mode & 0o077:
        raise BadKey("others may read the signing key", path=str(path), hint=f"chmod 600 {path}")
    secret = path.read_bytes()
    if len(secret) != _KEY_BYTES:
        raise BadKey("the file holds no signing key", path=str(path))
    return Ed25519PrivateKey.from_private_bytes(secret)
