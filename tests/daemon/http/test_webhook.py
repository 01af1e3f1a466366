"""The webhook address, over real sockets: what is kept, what is answered, what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from daemon.clock import SystemClock
from daemon.cvat import deliveries
from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from daemon.http import receiver, recent
from daemon.ports.store import (
    NOTHING_EXPECTED,
    Appended,
    DiskFull,
    EventRefused,
    EventStore,
    QueueFull,
    StoreClosed,
    StoreFailed,
)
from daemon.store.memory import MemoryStore
from events.envelope import NewEvent
from events.errors import SyncError
from events.server import DeliveryReceived, DeliveryRefused
from projections.tables import Tables
from tests.daemon.http.conftest import OLD_SECRET, SECRET, Daemon, Start, delivery, reordered
from tests.fakes.receiving import receive


class FailingStore(MemoryStore):
    """A store that refuses while it is told to, as a full or failing disk does."""

    failure: SyncError | None = None

    async def append(
        self, events: Sequence[NewEvent], *, expects: Mapping[str, int] = NOTHING_EXPECTED
    ) -> Appended:
        if self.failure is not None:
            raise self.failure
        return await super().append(events, expects=expects)


class PickyStore(MemoryStore):
    """A store that refuses what is told of job 13."""

    async def append(
        self, events: Sequence[NewEvent], *, expects: Mapping[str, int] = NOTHING_EXPECTED
    ) -> Appended:
        if any(getattr(event.fact, "job", None) == 13 for event in events):
            raise EventRefused("not this one")
        return await super().append(events, expects=expects)


class SlowStore(MemoryStore):
    """A store whose disk takes as long as the test wants."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.asked = asyncio.Event()
        self.synced = asyncio.Event()

    async def append(
        self, events: Sequence[NewEvent], *, expects: Mapping[str, int] = NOTHING_EXPECTED
    ) -> Appended:
        self.asked.set()
        await self.synced.wait()
        return await super().append(events, expects=expects)


async def test_a_delivery_is_in_the_log_when_it_is_answered(daemon: Daemon):
    """Promise 2: nothing acknowledged is lost. Only ids, dates and names of fields are kept."""
    answer = await daemon.post(delivery())

    assert answer.status == 204
    reader = daemon.store.reader()
    (row,) = reader.read()
    fact = reader.fact(row)
    assert (row.stream, row.actor, row.evidence) == ("server/main", "main/5", "webhook")
    assert row.occurred_at == 1_795_341_600_000_001
    assert isinstance(fact, DeliveryReceived)
    assert (fact.event, fact.job, fact.task, fact.project) == ("update:job", 7, 3, 2)
    assert (fact.before_update, fact.before_date) == (("updated_date",), "2026-11-22T09:00:00Z")
    assert daemon.heard == [("main", fact)]


async def test_a_repeated_delivery_with_its_keys_reordered_is_answered_and_not_kept(
    daemon: Daemon,
):
    """A redelivery comes from a database that does not keep the order of keys."""
    first = await daemon.post(delivery())
    again = await daemon.post(reordered(delivery()))

    assert reordered(delivery()) != delivery()
    assert (first.status, again.status) == (204, 204)
    assert len(daemon.facts()) == len(daemon.heard) == 1


async def test_a_repeated_delivery_is_known_after_a_restart(start: Start):
    """Newer servers repeat for days, and the memory of the process is gone then."""
    store = MemoryStore(SystemClock())
    store.close, closed = _never_closed, store.close  # type: ignore[method-assign]
    async with start(store) as before:
        await before.post(delivery())

    async with start(store) as after:
        await after.receiver.recall()
        answer = await after.post(delivery())

        assert answer.status == 204
        assert len(after.facts()) == 1
        assert after.heard == []
    await closed()


