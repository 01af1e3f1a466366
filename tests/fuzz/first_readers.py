"""The code that sees foreign bytes before anybody else, one byte of the input choosing which."""

from __future__ import annotations

from daemon.cvat import deliveries
from daemon.handlers.deliveries import draft_of, received
from daemon.manifests import jsonstream
from events.canonical import NotCanonical, canonical, parse
from events.errors import SyncError
from projections.codec.cvat import Schema, annotations_from_wire, labels_from_wire
from projections.documents import digest_of, split, unaddressable

LABELS = labels_from_wire(
    [{"id": 1, "name": "car", "attributes": [{"id": 2, "name": "kind", "values": ["a"]}]}]
)


def take(data: bytes) -> None:
    """Read bytes as one thing or another; only errors of ours may end it."""
    which, body = data[:1], data[1:]
    try:
        match which[0] % 4 if which else 0:
            case 0:
                draft_of("main", received(deliveries.parse(body)))
            case 1:
                annotations_from_wire(body, Schema(LABELS))
            case 2:
                _read_sample(body)
            case _:
                _read_back(body)
    except SyncError:
        return


def _read_sample(body: bytes) -> None:
    members, labels = split(jsonstream.document(body, file="samples.json"))
    if not list(unaddressable(members)):
        digest_of(members, labels)


def _read_back(body: bytes) -> None:
    value = parse(body)
    try:
        again = canonical(value)
    except NotCanonical:
        return
    assert canonical(parse(again)) == again, "what was written reads otherwise"
