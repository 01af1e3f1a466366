"""Token buckets: how often somebody may ask."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from events.errors import SyncError

# So many are remembered; whoever is forgotten has a full bucket again.
BUCKETS_MAX: Final = 10_000
# One household or office has a /64; a single machine may use any address of it.
IPV6_PREFIX_BITS: Final = 64
# Sums of many short times: whoever waited as long as told is not sent away for the last bit.
ROUNDING: Final = 1e-9


class TooManyRequests(SyncError):
    """Somebody asks more often than is allowed."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many requests", retry_after_s=retry_after_s, hint="ask less often")
        self.retry_after_s = retry_after_s


class _Bucket(NamedTuple):
    left: float
    at_s: float


class Rates:
    """A bucket for each name: `burst` requests at once, and `per_s` a second in the long run.

    Both are asked for at each request, since settings can change.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, *, per_s: float, burst: int) -> None:
        """Count a request. Raises TooManyRequests."""
        now_s = self._monotonic_s()
        bucket = self._buckets.pop(name, _Bucket(burst, now_s))
        left = min(float(burst), bucket.left + (now_s - bucket.at_s) * per_s)
        allowed = left >= 1 - ROUNDING
        self._buckets[name] = _Bucket(left - 1 if allowed else left, now_s)
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        if not allowed:
            raise TooManyRequests(math.ceil((1 - left) / per_s))


def bucket_of(address: str | None) -> str:
    """Return the name of the bucket of a client's address."""
    if address is None:
        return "address unknown"  # a unix socket
    # A link-local address ends in the name of an interface: fe80::1%eth0.
    bare = address.partition("%")[0]
    if ":" not in bare:
        return f"address {bare}"
    network = ipaddress.ip_network((bare, IPV6_PREFIX_BITS), strict=False)
    return f"address {network.network_address}"