@pytest.mark.parametrize("ahead_s", [-86_400, 0, 1_800])
async def test_a_repeated_delivery_is_known_long_after_its_time_in_memory(
    start: Start, monkeypatch: pytest.MonkeyPatch, ahead_s: int
):
    """What memory forgets, the tables know; a server's clock may be ahead of ours."""
    date = (datetime.now(UTC) + timedelta(seconds=ahead_s)).isoformat()
    monkeypatch.setattr(recent, "RECENT_MAX", 1)
    async with start() as daemon:
        await daemon.receiver.recall()
        for number in (1, 2, 3):
            await daemon.post(delivery(id=number, updated_date=date))
        await daemon.projections.ask(lambda tables: None)
        again = await daemon.post(delivery(id=1, updated_date=date))

        assert again.status == 204
        assert len(daemon.facts()) == 3


async def test_tables_that_are_busy_hold_up_no_delivery(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    """Older servers give up for good after ten seconds; a question may take longer."""
    monkeypatch.setattr(receiver, "KNOWN_S", 0.05)
    asked, answer = threading.Event(), threading.Event()

    def long_question(_tables: Tables) -> None:
        asked.set()
        answer.wait()

    async with start() as daemon:
        asking = asyncio.create_task(daemon.projections.ask(long_question))
        await asyncio.to_thread(asked.wait)
        taken = await daemon.post(delivery())
        answer.set()
        await asking

        assert taken.status == 204
        assert len(daemon.facts()) == 1


async def _never_closed() -> None:
    """Stand for a log that outlives the process."""


async def test_the_same_delivery_at_once_is_kept_once_and_answered_after_the_sync(start: Start):
    """A sender that gives up and repeats must not get its 204 before the first is on disk."""
    store = SlowStore()
    async with start(store) as daemon:
        posts = [asyncio.ensure_future(daemon.post(delivery())) for _ in range(5)]
        await store.asked.wait()
        answered_early = [post for post in posts if post.done()]
        store.synced.set()
        answers = await asyncio.gather(*posts)

        assert answered_early == []
        assert [answer.status for answer in answers] == [204] * 5
        assert len(daemon.facts()) == 1


async def test_what_came_together_is_written_together(daemon: Daemon):
    """An append for each would cost the loop half as much again."""
    await daemon.receiver.recall()
    appends: list[int] = []
    daemon.store.hear(lambda events, seconds: appends.append(len(events)))
    bodies = [delivery(id=number) for number in range(1, 101)]

    await asyncio.gather(*(receive(daemon.receiver, b, sign(b, SECRET)) for b in bodies))

    assert appends == [64, 36]
    assert len(daemon.facts()) == len(daemon.heard) == 100


async def test_what_comes_while_an_append_is_on_its_way_is_written_together(start: Start):
    """An append costs as much as checking several deliveries, and the next one waits anyway."""
    store = SlowStore()
    async with start(store) as daemon:
        await daemon.receiver.recall()
        appends: list[int] = []
        store.hear(lambda events, seconds: appends.append(len(events)))
        bodies = [delivery(id=number) for number in range(1, 201)]
        first = asyncio.ensure_future(receive(daemon.receiver, bodies[0], sign(bodies[0], SECRET)))
        await store.asked.wait()
        later = []
        for body in bodies[1:11]:
            later.append(asyncio.ensure_future(receive(daemon.receiver, body, sign(body, SECRET))))
            await asyncio.sleep(0)
        store.synced.set()
        await asyncio.gather(first, *later)

        assert appends == [1, 10]


async def test_no_more_is_gathered_than_one_append_takes(start: Start):
    """A disk that hangs must not keep deliveries from the queue, which is bounded and says so."""
    store = SlowStore()
    async with start(store) as daemon:
        await daemon.receiver.recall()
        bodies = [delivery(id=number) for number in range(1, 2 * receiver.GROUP_MAX + 11)]
        waiting = [
            asyncio.ensure_future(receive(daemon.receiver, body, sign(body, SECRET)))
            for body in bodies
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        gathered = len(daemon.receiver._gathered)
        store.synced.set()
        await asyncio.gather(*waiting)

        assert gathered == 10
        assert len(daemon.facts()) == len(bodies)


async def test_answers_go_out_before_what_nobody_waits_for(daemon: Daemon):
    """Who waits for an acknowledgement goes on while bodies are kept and lines are written."""
    order: list[str] = []
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def told(_outcome: bool | BaseException) -> None:
        order.append("told")
        loop.call_soon(order.append, "sent")

    def heard(_server: str, _fact: DeliveryReceived) -> None:
        order.append("heard")
        done.set()

    daemon.receiver._on_delivery = heard
    body = delivery()
    daemon.receiver.take([receiver.Given("main", body, sign(body, SECRET), told)])
    await done.wait()

    assert order == ["told", "sent", "heard"]


async def test_one_line_tells_where_the_deliveries_of_an_append_stand(start: Start):
    """A line for each cost a tenth of an acknowledgement, and did not say which event it was."""
    with structlog.testing.capture_logs() as lines:
        async with start() as daemon:
            await daemon.receiver.recall()
            bodies = [delivery(id=number) for number in (1, 2, 2)]
            await asyncio.gather(*(receive(daemon.receiver, b, sign(b, SECRET)) for b in bodies))
            assert (await daemon.post(delivery(id=3))).status == 204
            assert (await daemon.post(delivery(id=3))).status == 204

    told = [line for line in lines if line["event"] in ("deliveries", "request")]
    assert [line.get("outcome", line["event"]) for line in told] == [
        "deliveries",
        "deliveries",
        "duplicate",
    ]
    assert {"server": "main", "received": 2, "first": 1, "last": 2}.items() <= told[0].items()
    assert {"server": "main", "received": 1, "first": 3, "last": 3}.items() <= told[1].items()


async def test_a_refused_delivery_takes_none_with_it_that_came_together_with_it(start: Start):
    """A server that sends one that we cannot write would else lose all others for good."""
    store = PickyStore(SystemClock())
    async with start(store) as daemon:
        bodies = [delivery(id=number) for number in (1, 13, 2)]
        outcomes = await asyncio.gather(
            *(receive(daemon.receiver, b, sign(b, SECRET)) for b in bodies),
            return_exceptions=True,
        )

        assert [type(outcome) for outcome in outcomes] == [bool, EventRefused, bool]
        assert [fact.job for fact in daemon.facts()] == [1, 2]


async def test_a_delivery_that_nobody_can_hear_of_is_recorded_all_the_same(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
):
    """Whoever looks at jobs may have stopped already; the sender has its answer, once."""

    def stopped(server: str, fact: DeliveryReceived) -> None:
        raise RuntimeError("stopped")

    monkeypatch.setattr(daemon.receiver, "_on_delivery", stopped)
    with structlog.testing.capture_logs() as lines:
        statuses = [(await daemon.post(delivery(id=number))).status for number in (1, 2)]

    assert statuses == [204, 204]
    assert len(daemon.facts()) == 2
    errors = [line["event"] for line in lines if line["log_level"] == "error"]
    assert errors == ["delivery_unheard", "delivery_unheard"]


async def test_a_mistake_of_ours_is_answered_500_and_told_without_words_of_the_body(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
):
    """CVAT sends it again, and no line of the service may quote a body or a name."""

    words = "ann@example.com"

    def mistaken(body: bytes) -> None:
        raise KeyError(words)

    monkeypatch.setattr(deliveries, "parse", mistaken)
    with structlog.testing.capture_logs() as lines:
        answer = await daemon.post(delivery())

    assert (answer.status, daemon.facts()) == (500, [])
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["error"]) == ("delivery_failed", "KeyError")
    assert "mistaken" in line["where"]
    assert words not in str(lines)


async def test_who_gives_up_stops_the_delivery_for_nobody_else(start: Start):
    """The first of two requests with the same delivery may be cancelled while the disk works."""
    store = SlowStore()
    async with start(store) as daemon:
        body = delivery()
        first, second = (
            asyncio.create_task(receive(daemon.receiver, body, sign(body, SECRET)))
            for _ in range(2)
        )
        await store.asked.wait()
        first.cancel()
        store.synced.set()

        assert await second is False
        assert first.cancelled()
        assert len(daemon.facts()) == len(daemon.heard) == 1


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
async def test_both_secrets_count_while_one_replaces_the_other(daemon: Daemon, secret: str):
    """A rotation that loses deliveries would be put off for ever."""
    assert (await daemon.post(delivery(), secret=secret)).status == 204


@pytest.mark.parametrize(
    "signature",
    [None, "", "sha256=", "sha256=" + "0" * 64, sign(delivery(), "wrong"), "sha1=abc", "é" * 50],
)
async def test_a_wrong_signature_is_refused_and_counted(daemon: Daemon, signature: str | None):
    """Anybody can reach the port; only who shares the secret is believed."""
    answer = await daemon.post(delivery(), secret=None, signature=signature)

    assert answer.status == 401
    assert daemon.facts() == [DeliveryRefused(reason="signature")]
    assert daemon.heard == []


async def test_a_flood_of_refusals_is_a_few_events(daemon: Daemon):
    """A stranger must not be able to fill the log, nor to go unseen."""
    for _ in range(20):
        await daemon.post(delivery(), secret="wrong")
    during = daemon.facts()
    daemon.clock.seconds += 61
    await daemon.post(delivery(), secret="wrong")

    assert during == [DeliveryRefused(reason="signature")]
    assert daemon.facts() == [*during, DeliveryRefused(reason="signature", count=20)]


async def test_what_was_counted_last_is_recorded_too(daemon: Daemon):
    """The daemon flushes from time to time and when it stops."""
    for _ in range(3):
        await daemon.post(delivery(), secret="wrong")

    await daemon.receiver.refusals.flush()

    assert daemon.facts()[1:] == [DeliveryRefused(reason="signature", count=2)]


@pytest.mark.parametrize("body", [delivery()[:-20], b"", b"[]", b"{}", b'{"event": 7}', b"\xff"])
async def test_what_is_signed_and_no_delivery_is_refused_for_good(daemon: Daemon, body: bytes):
    """Truncated JSON does not get better by being sent again, so a 4xx ends it."""
    answer = await daemon.post(body)

    assert answer.status == 400
    assert daemon.facts() == [DeliveryRefused(reason="unreadable")]


@pytest.mark.parametrize("event", ["update:job", "create:hologram", "ping", "teleport:job"])
async def test_an_unknown_event_is_recorded_like_a_known_one(daemon: Daemon, event: str):
    """A newer server knows more events, and each may be the hint that matters."""
    answer = await daemon.post(delivery(event))

    assert answer.status == 204
    (fact,) = daemon.facts()
    assert isinstance(fact, DeliveryReceived)
    assert fact.event == event


@pytest.mark.parametrize("date", ["2026-99-99T00:00:00Z", "0001-01-01T00:00:00+14:00", "soon"])
async def test_a_date_that_is_none_spoils_nothing(daemon: Daemon, date: str):
    """Dates come from outside, and must neither raise nor stop a delivery."""
    answer = await daemon.post(delivery(updated_date=date))

    assert answer.status == 204
    assert len(daemon.facts()) == 1
    # The folds read the date too, and one that raises would stop all of them for ever.
    await daemon.projections.ask(lambda tables: None)


HOSTILE = [
    b"[" * 100_000,
    b'{"event":"update:job","job":' + b'{"a":' * 500 + b"1" + b"}" * 501,
    b'{"event":"update:job","job":{"id":1e400}}',
    b'{"event":"update:job","job":{"id":NaN}}',
    b'{"event":"update:job","job":{"id":"\\ud800"}}',
    b'{"event":"update:job","job":{"id":1},"sender":{"id":-5}}',
    b'{"event":"update:job","job":{"id":9223372036854775807,"task_id":9223372036854775808}}',
    b'{"event":"update:job","job":[{"id":1}],"before_update":["updated_date"]}',
    b'{"event":"update:job","event":"ping"}',
    b'{"event":"update:job\\u0000","job":{"id":1}}',
    b'{"event":"' + b"u" * 100_000 + b':job"}',
    b'{"event":"update:job","job":{"id":1,"updated_date":"2026-02-30T00:00:00Z"},'
    b'"before_update":{"updated_date":"2026-02-30T25:00:00Z"}}',
    b'{"event":"update:job","job":{"id":1,"updated_date":"9999-12-31T23:59:59-23:59"}}',
]


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: body[:40].decode())
async def test_whatever_is_signed_is_recorded_or_refused_and_stops_nothing(
    daemon: Daemon, body: bytes
):
    """A server that is broken, or taken over, must not stop the folds or make us answer 500."""
    answer = await daemon.post(body)

    assert answer.status in (204, 400)
    await daemon.projections.ask(lambda tables: None)
    assert (await daemon.post(delivery())).status == 204


