"""`labeltrail service install` on a real systemd, where other tests only read its units."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.manifests.exports import export, label, sample
from tests.systemd.machine import VENV, Machine, booted, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

CONFIG = "/etc/labeltrail/labeltrail.toml"
LABELTRAIL = f"{VENV}/bin/labeltrail"
URL = "http://127.0.0.1:8787"
SECRET = "a-secret-of-the-test"
RESTARTS = 3
PATIENCE_S = 60
WATCHDOG_S = 4
SAMPLES, LABELS = 20, 500  # more than a daemon parses by itself
NICENESS = r"""
import os, pathlib
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if b"\0daemon.worker\0" in (process / "cmdline").read_bytes():
        print(os.getpriority(os.PRIO_PROCESS, int(process.name)))
"""
SETTINGS = """
[data]
folder = "/var/lib/labeltrail"

[servers.main]
url = "http://127.0.0.1:9"
user = "me"

[datasets.birds]
manifest = "/srv/data/birds"
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Return a machine with the service installed as the command itself says."""
    with booted() as machine:
        machine.write(CONFIG, SETTINGS, mode=0o640)
        machine.write("/etc/labeltrail/credentials/servers.main.password", "pw\n", mode=0o600)
        machine.write(
            "/etc/labeltrail/credentials/servers.main.webhook_secrets", SECRET, mode=0o600
        )
        machine.write("/srv/other/private", "not ours")
        machine.write("/home/ann/private", "not ours")
        machine.write("/root/sender.py", Path(__file__).with_name("sender.py").read_text())
        samples = [
            sample(1 + n, *(label(1 + n * LABELS + at, bounding_box=[0.25, 0.25, 0.5, 0.5])
                            for at in range(LABELS)))
            for n in range(SAMPLES)
        ]  # fmt: skip
        export(Path(f"/proc/{machine.pid}/root/srv/data/birds"), samples)
        # Rights of the folder itself would refuse as well what the unit must refuse.
        machine.ask("chmod -R a+rwX /srv/data")
        do_as_told(machine, "service install")
        yield machine


def do_as_told(machine: Machine, command: str) -> None:
    """Run a command, and then the commands that it prints."""
    printed = machine.ask(f"{LABELTRAIL} {command} --config {CONFIG} --json")
    for found in map(json.loads, printed.splitlines()):
        if found["kind"] == "next":
            machine.ask(found["run"])


def labeltrail(machine: Machine, words: str) -> str:
    """Run a command as an administrator types it: where the settings are goes without saying."""
    return machine.ask(f"{LABELTRAIL} {words}")


def shown(machine: Machine, name: str, unit: str = "labeltrail.service") -> str:
    """Return one property of a unit."""
    return machine.ask(f"systemctl show --value --property={name} {unit}")


def journal(machine: Machine) -> str:
    """Return what the service and systemd said of it."""
    return machine.ask("journalctl --unit labeltrail --output cat")


def as_the_daemon(machine: Machine, command: str) -> tuple[int, str]:
    """Run a command as its user, with the files that the daemon sees; return code and output."""
    pid = shown(machine, "MainPID")
    inside = f"nsenter --target {pid} --mount runuser -u labeltrail -- sh -c '{command}' 2>&1"
    ran = machine.run(inside)
    assert "nsenter:" not in ran.stdout, f"{ran.stdout}{journal(machine)}"
    return ran.returncode, ran.stdout


def wait_for(machine: Machine, condition: str) -> None:
    """Wait until a shell command succeeds in the machine."""
    looking = f"until {condition}; do sleep 0.1; done"
    assert machine.run(f"timeout {PATIENCE_S} sh -c '{looking}'").returncode == 0, condition


def test_it_runs_after_the_commands_that_the_installation_prints(machine: Machine):
    """Nobody should have to know more of systemd than to paste what is printed."""
    for unit in ("labeltrail.service", "labeltrail.socket", "labeltrail-backup.timer"):
        assert shown(machine, "ActiveState", unit) == "active", unit
        assert shown(machine, "UnitFileState", unit) == "enabled", unit
    assert shown(machine, "NRestarts") == "0"
    assert f"daemon at {URL}" in labeltrail(machine, "status")


def test_a_start_is_over_when_the_daemon_serves(machine: Machine):
    """What starts after us may use us: systemd waits for READY=1 and not for the process."""
    machine.ask("systemctl restart labeltrail")

    assert f"daemon at {URL}" in labeltrail(machine, "status")
    assert shown(machine, "StatusErrno") == "0"


def test_the_data_folder_belongs_to_the_service_and_its_group(machine: Machine):
    """The log names people, and the keys sign it."""
    folder = "/var/lib/labeltrail"

    assert machine.ask(f"stat -c '%U %G %a' {folder}") == "labeltrail labeltrail 750"
    assert machine.ask(f"stat -c '%U %G %a' {folder}/control.sock") == "labeltrail labeltrail 660"
    assert machine.ask(f"stat -c '%U %a' {folder}/keys") == "labeltrail 700"
    assert machine.ask(f"find {folder} -perm /o=rwx -not -type l") == ""


def test_the_daemon_sees_and_writes_what_was_opened_and_nothing_else(machine: Machine):
    """It reads what comes from the network; a hole in it must not reach the machine."""
    assert as_the_daemon(machine, "head -c 1 /srv/data/birds/samples.json") == (0, "{")
    assert as_the_daemon(machine, "touch /var/lib/labeltrail/x && rm /var/lib/labeltrail/x")[0] == 0
    for hidden in ("/srv/other/private", "/home/ann/private"):
        assert "No such file" in as_the_daemon(machine, f"cat {hidden}")[1], hidden
    for closed in ("/srv/data/x", "/etc/x", "/opt/x", "/var/lib/x"):
        assert "Read-only file system" in as_the_daemon(machine, f"touch {closed}")[1], closed
    pid = shown(machine, "MainPID")
    status = dict(
        line.split(":\t", 1) for line in machine.ask(f"cat /proc/{pid}/status").splitlines()
    )
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}


def test_secrets_are_handed_over_that_the_daemon_itself_may_not_read(machine: Machine):
    """systemd reads them as root; the right secret is accepted, and a wrong one is not."""
    file = "/etc/labeltrail/credentials/servers.main.webhook_secrets"
    one = f"{VENV}/bin/python -c \"import sys; sys.path[:0] = ['/root']; import sender; print("
    one += f"sender.sent('{URL}/webhooks/cvat/main', '%s', 1_000_000))\""

    assert "Permission denied" in as_the_daemon(machine, f"cat {file}")[1]
    assert machine.ask(one % "a guess") == "401"
    assert machine.ask(one % SECRET) == "204"


def test_large_work_is_done_inside_of_what_the_service_may(machine: Machine):
    """Processes of the pool limit and lower themselves, with calls that a filter may refuse."""
    scanned = labeltrail(machine, "dataset scan birds --json")

    assert json.loads(scanned.splitlines()[0])["samples"] == SAMPLES
    assert "worker killed" not in journal(machine)
    assert shown(machine, "NRestarts") == "0", journal(machine)
    assert set(machine.ask(f"{VENV}/bin/python -c '{NICENESS}'").split()) == {"10"}


def test_no_delivery_is_refused_while_the_service_restarts(machine: Machine):
    """The port is systemd's; CVAT 2.15 never sends a delivery again."""
    counted = "log --type DeliveryReceived --json"
    before = len(labeltrail(machine, counted).splitlines())

    sent = machine.ask(
        f"rm -f /root/stop; {VENV}/bin/python /root/sender.py {URL}/webhooks/cvat/main"
        f" '{SECRET}' /root/stop > /root/sent & until [ -s /root/sent ]; do sleep 0.1; done;"
        f" for n in $(seq {RESTARTS}); do systemctl restart labeltrail || exit 1; done;"
        " touch /root/stop; wait; tail -n 1 /root/sent"
    )

    answered = json.loads(sent)
    after = len(labeltrail(machine, counted).splitlines())
    assert answered.keys() == {"204"}
    assert after - before == answered["204"] > RESTARTS


