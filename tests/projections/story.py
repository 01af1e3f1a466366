"""A run told in plain values: a dataset, one job on a server, looks at it, and merges.

No clock, no network, no store: facts are folded as they are decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from events.annotations import Annotation, LabelSpec, Shape, kind_of
from events.dataset import DatasetLabelsChanged, DatasetOpened, LabelChange, SamplesAdded
from events.envelope import Evidence, Recorded
from events.job import JobDiscovered, JobSettled
from events.registry import Fact
from events.run import Frame, JobRange, LabelsUploaded, MediaUploaded, TaskCreated
from events.server import DeliveryReceived
from projections import jobs, merge, runs
from projections.decision import Decision, Draft
from projections.folds import FOLDS
from projections.label_fields import LABELS
from projections.observation import Reading, observe
from projections.streams import versions
from projections.tables import MemoryTables
from projections.upload import AnnotateRequest, FieldRequest, labels_for, request_run

F = TypeVar("F", bound=Fact)
WIDTH_PX, HEIGHT_PX = 200, 100
JOB = 7
OWN, BOB, CAROL = 1, 2, 3
START = datetime(2026, 1, 1, tzinfo=UTC)


def oid(number: int) -> str:
    """Return a document id."""
    return f"{number:024x}"


def box(number: int, label: str = "car", **members: Any) -> dict[str, Any]:
    """Return a Detection; `$number` keeps the text of the source."""
    place = [0.1, {"$number": "0.20"}, 0.25, 0.5]
    return {
        "_id": {"$oid": oid(number)},
        "_cls": "Detection",
        "label": label,
        "bounding_box": place,
        **members,
    }


def sample(number: int, *boxes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a sample with a field of boxes."""
    gt = {"_cls": "Detections", "detections": list(boxes)}
    return {"_id": {"$oid": oid(number)}, "filepath": f"/{number}.jpg", "gt": gt, **fields}