async def test_a_server_that_is_not_declared_gets_404_and_no_stream(daemon: Daemon):
    """A stranger must not be able to make streams in the log."""
    answer = await daemon.post(delivery(), server="nobody")

    assert answer.status == 404
    assert daemon.facts() == []


async def test_a_sender_that_waits_to_be_let_on_is_let_on(daemon: Daemon):
    """Deliveries go past the site's routes, which answer `Expect`: these must not hang."""
    body = delivery()
    reader, writer = await _connected(daemon)
    length = f"Expect: 100-continue\r\nContent-Length: {len(body)}"
    writer.write(_head(length, sign(body, SECRET)))

    let_on = await reader.readuntil(b"\r\n\r\n")
    writer.write(body)
    status = await reader.readline()

    assert b" 100 " in let_on
    assert b" 204 " in status
    assert len(daemon.facts()) == 1
    writer.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_the_address_of_deliveries_knows_one_method(daemon: Daemon, method: str):
    """What is no delivery is answered by the site, as at any other address."""
    url = f"{daemon.address}/webhooks/cvat/main"
    async with daemon.session.request(method, url) as answer:
        assert answer.status == 405


async def test_a_body_of_10_mb_is_refused_before_it_is_read(daemon: Daemon):
    """Memory is for labels; the length that is announced is enough to refuse."""
    reader, writer = await _connected(daemon)
    writer.write(_head("Content-Length: 10485760"))

    status = await reader.readline()

    assert b" 413 " in status
    assert daemon.facts() == [DeliveryRefused(reason="too large")]
    writer.close()


