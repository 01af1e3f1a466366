"""Lines about our own work: one JSON object each, and never a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from daemon import logs

SECRETS = ("hush-hush", "token-of-anna", "x")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def line(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, object]]:
    text = capsys.readouterr().err
    return text, json.loads(text)


def test_a_secret_is_masked_wherever_it_stands(capsys: pytest.CaptureFixture[str]):
    """By the name of the member, and by its value in any text; a short one by its name alone."""
    logs.configure("info", lambda: SECRETS)

    structlog.get_logger().info(
        "hush-hush said",
        password="other",
        headers={"Authorization": "Token abc", "x": ["a token-of-anna b"]},
        error=ValueError("with hush-hush in it"),
        port=7,
    )

    text, found = line(capsys)
    assert not any(secret in text for secret in ("hush", "anna", "abc", "other"))
    assert found["event"] == "*** said"
    assert found["headers"] == {"Authorization": "***", "x": ["a *** b"]}
    assert found["error"] == "with *** in it"
    assert found["port"] == 7


def test_a_traceback_of_a_library_is_one_line_without_secrets(capsys: pytest.CaptureFixture[str]):
    """aiohttp logs by itself; a traceback over many lines is lost in a journal."""
    logs.configure("info", lambda: SECRETS)

    try:
        raise RuntimeError("hush-hush")
    except RuntimeError:
        logging.getLogger("aiohttp.server").exception("it failed for %s", "token-of-anna")

    text, found = line(capsys)
    assert text.count("\n") == 1
    assert found["event"] == "it failed for ***"
    assert "RuntimeError: ***" in str(found["exception"])
    assert "hush" not in text


def test_a_secret_that_came_later_is_masked_too(capsys: pytest.CaptureFixture[str]):
    """Settings are read again while the daemon runs."""
    known = ["first-one"]
    logs.configure("info", lambda: known)
    known.append("second-one")

    structlog.get_logger().info("second-one")

    assert line(capsys)[1]["event"] == "***"


def test_what_is_below_the_level_is_not_said(capsys: pytest.CaptureFixture[str]):
    """Neither ours nor a library's."""
    logs.configure("warning", tuple)

    structlog.get_logger().info("quiet")
    logging.getLogger("asyncio").info("quiet")

    assert capsys.readouterr().err == ""


async def test_the_lines_of_one_turn_of_the_loop_go_out_in_one_write():
    """A system call for each line would cost more than answering a delivery does."""
    written: list[str] = []
    stream = io.StringIO()
    stream.write = lambda text: written.append(text) or len(text)  # type: ignore[method-assign]
    lines = logs.Lines(stream)

    lines.write("one\n")
    lines.write("two\n")
    await asyncio.sleep(0)
    lines.write("three\n")
    await asyncio.sleep(0)

    assert written == ["one\ntwo\n", "three\n"]


def test_a_line_that_no_loop_came_to_write_goes_out_with_the_next():
    """A loop that is stopped must not keep what it was told last, nor what others say after it."""
    stream = io.StringIO()
    lines = logs.Lines(stream)
    loop = asyncio.new_event_loop()

    async def say_last() -> None:
        lines.write("last\n")
        loop.stop()

    task = loop.create_task(say_last())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert task.done()
    lines.write("after\n")

    assert stream.getvalue() == "last\nafter\n"


def test_what_json_does_not_know_is_written_all_the_same(capsys: pytest.CaptureFixture[str]):
    """A line must not be lost because of what stands in it."""
    logs.configure("info", tuple)

    structlog.get_logger().info("odd", number=2**70, text="\ud800", path={1: object})

    _, found = line(capsys)
    assert found["number"] == 2**70
    assert found["text"] == "\ud800"
