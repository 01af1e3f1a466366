"""All that the merge of one job is decided from, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from events.annotations import Annotation
from events.dataset import Document
from events.run import FieldSchema, Frame
from projections import jobs, runs
from projections.attribution import UNKNOWN, Author, joined
from projections.codec.fiftyone import merged_facets
from projections.facets import Facets
from projections.identity import match
from projections.label_fields import LABELS
from projections.label_schema import LABEL_ID
from projections.matching import Candidate, Key, Known, Matching, same_facet
from projections.runs import Address, RunJobRow, RunRow, TrackedRow
from projections.tables import Tables

Row = jobs.AnnotationRow | jobs.RemovedRow
# An ObjectId in hex.
LABEL_ID_CHARS = 24


@dataclass
class JobMerge:
    """One job of a run: its annotations matched with the labels that are tracked in it."""

    tables: Tables
    run: RunRow
    run_job: RunJobRow
    job: jobs.JobRow
    tracked: dict[Address, Known] = field(default_factory=dict)
    matching: Matching = field(default_factory=Matching)
    quarantine: dict[str, runs.WaitingRow] = field(default_factory=dict)
    _was: dict[Address, Row | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.tables.scan(runs.WAITING, self.run.dataset, self.run.key, "", 0, "", ""):
            if row.what == "quarantine" and row.job == self.job.job:
                self.quarantine[row.id] = row
        held: dict[Key, Address] = {
            (part.kind, part.id): part.address
            for part in self.tables.scan(runs.PARTS, self.job.server, self.job.job)
        }
        self.tracked = {label.address: self._known(label) for label in self._labels()}
        self.matching = match(self._candidates(), self.tracked, held, self._date_us)

    def _labels(self) -> Iterator[TrackedRow]:
        """Yield the labels that are tracked in this job."""
        run, span = self.run, self.run_job
        frames = self.tables.scan(
            runs.RUN_FRAMES, run.dataset, run.key, span.index, start=(span.start_frame,)
        )
        for frame in takewhile(lambda frame: frame.frame <= span.stop_frame, frames):
            for label in self.tables.scan(runs.TRACKED, run.dataset, run.key, frame.sample):
                if label.job == self.job.job:
                    yield label

    def _known(self, label: TrackedRow) -> Known:
        was = self.was(label)
        last = self._last(label, was)
        signs = {label.label, _sign_of(was.annotation) if was else ""} - {""}
        went = was.position if isinstance(was, jobs.RemovedRow) else 0
        there = not _is_gone(label, was)
        return Known(label, last, there=there, signs=frozenset(signs), went=went)

    def was(self, label: TrackedRow) -> Row | None:
        """Return the annotation that stood for a label so far, also where it is gone."""
        if label.address not in self._was:
            self._was[label.address] = self._find(label)
        return self._was[label.address]

    def _last(self, label: TrackedRow, was: Row | None) -> Facets:
        """Return a label's facets as last shown by an annotation that stood for it."""
        if label.address in self.tracked:
            return self.tracked[label.address].last
        return merged_facets(was.annotation, self.run.field(label.field)) if was else label.seen

    def _find(self, label: TrackedRow) -> Row | None:
        for part in label.parts:
            place = (self.job.server, label.job, part.kind, part.id)
            found = self.tables.get(jobs.ANNOTATIONS, *place) or self.tables.get(
                jobs.REMOVED, *place
            )
            if found is not None:
                return found
        return None

    def origins(self, label: TrackedRow | None, candidate: Candidate, facet: str) -> frozenset[int]:
        """Return which observations may have given a facet its value; 0 among them: not known.

        label  what the candidate stands for, None where that is new
        """
        row = candidate.row
        if facet in row.touched:
            return frozenset({row.touched[facet]})
        doubt = self.matching.doubts.get(candidate.key)
        if doubt is None:
            return self._origins(label, candidate, facet) if label else frozenset({row.added})
        found = {at for one in doubt.labels for at in self._origins(one, candidate, facet)}
        return frozenset(found | {row.added} if doubt.new else found or {0})

    def _origins(self, label: TrackedRow, candidate: Candidate, facet: str) -> frozenset[int]:
        """Return the same where the candidate is sure to stand for the label.

        An annotation that took another one's place brought no value that was there before.
        """
        row, was = candidate.row, self.was(label)
        own = frozenset({row.added})
        if was is None:
            return own
        if (was.kind, was.id) == candidate.key:
            return _recorded(label, was, facet)
        if facet == "exists" and _is_gone(label, was):
            return own
        last = self._last(label, was)
        if same_facet(facet, last.get(facet), candidate.facets.get(facet)):
            touched = was.touched.get(facet)
            return frozenset({touched}) if touched else _recorded(label, was, facet)
        together = isinstance(was, jobs.RemovedRow) and was.position == row.added
        return own if together else frozenset({0})

    def authors(
        self, label: TrackedRow | None, candidate: Candidate, facets: Iterable[str]
    ) -> Author:
        """Return who gave these facets their values; all of them, or nobody is named."""
        positions = {at for name in facets for at in self.origins(label, candidate, name)}
        return joined(self.author_at(position) for position in positions)

    def tracked_at(self, address: Address) -> TrackedRow | None:
        """Return what the run knows of a label, None for one it does not track."""
        return self.tables.get(runs.TRACKED, self.run.dataset, self.run.key, *address)

    def document(self, address: Address) -> Document | None:
        """Return the label as the dataset holds it now, None where it is gone."""
        row = self.tables.get(LABELS, self.run.dataset, *address)
        return None if row is None else row.document

    def frame(self, annotation: Annotation) -> Frame | None:
        """Return whose frame an annotation is on, None for one outside the task."""
        row = self.tables.get(
            runs.RUN_FRAMES,
            self.run.dataset,
            self.run.key,
            self.run_job.index,
            annotation.frame,
        )
        if row is None:
            return None
        return Frame(sample=row.sample, name="", width_px=row.width_px, height_px=row.height_px)

    def field_of(self, cvat_label: str) -> FieldSchema | None:
        """Return the field that a CVAT label belongs to."""
        for name, classes in self.run.names.items():
            if cvat_label in classes.values():
                return self.run.field(name)
        return None

    def missing(self) -> Iterator[TrackedRow]:
        """Yield the labels whose annotations are gone, each until it was raised once.

        A class that is deleted in CVAT takes its annotations along: nobody deleted those.
        """
        for label in self.matching.missing:
            if label.seen.get("exists") and not self._went_with_class(label):
                yield label

    def author_at(self, position: int) -> Author:
        """Return who made the observation at a position, as far as is known by now."""
        row = self.tables.get(jobs.AUTHORS, self.job.server, self.job.job, position)
        if row is None:
            return UNKNOWN
        if row.learned:
            return Author(",".join(row.learned), "webhook" if len(row.learned) == 1 else "several")
        return Author(row.actor, row.evidence)

    def remover_of(self, label: TrackedRow) -> Author:
        """Return who removed the annotations of a label."""
        gone = [row for part in label.parts if (row := self._removed(label, part.kind, part.id))]
        return self.author_at(max(row.position for row in gone)) if gone else UNKNOWN

    def _date_us(self, position: int) -> int:
        row = self.tables.get(jobs.AUTHORS, self.job.server, self.job.job, position)
        return 0 if row is None else row.until_us

    def new_address(self, candidate: Candidate, target: FieldSchema) -> Address:
        """Return the address of a label that an annotation is the first to stand for."""
        row = candidate.row
        label = self.token("label", row.kind, row.id, row.added)[:LABEL_ID_CHARS]
        return Address(candidate.sample, 0, target.name, label)

    def token(self, *told: object) -> str:
        """Return a short id for something of this job: the same for the same."""
        text = "\0".join(map(str, (self.run.stream, self.job.server, self.job.job, *told)))
        return hashlib.sha256(text.encode()).hexdigest()

    def _removed(self, label: TrackedRow, kind: str, id: int) -> jobs.RemovedRow | None:
        return self.tables.get(jobs.REMOVED, self.job.server, label.job, kind, id)

    def _went_with_class(self, label: TrackedRow) -> bool:
        gone = [self._removed(label, part.kind, part.id) for part in label.parts]
        return bool(gone) and all(row is not None and row.by_schema for row in gone)

    def _candidates(self) -> Iterator[Candidate]:
        for row in self.tables.scan(jobs.ANNOTATIONS, self.job.server, self.job.job):
            annotation = row.annotation
            frame = self.frame(annotation)
            if frame is not None:
                target = self.field_of(annotation.label)
                facets = merged_facets(annotation, target) if target else {}
                sign = _sign_of(annotation)
                claim = self._claim(sign, frame.sample, target) if sign else None
                yield Candidate(row, annotation, frame.sample, facets, sign, claim)

    def _claim(self, label_id: str, sample: str, target: FieldSchema | None) -> TrackedRow | None:
        """Return the label that `label_id` names; of several the one in this field and image."""
        places = sorted(
            self.tables.scan(runs.TRACKED_IDS, self.run.dataset, self.run.key, label_id),
            key=lambda place: (
                target is None or place.field != target.name,
                place.sample != sample,
            ),
        )
        return self.tracked_at(places[0].address) if places else None


def _is_gone(label: TrackedRow, was: Row | None) -> bool:
    """Tell whether a label was told gone, and its annotation did not come back since."""
    removed = was is None or (isinstance(was, jobs.RemovedRow) and was.position < label.gone)
    return label.gone > 0 and removed


def _recorded(label: TrackedRow, row: Row, facet: str) -> frozenset[int]:
    """Return what the link of a label says of a facet of its annotation.

    It says nothing of one that was deleted and brought back under its id since.
    """
    if row.added > label.linked:
        return frozenset({row.added})
    return frozenset(label.origins.get(facet) or {row.added})


def _sign_of(annotation: Annotation) -> str:
    """Return the `label_id` that an annotation carries, "" where it carries none, or two."""
    label_id = annotation.attributes.get(LABEL_ID, "")
    return label_id if isinstance(label_id, str) else ""
