"""Scans, merges and exports in any order: the base is the manifest, and no edit is lost."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.handlers.export import export_fiftyone
from events.run import LabelEdit
from projections.datasets import SCANNED
from projections.documents import digest
from tests.daemon.handlers.scanning import FOLDS, World, world_of
from tests.daemon.manifests.exports import WRITTEN_AT_S, detections, export, label, oid, sample

STEPS = st.lists(
    st.sampled_from(["edit", "merge", "round trip", "stale", "scan"]), min_size=2, max_size=10
)
SAMPLES = range(1, 3)
CLASSES = ("ant", "bee", "cat")


class Story:
    """One dataset, whoever changes it.

    manifest  what lies on disk, as FiftyOne's documents
    mark      `info` of its metadata.json
    merged    members that merges set, and that no scan may overwrite unseen
    """

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.manifest = [sample(n, label(n, label="ant"), label(10 + n)) for n in SAMPLES]
        self.before = copy.deepcopy(self.manifest)
        self.mark: dict[str, Any] = {}
        self.merged: dict[tuple[str, str], str] = {}
        self.written = 0

    async def step(self, name: str) -> None:
        match name:
            case "edit":
                self._edit()
            case "merge":
                await self._merge()
            case "round trip":
                await self._round_trip()
            case "stale":
                self.manifest = copy.deepcopy(self.before)
            case "scan":
                await self.scan()

    def _edit(self) -> None:
        """FiftyOne changes something: a tag, a class, a label, a sample."""
        self.before = copy.deepcopy(self.manifest)
        one = self.dice.choice(self.manifest) if self.manifest else None
        labels = one["gt"]["detections"] if one else []
        match self.dice.randrange(8), one:
            case 0, dict():
                one["tags"] = [str(self.dice.random())]
            case 1 | 2 | 3 | 4, dict() if labels:
                self.dice.choice(labels)["label"] = self.dice.choice(CLASSES)
            case 5, dict() if labels:
                labels.remove(self.dice.choice(labels))
            case 6, dict():
                labels.append(label(self.dice.randrange(100, 1_000_000), label="new"))
            case _:
                if len(self.manifest) > 1:
                    self.manifest.remove(self.dice.choice(self.manifest))

    async def _merge(self) -> None:
        """A run changes the class of a label that the dataset has."""
        number = self.dice.choice(SAMPLES)
        found = await self.world.sample(number)
        labels = found["gt"]["detections"] if found else []
        if labels:
            one = self.dice.choice(labels)
            value = f"merged {self.dice.random()}"
            edit = LabelEdit(
                sample=oid(number),
                field="gt",
                label=one["_id"]["$oid"],
                operation="changed",
                old={"label": one["label"]} if "label" in one else {},
                new={"label": value},
            )
            await self.world.merge(edit)
            self.merged[oid(number), edit.label] = value

    async def _round_trip(self) -> None:
        """The user imports our export: it is the manifest now, and has seen all merges."""
        if not self.world.facts():
            return
        out = self.world.settings.manifest.parent / "out"
        await export_fiftyone("birds", out, self.world.settings, projections=self.world.projections)
        self.before = copy.deepcopy(self.manifest)
        self.manifest = json.loads((out / "samples.json").read_text())["samples"]
        for one in self.manifest:
            one.setdefault("gt", detections())
        self.mark = json.loads((out / "metadata.json").read_text())["info"]
        shutil.rmtree(out)
        self.merged.clear()

    async def scan(self) -> None:
        self.written += 1
        about = {"media_type": "image", "name": "birds", "info": self.mark}
        folder = self.world.settings.manifest
        export(folder, self.manifest, about=about, at_s=WRITTEN_AT_S + self.written, images=False)
        report = await self.world.scan(accept=True)
        assert report.outcome in ("taken", "unchanged"), report
        await self._check()
        again = await self.world.scan()
        assert again.outcome == "unchanged"

    async def _check(self) -> None:
        scanned = await self.world.projections.ask(
            lambda tables: {row.sample: row.digest for row in tables.scan(SCANNED, "birds")}
        )
        assert scanned == {one["_id"]["$oid"]: digest(one) for one in self.manifest}
        for (sample_id, label_id), value in self.merged.items():
            found = await self.world.sample(int(sample_id, 16))
            assert found is not None, "a sample with a merged label went"
            labels = {one["_id"]["$oid"]: one for one in found["gt"]["detections"]}
            assert labels[label_id]["label"] == value

    async def check_whole(self) -> None:
        """What neither a merge nor a conflict holds is as the manifest says."""
        merged = {sample_id for sample_id, _ in self.merged}
        for one in self.manifest:
            if one["_id"]["$oid"] not in merged and not self.mark:
                found = await self.world.sample(int(one["_id"]["$oid"], 16))
                assert digest(found) == digest(one)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 2**32))
def test_no_order_of_scans_merges_and_round_trips_loses_an_edit(
    steps: list[str], seed: int
) -> None:
    """After each scan the base is what the manifest says, and every merge that it has not seen
    still stands."""

    async def story() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with world_of(Path(folder) / "birds") as world:
                told = Story(world, random.Random(seed))
                await told.scan()
                for step in (*steps, "scan"):
                    await told.step(step)
                await told.check_whole()

    asyncio.run(story())


def test_the_story_knows_the_folds_it_is_about() -> None:
    """A fold that is missing here would make the property say nothing."""
    assert {"datasets", "label_fields", "restored", "streams"} == {fold.name for fold in FOLDS}
