"""What a write does to the annotations of a job, and how they read back.

The rules are those of CVAT 2.15 (dataset_manager/task.py): an update is a
delete and a create with the same ids; ids are unique per table over the whole
server; labels and attributes are checked, frames and points are not. A write
is worked out whole before anything is stored, so a refused one leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from daemon.sandbox.errors import IdTaken, crashed, invalid
from daemon.sandbox.model import KINDS, Annotation, Job, Json, Label
from daemon.sandbox.state import State

# The sequences in PostgreSQL and the names of its primary keys.
TABLE_NAMES = {
    "tags": "engine_labeledimage",
    "shapes": "engine_labeledshape",
    "tracks": "engine_labeledtrack",
    "inner": "engine_trackedshape",
}
# Columns of PostgreSQL: `integer` and `varchar(16)`.
INTEGER_MAX = 2_147_483_647
SOURCE_LONGEST = 16
SHAPE_FIELDS = ("type", "occluded", "outside", "z_order", "rotation", "points")
READ_ORDER = (
    "id",
    "label_id",
    "type",
    "frame",
    "group",
    "source",
    "score",
    "occluded",
    "outside",
    "z_order",
    "rotation",
    "points",
)


@dataclass
class Write:
    """A write that was worked out and not stored yet."""

    job: Job
    removed: dict[str, set[int]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    added: dict[str, list[Annotation]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    touches: bool = False


class Writer:
    """Works out the writes of one request, and stores them together.

    Ids that the request gives or frees count for the whole request.
    """

    def __init__(self, state: State, labels: list[Label]) -> None:
        self.state = state
        self.labels = {label.id: label for label in labels}
        self.freed: dict[str, set[int]] = {name: set() for name in TABLE_NAMES}
        self.given: dict[str, set[int]] = {name: set() for name in TABLE_NAMES}
        self.writes: list[Write] = []

    def create(self, job: Job, document: Json) -> None:
        """Add a document's annotations to a job."""
        self._plan(job, document, remove={kind: set() for kind in KINDS}, add=True)

    def update(self, job: Job, document: Json) -> None:
        """Replace the annotations whose ids the document names; add the others."""
        self._plan(job, document, remove=_named(document), add=True)

    def delete(self, job: Job, document: Json) -> None:
        """Remove the annotations whose ids the document names; unknown ids are no error."""
        self._plan(job, document, remove=_named(document), add=False)

    def replace(self, job: Job, document: Json) -> None:
        """Make the document all that a job holds."""
        self._plan(job, document, remove={k: set(job.table(k)) for k in KINDS}, add=True)

    def _plan(self, job: Job, document: Json, *, remove: dict[str, set[int]], add: bool) -> None:
        write = Write(job)
        for kind in KINDS:
            write.removed[kind] = remove[kind] & set(job.table(kind))
            for row_id in write.removed[kind]:
                for table, taken in ids_within(kind, job.table(kind)[row_id]):
                    self.freed[table].add(taken)
        write.touches = any(document[kind] for kind in KINDS) or any(write.removed.values())
        if add:
            for kind in KINDS:
                write.added[kind] = [self._made(kind, row) for row in document[kind]]
        self.writes.append(write)

    def _made(self, kind: str, row: Annotation) -> Annotation:
        self._check(kind, row)
        check_columns(row)
        made = dict(row)
        made["id"] = self._id(kind, row.get("id"))
        if kind == "shapes":
            made["elements"] = [
                each | {"id": self._id("shapes", each.get("id"))} for each in row["elements"]
            ]
        if kind == "tracks":
            made["shapes"] = self._keyframes(row)
            made["elements"] = [
                each | {"id": self._id("tracks", each.get("id")), "shapes": self._keyframes(each)}
                for each in row["elements"]
            ]
        return made

    def _keyframes(self, track: Annotation) -> list[Annotation]:
        return [
            shape | {"id": self._id("inner", shape.get("id"))}
            for shape in starting_at(track["frame"], track["shapes"])
        ]

    def _check(self, kind: str, row: Annotation) -> None:
        label = self.labels.get(row["label_id"])
        if label is None:
            raise invalid(f"label_id `{row['label_id']}` is invalid")
        self._check_specs(label, row["attributes"], False if kind == "tracks" else None)
        if kind == "tracks":
            for shape in row["shapes"]:
                self._check_specs(label, shape["attributes"], True)
        for element in row.get("elements", ()):
            self._check(kind, element)

    def _check_specs(self, label: Label, values: list[Json], mutable: bool | None) -> None:
        for value in values:
            spec = label.specs.get(value["spec_id"])
            if spec is None or mutable not in (None, spec.mutable):
                raise invalid(f"spec_id `{value['spec_id']}` is invalid")

    def _id(self, table: str, wanted: int | None) -> int:
        row_id = self.state.next_id(table) if wanted is None else wanted
        taken = row_id in self.state.taken[table] and row_id not in self.freed[table]
        if taken or row_id in self.given[table]:
            raise IdTaken(TABLE_NAMES[table], row_id)
        self.given[table].add(row_id)
        return row_id

    def store(self) -> list[Job]:
        """Store all writes; returns the jobs that were written, in order."""
        for table in TABLE_NAMES:
            self.state.taken[table] -= self.freed[table]
            self.state.taken[table] |= self.given[table]
        for write in self.writes:
            for kind in KINDS:
                table_of_job = write.job.table(kind)
                for row_id in write.removed[kind]:
                    del table_of_job[row_id]
                table_of_job.update({row["id"]: row for row in write.added[kind]})
            write.job.writes += write.touches
        return [write.job for write in self.writes if write.touches]