def test_a_daemon_that_hangs_is_killed_and_started_again(machine: Machine):
    """A process that is there and answers nobody looks alive to everything but a watchdog."""
    quick = "/etc/systemd/system/labeltrail.service.d/quick.conf"
    machine.write(quick, f"[Service]\nWatchdogSec={WATCHDOG_S}\n")
    machine.ask("systemctl daemon-reload && systemctl restart labeltrail")
    hanging = shown(machine, "MainPID")

    machine.ask(f"kill -STOP {hanging}")
    wait_for(machine, '[ "$(systemctl show --value -p NRestarts labeltrail)" = 1 ]')
    wait_for(machine, "systemctl is-active --quiet labeltrail")

    assert shown(machine, "MainPID") != hanging
    assert "Watchdog timeout" in journal(machine)
    assert f"daemon at {URL}" in labeltrail(machine, "status")
    machine.ask(f"rm {quick} && systemctl daemon-reload && systemctl restart labeltrail")


def test_a_reload_takes_other_settings_and_restarts_nothing(machine: Machine):
    """A dataset is added without a moment in which nobody listens."""
    running = shown(machine, "MainPID")
    machine.write(CONFIG, f'{SETTINGS}\n[datasets.pets]\nmanifest = "/srv/data/pets"\n', mode=0o640)
    machine.ask(f"chgrp labeltrail {CONFIG} && systemctl reload labeltrail")

    wait_for(machine, f'{LABELTRAIL} status | grep -q "dataset pets"')

    assert shown(machine, "MainPID") == running
    machine.write(CONFIG, SETTINGS, mode=0o640)
    machine.ask("systemctl reload labeltrail")


