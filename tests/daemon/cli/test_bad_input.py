"""Bad input, met by the running daemon: each is answered in words, and what was there stays."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from daemon.demo.dataset import NAME, make_dataset
from tests.daemon.cli.conftest import Desk, Served
from tests.daemon.http.conftest import delivery

SECRET = "a secret"
ANSWER_S = 30
Serve = Callable[[], Served]

UNKNOWN_EVENT = json.dumps({"event": "melt:job", "job": {"id": 1}, "webhook_id": 1}).encode()
UNKNOWN_TASK = json.dumps({"event": "update:task", "task": {"id": 10**9}, "webhook_id": 1}).encode()
BODIES = {
    "sound": delivery(id=1),
    "wrong signature": delivery(id=2),
    "10 MB": b'{"event": "update:job", "x": "' + b"x" * 10_000_000 + b'"}',
    "truncated": delivery(id=3)[:-9],
    "unknown event": UNKNOWN_EVENT,
    "unknown task": UNKNOWN_TASK,
    "unknown job": delivery(id=10**9),
}


def declare(desk: Desk, text: str) -> None:
    desk.config.write_text(desk.config.read_text() + text)


def declare_server(desk: Desk) -> None:
    declare(desk, f'\n[servers.main]\nurl = "http://127.0.0.1:9"\nwebhook_secrets = ["{SECRET}"]\n')


def post(served: Served, body: bytes, secret: str = SECRET) -> int:
    address = served.address.removeprefix("http://")
    with closing(HTTPConnection(address, timeout=ANSWER_S)) as connection:
        headers = {SIGNATURE_HEADER: sign(body, secret)}
        connection.request("POST", "/webhooks/cvat/main", body, headers)
        return connection.getresponse().status


def log_of(desk: Desk, kind: str) -> list[dict[str, Any]]:
    return [found["fact"] for found in desk.run("log", "--type", kind, "--json").objects]


def test_bad_deliveries_are_refused_or_recorded_and_the_daemon_goes_on(desk: Desk, serve: Serve):
    """Anybody may send anything to the port; what is signed and odd finds nothing."""
    declare_server(desk)
    served = serve()

    statuses = {
        name: post(served, body, "another" if name == "wrong signature" else SECRET)
        for name, body in BODIES.items()
    }
    after = post(served, delivery(id=4))

    assert statuses == {
        "sound": 204,
        "wrong signature": 401,
        "10 MB": 413,
        "truncated": 400,
        "unknown event": 204,
        "unknown task": 204,
        "unknown job": 204,
    }
    assert after == 204
    received = [(fact["event"], fact["resource_id"]) for fact in log_of(desk, "DeliveryReceived")]
    assert received == [
        ("update:job", 1),
        ("melt:job", 1),
        ("update:task", 10**9),
        ("update:job", 10**9),
        ("update:job", 4),
    ]
    refused = {fact["reason"] for fact in log_of(desk, "DeliveryRefused")}
    assert refused == {"signature", "too large", "unreadable"}
    assert served.stop() == 0
    assert [line for line in served.lines if line["level"] == "error"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux's")
def test_a_disk_that_takes_no_more_is_503_until_there_is_room(desk: Desk, serve: Serve):
    """CVAT repeats what was answered 503; what was answered 204 before is there still."""
    declare_server(desk)
    served = serve()
    statuses = [post(served, delivery(id=1))]
    # The tables are on the same disk, and may be behind the log by what just came.
    pid = served.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4_096, unlimited[1]))
    statuses += [post(served, delivery(id=number)) for number in (2, 3)]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)

    statuses.append(post(served, delivery(id=2)))

    assert statuses == [204, 503, 503, 204]
    assert [fact["resource_id"] for fact in log_of(desk, "DeliveryReceived")] == [1, 2]
    assert desk.run("verify", "--json").objects[-1]["ok"] is True
    assert served.stop() == 0


@pytest.fixture
def export(desk: Desk) -> Path:
    """Return an export that the settings declare."""
    made = desk.folder / NAME
    make_dataset(made)
    declare(desk, f'\n[datasets.{NAME}]\nmanifest = "{NAME}"\nquiet_s = 0.05\n')
    return made


def scan(desk: Desk) -> dict[str, Any]:
    return desk.run("dataset", "scan", NAME, "--json").objects[-1]


def dataset(desk: Desk) -> dict[str, Any]:
    (found,) = [one for one in desk.run("status", "--json").objects if one["kind"] == "dataset"]
    return found


def test_a_broken_manifest_is_recorded_and_loses_nothing(desk: Desk, serve: Serve, export: Path):
    """A disk that filled up while somebody exported leaves half a file."""
    served = serve()
    scan(desk)
    before = dataset(desk)
    samples = export / "samples.json"
    samples.write_bytes(samples.read_bytes()[:-100])
    (export / "metadata.json").touch()

    broken = desk.run("dataset", "scan", NAME, "--json")
    after = dataset(desk)

    assert broken.code != 0
    assert before["samples"] == after["samples"] > 0
    assert after["rejected"]
    assert "samples.json" in json.dumps(log_of(desk, "ManifestRejected")[0])
    assert log_of(desk, "SamplesRemoved") == []
    assert served.stop() == 0


def test_a_missing_image_is_refused_by_its_name_and_no_other(
    desk: Desk, serve: Serve, export: Path
):
    """One file that was not copied must not keep the others from being annotated."""
    gone = sorted((export / "data").iterdir())[0]
    gone.unlink()
    served = serve()

    found = scan(desk)

    (refused,) = found["refused_media"]
    assert gone.name in refused["filepath"]
    assert "missing" in refused["reason"]
    assert dataset(desk)["samples"] == found["samples"] > 1
    assert served.stop() == 0