def _named(document: Json) -> dict[str, set[int]]:
    return {kind: {row["id"] for row in document[kind] if row.get("id")} for kind in KINDS}


def ids_within(kind: str, row: Annotation) -> Iterator[tuple[str, int]]:
    """Yield (table, id) of an annotation and of all that hangs on it."""
    yield kind, row["id"]
    if kind == "tracks":
        yield from (("inner", shape["id"]) for shape in row["shapes"])
    for element in row.get("elements", ()):
        yield from ids_within(kind, element)


def forget_ids(state: State, kind: str, row: Annotation) -> None:
    """Free the ids of an annotation that went with its label or its task."""
    for table, row_id in ids_within(kind, row):
        state.taken[table].discard(row_id)


def check_columns(row: Annotation) -> None:
    """Crash (500) on what the columns of the database do not hold, as its client does.

    Read in the source, not measured: nobody catches the database's DataError.
    """
    numbers = [row.get(name) or 0 for name in ("frame", "group", "z_order")]
    if any(abs(value) > INTEGER_MAX for value in numbers):
        raise crashed()
    if len(row.get("source", "")) > SOURCE_LONGEST:
        raise crashed()
    for inner in (*row.get("shapes", ()), *row.get("elements", ())):
        check_columns(inner)


def starting_at(frame: int, shapes: list[Annotation]) -> list[Annotation]:
    """Give a track a keyframe at its own frame: CVAT adds one that is outside."""
    if not shapes or shapes[0]["frame"] <= frame:
        return shapes
    return [{**shapes[0], "frame": frame, "outside": True, "id": None}, *shapes]


def written(kind: str, row: Annotation) -> Json:
    """Show an annotation as the answer to a write: as sent, with its id, nothing filled in."""
    top = {name: row[name] for name in SHAPE_FIELDS if kind == "shapes" and name in row}
    top |= {name: row[name] for name in ("id", "frame", "label_id", "group", "source")}
    top |= {"score": row["score"]} if "score" in row else {}
    top["attributes"] = row["attributes"]
    if kind == "tracks":
        top["shapes"] = [_written_keyframe(shape) for shape in row["shapes"]]
    if "elements" in row:
        top["elements"] = [written(kind, element) for element in row["elements"]]
    return top


def _written_keyframe(shape: Annotation) -> Json:
    shown = {name: shape[name] for name in SHAPE_FIELDS if name in shape}
    shown |= {name: shape[name] for name in ("id", "frame", "attributes")}
    return shown | {"keyframe": True} if "keyframe" in shape else shown


class Reader:
    """Shows a job's annotations with today's attribute defaults filled in."""

    def __init__(self, labels: list[Label]) -> None:
        self.labels = {label.id: label for label in labels}

    def document(self, job: Job) -> Json:
        """Return all annotations of a job as `LabeledData`.

        Shapes come by frame. Within a frame, and within one shape's
        attributes, CVAT promises no order; here it turns with every write.
        """
        shown: Json = {"version": 0}
        for kind in KINDS:
            rows = sorted(job.table(kind).values(), key=lambda row: _place(row, job.writes))
            shown[kind] = [self.annotation(kind, row, job.writes) for row in rows]
        return shown

    def annotation(self, kind: str, row: Annotation, turn: int) -> Json:
        """Show one annotation as GET does: numbers as floats, all attributes."""
        label = self.labels[row["label_id"]]
        shown = _read(row)
        # A track's own attributes cannot change over time; its keyframes' can.
        own = [False] if kind == "tracks" else [False, True]
        values = self._filled(label, row, own, turn)
        if kind == "tracks":
            shown["shapes"] = [
                _read(shape) | {"attributes": self._filled(label, shape, [True], turn)}
                for shape in sorted(row["shapes"], key=lambda shape: shape["frame"])
            ]
        shown["attributes"] = values
        if "elements" in row:
            shown["elements"] = [self.annotation(kind, each, turn) for each in row["elements"]]
        return shown

    def _filled(self, label: Label, row: Annotation, mutable: list[bool], turn: int) -> list[Json]:
        specs = [spec for spec in label.specs.values() if spec.mutable in mutable]
        sent = [value for value in row["attributes"] if value["spec_id"] in label.specs]
        known = {value["spec_id"] for value in sent}
        values = [dict(value) for value in sent]
        values += [
            {"spec_id": spec.id, "value": spec.default_value}
            for spec in specs
            if spec.id not in known
        ]
        shift = (row["id"] + turn) % len(values) if values else 0
        return values[shift:] + values[:shift]


def _place(row: Annotation, turn: int) -> tuple[int, int]:
    # Two primes mix ids so that each write leaves another order.
    return row["frame"], row["id"] * 7919 * (2 * turn + 1) % 104_729


def _read(row: Annotation) -> Json:
    shown = {name: row[name] for name in READ_ORDER if name in row}
    for name in shown.keys() & {"score", "rotation"}:
        shown[name] = float(shown[name])
    if "points" in shown:
        shown["points"] = [float(value) for value in shown["points"]]
    return shown
