"""What must hold of each event, at the moment when it comes to be in the log.

Judged from the events and the world's truth alone; no table is looked at.
"""

from __future__ import annotations

from typing import Any

from events.annotations import Annotation, Shape
from events.dataset import DatasetLabelsChanged, Document, LabelChange, SamplesAdded
from events.envelope import Recorded
from events.job import AnnotationsObserved, Change, JobSchemaChanged
from events.registry import Fact
from events.run import (
    ConflictRaised,
    EditRejected,
    LabelEdit,
    LabelQuarantined,
    LabelsLinked,
    LabelsMerged,
    LabelsUploaded,
)
from tests.simulation.truth import Facets, Key, Write
from tests.simulation.world import World, date_us

Address = tuple[str, str, str]
NAMED = ("webhook", "several")
LABEL_ID = "attribute:label_id"
# Two boxes that have so much in common are one that moved, where no other has as much as this.
NEAR_MIN, FAR_MAX = 0.6, 0.25


class Witness:
    """Looks at each event as it comes to be in the log."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.observed_us: dict[int, int] = {}
        self.recorded: dict[int, dict[Key, Facets]] = {}
        self.uploaded: dict[Address, str] = {}
        self.keys: dict[Address, Key] = {}
        self.looks: dict[int, list[int]] = {}
        # Names of objects, and the look at which it was decided that they are gone.
        self.told_gone: set[tuple[str, int]] = set()
        self.documents: dict[Address, Document] = {}
        # As both sides had it last.
        self.agreed: dict[Address, Document] = {}
        # Labels that the dataset's side had a hand in.
        self.theirs: set[Address] = set()
        world.disk.witnesses.append(self.saw)

    def saw(self, at: Recorded, fact: Fact) -> None:
        """Check one event."""
        self.world.counts[f"event: {at.type}"] += 1
        match fact:
            case SamplesAdded() | DatasetLabelsChanged():
                self._told(fact)
            case AnnotationsObserved():
                self._observed(at, fact)
            case JobSchemaChanged():
                self._carried(at, fact)
            case LabelsUploaded() | LabelsLinked():
                self._linked(fact)
            case LabelsMerged() | EditRejected():
                self._decided(at, fact)
            case LabelQuarantined():
                self._quarantined(at, fact)
            case ConflictRaised():
                for conflict in fact.conflicts:
                    self._edited(at, fact.job, conflict.edit)

    def _linked(self, fact: LabelsUploaded | LabelsLinked) -> None:
        match fact:
            case LabelsUploaded():
                for sent in fact.labels:
                    address = (sent.sample, sent.field, sent.label)
                    self.keys[address] = key_of(sent.annotation)
                    self.uploaded[address] = self.world.truth.names[key_of(sent.annotation)]
            case LabelsLinked():
                for link in fact.links:
                    self.world.counts[f"link: {link.method}"] += 1
                    part = link.parts[0]
                    self.keys[link.sample, link.field, link.label] = (part.kind, part.id)

    # What the dataset holds

    def _told(self, fact: SamplesAdded | DatasetLabelsChanged) -> None:
        for change in fact.changes if isinstance(fact, DatasetLabelsChanged) else ():
            self._changed(change)
        for document in fact.samples if isinstance(fact, SamplesAdded) else ():
            sample: Any = document
            labels = {"gt": sample["gt"]["detections"], "weather": [sample.get("weather")]}
            for field, held in labels.items():
                for label in filter(None, held):
                    where = sample["_id"]["$oid"], field, label["_id"]["$oid"]
                    self.documents[where] = self.agreed[where] = label

    def _changed(self, change: LabelChange) -> None:
        where = (change.sample, change.field, change.label)
        self.theirs.add(where)
        if change.new is None:
            del self.documents[where]
        elif change.old is None:
            self.documents[where] = change.new
        else:
            self.documents[where] = {**self.documents[where], **change.new}

    def _not_overwritten(self, edit: LabelEdit) -> None:
        """What the dataset's side changed stays, unless both sides say the same."""
        where = (edit.sample, edit.field, edit.label)
        held = self.documents.get(where)
        agreed = self.agreed.get(where)
        if edit.operation == "added":
            assert held is None
            self.documents[where] = self.agreed[where] = edit.new or {}
        elif edit.operation == "removed":
            assert edit.old == held, "what goes is told as it was"
            assert held in (None, agreed), f"{where} was changed in the dataset, and is lost"
            self.documents.pop(where, None)
        elif held is not None and agreed is not None:
            old, new = edit.old or {}, edit.new or {}
            for member in old.keys() | new.keys():
                assert held.get(member) == old.get(member), "what changes is told as it was"
                assert held.get(member) == agreed.get(member), f"{where} was overwritten"
            self.documents[where] = _with(held, old, new)
            same = {
                _member(facet): held[_member(facet)]
                for facet, value in edit.facets.items()
                if _says(held, facet, value)
            }
            self.agreed[where] = _with(agreed, old, new) | same
        else:
            assert not edit.old
            assert not edit.new

    # What was observed

    def _observed(self, at: Recorded, fact: AnnotationsObserved) -> None:
        job = int(at.stream.rpartition("/")[2])
        now = self.recorded.setdefault(job, {})
        for gone in fact.removed:
            assert now.pop(key_of(gone)) == facets_of(gone), "what is removed is told as it was"
        for change in fact.changed:
            _apply(now, change)
        for added in fact.added:
            assert key_of(added) not in now
            now[key_of(added)] = facets_of(added)
        until_us = date_us(fact.updated_date)
        if at.evidence in NAMED:
            self._check_authors(at, job, fact, date_us(fact.since or ""), until_us)
        self.world.counts[f"evidence of observations: {at.evidence}"] += 1
        self.observed_us[job] = until_us
        self.looks.setdefault(job, []).append(until_us)

    def _check_authors(
        self, at: Recorded, job: int, fact: AnnotationsObserved, since_us: int, until_us: int
    ) -> None:
        named = _users(at)
        told = {(key_of(a), "gone") for a in fact.removed}
        told |= {(key_of(a), "exists") for a in fact.added}
        told |= {
            ((change.kind, change.id), facet)
            for change in fact.changed
            for facet in change.old.keys() | change.new.keys()
        }
        for write in self.world.truth.between(job, since_us, until_us):
            if told & write.touched:
                assert write.user in named, f"{write.user} did it, {named} named at {at.position}"
        assert len(named) == 1 or at.evidence == "several"

    def _carried(self, at: Recorded, fact: JobSchemaChanged) -> None:
        now = self.recorded.setdefault(int(at.stream.rpartition("/")[2]), {})
        for change in fact.carried:
            _apply(now, change)
        for gone in fact.removed:
            del now[key_of(gone)]

    # What was merged

    def _decided(self, at: Recorded, fact: LabelsMerged | EditRejected) -> None:
        for edit in fact.edits:
            self._edited(at, fact.job, edit)
            if isinstance(fact, LabelsMerged):
                self._not_lost(fact.job, edit)
                self._not_overwritten(edit)

    def _edited(self, at: Recorded, job: int, edit: LabelEdit) -> None:
        self.world.counts[f"evidence of edits: {at.evidence}"] += len(edit.facets)
        if edit.facets == {"exists": False}:
            name = self._name_of((edit.sample, edit.field, edit.label))
            self.told_gone.add((name, self.observed_us[job]))
        if at.evidence not in NAMED:
            return
        write = self.world.truth.at(job, self.observed_us[job])
        name = self._name_of((edit.sample, edit.field, edit.label))
        assert write is not None
        if self.out_of_sight(job, name):
            self.world.counts["edits of what nobody could know again"] += 1
            return
        for authors in self._authors(job, write, name, edit):
            assert authors & _users(at), f"{authors} did {edit}, {at.actor} is named"

    def _quarantined(self, at: Recorded, fact: LabelQuarantined) -> None:
        write = self.world.truth.at(fact.job, self.observed_us[fact.job])
        name = self.world.truth.names[key_of(fact.annotation)]
        assert write is not None
        if at.evidence not in NAMED or self.world.truth.has_double(name):
            return
        if not self.out_of_sight(fact.job, name):
            assert self._gave(fact.job, write, name, "class") & _users(at)

    def _authors(self, job: int, write: Write, name: str, edit: LabelEdit) -> list[frozenset[int]]:
        if edit.operation == "added":
            if self.world.truth.is_copied(name):
                return [self._makers(write, name) | self._brought(job, name)]
            facets = {"exists", *edit.facets}
        elif edit.facets == {"exists": False}:
            return [self._removed(job, write, name)] if name in write.gone else []
        else:
            facets = set(edit.facets)
        return [
            self._gave(job, write, name, facet)
            for facet in facets
            if (name, facet) in write.authors
        ]

    def _gave(self, job: int, write: Write, name: str, facet: str) -> frozenset[int]:
        """Return who gave a facet the value that it shows.

        What was changed and changed back between two looks left no trace: whoever had given the
        value that the look before showed gave it.
        """
        authors = write.authors[name, facet] | self._brought(job, name)
        value = _value(write, name, facet)
        for date in reversed(self.looks[job]):
            seen = self.world.truth.at(job, date)
            if seen is None or name not in {thing.name for thing in seen.things.values()}:
                continue
            if _value(seen, name, facet) != value:
                break
            authors |= seen.authors.get((name, facet), frozenset())
        return authors

    def _brought(self, job: int, name: str) -> frozenset[int]:
        """Return who brought back what had come and gone before anybody looked.

        Nobody can know then that it was there before: to the first look that saw it, it is new.
        """
        since_us = 0
        for date in self.looks[job]:
            seen, before = self.world.truth.at(job, date), self.world.truth.at(job, since_us)
            things = seen.things if seen else {}
            if key := next((key for key, thing in things.items() if thing.name == name), None):
                writes = self.world.truth.between(job, since_us, date)
                brought = [write.user for write in writes if (key, "exists") in write.touched]
                return frozenset(brought if before and name in before.gone else [])
            since_us = date
        return frozenset()

    def _removed(self, job: int, write: Write, name: str) -> frozenset[int]:
        """Return who deleted an object, also before a comeback that no look saw."""
        removers = {write.gone[name]}
        for date in reversed(self.looks[job]):
            seen = self.world.truth.at(job, date)
            if seen is None or name not in seen.gone:
                break
            removers.add(seen.gone[name])
        return frozenset(removers)

    def _makers(self, write: Write, name: str) -> frozenset[int]:
        """Return who made any of the copies, also of those that are gone."""
        doubles = self.world.truth.doubles[name]
        made = (write.authors.get((double, "exists"), frozenset()) for double in doubles)
        return frozenset().union(*made)

    def _not_lost(self, job: int, edit: LabelEdit) -> None:
        """No label leaves its field unless somebody deleted it, and was done with saving."""
        truth = self.world.truth
        name = self._name_of((edit.sample, edit.field, edit.label))
        if edit.operation != "removed" or truth.is_copied(name):
            return
        write = truth.at(job, self.observed_us[job])
        assert write is not None
        alive = {thing.name for thing in write.things.values()}
        if name in alive and self.out_of_sight(job, name):
            return
        assert name not in alive, f"{edit.label} ({name}) lives and was merged away"
        assert name not in truth.saving, f"{edit.label} ({name}) was merged away within a save"
        assert name in write.gone, f"{edit.label} ({name}) was deleted by nobody"

    def out_of_sight(self, job: int, name: str) -> bool:
        """Tell whether an object lost its id, its `label_id` and its place between two looks.

        Nobody could know it again then, unless it moved a little and stood alone.
        """
        last: tuple[Key, Write] | None = None
        before: Write | None = None
        told_gone = False
        for date in self.looks[job]:
            write = self.world.truth.at(job, date)
            assert write is not None
            key = next((k for k, thing in write.things.items() if thing.name == name), None)
            if key is not None:
                at_once = last is not None and last[1] is before
                if last and not _is_known(*last, key, write, at_once=at_once, told_gone=told_gone):
                    return True
                last, told_gone = (key, write), False
            told_gone |= (name, date) in self.told_gone
            before = write
        return False

    def _name_of(self, address: Address) -> str:
        return self.world.truth.names[self.keys[address]]