async def test_a_body_that_grows_past_the_limit_is_refused_on_the_way(start: Start):
    """A chunked body announces nothing."""
    async with start(body_bytes_max=1_024) as daemon:
        reader, writer = await _connected(daemon)
        writer.write(_head("Transfer-Encoding: chunked") + b"400\r\n" + b"x" * 1_024 + b"\r\n")
        writer.write(b"1\r\nx\r\n")

        status = await reader.readline()

        assert b" 413 " in status
        writer.close()


async def test_a_body_that_never_ends_is_given_up(start: Start):
    """A sender may die in the middle of a body; 408 is an answer that CVAT sends again after."""
    async with start(request_s=0.2) as daemon:
        reader, writer = await _connected(daemon)
        writer.write(_head("Content-Length: 100") + b"{")

        status = await reader.readline()

        assert b" 408 " in status
        assert daemon.facts() == [DeliveryRefused(reason="too slow")]
        writer.close()


@pytest.mark.parametrize(
    "said", [b"", b"POST /webhooks/cvat/main HTT", b"GET / HTTP/1.1\r\nA: b\r\n"]
)
async def test_a_connection_that_says_nothing_whole_is_closed(start: Start, said: bytes):
    """Slow loris: a thousand half requests would else hold a thousand connections for ever."""
    async with start(request_s=0.2) as daemon:
        reader, writer = await _connected(daemon)
        writer.write(said)

        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_one_connection_too_many_is_told_to_come_again(start: Start):
    """Newer servers repeat after a 503; a refused connection looks like an outage to people."""
    async with start(connections_max=1) as daemon:
        _, held = await _connected(daemon)
        reader, writer = await _connected(daemon)

        answer = await reader.read()

        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: " in answer
        held.close()
        writer.close()
        await _until_free(daemon)
        assert (await daemon.post(delivery())).status == 204


