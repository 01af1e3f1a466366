"""What each answer means, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from config.settings import Dataset, Server
from daemon.checks import here, hooks, server
from daemon.checks.datasets import check_dataset
from daemon.ports.cvat import ServerUnreachable

MIB = 2**20


@pytest.mark.parametrize(
    ("free", "level"), [(10 * MIB, "problem"), (500 * MIB, "warning"), (9_000 * MIB, "ok")]
)
def test_a_disk_is_named_before_it_is_full(tmp_path: Path, free: int, level: str):
    """Without room nothing is acknowledged, and saves get 503."""
    assert here.disk(tmp_path, free).level == level


def test_others_may_enter_neither_the_log_nor_the_keys(tmp_path: Path):
    """The log holds who did what; a key lets anybody sign deliveries."""
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    secret = keys / "webhook-main"
    secret.write_text("x")
    secret.chmod(0o644)
    tmp_path.chmod(0o755)

    found = list(here.rights(tmp_path))

    assert [(one.level, one.where) for one in found] == [
        ("warning", str(tmp_path)),
        ("problem", str(secret)),
    ]
    tmp_path.chmod(0o750)
    secret.chmod(0o600)
    assert [one.level for one in here.rights(tmp_path)] == ["ok"]


def test_a_sqlite_that_may_lose_pages_is_named():
    """Debian 12 has 3.40.1."""
    assert here.sqlite("3.40.1").level == "warning"
    assert here.sqlite("3.51.3").level == "ok"


def test_a_clock_behind_the_log_is_a_problem():
    """New events would carry the last one's time, and no as-of answer would be right."""
    assert here.clock(10_000_000, 1_000_000).level == "problem"
    assert here.clock(10_000_000, 10_000_000).level == "ok"
    assert here.clock(None, 0).level == "ok"


@pytest.mark.parametrize(
    ("ahead_s", "level", "word"),
    [(0.4, "ok", "within 1 s"), (-300.0, "warning", "behind"), (300.0, "warning", "ahead of")],
)
def test_a_server_whose_clock_is_off_is_named(ahead_s: float, level: str, word: str):
    """Times of saves are the server's, times of events ours."""
    found = server.skew("main", ahead_s)

    assert found.level == level
    assert word in found.what


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        ("2.15.0", "ok", ["personal access tokens", "repeated webhooks"]),
        ("2.73.0", "ok", []),
        ("2.79.1", "ok", ["authors are known less often"]),
        ("2.12.0", "warning", ["repeated webhooks"]),
        ("3.0.0", "warning", []),
        ("", "warning", []),
    ],
)
def test_a_version_says_what_it_cannot_do(text: str, level: str, words: list[str]):
    """So that nobody waits for what cannot come."""
    found = server.version("main", text)

    assert found.level == level
    assert all(word in found.what for word in words)


def test_a_certificate_of_an_unknown_authority_names_the_setting():
    """Nobody should look for the switch that turns verification off."""
    exc = ServerUnreachable("no connection", cause="[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")

    found = server.unreached("main", Server(url="https://cvat.example.com"), exc)

    assert (found.level, found.reached) == ("problem", False)
    assert "ca_file" in found.todo


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("https://cvat.example.com", "ok"),
        ("http://127.0.0.1:8080", "ok"),
        ("http://cvat.example.com", "warning"),
    ],
)
def test_credentials_in_the_clear_are_named(url: str, level: str):
    """Anybody on the way could read them."""
    assert server.address("main", url).level == level


@pytest.mark.parametrize(
    ("status", "level", "word"),
    [
        (204, "ok", ""),
        ("204", "ok", ""),
        (401, "problem", "secret"),
        (404, "problem", "public_url"),
        (407, "problem", "SMOKESCREEN_OPTS"),
        (502, "problem", "SMOKESCREEN_OPTS"),
        (503, "problem", "disk"),
        (504, "problem", "firewall"),
        (418, "problem", "proxy"),
        (None, "problem", "proxy"),
    ],
)
def test_a_ping_that_fails_names_the_setting_that_helps(status: Any, level: str, word: str):
    """CVAT's list says 502 and no more; the cause is mostly its own proxy."""
    found = hooks.pinged("main, webhook 1", status)

    assert found.level == level
    assert word in found.todo


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("http://10.0.0.5:8787/webhooks/cvat/main", "ok"),
        ("https://trail.example.com/webhooks/cvat/main", "ok"),
        ("http://127.0.0.1:8787/webhooks/cvat/main", "warning"),
        ("http://0.0.0.0:8787/webhooks/cvat/main", "problem"),
        ("http://labeltrail:8787/webhooks/cvat/main", "problem"),
    ],
)
def test_an_address_that_cvat_cannot_reach_is_named(url: str, level: str):
    """CVAT refuses one-label host names; loopback leads to itself."""
    assert hooks.target("main", url).level == level


def test_one_image_of_a_dataset_is_read(tmp_path: Path):
    """By the user that the daemon runs as, within the folders that it may read."""
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    declared = Dataset(manifest=tmp_path)

    def found(name: str) -> Any:
        return check_dataset("d", declared, {"filepath": str(tmp_path / name)})

    assert (found("a.png").level, "32 × 24" in found("a.png").what) == ("ok", True)
    assert found("broken.png").level == "problem"
    assert found("missing.png").level == "problem"
    assert check_dataset("d", declared, {"filepath": "/etc/hostname"}).level == "problem"
    assert check_dataset("d", declared, None).level == "warning"
    gone = check_dataset("d", Dataset(manifest=tmp_path / "gone"), None)
    assert gone.level == "problem"
