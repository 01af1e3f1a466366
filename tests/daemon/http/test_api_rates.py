"""Token buckets: nobody gets more than the rate, and nobody else pays for it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.http.api import rates
from daemon.http.api.rates import Rates, TooManyRequests, bucket_of


@given(
    pauses_s=st.lists(st.floats(min_value=0, max_value=3), max_size=60),
    per_s=st.floats(min_value=0.1, max_value=20),
    burst=st.integers(min_value=1, max_value=10),
)
@example([1.5467137425293654, 0.6904105391434243, 0.0], 1.0, 1)
def test_never_more_than_the_burst_and_the_rate(pauses_s: list[float], per_s: float, burst: int):
    """Whatever the pattern of requests; and whoever waits as long as told is let in."""
    now_s = 0.0
    limits = Rates(lambda: now_s)
    allowed = 0
    for pause_s in pauses_s:
        now_s += pause_s
        try:
            limits.take("a", per_s=per_s, burst=burst)
            allowed += 1
        except TooManyRequests as exc:
            wait_s = exc.retry_after_s
            now_s += wait_s
            limits.take("a", per_s=per_s, burst=burst)
            allowed += 1

        assert allowed <= burst + now_s * per_s + 1e-6


def test_each_name_has_a_bucket_of_its_own():
    """A script gone wild stops nobody else."""
    limits = Rates(lambda: 0.0)
    limits.take("a", per_s=1, burst=1)

    limits.take("b", per_s=1, burst=1)

    with pytest.raises(TooManyRequests):
        limits.take("a", per_s=1, burst=1)


def test_no_more_buckets_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch):
    """Anybody can ask from many addresses; the memory for it has an end."""
    monkeypatch.setattr(rates, "BUCKETS_MAX", 3)
    limits = Rates(lambda: 0.0)

    for number in range(10):
        limits.take(f"address {number}", per_s=1, burst=1)

    assert len(limits._buckets) == 3


def test_an_ipv6_network_of_one_household_is_one_client():
    """Its machines have 2^64 addresses to choose from."""
    assert bucket_of("2001:db8:1:2::1") == bucket_of("2001:db8:1:2:ffff::9")
    assert bucket_of("2001:db8:1:2::1") != bucket_of("2001:db8:1:3::1")
    assert bucket_of("fe80::1%eth0") == bucket_of("fe80::2")
    assert bucket_of("192.0.2.1") != bucket_of("192.0.2.2")
    assert bucket_of(None) == "address unknown"