@pytest.mark.parametrize(
    "failure",
    [
        QueueFull("more waits than there is room for"),
        StoreFailed("the disk failed"),
        DiskFull("no room on the disk"),
        StoreClosed("the log is closed"),
    ],
)
async def test_what_cannot_be_recorded_is_answered_503_and_taken_when_it_comes_again(
    start: Start, failure: SyncError
):
    """Newer servers repeat after 5xx, and give up for good after 4xx."""
    store = FailingStore(SystemClock())
    async with start(store) as daemon:
        store.failure = failure
        refused = await daemon.post(delivery())
        store.failure = None
        taken = await daemon.post(delivery())

        assert (refused.status, taken.status) == (503, 204)
        assert int(refused.headers["Retry-After"]) > 0
        assert len(daemon.facts()) == len(daemon.heard) == 1


async def test_a_refusal_that_cannot_be_recorded_is_recorded_later(start: Start):
    """A full log must not turn a 401 into a 500, nor lose the count."""
    store = FailingStore(SystemClock())
    async with start(store) as daemon:
        store.failure = QueueFull("full")
        answer = await daemon.post(delivery(), secret="wrong")
        store.failure = None
        await daemon.receiver.refusals.flush()

        assert answer.status == 401
        assert daemon.facts() == [DeliveryRefused(reason="signature")]


