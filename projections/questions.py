"""What is decided about a job, as values: asked here, or as bytes in another process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from events.annotations import Annotation, LabelSpec
from events.job import JobDiscovered, JobSettled
from projections import jobs, merge
from projections.codec.cvat import Schema, annotations_from_wire
from projections.decision import Decision, Draft
from projections.observation import Reading, observe
from projections.streams import versions
from projections.tables import Tables


class Question(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A question about one job, to be called with the tables.

    body  bytes that it needs besides; they may be many
    """

    server: str
    job: int
    body: bytes = b""

    def __call__(self, tables: Tables) -> Decision:
        """Decide on the state as it is."""
        raise NotImplementedError


class WhatChanged(Question, frozen=True, kw_only=True):
    """What a stable read tells beyond the one before; `body` is the server's, as it came.

    What the annotations stand for must be known before others take their place: where something
    changed and some of it is not known yet, only that is decided, and this is to be asked again.

    version, members, updated_date, labels  as in `Reading`

    Raises UnreadableAnnotations, and UnknownLabel where the labels are older than the body.
    """

    version: int | None
    members: JobDiscovered
    updated_date: str
    labels: tuple[LabelSpec, ...]

    def __call__(self, tables: Tables) -> Decision:
        reading = self.reading_of(annotations_from_wire(self.body, Schema(self.labels)))
        decision = observe(tables, self.server, self.job, reading)
        if not decision.drafts:
            return decision
        links = merge.identify(tables, self.server, self.job)
        return links if links.drafts else decision

    def reading_of(self, annotations: Sequence[Annotation]) -> Reading:
        """Return the read with its annotations, which the body holds."""
        return Reading(
            version=self.version,
            job=self.members,
            updated_date=self.updated_date,
            labels=self.labels,
            annotations=annotations,
        )


class Settle(Question, frozen=True, kw_only=True):
    """That a job is settled, unless something else was observed since this position."""

    observed: int

    def __call__(self, tables: Tables) -> Decision:
        now = tables.get(jobs.JOBS, self.server, self.job)
        if now is None or merge.is_settled(now) or now.observed != self.observed:
            return Decision()
        links = merge.identify(tables, self.server, self.job)
        stream = f"job/{self.server}/{self.job}"
        settled = Draft(stream, JobSettled(updated_date=now.observed_date))
        expects = {**links.expects, **versions(tables, [stream])}
        return Decision([*links.drafts, settled], expects)


class Merge(Question, frozen=True, kw_only=True):
    """What a settled job means for its run's dataset.

    by_policy  only where the run takes such jobs over by itself
    """

    by_policy: bool = False

    def __call__(self, tables: Tables) -> Decision:
        if self.by_policy and not merge.merges_by_itself(tables, self.server, self.job):
            return Decision()
        return merge.decide(tables, self.server, self.job)


AnyQuestion: TypeAlias = WhatChanged | Settle | Merge
