"""Holds up whoever decodes much on a thread that others wait for."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final

import msgspec
import orjson

DECODED_BYTES_MAX: Final = 2**20
WRITER: Final = "log-writer"

found: list[str] = []
"""What was decoded where it must not be, since the list was emptied."""

elsewhere: list[str] = []
"""What was decoded in other threads: it is allowed, and keeps the interpreter all the same."""


def _check(text: Any, by: str) -> None:
    if len(text) > DECODED_BYTES_MAX:
        told = f"{len(text)} bytes decoded by {by} on "
        if where := _awaited():
            found.append(told + where)
        else:
            elsewhere.append(told + threading.current_thread().name)


def _awaited() -> str:
    """Name this thread if others wait for it: the one of an event loop, or that of the log."""
    if asyncio._get_running_loop() is not None:
        return "the event loop"
    return WRITER if threading.current_thread().name == WRITER else ""


class _Decoder:
    """A decoder of msgspec that says where it decodes."""

    made: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        self._decoder = self.made(*args, **options)
        self.type = self._decoder.type

    def decode(self, text: Any) -> Any:
        _check(text, f"msgspec to {self.type}")
        return self._decoder.decode(text)

    def __class_getitem__(cls, _: Any) -> Any:
        return cls


def watch() -> None:
    """Watch all decoders of JSON and MessagePack that modules make or call from now on."""
    for codec in (msgspec.json, msgspec.msgpack):
        codec.Decoder = type("Decoder", (_Decoder,), {"made": codec.Decoder})  # type: ignore
        codec.decode = _watched(codec.decode)  # type: ignore
    orjson.loads = _watched(orjson.loads)  # type: ignore


def _watched(decode: Any) -> Any:
    def watched(text: Any, *args: Any, **options: Any) -> Any:
        _check(text, decode.__name__)
        return decode(text, *args, **options)

    return watched