async def test_a_sender_that_hangs_up_while_the_disk_works_stops_nothing(start: Start):
    """The event was on its way; whoever asks again is told that it is known."""
    store = SlowStore()
    async with start(store) as daemon:
        _, writer = await _connected(daemon)
        body = delivery()
        writer.write(_head(f"Content-Length: {len(body)}", sign(body, SECRET)) + body)
        await store.asked.wait()
        writer.close()
        store.synced.set()
        again = await daemon.post(body)

        assert again.status == 204
        assert len(daemon.facts()) == 1


async def test_the_raw_body_is_kept_beside_the_log(start: Start):
    """For people who want to look up what came; the log holds only what may be believed."""
    async with start() as daemon:
        await daemon.post(delivery())
        await daemon.post(delivery(), secret="wrong")

    with contextlib.closing(sqlite3.connect(daemon.folder / "deliveries.db")) as conn:
        rows = conn.execute("SELECT server, body_hash, body FROM bodies").fetchall()
    (fact,) = [fact for _, fact in daemon.heard]
    assert rows == [("main", fact.body_hash, delivery())]


async def test_answers_never_repeat_what_was_sent(daemon: Daemon):
    """CVAT keeps answers and shows them to people."""
    body = json.dumps({"event": "<script>"}).encode()
    url = f"{daemon.address}/webhooks/cvat/main"
    async with daemon.session.post(
        url, data=body, headers={SIGNATURE_HEADER: sign(body, SECRET)}
    ) as answer:
        text = await answer.text()

    assert "script" not in text
    assert text.isascii()


