"""Read what a webhook delivery says, and believe no more of it than is needed.

A body comes from the network and may be anything. What is kept are names of events and fields,
ids and dates; every other word in it is read again from the server, where it is true.

Payloads: CVAT webhooks/signals.py (2.15), webhooks/event_handlers.py (2.73), recorded deliveries.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from events.errors import SyncError
from projections.attribution import DATES_KEPT_MAX, date_us

BODY_BYTES_MAX = 1 << 20
FIELDS_MAX = 200
ID_MAX = 2**63 - 1

EVENT = re.compile(r"[a-z_]{1,32}(?::([a-z_]{1,32})(?:\[[a-z_:]{1,64}\])?)?")
FIELD = re.compile(r"[A-Za-z0-9_]{1,64}")
DATE_CHARS_MAX = 40
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
WORD = re.compile(r"[a-z_]{1,32}")
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,512}")


class UnreadableDelivery(SyncError):
    """A webhook body is not what CVAT sends; a repetition of it would not be either."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook delivery, reduced to what may be believed under a valid signature.

    event           "update:job", "completed:request[create:task]"; unknown ones as they come
    kind            what it is about: "job", "task", "project", "issue", "comment", "request", …
    resource        its id; None for a request, whose id is text (`request`)
    job, task, project  the ids that it names, its own one among them
    updated_date    of the resource, as CVAT writes it
    before_update   names of the fields that changed; None where the server does not tell
    changes         the same from newer servers (2.73 to 2.75)
    before_date     its `updated_date` before, from `before_update` or `changes`
    sender          id of the user who did it; None when it is not told
    digest          SHA-256 of the document with sorted keys: CVAT repeats a delivery with its keys
                    in another order, so the hash of the bytes would not know it again
    """

    event: str
    kind: str
    webhook: int | None
    resource: int | None
    job: int | None
    task: int | None
    project: int | None
    updated_date: str | None
    before_update: tuple[str, ...] | None
    changes: tuple[str, ...] | None
    before_date: str | None
    sender: int | None
    request: str | None
    request_status: str | None
    digest: bytes

    @property
    def natural_key(self) -> tuple[str, int, str] | None:
        """Return (event, resource, updated_date): the same for each webhook that tells of it."""
        if self.resource is None or self.updated_date is None:
            return None
        return self.event, self.resource, self.updated_date


def parse(body: bytes) -> Delivery:
    """Read a body. Raises UnreadableDelivery; never anything else, whatever the bytes are."""
    if len(body) > BODY_BYTES_MAX:
        raise UnreadableDelivery(
            "the delivery is larger than allowed", bytes=len(body), bytes_max=BODY_BYTES_MAX
        )
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UnreadableDelivery("the delivery is not JSON", bytes=len(body)) from exc
    if not isinstance(document, dict):
        raise UnreadableDelivery("the delivery is not a JSON object", bytes=len(body))
    return of_document(document)


def of_document(document: Mapping[str, Any]) -> Delivery:
    """Read a decoded body, such as `request` in the server's own list of deliveries."""
    event = document.get("event")
    if not isinstance(event, str) or (shape := EVENT.fullmatch(event)) is None:
        raise UnreadableDelivery("the delivery does not name an event")
    kind = shape[1] or "webhook"
    resource = _object(document.get(kind))
    number = _id(resource.get("id"))
    # An issue names its job `job`; everything else says `job_id`.
    job = _id(resource.get("job_id")) or _id(resource.get("job"))
    task, project = _id(resource.get("task_id")), _id(resource.get("project_id"))
    request = request_status = None
    if kind == "request":
        request = _text(resource.get("id"), REQUEST_ID)
        request_status = _text(resource.get("status"), WORD)
        operation = _object(resource.get("operation"))
        job = job or _id(operation.get("job_id"))
        task = task or _id(operation.get("task_id"))
        project = project or _id(operation.get("project_id"))
    return Delivery(
        event=event,
        kind=kind,
        webhook=number if kind == "webhook" else _id(document.get("webhook_id")),
        resource=number,
        job=number if kind == "job" else job,
        task=number if kind == "task" else task,
        project=number if kind == "project" else project,
        updated_date=_date(resource.get("updated_date")),
        before_update=_names(document.get("before_update")),
        changes=_names(document.get("changes")),
        before_date=_before_date(document),
        sender=_id(_object(document.get("sender")).get("id")),
        request=request,
        request_status=request_status,
        digest=_digest(document),
    )


def _before_date(document: Mapping[str, Any]) -> str | None:
    """Return the resource's date before, where the server tells: 2.15 to 2.75 do."""
    before = _object(document.get("before_update")).get("updated_date")
    changed = _object(_object(document.get("changes")).get("updated_date")).get("from")
    return _date(before) or _date(changed)


def _digest(document: Mapping[str, Any]) -> bytes:
    try:
        canonical = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as exc:
        raise UnreadableDelivery("the delivery has no canonical form") from exc
    return hashlib.sha256(canonical).digest()


def _object(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _id(found: object) -> int | None:
    # True and False are integers to `isinstance`.
    return found if type(found) is int and 0 < found <= ID_MAX else None


def _text(found: object, shape: re.Pattern[str]) -> str | None:
    return found if isinstance(found, str) and shape.fullmatch(found) else None


def _date(found: object) -> str | None:
    """Return a date as CVAT writes it, if it is one."""
    if isinstance(found, str) and len(found) <= DATE_CHARS_MAX and _is_date(found):
        return found
    return None


@lru_cache(maxsize=DATES_KEPT_MAX)
def _is_date(text: str) -> bool:
    if not DATE.fullmatch(text):
        return False
    try:
        date_us(text)  # February has no 30th
    except (ValueError, OverflowError):
        return False
    return True


def _names(found: object) -> tuple[str, ...] | None:
    """Return the sorted names of the fields of an object, None when it is not one to believe."""
    if not isinstance(found, dict) or len(found) > FIELDS_MAX:
        return None
    # All or none: half of the names could make another change look like a save.
    return tuple(sorted(found)) if all(map(FIELD.fullmatch, found)) else None
