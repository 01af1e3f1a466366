"""A delivery is a hint: ids, dates and names are kept, and no body can do harm."""

from __future__ import annotations

import contextlib
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.cvat.deliveries import BODY_BYTES_MAX, UnreadableDelivery, of_document, parse

VERSIONS = ["2.15", "2.73"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def body(**members: object) -> bytes:
    return json.dumps({"event": "update:job", **members}).encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_delivery_is_read_as_it_was_meant(recording, version):
    """All that two real servers sent, member by member, by a second way of reading it."""
    for line in recording(version, "deliveries"):
        sent = json.loads(line["body"])
        kind = "webhook" if sent["event"] == "ping" else sent["event"].split(":")[1]
        resource = sent[kind]

        delivery = parse(line["body"].encode())

        assert delivery.event == sent["event"]
        assert delivery.kind == kind
        assert delivery.resource == resource["id"]
        assert delivery.updated_date == resource["updated_date"]
        assert delivery.webhook == sent.get("webhook_id", resource["id"])
        assert delivery.sender == sent["sender"]["id"]
        for names, member in (
            (delivery.before_update, "before_update"),
            (delivery.changes, "changes"),
        ):
            assert names == (tuple(sorted(sent[member])) if member in sent else None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_job_delivery_names_its_job_task_and_project(recording, version):
    """The hint must lead to the right job without another request."""
    bodies = [line["body"] for line in recording(version, "deliveries")]
    jobs = [text for text in bodies if ":job" in json.loads(text)["event"]]

    found = [parse(text.encode()) for text in jobs]

    assert jobs
    assert [(d.job, d.task, d.project) for d in found] == [
        (job["id"], job["task_id"], job["project_id"])
        for job in (json.loads(text)["job"] for text in jobs)
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_issue_leads_to_its_job(recording, version):
    """Issues name their job by another field than everything else."""
    issues = [
        json.loads(line["body"])
        for line in recording(version, "deliveries")
        if ":issue" in line["body"][:40]
    ]

    assert issues
    assert [of_document(issue).job for issue in issues] == [i["issue"]["job"] for i in issues]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_redelivery_with_its_keys_in_another_order_has_the_same_digest(recording, version):
    """CVAT stores what it sent as jsonb, which sorts keys its own way, and sends that again."""
    bodies = [line["body"].encode() for line in recording(version, "deliveries")]
    by_digest: dict[bytes, set[bytes]] = {}
    for one in bodies:
        by_digest.setdefault(parse(one).digest, set()).add(one)

    assert len(by_digest) < len(set(bodies))
    assert max(len(same) for same in by_digest.values()) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_the_servers_own_list_of_deliveries_gives_the_same_digests(recording, version):
    """Back-filling after a pause must know again what had come by webhook."""
    received = {parse(line["body"].encode()).digest for line in recording(version, "deliveries")}
    listed = [
        row["request"]
        for exchange in recording(version, "sync-daemon")
        if exchange["method"] == "GET" and exchange["path"].endswith("/deliveries")
        for row in exchange["response_body"]["json"]["results"]
    ]

    assert listed
    assert {of_document(request).digest for request in listed} <= received


def test_two_webhooks_that_tell_of_the_same_change_share_the_natural_key():
    """Organization and project may both be hooked: one change, two deliveries, one hint."""
    job = {"id": 7, "updated_date": "2026-11-22T10:18:05.975549Z"}

    one, two = parse(body(job=job, webhook_id=1)), parse(body(job=job, webhook_id=2))

    assert one.natural_key == two.natural_key == ("update:job", 7, job["updated_date"])
    assert one.digest != two.digest


@pytest.mark.parametrize(
    ("members", "sender"),
    [
        ({}, None),
        ({"sender": None}, None),
        ({"sender": {"id": 5, "username": "worker", "email": "x@example.com"}}, 5),
        ({"sender": "somebody"}, None),
        ({"sender": {"id": True}}, None),
    ],
)
def test_a_sender_may_be_short_null_or_missing(members, sender):
    """Work done by background jobs has no request and so no full user."""
    assert parse(body(job={"id": 7}, **members)).sender == sender


def test_an_unknown_event_is_taken_as_it_comes():
    """The next release will have new ones, and a 4xx would end their delivery for good."""
    delivery = parse(body(event="melted:snow[of:yesterday]", snow={"id": 3, "task_id": 9}))

    assert (delivery.kind, delivery.resource, delivery.task) == ("snow", 3, 9)


def test_a_finished_request_names_its_task_and_how_it_ended():
    """From 2.73 on, the end of an import or a merge is told; without a sender."""
    delivery = parse(
        body(
            event="completed:request[merge:task]",
            request={
                "id": "action=merge&target=task&target_id=6",
                "status": "finished",
                "operation": {"type": "merge:task", "task_id": 6, "job_id": None, "project_id": 7},
            },
            webhook_id=2,
        )
    )

    assert delivery.request == "action=merge&target=task&target_id=6"
    assert delivery.request_status == "finished"
    assert (delivery.job, delivery.task, delivery.project) == (None, 6, 7)
    assert (delivery.resource, delivery.sender, delivery.before_update) == (None, None, None)


@pytest.mark.parametrize("number", [True, 0, -1, 2**63, 1.0, "7", [7], None])
def test_only_a_positive_64_bit_integer_is_an_id(number):
    """Ids go into paths and tables."""
    assert parse(body(job={"id": number})).job is None


@pytest.mark.parametrize("date", ["yesterday", "2026-11-22", 5, "2026-11-22T10:18:04Z\n", "é" * 50])
def test_only_a_date_is_a_date(date):
    """Dates are compared with observed ones to find an author."""
    assert parse(body(job={"id": 1, "updated_date": date})).updated_date is None


def test_one_field_name_that_cannot_be_spoils_the_list_of_changes():
    """Half of a list could make a change of state look like a save of annotations."""
    changes = {"updated_date": 1, "<script>": 2}

    assert parse(body(job={"id": 1}, before_update=changes)).before_update is None
    assert parse(body(job={"id": 1}, before_update={})).before_update == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"event": 5}',
        b'{"event": "UPDATE JOB"}',
        b'{"event": "update:job\\n"}',
        b'{"event": "update:job", "x": 1e999999}',
        b'{"event": "update:job", "x": "\\ud800"}',
        b'{"event": "update:job", "x": ' + b"[" * 2_000 + b"]" * 2_000 + b"}",
        b'{"event": "update:job", "x": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"event": "ping", "pad": "' + b"x" * BODY_BYTES_MAX + b'"}',
    ],
    ids=range(13),
)
def test_a_body_that_cvat_would_not_send_is_refused_in_words(raw):
    """Whatever arrives, the receiver answers; nothing of it is repeated in the error."""
    with pytest.raises(UnreadableDelivery) as refusal:
        parse(raw)

    assert len(str(refusal.value)) < 300


@given(raw=st.binary(max_size=200) | JSON.map(lambda found: json.dumps(found).encode()))
def test_no_bytes_do_more_than_be_refused(raw):
    """One class of error, so that the receiver can catch it and nothing else."""
    with contextlib.suppress(UnreadableDelivery):
        parse(raw)


@given(resource=JSON, sender=JSON, before=JSON, webhook=JSON)
def test_no_member_of_a_delivery_can_break_it(resource, sender, before, webhook):
    """Types are checked member by member: a strange one is not believed, the rest stands."""
    raw = orjson.dumps(
        {
            "event": "update:job",
            "job": resource,
            "sender": sender,
            "before_update": before,
            "webhook_id": webhook,
        }
    )

    assert parse(raw).event == "update:job"


def test_a_date_that_is_none_is_left_out():
    """What is folded later takes dates for dates; one of month 13 would stop every fold."""
    body = b'{"event": "update:job", "job": {"id": 1, "updated_date": "2026-13-40T25:00:00Z"}}'

    found = parse(body)

    assert found.updated_date is None