@pytest.mark.parametrize("encoding", ["deflate", "gzip", "br", "zstd", "gzip, gzip", "x"])
async def test_a_body_that_is_not_packed_as_it_says_is_the_senders_mistake(
    daemon: Daemon, encoding: str
):
    """It was answered as ours, with a traceback for each, and newer servers repeat it."""
    with structlog.testing.capture_logs() as lines:
        reader, writer = await _connected(daemon)
        writer.write(_head(f"Content-Encoding: {encoding}\r\nContent-Length: 5") + b"abcde")
        answer = await reader.readline()
        writer.close()

    assert b" 401 " in answer
    assert [line for line in lines if line["log_level"] == "error"] == []
    (refused,) = daemon.facts()
    assert isinstance(refused, DeliveryRefused)


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /webhooks/cvat/main HTTP/1.1\r\nHost: x\r\nAuthorization Bearer s3cret\r\n\r\n",
        b"POST /webhooks/cvat/main HTTP/1.1\r\nContent-Length: s3cret\r\n\r\n",
        b"GET /s3cret\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"s3cret" * 2_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_short_line_that_quotes_nothing(
    daemon: Daemon, sent: bytes, caplog: pytest.LogCaptureFixture
):
    """It was an error with a traceback and the sender's own bytes, for whoever cares to send it."""
    with structlog.testing.capture_logs() as lines:
        reader, writer = await _connected(daemon)
        writer.write(sent)
        answer = await reader.read()
        writer.close()

    assert b" 400 " in answer
    assert [line["event"] for line in lines if line["event"] != "request"] == ["bad_request"]
    assert caplog.records == []
    assert "s3cret" not in str(lines)


async def test_a_signature_covers_what_was_sent_not_what_it_unpacks_to(daemon: Daemon):
    """Nothing is unpacked for a stranger: a body of 1 MB may be one of 1 GB."""
    body = delivery()
    packed = gzip.compress(body)
    url = f"{daemon.address}/webhooks/cvat/main"

    async with daemon.session.post(
        url,
        data=packed,
        headers={"Content-Encoding": "gzip", SIGNATURE_HEADER: sign(packed, SECRET)},
    ) as answer:
        assert answer.status == 400


async def test_a_sender_that_hangs_up_within_a_body_leaves_no_trace_of_a_crash(daemon: Daemon):
    """A network that breaks is nobody's mistake, and no news at night."""
    with structlog.testing.capture_logs() as lines:
        reader, writer = await _connected(daemon)
        writer.write(_head("Content-Length: 100\r\nExpect: 100-continue"))
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"{")
        writer.transport.abort()
        await _until_free(daemon)

    assert [line for line in lines if line["log_level"] in ("error", "warning")] == []


async def test_health_is_answered_and_readiness_follows_the_log(start: Start):
    """A load balancer asks the one, a restart script the other."""
    store: EventStore = FailingStore(SystemClock())
    async with start(store) as daemon:
        await daemon.post(delivery())
        health = await daemon.session.get(f"{daemon.address}/healthz")
        ready = await daemon.session.get(f"{daemon.address}/readyz")

        assert (health.status, ready.status) == (200, 200)
        assert await ready.json() == {"ready": True, "position": 1}


async def _connected(daemon: Daemon) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = daemon.address.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def _until_free(daemon: Daemon) -> None:
    """Wait until the closed connections are forgotten."""
    while True:
        reader, writer = await _connected(daemon)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()
        if b" 200 " in status:
            return


def _head(length: str, signature: str = "") -> bytes:
    return (
        "POST /webhooks/cvat/main HTTP/1.1\r\nHost: x\r\n"
        f"{SIGNATURE_HEADER}: {signature}\r\n{length}\r\n\r\n"
    ).encode()


async def test_a_daemon_whose_tables_are_gone_is_alive_and_not_ready(daemon: Daemon):
    """What cannot answer questions should not be sent any; restarting it is another decision."""
    await daemon.projections.close()

    health = await daemon.session.get(f"{daemon.address}/healthz")
    ready = await daemon.session.get(f"{daemon.address}/readyz")
    posted = await daemon.post(delivery())

    assert (health.status, ready.status, posted.status) == (200, 503, 503)
    assert (await ready.json())["ready"] is False
