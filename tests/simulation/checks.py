"""What must hold when all is quiet."""

from __future__ import annotations

from collections import Counter
from typing import Any

from events.dataset import DatasetLabelsChanged
from events.run import LabelsMerged, LabelsUploaded
from projections import jobs, runs
from projections.fold import replay
from projections.folds import FOLDS
from projections.label_fields import LABELS
from projections.tables import MemoryTables
from tests.simulation.truth import Facets
from tests.simulation.witness import Address, Witness, key_of
from tests.simulation.world import HEIGHT_PX, WIDTH_PX, World


def check_recorded(world: World, witness: Witness) -> None:
    """The recorded annotations are the server's, job by job."""
    for job in world.jobs():
        assert witness.recorded.get(job, {}) == world.shown(job), f"job {job}"


def check_replay(world: World, live: MemoryTables) -> None:
    """Fresh tables, filled from the log alone, are the live ones."""
    reader = world.disk.reader()
    fresh = MemoryTables()
    replay(FOLDS, fresh, ((at, reader.fact(at)) for at in reader.read()))
    assert fresh.dump() == live.dump()


def check_raised_once(world: World, tables: MemoryTables) -> None:
    """One facet of one label waits for one decision at most."""
    seen: Counter[Any] = Counter()
    for row in tables.scan(runs.WAITING, "d", "k"):
        if row.edit is not None:
            seen.update((row.sample, row.field, row.label, facet) for facet in row.edit.facets)
    assert [facet for facet, n in seen.items() if n > 1] == []


def check_labels(world: World, witness: Witness, tables: MemoryTables) -> None:
    """Each annotation is one label of the dataset, with its values, unless that waits."""
    rows = list(tables.scan(runs.WAITING, "d", "k"))
    waiting = {
        (row.sample, row.field, row.label, facet)
        for row in rows
        if row.edit is not None
        for facet in row.edit.facets
    }
    quarantined = {key_of(row.annotation) for row in rows if row.annotation is not None}
    stands = {(row.kind, row.id): row.address for row in tables.scan(runs.PARTS, "main")}
    here = {key: (job, it) for job in world.jobs() for key, it in world.truth.last(job).items()}
    for key, (job, thing) in here.items():
        if key not in stands:
            assert key in quarantined, f"{key} is no label: {thing}"
            continue
        sample, _, field, label = stands[key]
        waits = {facet for *where, facet in waiting if where == [sample, field, label]}
        row = tables.get(LABELS, "d", *stands[key])
        if (sample, field, label) in witness.theirs:
            continue
        if row is not None:
            _check_values(row.document, thing.facets, waits, key in quarantined)
        elif "exists" not in waits:
            assert key in quarantined, f"{stands[key]} stands for {key} and is not there"
        _check_identity(world, witness, job, thing.name, (sample, field, label))
    kept = {(row.sample, row.frame, row.field, row.label) for row in tables.scan(LABELS, "d")}
    on_server = {tuple(stands[key]) for key in here if key in stands}
    for sample, _, field, label in kept - on_server:
        waits = {where[:3] for where in waiting}
        known = (sample, field, label) in waits | witness.theirs
        assert known, f"{label} of {sample} is on no server"


def _check_values(document: Any, facets: Facets, waits: set[str], quarantined: bool) -> None:
    if "class" not in waits and not quarantined:
        assert document["label"] == facets["class"]
    if "geometry" in facets and "geometry" not in waits:
        _check_box(document["bounding_box"], facets["geometry"])


def _check_identity(world: World, witness: Witness, job: int, name: str, where: Address) -> None:
    """What was sent is known by its own address, as long as anything of it could be known."""
    truth = world.truth
    for sent, sent_name in witness.uploaded.items():
        if sent_name == name and sent != where:
            known = not truth.has_double(name) and not witness.out_of_sight(job, name)
            assert not known, f"{sent} became {where}"


def _check_box(box_rel: Any, points_px: list[float]) -> None:
    x, y, width, height = (float(v["$number"]) if isinstance(v, dict) else v for v in box_rel)
    found = [x * WIDTH_PX, y * HEIGHT_PX, (x + width) * WIDTH_PX, (y + height) * HEIGHT_PX]
    assert all(abs(a - b) < 1e-3 for a, b in zip(found, points_px, strict=True))


def check_named(world: World, tables: MemoryTables) -> None:
    """Every label that was sent and is no more in its field has an event that took it out."""
    reader = world.disk.reader()
    removed = set()
    before = set()
    for at in reader.read():
        match reader.fact(at):
            case LabelsUploaded(labels=labels):
                before |= {(sent.sample, sent.field, sent.label) for sent in labels}
            case LabelsMerged(edits=edits):
                removed |= {(e.sample, e.field, e.label) for e in edits if e.operation == "removed"}
            case DatasetLabelsChanged(changes=changes):
                removed |= {(c.sample, c.field, c.label) for c in changes if c.new is None}
    now = {(row.sample, row.field, row.label) for row in tables.scan(LABELS, "d")}
    assert before - now <= removed


def check_documents(witness: Witness, tables: MemoryTables) -> None:
    """The label fields are what the events say, word by word."""
    held = {(row.sample, row.field, row.label): row.document for row in tables.scan(LABELS, "d")}
    assert held == witness.documents


def check_settled(world: World, tables: MemoryTables) -> None:
    """Nothing is left half done."""
    for row in tables.scan(jobs.JOBS, "main"):
        assert row.condition == ""
        assert row.settled >= row.observed