def date(second: float) -> str:
    """Return a date as CVAT writes it."""
    return (START + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")


class Story:
    """State that follows from the facts told so far, and what the server shows."""

    def __init__(self) -> None:
        self.tables = MemoryTables()
        self.log: list[tuple[Recorded, Fact]] = []
        self.second = 0.0
        self.shown: dict[tuple[str, int], Annotation] = {}
        self.labels: tuple[LabelSpec, ...] = ()

    # The log

    def tell(
        self, stream: str, fact: Fact, actor: str | None = None, evidence: Evidence = "unknown"
    ) -> int:
        """Fold a fact; return its position."""
        position = len(self.log) + 1
        at = Recorded(
            position=position,
            stream=stream,
            version=versions(self.tables, [stream])[stream] + 1,
            id=position.to_bytes(16, "big"),
            type=type(fact).__name__,
            schema=1,
            recorded_at=position,
            occurred_at=None,
            actor=actor,
            evidence=evidence,
            correlation=None,
            causation=None,
            codec="json",
            payload=b"{}",
            leaf=bytes(32),
        )
        self.log.append((at, fact))
        for fold in FOLDS:
            fold.apply(self.tables, at, fact)
        return position

    def carry_out(self, decision: Decision) -> list[Draft]:
        """Fold a decision; the versions that it was taken at must be today's."""
        assert dict(decision.expects) == versions(self.tables, decision.expects)
        for draft in decision.drafts:
            self.tell(draft.stream, draft.fact, draft.actor, draft.evidence)
        return list(decision.drafts)

    # A dataset and a run

    def open(self, *samples: dict[str, Any], fields: Sequence[dict[str, str]] = ()) -> None:
        """Open the dataset with samples."""
        gt = {"name": "gt", "embedded_doc_type": "fiftyone.core.labels.Detections"}
        metadata: dict[str, Any] = {"sample_fields": [gt, *fields]}
        self.tell("dataset/d", DatasetOpened(format="fiftyone", metadata=metadata))
        self.tell("dataset/d", SamplesAdded(samples=samples))

    def annotate(self, *fields: FieldRequest, **options: Any) -> LabelsUploaded:
        """Carry a run to the server's one job; return what was uploaded."""
        asked = AnnotateRequest(
            dataset="d",
            key="k",
            server="main",
            fields=fields or (FieldRequest(name="gt"),),
            **options,
        )
        self.carry_out(request_run(self.tables, asked))
        run = self.tables.get(runs.RUNS, "d", "k")
        assert run is not None
        self.labels = with_ids(run.labels)
        planned = self.tables.get(runs.RUN_TASKS, "d", "k", 0)
        assert planned is not None
        frames = tuple(
            Frame(sample=name, name="", width_px=WIDTH_PX, height_px=HEIGHT_PX)
            for name in planned.samples
        )
        spans = (JobRange(job=JOB, start_frame=0, stop_frame=len(frames) - 1),)
        self.tell(run.stream, TaskCreated(index=0, task=5))
        self.tell(run.stream, MediaUploaded(index=0, task=5, frames=frames, jobs=spans))
        return self._upload(run.stream)

    def _upload(self, stream: str) -> LabelsUploaded:
        batch = labels_for(self.tables, "main", JOB, self.labels)
        sent = tuple(
            msgspec.structs.replace(
                one, annotation=msgspec.structs.replace(one.annotation, id=number)
            )
            for number, one in enumerate(batch.uploaded, 1)
        )
        uploaded = LabelsUploaded(job=JOB, labels=sent, unsent=tuple(batch.unsent))
        self.put(*(one.annotation for one in sent), by=None)
        for draft in self.look().drafts:
            self.tell(draft.stream, draft.fact, f"main/{OWN}", "own write")
        self.tell(stream, uploaded)
        return uploaded

    # The server

    def put(
        self, *annotations: Annotation, gone: Iterable[Annotation] = (), by: int | None = BOB
    ) -> None:
        """Save: add or replace annotations by id, delete others; CVAT tells who did it."""
        before, self.second = self.second, self.second + 1
        self.shown |= {(kind_of(one), one.id): one for one in annotations}
        for one in gone:
            del self.shown[kind_of(one), one.id]
        if by is not None:
            self.deliver(before, self.second, by)

    def deliver(self, before: float, after: float, sender: int) -> None:
        """Bring the delivery of one save."""
        delivery = DeliveryReceived(
            event="update:job",
            job=JOB,
            updated_date=date(after),
            before_update=("updated_date",),
            before_date=date(before),
            sender=sender,
            body_hash=f"{before}-{after}-{sender}",
        )
        self.tell("server/main", delivery)

    def reading(self, **members: Any) -> Reading:
        """Return a stable read of the job as it is."""
        job = JobDiscovered(task=5, start_frame=0, stop_frame=9, created_date=date(0))
        read = Reading(
            job=job,
            updated_date=date(self.second),
            labels=self.labels,
            annotations=list(self.shown.values()),
        )
        return msgspec.structs.replace(read, **members)

    def look(self, **members: Any) -> Decision:
        """Decide what a look at the job tells; nothing is recorded."""
        return observe(self.tables, "main", JOB, self.reading(**members))

    def observed(self) -> list[Draft]:
        """Look and record, and know the annotations again."""
        drafts = self.carry_out(self.look())
        self.carry_out(merge.identify(self.tables, "main", JOB))
        return drafts

    def settle(self) -> None:
        """Call the job quiet."""
        self.tell(f"job/main/{JOB}", JobSettled(updated_date=date(self.second)))

    def merged(self) -> list[Draft]:
        """Look, settle and merge; return what was decided."""
        self.observed()
        self.settle()
        return self.carry_out(merge.decide(self.tables, "main", JOB))

    # The dataset

    def change(self, number: int, *, sample: int = 0, field: str = "gt", **new: Any) -> None:
        """Change members of a label on the dataset's side."""
        held = self.document(number, sample=sample, field=field)
        assert held is not None
        old = {name: held[name] for name in new if name in held}
        change = LabelChange(sample=oid(sample), field=field, label=oid(number), old=old, new=new)
        self.tell("dataset/d", DatasetLabelsChanged(changes=(change,)))

    def remove(self, number: int, *, sample: int = 0) -> None:
        """Remove a label on the dataset's side."""
        held = self.document(number, sample=sample)
        change = LabelChange(sample=oid(sample), field="gt", label=oid(number), old=held)
        self.tell("dataset/d", DatasetLabelsChanged(changes=(change,)))

    def document(
        self, number: int | str, *, sample: int = 0, field: str = "gt"
    ) -> dict[str, Any] | None:
        """Return a label as the dataset holds it."""
        label = oid(number) if isinstance(number, int) else number
        row = self.tables.get(LABELS, "d", oid(sample), 0, field, label)
        return None if row is None else row.document

    def ids(self, *, sample: int = 0, field: str = "gt") -> list[str]:
        """Return the ids of the labels in a field."""
        return [row.label for row in self.tables.scan(LABELS, "d", oid(sample), 0, field)]

    def waiting(self, what: str) -> list[runs.WaitingRow]:
        """Return what waits for a decision."""
        rows = self.tables.scan(runs.WAITING, "d", "k")
        return [row for row in rows if row.what == what and not row.settled]

    def shape(self, number: int) -> Shape:
        """Return an uploaded box as the server shows it."""
        shape = self.shown["shape", number]
        assert isinstance(shape, Shape)
        return shape

    def job(self) -> jobs.JobRow:
        """Return what is known of the job."""
        row = self.tables.get(jobs.JOBS, "main", JOB)
        assert row is not None
        return row


def facts(drafts: Iterable[Draft], kind: type[F]) -> list[F]:
    """Pick the facts of one type."""
    return [draft.fact for draft in drafts if isinstance(draft.fact, kind)]


def with_ids(labels: Iterable[LabelSpec]) -> tuple[LabelSpec, ...]:
    """Return labels as a server has them: with ids."""
    return tuple(
        msgspec.structs.replace(
            label,
            id=nth,
            attributes=tuple(
                msgspec.structs.replace(spec, id=nth * 100 + k)
                for k, spec in enumerate(label.attributes)
            ),
        )
        for nth, label in enumerate(labels, 1)
    )


def moved(shape: Shape, by_px: float = 10.0) -> Shape:
    """Return a box somewhere else."""
    points = tuple(value + by_px for value in shape.points)
    return msgspec.structs.replace(shape, points=points)


def having(annotation: Any, **attributes: str) -> Any:
    """Return an annotation with other attribute values."""
    values = {**annotation.attributes, **attributes}
    return msgspec.structs.replace(annotation, attributes=dict(sorted(values.items())))


def renumbered(annotation: Any, number: int, **attributes: str) -> Any:
    """Return an annotation under another id."""
    return msgspec.structs.replace(having(annotation, **attributes), id=number)


def drawn(number: int, frame: int = 0, label: str = "car", **members: Any) -> Shape:
    """Return a box that somebody drew."""
    points = (1.0, 2.0, 31.0, 42.0)
    empty = {"label_id": "", **members.pop("attributes", {})}
    return Shape(
        id=number, frame=frame, label=label, type="rectangle", points=points,
        attributes=empty, **members,
    )  # fmt: skip
