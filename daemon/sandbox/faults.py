"""What goes wrong, when, and how often: set by tests and the demo.

All faults are counted, none is rolled: the same calls meet the same faults.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

RequestKind: TypeAlias = Literal["reset", "before", "after", "reset-after"]


@dataclass
class RequestFault:
    """A fault of some of the requests.

    kind    "reset": the connection ends before anything is done;
            "before": an error answer, nothing is done;
            "after": an error answer, and all is done (CVAT does this);
            "reset-after": all is done, the connection ends without an answer
    method  HTTP method, or any
    path    regular expression that the whole path must match
    skip    how many matching requests pass first
    times   how many are hit after that
    status  of the error answer
    """

    kind: RequestKind
    method: str | None = None
    path: str = ".*"
    skip: int = 0
    times: int = 1
    status: int = 500

    def hits(self, method: str, path: str) -> bool:
        """Tell whether this request is hit, and count it."""
        if self.method not in (None, method) or not re.fullmatch(self.path, path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return self.times >= 0


@dataclass
class Faults:
    """The faults of one sandbox; may be changed while it runs.

    Deliveries are counted from 1 in the order in which they are sent. Set
    `next_delivery` to name faults relative to now: `faults.lose.add(faults.next_delivery)`.

    lose             deliveries that are dropped before the receiver sees them
    repeat           deliveries that are sent twice
    pace_s           seconds between one delivery and the next (a real 2.15: 0.1, 2.73: 0.2)
    delay_s          delivery → seconds of waiting before it (all later ones wait too)
    hold_back        delivery → how many later ones overtake it
    shuffle_keys     deliveries whose JSON keys are in the stored order, signed anew
    latency_s        seconds before each request is looked at
    task_queue_s     seconds from the upload until a worker begins: until then it is queued
    task_creation_s  seconds from the upload to the jobs; 0 makes them within the upload
    requests         faults of requests; the first that hits counts
    spoiled          (path, id) → members that this object shows wrongly there, also as a row of the
                     list at that path: ("/api/jobs", 7) → {"task_id": "3"}; `...` leaves one out
    """

    lose: set[int] = field(default_factory=set)
    repeat: set[int] = field(default_factory=set)
    pace_s: float = 0.0
    delay_s: dict[int, float] = field(default_factory=dict)
    hold_back: dict[int, int] = field(default_factory=dict)
    shuffle_keys: set[int] = field(default_factory=set)
    latency_s: float = 0.0
    task_queue_s: float = 0.0
    task_creation_s: float = 0.05
    requests: list[RequestFault] = field(default_factory=list)
    spoiled: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    next_delivery: int = 1

    def of_request(self, method: str, path: str) -> RequestFault | None:
        """Return the fault that hits this request, if any."""
        return next((fault for fault in self.requests if fault.hits(method, path)), None)

    def spoil(self, path: str, body: Any) -> Any:
        """Return an answer's body as it is shown at this path."""
        if not self.spoiled or not isinstance(body, dict):
            return body
        if isinstance(body.get("results"), list):
            return body | {"results": [self._shown(path, row) for row in body["results"]]}
        return self._shown(path, body)

    def _shown(self, path: str, row: Any) -> Any:
        members = self.spoiled.get((path, row.get("id", 0)), {}) if isinstance(row, dict) else {}
        shown = row | members if members else row
        return {k: v for k, v in shown.items() if v is not ...} if members else row