def _is_known(
    old_key: Key, old: Write, key: Key, new: Write, *, at_once: bool, told_gone: bool
) -> bool:
    """Tell whether one look showed an object so that it could be known from the one before.

    at_once    whether nobody looked in between, when it was not there
    told_gone  whether it was decided in between that it is gone; what lies there then is new
    """
    was, now = old.things[old_key].facets, new.things[key].facets
    same_id = bool(was.get(LABEL_ID)) and was.get(LABEL_ID) == now.get(LABEL_ID)
    # Of two that lie alike nobody knows which one it is.
    in_place = (
        not told_gone
        and _place(was) == _place(now)
        and all(
            [_place(thing.facets) for thing in write.things.values()].count(_place(now)) == 1
            for write in (old, new)
        )
    )
    return old_key == key or same_id or in_place or (at_once and _is_near(old, was, new, now))


def _is_near(old: Write, was: Facets, new: Write, now: Facets) -> bool:
    """Tell whether a box moved a little, and no other one is there."""
    same = _but(was, "geometry", LABEL_ID) == _but(now, "geometry", LABEL_ID)
    if "geometry" not in now or not same or _overlap(was, now) < NEAR_MIN:
        return False
    return all(
        sum(max(_overlap(thing.facets, was), _overlap(thing.facets, now)) > FAR_MAX
            for thing in write.things.values()) == 1
        for write in (old, new)
    )  # fmt: skip


