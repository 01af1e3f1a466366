"""The unix socket between a command and the daemon: who may, who calls, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.app import open_app
from daemon.control import client, server
from daemon.control.wire import SocketPathTooLong, request
from daemon.operations.here import HERE
from daemon.operations.registry import exit_with
from tests.daemon.control.conftest import PROBE, Running


def sent(path: Path, body: bytes) -> socket.socket:
    """Return a connection on which the probe was asked for."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    connection.sendall(request("probe", body))
    return connection


async def test_an_operation_yields_its_objects_and_then_its_exit_code(running: Running):
    """A command prints what comes, and ends as the operation ended."""
    fine = await running.call("probe", count=2)
    differing = await running.call("probe", code=3)

    assert fine == [
        {"kind": "counted", "number": 0},
        {"kind": "counted", "number": 1},
        exit_with(0),
    ]
    assert differing == [exit_with(3)]


async def test_what_json_has_no_spelling_for_comes_through_the_socket(running: Running):
    """Exports of FiftyOne hold NaN, which came as null; half a surrogate pair broke the answer."""
    (odd, last) = await running.call("probe", odd=True)

    nan, (above, below, nothing) = odd["values"]
    assert (nan, nothing) == ({"$numberDouble": "NaN"}, None)
    assert [above["$numberDouble"], below["$numberDouble"]] == ["Infinity", "-Infinity"]
    assert (odd["text"], last) == ("\ud800", exit_with(0))


async def test_the_kernel_says_who_calls(running: Running):
    """The log names the user of the machine; nothing in the request can claim another."""
    await running.call("probe")

    assert PROBE.actor == f"cli/{getpass.getuser()}"
    assert running.app.actor == "daemon"


async def test_an_error_comes_whole_with_message_facts_hint_and_exit_code(running: Running):
    """The same words at a terminal, whether the daemon or the command met the error."""
    objects = await running.call("probe", count=1, fail=True)

    assert objects[-1] == {
        "kind": "error",
        "error": "ProbeFailed",
        "message": "it was asked to",
        "hint": "do not ask",
        "facts": {"id": "01", "many": [1, 2]},
        "exit_code": 3,
    }


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("nothing", {}, "UnknownOperation"),
        ("registry", {}, "UnknownOperation"),
        ("..serve", {}, "UnknownOperation"),
        ("probe", {"cuont": 1}, "BadArguments"),
        ("probe", {"count": "many"}, "BadArguments"),
    ],
)
async def test_a_call_that_is_none_is_a_usage_error(
    running: Running, name: str, arguments: dict[str, object], error: str
):
    """A newer command may talk to an older daemon."""
    (answer,) = await running.call(name, **arguments)

    assert (answer["error"], answer["exit_code"]) == (error, 2)


@pytest.mark.parametrize("name", sorted(HERE))
async def test_what_runs_with_the_rights_of_the_caller_is_refused(running: Running, name: str):
    """Whoever may use the socket must not have files written, or secrets used, by the daemon."""
    (answer,) = await running.call(name)

    assert (answer["error"], answer["exit_code"]) == ("NotTheDaemons", 2)


async def test_a_body_that_is_no_json_object_is_a_usage_error(running: Running):
    """Anything may be written to a socket."""

    def raw() -> bytes:
        with sent(running.socket, b"[1]") as connection, connection.makefile("rb") as answer:
            return answer.read()

    assert b'"BadArguments"' in await asyncio.to_thread(raw)


async def test_a_client_that_goes_away_cancels_its_operation(running: Running):
    """Ctrl-C at `log -f` must not leave it running in the daemon."""

    connection = await asyncio.to_thread(sent, running.socket, b'{"endless": true}')
    await PROBE.began.wait()
    connection.close()

    await asyncio.wait_for(PROBE.ended.wait(), 5)


async def test_a_daemon_that_stops_ends_endless_operations_with_a_word(config: Path):
    """A command that waits for ever on a daemon that is gone is a riddle."""
    async with open_app(config, actor="daemon") as app:
        running = Running(app, app.folder / "control.sock")
        async with server.listening(app, running.socket):
            calling = asyncio.create_task(running.call("probe", endless=True))
            await PROBE.began.wait()
        objects = await calling

    assert objects[-1]["error"] == "Stopping"


async def test_a_daemon_that_dies_in_the_middle_is_an_error_not_an_end(tmp_path: Path):
    """Half a list must not pass for a whole one."""
    path = tmp_path / "s"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def die() -> None:
        connection, _ = listening.accept()
        request = b""
        while not request.endswith(b"{}"):  # head and body may come apart
            request += connection.recv(65_536)
        connection.sendall(
            b'HTTP/1.0 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n{"kind":"counted"}\n'
        )
        connection.close()

    dying = threading.Thread(target=die)
    dying.start()
    objects = client.call(path, "probe", {})
    assert objects is not None

    assert next(objects) == {"kind": "counted"}
    with pytest.raises(client.DaemonGone, match="went away"):
        next(objects)
    dying.join()
    listening.close()


async def test_only_user_and_group_may_call(running: Running):
    """Rights on the socket are the rights on the daemon."""
    assert stat.S_IMODE(running.socket.stat().st_mode) == 0o660


def test_a_user_without_the_right_is_told_which_group_to_join(tmp_path: Path):
    """`Permission denied` alone helps nobody."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0)

        # Root may connect to every socket.
        with _as_nobody(), pytest.raises(client.DaemonRefused, match="join the group"):
            client.call(path, "probe", {})


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(mine)


async def test_a_socket_that_a_killed_daemon_left_is_no_daemon(tmp_path: Path):
    """A command then works on the files itself, and the next daemon takes the path over."""
    path = tmp_path / "s"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()

    assert client.call(path, "probe", {}) is None
    assert client.call(tmp_path / "none", "probe", {}) is None


async def test_the_socket_is_gone_when_the_daemon_stopped(config: Path):
    """What stands there means that somebody listens."""
    async with open_app(config, actor="daemon") as app:
        path = app.folder / "control.sock"
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(path))
        left.close()
        async with server.listening(app, path):
            assert (await Running(app, path).call("probe"))[-1] == exit_with(0)

        assert not path.exists()


async def test_a_file_in_the_place_of_the_socket_is_not_removed(config: Path):
    """A wrong setting must not cost anybody a file."""
    async with open_app(config, actor="daemon") as app:
        path = app.folder / "precious"
        path.write_text("mine")

        with pytest.raises(OSError, match="in use"):
            await server.listening(app, path).__aenter__()

        assert path.read_text() == "mine"


async def test_a_path_that_the_kernel_cannot_take_is_named_with_the_way_out(tmp_path: Path):
    """108 bytes are soon used up; the kernel's own words for it are none."""
    with pytest.raises(SocketPathTooLong, match="set a shorter one"):
        server._bind(tmp_path / ("x" * 200))
