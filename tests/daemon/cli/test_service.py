"""`labeltrail service`: units that systemd understands, with the paths of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.cli.conftest import Desk, Served

Serve = Callable[[], Served]

EXPOSURE_MAX = 2.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def declare(desk: Desk) -> Path:
    """Write settings with all that a unit must open; return the root to install below."""
    desk.config.write_text(
        '[data]\nfolder = "/var/lib/labeltrail"\n\n[checkpoints]\npublish = "/mnt/proof/cp"\n\n'
        '[servers.main]\nurl = "http://cvat"\nuser = "me"\n\n'
        '[datasets.pets]\nmanifest = "/mnt/data 100%/pets"\nmedia_roots = ["/srv/media"]\n'
    )
    return desk.folder / "root"


def unit(root: Path, name: str) -> list[str]:
    return (root / "etc/systemd/system" / name).read_text().splitlines()


def test_units_name_this_program_these_settings_and_the_folders_of_datasets(desk: Desk):
    """A daemon that sees nothing but what it was given must be given every dataset."""
    root = declare(desk)
    secrets = desk.folder / "credentials"
    secrets.mkdir()
    (secrets / "servers.main.password").write_text("hush")

    ran = desk.run("service", "install", "--root", str(root))

    daemon = unit(root, "labeltrail.service")
    hardening = unit(root, "labeltrail.service.d/hardening.conf")
    assert ran.code == 0, ran.err
    assert f"ExecStart={sys.executable} -I -m daemon serve --config {desk.config}" in daemon
    handed = f"LoadCredential=servers.main.password:{secrets}/servers.main.password"
    assert handed in daemon
    assert handed in unit(root, "labeltrail-backup.service")
    assert 'StateDirectory="labeltrail"' in daemon
    assert 'ReadWritePaths="-/mnt/proof"' in daemon
    assert 'BindReadOnlyPaths="-/mnt/data 100%%"' in hardening
    assert 'BindReadOnlyPaths="-/srv/media"' in hardening
    assert "ListenStream=127.0.0.1:8787" in unit(root, "labeltrail.socket")
    assert not any("hush" in path.read_text() for path in root.rglob("*") if path.is_file())


def test_a_command_that_the_daemon_answers_reads_no_secret(desk: Desk, serve: Serve):
    """Secrets are root's; whoever is in the daemon's group may use its socket all the same."""
    served = serve()
    secrets = desk.folder / "credentials"
    secrets.mkdir()
    (secrets / "servers.main.password").mkdir()  # cannot be read, by root neither

    through_daemon = desk.run("status", "--json")
    served.stop()
    alone = desk.run("status")

    assert through_daemon.objects[0]["daemon"] == served.address
    assert alone.code == 1
    assert "the credential file cannot be read" in alone.err


@needs_systemd
@pytest.mark.parametrize("name", ["labeltrail.service", "labeltrail-backup.service"])
def test_systemd_rates_the_exposure_low(desk: Desk, name: str):
    """The daemon takes requests from the network and reads files of others."""
    root = declare(desk)
    desk.run("service", "install", "--root", str(root))

    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--root={root}", name],
        capture_output=True,
        text=True,
    )
    exposure = rated.stdout.splitlines()[-1].split(": ")[1].split()[0]

    assert rated.returncode == 0, rated.stderr
    assert float(exposure) <= EXPOSURE_MAX


@needs_systemd
@pytest.mark.parametrize("of", ["system", "user"])
def test_systemd_finds_nothing_wrong_with_the_units(
    desk: Desk, of: str, monkeypatch: pytest.MonkeyPatch
):
    """A misspelled setting is ignored with a warning, and protects nobody."""
    root = declare(desk)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc")
    desk.run("service", "install", "--root", str(root), *(["--user"] if of == "user" else []))
    folder = root / "etc/systemd" / of

    checked = subprocess.run(
        ["systemd-analyze", "verify", *([f"--{of}"] if of == "user" else []),
         *map(str, (path for path in folder.iterdir() if path.is_file()))],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere", "XDG_RUNTIME_DIR": str(desk.folder)},
    )  # fmt: skip

    said = [line for line in checked.stderr.splitlines() if "labeltrail" in line]
    assert said == []


def test_a_dry_run_shows_the_units_and_writes_none(desk: Desk):
    """An administrator reads before root writes."""
    root = declare(desk)

    ran = desk.run("service", "install", "--root", str(root), "--dry-run")

    assert "WatchdogSec=30" in ran.out
    assert not root.exists()


def test_uninstalling_removes_our_units_and_nothing_else(desk: Desk):
    """A drop-in of the administrator's lies in the same folder as ours."""
    root = declare(desk)
    desk.run("service", "install", "--root", str(root))
    theirs = root / "etc/systemd/system/labeltrail.service.d/theirs.conf"
    theirs.write_text("[Service]\nMemoryMax=2G\n")

    ran = desk.run("service", "uninstall", "--root", str(root))

    assert ran.code == 0
    assert [path for path in root.rglob("*") if path.is_file()] == [theirs]


def test_a_unit_that_is_not_ours_is_left_alone(desk: Desk):
    """Whoever wrote their own unit must not lose it."""
    root = declare(desk)
    theirs = root / "etc/systemd/system/labeltrail.service"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("[Service]\n")

    ran = desk.run("service", "install", "--root", str(root))

    assert ran.code == 1
    assert "somebody else's" in ran.err
    assert theirs.read_text() == "[Service]\n"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", "where the data folder is"),
        ('[data]\nfolder = "/var/lib/a:b"\n', "cannot be written into a unit"),
        ('[data]\nfolder = "/var/lib/a"\n[http]\nhost = "cvat.example"\n', "not at a name"),
        ('[data]\nfolder = "/var/lib/a"\n[http]\nport = 0\n', "a port that stays the same"),
    ],
)
def test_what_cannot_be_a_service_is_said_before_anything_is_written(
    desk: Desk, settings: str, said: str
):
    """A unit with a path in it that ends early would open another one."""
    desk.config.write_text(settings)

    ran = desk.run("service", "install", "--root", str(desk.folder / "root"))

    assert ran.code == 1
    assert said in ran.err
    assert not (desk.folder / "root").exists()