def _but(facets: Facets, *names: str) -> Facets:
    return {name: value for name, value in facets.items() if name not in names}


def _overlap(one: Facets, other: Facets) -> float:
    """Return the intersection over union of two boxes of one class on one image, else 0."""
    if _place(one)[:2] != _place(other)[:2] or "geometry" not in one:
        return 0.0
    a, b = one["geometry"], other["geometry"]
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    shared = max(width, 0.0) * max(height, 0.0)
    return float(shared / (sum(areas) - shared))


def _place(facets: Facets) -> list[object]:
    return [facets.get(facet) for facet in ("frame", "class", "geometry")]


def _value(write: Write, name: str, facet: str) -> object:
    shown = next((thing.facets for thing in write.things.values() if thing.name == name), {})
    return True if facet == "exists" else shown.get(facet)


def _member(facet: str) -> str:
    return {"class": "label"}.get(facet, facet.removeprefix("attribute:"))


def _says(held: Document, facet: str, value: object) -> bool:
    """Tell whether the dataset holds already what CVAT's side came to say."""
    if facet == "attribute:score":
        return bool(value) and str(held.get("score")) == value
    return facet == "class" and held["label"] == value


def _with(document: Document, old: Document, new: Document) -> Document:
    return {name: value for name, value in document.items() if name not in old} | new


def _users(at: Recorded) -> set[int]:
    return {int(actor.rpartition("/")[2]) for actor in (at.actor or "").split(",")}


def key_of(annotation: Annotation) -> Key:
    """Return the kind and id of an annotation."""
    return ("shape" if isinstance(annotation, Shape) else "tag"), annotation.id


def facets_of(annotation: Annotation) -> Facets:
    """Return what the truth knows of an annotation."""
    facets: Facets = {"class": annotation.label, "frame": annotation.frame}
    if isinstance(annotation, Shape):
        facets |= {"geometry": [*annotation.points], "rotation": annotation.rotation}
        facets |= {"occluded": annotation.occluded}
    return facets | {f"attribute:{name}": value for name, value in annotation.attributes.items()}


def _apply(now: dict[Key, Facets], change: Change) -> None:
    facets = now[change.kind, change.id]
    for facet, value in change.old.items():
        assert facet not in facets or facets[facet] == value, "what changes is told as it was"
        facets.pop(facet, None)
    facets |= {k: v for k, v in change.new.items() if k in facets or ":" in k or k in change.old}
