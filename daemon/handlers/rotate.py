"""Give every webhook of ours another secret, without refusing a delivery on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from daemon.ports.cvat import CvatApi, NotFound, Row, number
from events.errors import SyncError

# Webhooks that are made meanwhile are found by looking again.
LOOKS_MAX: Final = 10


class HooksKeepComing(SyncError):
    """New webhooks appear faster than they can be given the new secret."""


async def our_hooks(cvat: CvatApi, target_url: str) -> dict[int, Row]:
    """Return the webhooks that send to us. Raises CvatError, also where we may not look."""
    return {
        number(row, "id"): row
        async for row in cvat.webhooks()
        if row.get("target_url") == target_url
    }


@dataclass(frozen=True)
class Rotate:
    """Brings webhooks to a secret that is accepted already, beside the old one.

    hooks  returns the ids of all our webhooks
    """

    cvat: CvatApi
    hooks: Callable[[], Awaitable[Collection[int]]]

    async def to(self, secret: str) -> AsyncIterator[int]:
        """Give each webhook the secret; yield the id of each that has it.

        Ends only after a look that found no other webhook: then the old secret may go. Cut off
        anywhere, it can be done again. Raises CvatError, HooksKeepComing.
        """
        done: set[int] = set()
        for _ in range(LOOKS_MAX):
            left = sorted(set(await self.hooks()) - done)
            if not left:
                return
            for webhook in left:
                done.add(webhook)
                try:
                    await self.cvat.patch_webhook(webhook, {"secret": secret})
                except NotFound:
                    # Deleted meanwhile: it sends nothing any more.
                    continue
                yield webhook
        raise HooksKeepComing(
            "new webhooks keep appearing while their secret is changed",
            server=self.cvat.name,
            hint="both secrets stay in force; run `labeltrail hook rotate` again",
        )
