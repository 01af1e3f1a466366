"""One delivery at a time, for tests that need no port."""

from __future__ import annotations

import asyncio

from daemon.http.receiver import Given, Receiver


async def receive(receiver: Receiver, body: bytes, signature: str | None) -> bool:
    """Have a delivery of `main` recorded; tell whether it was new, or raise what kept it."""
    outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def told(what: bool | BaseException) -> None:
        if outcome.cancelled():
            return
        if isinstance(what, BaseException):
            outcome.set_exception(what)
        else:
            outcome.set_result(what)

    receiver.take([Given("main", body, signature, told)])
    return await outcome
