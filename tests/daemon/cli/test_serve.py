"""The daemon as a process: it starts, serves, stops in order, and loses nothing to kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import aiohttp

from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from tests.daemon.cli.conftest import ROOT, Desk, Served
from tests.daemon.http.conftest import delivery

SECRET = "a secret that no line may show"

Serve = Callable[[], Served]


def declare_server(desk: Desk) -> None:
    desk.config.write_text(
        desk.config.read_text()
        + f'\n[servers.main]\nurl = "http://127.0.0.1:9"\nwebhook_secrets = ["{SECRET}"]\n'
    )


def post(served: Served, body: bytes) -> int:
    async def send() -> int:
        headers = {SIGNATURE_HEADER: sign(body, SECRET)}
        url = f"{served.address}/webhooks/cvat/main"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers) as answer,
        ):
            return answer.status

    return asyncio.run(send())


def test_a_delivery_that_was_answered_survives_kill_9(desk: Desk, serve: Serve):
    """Promise 2, on the real disk: nothing acknowledged is lost, and nothing is repeated."""
    declare_server(desk)
    served = serve()
    statuses = [post(served, delivery(id=number)) for number in range(1, 6)]
    served.process.kill()
    served.process.wait()

    after = desk.run("log", "--type", "DeliveryReceived", "--json")
    again = serve()
    repeated = post(again, delivery(id=5))
    again.stop()
    total = desk.run("log", "--type", "DeliveryReceived", "--json")

    assert statuses == [204] * 5
    assert [found["fact"]["job"] for found in after.objects] == [1, 2, 3, 4, 5]
    assert repeated == 204
    assert len(total.objects) == 5


def test_a_command_is_the_client_of_the_running_daemon(desk: Desk, serve: Serve):
    """The daemon owns the files; the command sees the same log through its socket."""
    declare_server(desk)
    served = serve()
    post(served, delivery())

    status = desk.run("status", "--json")
    log = desk.run("log", "--json")
    replay = desk.run("replay", "--json")

    assert status.objects[0]["daemon"] == served.address
    assert [found["type"] for found in log.objects][-1] == "DeliveryReceived"
    assert replay.objects[-1]["identical"] is True
    assert served.stop() == 0


def test_following_the_log_shows_what_is_appended_meanwhile(desk: Desk, serve: Serve):
    """`log -f` is how a person watches the daemon work."""
    declare_server(desk)
    served = serve()
    post(served, delivery(id=1))
    following = desk.popen("log", "-f", "--json", "--type", "DeliveryReceived")
    assert following.stdout is not None
    first = json.loads(following.stdout.readline())
    post(served, delivery(id=2))
    second = json.loads(following.stdout.readline())
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=10)

    assert [first["fact"]["job"], second["fact"]["job"]] == [1, 2]
    assert following.returncode == 130
    assert served.stop() == 0


def test_the_daemon_stops_on_sigterm_while_a_command_follows_the_log(desk: Desk, serve: Serve):
    """A forgotten terminal must not hold up a restart."""
    declare_server(desk)
    served = serve()
    post(served, delivery())
    following = desk.popen("log", "-f", "--json")
    assert following.stdout is not None
    following.stdout.readline()

    code = served.stop(signal.SIGTERM)
    _, err = following.communicate(timeout=10)

    assert code == 0
    assert [line["event"] for line in served.lines][-2:] == ["stopping", "stopped"]
    assert following.returncode == 1
    assert "Stopping" in err or "DaemonGone" in err


def test_a_declared_dataset_is_known_to_the_daemon_at_once(desk: Desk, serve: Serve):
    """`dataset add` edits the file and asks the daemon to read it."""
    served = serve()
    manifest = desk.folder / "pets"
    manifest.mkdir()

    desk.run("dataset", "add", "pets", str(manifest))
    ran = desk.run("dataset", "scan", "pets")

    assert "no such dataset" not in ran.err
    assert ran.code == 3
    assert served.stop() == 0


def test_a_setting_that_needs_a_restart_is_said_and_not_taken(desk: Desk, serve: Serve):
    """Half of a change in force would be worse than none."""
    served = serve()
    desk.config.write_text(desk.config.read_text().replace("port = 0", "port = 1"))
    desk.folder.joinpath("pets").mkdir()

    ran = desk.run("dataset", "add", "pets", str(desk.folder / "pets"))

    assert ran.code == 1
    assert "do not change while the daemon runs (sections=http)" in ran.err
    assert served.stop() == 0


def test_a_port_that_is_taken_is_said_before_anything_else(desk: Desk):
    """Two daemons, or another program: the message names the address and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        desk.config.write_text(desk.config.read_text().replace("port = 0", f"port = {port}"))

        process = desk.popen("serve")
        _, err = process.communicate(timeout=20)

    assert process.returncode == 1
    assert f"error: the address to listen at is taken (host=127.0.0.1, port={port}" in err
    assert "hint: stop what listens there, or set another `port`" in err
    assert "Traceback" not in err


def test_a_second_daemon_is_told_of_the_first(desk: Desk, serve: Serve):
    """One owner of the data folder."""
    served = serve()

    process = desk.popen("serve")
    _, err = process.communicate(timeout=20)

    assert process.returncode == 1
    assert f"pid={served.process.pid}" in err
    assert served.stop() == 0


def test_no_line_of_the_daemon_shows_a_secret_or_a_body(desk: Desk, serve: Serve):
    """Log lines are shipped to places where secrets and names must not be."""
    declare_server(desk)
    served = serve()
    post(served, delivery())
    post(served, b'{"name": "anna"')
    served.stop()

    text = json.dumps(served.lines)
    assert [line["status"] for line in served.lines if line["event"] == "request"] == [400]
    assert [line["received"] for line in served.lines if line["event"] == "deliveries"] == [1]
    assert SECRET not in text
    assert "anna" not in text


def test_systemd_is_told_when_it_is_ready_when_it_lives_and_when_it_stops(desk: Desk):
    """Type=notify: nobody sends deliveries before the port is open, and a hang is noticed."""
    path = desk.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        heard.settimeout(20)
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "serve"],
            cwd=ROOT,
            env=os.environ | {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"},
            stderr=subprocess.DEVNULL,
        )
        first = heard.recv(100)
        signs = {heard.recv(100) for _ in range(3)}
        process.terminate()
        while (last := heard.recv(100)) == b"WATCHDOG=1":
            pass
        code = process.wait(20)

    assert first == b"READY=1"
    assert signs == {b"WATCHDOG=1"}
    assert last == b"STOPPING=1"
    assert code == 0


def test_a_socket_that_systemd_listens_on_is_taken_over(desk: Desk):
    """Socket activation: deliveries wait in the kernel's queue while the daemon restarts."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = "http://{}:{}".format(*listening.getsockname())
    start = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.environ['LISTEN_FDS'] = '1'; os.execv(sys.executable, [sys.executable, '-m', 'daemon',"
        " 'serve'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", start, str(listening.fileno())],
        cwd=ROOT,
        pass_fds=[listening.fileno()],
        stderr=subprocess.PIPE,
        text=True,
    )
    listening.close()
    assert process.stderr is not None
    serving = json.loads(process.stderr.readline())
    process.terminate()
    process.communicate(timeout=20)

    assert serving["http"] == address
    assert process.returncode == 0
