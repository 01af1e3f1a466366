"""What the front and the daemon say to each other: frames of MessagePack over a stream."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

Kind = Literal[b"D", b"A", b"B", b"F", b"R", b"S"]
DELIVERIES: Final = b"D"  # front → daemon: list[Delivery]
ANSWERS: Final = b"A"  # daemon → front: list[Answer]
BAD_REQUEST: Final = b"B"  # front → daemon: str, what was no HTTP
FAILED: Final = b"F"  # front → daemon: dict[str, str], what `daemon.crash` tells
READY: Final = b"R"  # front → daemon: it takes connections
STOP: Final = b"S"  # daemon → front: take no more, answer what is there, and end

PEER_HEADER: Final = "X-Labeltrail-Peer"
"""Who sent a request that was passed on. What a client says there itself is thrown away."""

_HEAD: Final = struct.Struct(">cQ")

Unread = Literal["too large", "too slow"]
"""Why a body was not read to its end."""


class Limits(msgspec.Struct, frozen=True):
    """As in [http] of the settings."""

    connections_max: int
    body_bytes_max: int
    request_s: float
    keepalive_s: float


class Delivery(msgspec.Struct, array_like=True, gc=False):
    """A request for `/webhooks/cvat/<server>`, as it came.

    number     for the answer
    peer       the address it came from
    signature  the header's bytes
    """

    number: int
    server: str
    peer: str | None
    signature: bytes | None
    body: bytes
    unread: Unread | None = None


class Answer(msgspec.Struct, array_like=True, gc=False):
    """What a delivery is answered with."""

    number: int
    status: int
    text: str = ""


class Channel(asyncio.Protocol):
    """One end of the pair of sockets.

    heard  is told of each frame: its kind and its body
    lost   is called once the other end is gone
    """

    def __init__(self, heard: Callable[[bytes, bytes], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._lost = lost
        self._came = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    async def join(self, end: socket.socket) -> None:
        """Speak through a socket."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def send(self, kind: Kind, value: object = None) -> None:
        """Send a frame, unless the other end is gone."""
        if self._transport is not None:
            body = _encode(value)
            self._transport.write(_HEAD.pack(kind, len(body)) + body)

    def close(self) -> None:
        """Send what waits, and close this end."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        begin = 0
        while len(self._came) - begin >= _HEAD.size:
            kind, size = _HEAD.unpack_from(self._came, begin)
            end = begin + _HEAD.size + size
            if len(self._came) < end:
                break
            self._heard(kind, bytes(self._came[begin + _HEAD.size : end]))
            begin = end
        del self._came[:begin]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost()


_encode: Final = msgspec.msgpack.Encoder().encode
decode_deliveries: Final = msgspec.msgpack.Decoder(list[Delivery]).decode
decode_answers: Final = msgspec.msgpack.Decoder(list[Answer]).decode
decode_text: Final = msgspec.msgpack.Decoder(str).decode
decode_crash: Final = msgspec.msgpack.Decoder(dict[str, str]).decode