def test_the_nightly_backup_is_a_verified_copy_beside_the_running_daemon(machine: Machine):
    """What the timer starts at night is started now."""
    folder = "/var/lib/labeltrail-backups"

    machine.ask("systemctl start labeltrail-backup.service")

    assert shown(machine, "Result", "labeltrail-backup.service") == "success"
    assert shown(machine, "ActiveState") == "active"
    assert machine.ask(f"stat -c '%U %G %a' {folder}") == "labeltrail labeltrail 750"
    assert machine.ask(f"ls {folder}/labeltrail-*/log.db").count("log.db") == 1
    assert shown(machine, "NextElapseUSecRealtime", "labeltrail-backup.timer") != ""


def test_a_stop_is_in_order_and_the_next_delivery_starts_it_again(machine: Machine):
    """All is signed and closed; and the port that systemd holds is still there."""
    assert shown(machine, "NRestarts") == "0", journal(machine)

    machine.ask("systemctl stop labeltrail.service")
    said = [line for line in journal(machine).splitlines() if line.startswith("{")]
    events = [json.loads(line)["event"] for line in said]
    verified = labeltrail(machine, "verify")

    asked = machine.ask(f"{VENV}/bin/python -c 'import urllib.request as web;"
                        f' print(web.urlopen("{URL}/healthz").status)\'')  # fmt: skip

    assert (shown(machine, "Result"), events[-2:]) == ("success", ["stopping", "stopped"])
    assert "0 unproven" in verified
    assert asked == "200"
    assert shown(machine, "ActiveState") == "active"


def test_what_is_uninstalled_is_gone_and_the_log_is_not(machine: Machine):
    """The last of these tests: what was set up is taken away."""
    do_as_told(machine, "service uninstall")

    left = machine.ask("systemctl list-units --all --no-legend 'labeltrail*'")
    assert left == ""
    assert machine.ask("find /etc/systemd /etc/sysusers.d -name '*labeltrail*'") == ""
    assert "the log is whole" in labeltrail(machine, "verify")
