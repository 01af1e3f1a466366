"""A verifier written from docs/log-format.md alone agrees with the store.

Nothing of ours is used below but to write the log: Python's hashlib, struct and
SQLite, the definition of the tree in RFC 6962, and Ed25519.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from daemon.store.sqlite import SqliteStore
from tests.contract.noted import FakeClock, noted

DUMP = """
import json, sqlite3, sys
conn = sqlite3.connect(sys.argv[1])
conn.row_factory = sqlite3.Row
plain = lambda value: {"hex": value.hex()} if isinstance(value, bytes) else value
for table in ("meta", "blobs", "checkpoints"):
    rows = conn.execute(f"SELECT * FROM {table}")
    print(json.dumps([{k: plain(row[k]) for k in row.keys()} for row in rows]))
rows = conn.execute("SELECT e.*, s.name AS stream_name, t.name AS type_name FROM events e"
    " JOIN streams s ON s.id = e.stream JOIN types t ON t.id = e.type ORDER BY position")
print(json.dumps([{k: plain(row[k]) for k in row.keys()} for row in rows]))
"""


def raw(value: Any) -> bytes | None:
    if value is None:
        return None
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value.encode()


def leaf(row: dict[str, Any]) -> bytes:
    names = ["stream_name", "id", "type_name", "actor", "evidence", "correlation", "causation"]
    names.append("codec")
    fields = [raw(row[name]) for name in names]
    payload = raw(row["payload"])
    assert payload is not None
    head = struct.pack(">B3Q", 0, row["position"], row["version"], row["schema"])
    head += struct.pack(">q", row["recorded_at"])
    head += struct.pack(">Bq", row["occurred_at"] is not None, row["occurred_at"] or 0)
    head += struct.pack(">8i", *[-1 if field is None else len(field) for field in fields])
    head += struct.pack(">q", len(payload))
    return hashlib.sha256(head + b"".join(field or b"" for field in fields) + payload).digest()


def tree_hash(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    below = tree_hash(leaves[:split]) + tree_hash(leaves[split:])
    return hashlib.sha256(b"\x01" + below).digest()


async def test_the_log_can_be_verified_from_its_documentation(
    tmp_path: Path, clock: FakeClock
) -> None:
    """A log that only its own writer can check proves nothing to anybody."""
    store = await SqliteStore.open(tmp_path / "log.db", clock)
    mask = "x" * 5_000
    for number in range(7):
        who = {"actor": "main/7", "evidence": "webhook", "occurred_at": -number}
        value = {"mask": mask, "many": [[n] for n in range(500)], "n": number}
        await store.append([noted(clock, f"job/{number % 3}", value=value, **who)])
    await store.append([noted(clock, causation=clock.new_id())])
    await store.close()

    command = [sys.executable, "-I", "-c", DUMP, str(tmp_path / "log.db")]
    lines = subprocess.check_output(command, text=True, timeout=30)  # noqa: ASYNC221
    meta_rows, blobs, [checkpoint], events = map(json.loads, lines.splitlines())

    assert [leaf(row) for row in events] == [raw(row["leaf"]) for row in events]
    text, signature = checkpoint["note"].split("\n\n")
    origin, size, root, epoch, recorded_at = text.split("\n")
    meta = {row["name"]: raw(row["value"]) for row in meta_rows}
    assert origin == f"labeltrail/{meta['id'].hex()}"
    assert (size, epoch) == ("8", "epoch 1")
    assert recorded_at == f"recorded_at {events[-1]['recorded_at']}"
    assert base64.b64decode(root) == tree_hash([leaf(row) for row in events])

    key = base64.b64decode((tmp_path / "keys" / "checkpoint.pub").read_bytes())
    dash, name, signed = signature.strip().split(" ")
    assert (dash, name) == ("—", origin)
    key_hash, proof = base64.b64decode(signed)[:4], base64.b64decode(signed)[4:]
    assert key_hash == hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4]
    Ed25519PublicKey.from_public_bytes(key).verify(proof, f"{text}\n".encode())

    [blob] = blobs
    stored = raw(blob["value"])
    spelled = zlib.decompress(stored) if blob["codec"] == "json+zlib" else stored
    assert spelled == f'"{mask}"'.encode()
    assert raw(blob["name"]) == hashlib.sha256(meta["salt"] + spelled).digest()
    first = json.loads(zlib.decompress(raw(events[0]["payload"])))
    assert events[0]["codec"] == "json+zlib"
    assert first["value"]["mask"] == {"$blob": raw(blob["name"]).hex()}
