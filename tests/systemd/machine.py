"""A Debian of its own in a folder, with a real systemd as its first process.

Made once with debootstrap, with Labeltrail installed from its wheel as `docs/operations.md` says;
kept in `LABELTRAIL_MACHINE` or `~/.cache/labeltrail/machine`. Each boot is of a copy, without a
network. systemd-nspawn starts it, and commands are run in it with nsenter: no mock is between a
test and systemd.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
NEEDED = ("debootstrap", "systemd-nspawn", "nsenter")
VENV = "/opt/labeltrail"
BOOTED_WITHIN_S = 120
PAUSE_S = 0.2


def missing() -> str | None:
    """Return why no machine can be made here, None if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a machine is made and started by root on Linux"
    absent = [name for name in NEEDED if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


@dataclass(frozen=True)
class Machine:
    """One that runs; pid is that of its systemd, as this machine sees it."""

    pid: int

    def run(self, command: str, *, fed: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run a shell command in it as root, whatever comes of it."""
        inside = [
            "nsenter",
            "--target",
            str(self.pid),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
        ]
        path = {"PATH": f"{VENV}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        ran = subprocess.run(
            [*inside, "sh", "-c", command], input=fed, capture_output=True, env=path
        )
        return subprocess.CompletedProcess(
            command, ran.returncode, ran.stdout.decode(), ran.stderr.decode()
        )

    def ask(self, command: str) -> str:
        """Return what a command that must not fail prints."""
        ran = self.run(command)
        assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
        return ran.stdout.strip()

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file, and the folders that it lies in."""
        command = f"mkdir -p $(dirname {path}) && cat > {path} && chmod {mode:o} {path}"
        assert self.run(command, fed=text.encode()).returncode == 0


@contextmanager
def booted() -> Iterator[Machine]:
    """Boot a copy of the machine with the Labeltrail of this checkout; switch it off in the end."""
    made = _made()
    with tempfile.TemporaryDirectory(prefix="labeltrail-machine-") as folder:
        copy = Path(folder) / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", str(made), str(copy)], check=True)
        _install_wheel(copy)
        # Without a systemd out here there is nobody to make a scope for it.
        unit = [] if Path("/run/systemd/system").exists() else ["--keep-unit"]
        booting = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", *unit, "--private-network", "--boot",
             "--console=pipe", "--directory", str(copy)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            machine = Machine(_systemd_of(booting))
            yield machine
            machine.run("systemctl --no-block poweroff")
            assert booting.wait(BOOTED_WITHIN_S) == 0
        finally:
            booting.kill()
            booting.wait()


def _systemd_of(booting: subprocess.Popen[bytes]) -> int:
    """Return the process id of a machine's systemd, once it is up."""
    children = Path(f"/proc/{booting.pid}/task/{booting.pid}/children")
    ends_s = time.monotonic() + BOOTED_WITHIN_S
    while time.monotonic() < ends_s:
        assert booting.poll() is None, "the machine does not boot"
        for pid in map(int, children.read_text().split()):
            up = Machine(pid).run("systemctl is-system-running --wait")
            if up.stdout.strip() in ("running", "degraded"):
                return pid
        time.sleep(PAUSE_S)
    raise AssertionError("the machine did not come up in time")


def _made() -> Path:
    """Return the folder of the machine without Labeltrail itself; make it where it is not there."""
    cache = os.environ.get("LABELTRAIL_MACHINE") or Path.home() / ".cache/labeltrail/machine"
    lock = ROOT / "requirements.lock"
    key = hashlib.sha256(f"{SUITE} {PACKAGES}".encode() + lock.read_bytes()).hexdigest()[:16]
    made = Path(cache).absolute() / key
    if made.exists():
        return made
    shutil.rmtree(made.parent, ignore_errors=True)
    made.parent.mkdir(parents=True)
    draft = made.with_suffix(".new")
    print(f"making a {SUITE} in {made}, which takes a few minutes")
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(draft), MIRROR],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    # As this machine, which may stand behind a proxy of its own.
    shutil.copy(AUTHORITIES, draft / AUTHORITIES.relative_to("/"))
    shutil.copy(lock, draft / "root")
    _inside(draft, "python3", "-m", "venv", VENV)
    _inside(draft, f"{VENV}/bin/pip", "install", "-q", "--require-hashes", "--no-deps",
            "-r", f"/root/{lock.name}")  # fmt: skip
    draft.rename(made)
    return made


def _install_wheel(root: Path) -> None:
    wheels = root / "root/wheels"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), str(ROOT)],
        check=True,
    )
    (wheel,) = wheels.iterdir()
    _inside(root, f"{VENV}/bin/pip", "install", "-q", "--no-deps", f"/root/wheels/{wheel.name}")


def _inside(root: Path, *command: str) -> None:
    clean = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    subprocess.run(["chroot", str(root), *command], check=True, env=clean)
