"""The dataset's side: somebody changes labels in the manifest while the run is on."""

from __future__ import annotations

from typing import Any

from events.dataset import DatasetLabelsChanged, LabelChange
from events.envelope import NewEvent
from tests.simulation.witness import Witness
from tests.simulation.world import CLASSES, World, oid


class DatasetSide:
    """Changes, adds and removes labels, as a scan of a changed manifest would."""

    def __init__(self, world: World, witness: Witness) -> None:
        self.world = world
        self.witness = witness

    async def work(self, changes: int) -> None:
        """Make some changes, one now and then."""
        for number in range(changes):
            await self.world.clock.sleep(self.world.rng.uniform(1, 60))
            change = self._change(number)
            if change is not None:
                self.world.counts["changes on the dataset's side"] += 1
                event = NewEvent(
                    id=self.world.clock.new_id(),
                    stream="dataset/d",
                    fact=DatasetLabelsChanged(changes=(change,)),
                    evidence="manifest",
                )
                await self.world.disk.append([event])

    def _change(self, number: int) -> LabelChange | None:
        rng = self.world.rng
        boxes = sorted(where for where in self.witness.documents if where[1] == "gt")
        kind = rng.choice(("change", "change", "change", "remove", "add"))
        if kind == "add":
            return self._added(rng.choice(boxes)[0], 3_000 + number) if boxes else None
        if not boxes:
            return None
        where = rng.choice(boxes)
        document = self.witness.documents[where]
        sample, field, label = where
        if kind == "remove":
            return LabelChange(sample=sample, field=field, label=label, old=document, new=None)
        member, value = rng.choice(
            (
                ("label", rng.choice(CLASSES[:2])),
                ("bounding_box", [0.5, rng.random() / 2, 0.25, 0.25]),
                ("score", rng.choice((0.5, 0.75))),
                ("tags", ["checked"]),
            )
        )
        if document.get(member) == value:
            return None
        old: dict[str, Any] = {member: document[member]} if member in document else {}
        return LabelChange(sample=sample, field=field, label=label, old=old, new={member: value})

    def _added(self, sample: str, number: int) -> LabelChange:
        document = {
            "_id": {"$oid": oid(number)},
            "_cls": "Detection",
            "attributes": {},
            "tags": [],
            "label": CLASSES[0],
            "bounding_box": [0.1, 0.1, 0.2, 0.2],
        }
        return LabelChange(sample=sample, field="gt", label=oid(number), old=None, new=document)
