"""Exports: what goes out is what came in, plus what the log says since."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.handlers import export as handler
from daemon.handlers.export import ExportReport, UnknownDataset, export_fiftyone
from daemon.manifests.export import ExportFolder, ExportRefused, spelled
from events.log import LogRestored
from events.run import FieldSchema, LabelEdit, LabelsMerged, RunRequested
from tests.daemon.handlers.scanning import World, relabelled, same, world_of
from tests.daemon.manifests.exports import (
    WRITTEN_AT_S,
    date,
    detections,
    export,
    image,
    label,
    metadata,
    oid,
    sample,
)

MASK = {"$binary": {"base64": "eJyb7BfqGxDJyFDGUK2eklqcXKRupaBe", "subType": "00"}}


def birds() -> list[dict[str, Any]]:
    return [
        sample(2, label(12, label="cat", bounding_box=[0.1, 1 / 3, 1e-07, 0.4], mask=MASK)),
        sample(1, label(11), label(10), seg=label(9, "Segmentation", mask=MASK)),
        sample(3, empty=detections(), nan={"$numberDouble": "NaN"}, big=2**70, text="n\u2028"),
    ]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path / "birds") as world:
        export(world.settings.manifest, birds())
        await world.scan()
        yield world


async def written(world: World, folder: Path, **options: Any) -> ExportReport:
    return await export_fiftyone(
        "birds",
        folder,
        world.settings,
        projections=world.projections,
        watched=[world.settings.manifest],
        **options,
    )


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    about = json.loads((folder / "metadata.json").read_text())
    return about, json.loads((folder / "samples.json").read_text())["samples"]


@pytest.mark.parametrize("media", ["symlink", "copy", "absolute"])
async def test_an_untouched_dataset_comes_out_as_it_went_in(
    world: World, tmp_path: Path, media: Any
) -> None:
    """Promise 6: ids, masks, numbers and order, in every form of export."""
    out = tmp_path / "out"

    report = await written(world, out, media=media)

    _, samples = read(out)
    assert (report.samples, report.refused) == (3, 0)
    for ours, theirs in zip(samples, birds(), strict=True):
        path = out / ours.pop("filepath")
        assert path.read_bytes() == (world.settings.manifest / theirs.pop("filepath")).read_bytes()
        assert path.is_symlink() == (media == "symlink")
        assert same(ours, theirs)
    assert names(tmp_path) == ["birds", "out"]


async def test_numbers_come_out_in_the_text_they_came_in(world: World, tmp_path: Path) -> None:
    """A float would round what nobody touched."""
    manifest = world.settings.manifest
    text = (manifest / "samples.json").read_text()
    kept = '"x": 0.100000000000000005551, "y": 1e400'
    (manifest / "samples.json").write_text(text.replace('"tags": []', f'"tags": [], {kept}', 1))
    date(manifest, WRITTEN_AT_S + 60)
    await world.scan()

    await written(world, tmp_path / "out")

    text = (tmp_path / "out" / "samples.json").read_text()
    assert '"x":0.100000000000000005551' in text
    assert '"y":1e400' in text


async def test_an_export_of_a_restored_log_names_its_history(world: World, tmp_path: Path) -> None:
    """The same positions mean other events in the history that was lost."""
    await world.append("log", LogRestored(epoch=1_800_000_000, position=await world.head()))

    report = await written(world, tmp_path / "out")

    about, _ = read(tmp_path / "out")
    assert about["info"]["labeltrail"] == {
        "dataset": "birds", "position": report.position, "epoch": 1_800_000_000,
    }  # fmt: skip


async def test_metadata_is_whole_and_says_how_far_it_has_seen(world: World, tmp_path: Path) -> None:
    """A re-import by FiftyOne and a scan of its re-export both go by it."""
    await world.merge(relabelled(2, 12, "cat", "dog"))
    position = await world.head()
    await world.append("run/bees/other", LabelsMerged(job=1, edits=()))

    report = await written(world, tmp_path / "out")

    about, _ = read(tmp_path / "out")
    assert report.position == position
    assert about["info"]["labeltrail"] == {"dataset": "birds", "position": position}
    assert (about["name"], about["version"], about["annotation_runs"]) == ("birds", "1.22.1", {})
    assert [field["name"] for field in about["sample_fields"]] == ["gt"]


async def test_fields_that_runs_made_are_declared(world: World, tmp_path: Path) -> None:
    """FiftyOne does not import what metadata.json does not declare."""
    fields = (
        FieldSchema(name="things", type="detections", classes=("cat",)),
        FieldSchema(name="weather", type="classification", classes=("sun",)),
    )
    edits = (
        LabelEdit(sample=oid(3), field="things", label=oid(50), operation="added", new=label(50)),
        LabelEdit(
            sample=oid(3),
            field="weather",
            label=oid(51),
            operation="added",
            new=label(51, "Classification", label="sun"),
        ),
    )
    await world.append("run/birds/first", RunRequested(server="main", fields=fields, tasks=()))
    await world.merge(*edits)

    await written(world, tmp_path / "out")

    about, samples = read(tmp_path / "out")
    declared = {field["name"]: field for field in about["sample_fields"]}
    assert declared["things"]["embedded_doc_type"] == "fiftyone.core.labels.Detections"
    (inside,) = declared["things"]["fields"]
    assert inside["db_field"] == "detections"
    assert {"id", "label", "bounding_box"} <= {one["name"] for one in inside["fields"]}
    assert declared["weather"]["embedded_doc_type"] == "fiftyone.core.labels.Classification"
    assert samples[2]["things"] == detections(label(50))
    assert samples[2]["weather"]["label"] == "sun"


async def test_an_export_of_a_moment_shows_that_moment(world: World, tmp_path: Path) -> None:
    """What did this dataset look like on Tuesday?"""
    before = await world.head()
    await world.merge(relabelled(2, 12, "cat", "dog"))

    then = await written(world, tmp_path / "then", at=before)
    await written(world, tmp_path / "now")

    labels = [
        read(tmp_path / name)[1][0]["gt"]["detections"][0]["label"] for name in ("then", "now")
    ]
    assert labels == ["cat", "dog"]
    assert then.position == before


async def test_the_same_state_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    """Two exports can be compared with `diff`."""
    await written(world, tmp_path / "a")
    await written(world, tmp_path / "b")

    for name in ("samples.json", "metadata.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


async def test_our_own_export_read_again_changes_nothing(world: World, tmp_path: Path) -> None:
    """The way round, FiftyOne left out: the mark makes it our own state, seen."""
    await world.merge(relabelled(2, 12, "cat", "dog"))
    await written(world, tmp_path / "out", media="copy")
    (tmp_path / "out").rename(tmp_path / "back")
    before = await world.head()

    settings = {"manifest": tmp_path / "back", "quiet_s": 1e-9}
    report = await world.scan(settings=settings)

    assert (report.changed, report.labels, report.conflicts) == (0, 0, 0)
    assert world.names(before)[-1] == "ManifestScanned"


@pytest.mark.parametrize("place", ["birds", "birds/data/out", "."])
async def test_an_export_never_goes_where_a_manifest_is_watched(
    world: World, tmp_path: Path, place: str
) -> None:
    """It would come back as the dataset's own change."""
    with pytest.raises(ExportRefused, match="watched"):
        await written(world, tmp_path / place, overwrite=True)

    assert (await world.scan()).outcome == "unchanged"


async def test_only_exports_of_ours_are_overwritten(world: World, tmp_path: Path) -> None:
    """A slip in a path must not delete a person's files."""
    theirs = export(tmp_path / "theirs", birds())
    await written(world, tmp_path / "ours")
    await world.merge(relabelled(2, 12, "cat", "dog"))

    with pytest.raises(ExportRefused, match="exists"):
        await written(world, tmp_path / "ours")
    with pytest.raises(ExportRefused, match="no export of Labeltrail"):
        await written(world, theirs, overwrite=True)
    await written(world, tmp_path / "ours", overwrite=True)

    assert read(theirs)[0] == metadata()
    assert read(tmp_path / "ours")[1][0]["gt"]["detections"][0]["label"] == "dog"
    assert names(tmp_path) == ["birds", "ours", "theirs"]


async def test_media_that_may_not_be_opened_keep_their_path(world: World, tmp_path: Path) -> None:
    """The sample is there, its labels too; the report names what is missing."""
    manifest = world.settings.manifest
    secret = image(tmp_path / "secret" / "s.jpg")
    (manifest / "data" / "1.jpg").unlink()
    (manifest / "data" / "1.jpg").symlink_to(secret)

    report = await written(world, tmp_path / "out", media="copy")

    assert [(one.sample, "media_roots" in one.reason) for one in report.refused_media] == [
        (oid(1), True)
    ]
    assert read(tmp_path / "out")[1][1]["filepath"] == str(manifest / "data" / "1.jpg")
    assert not (tmp_path / "out" / "data" / "1.jpg").exists()


async def test_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    """Cameras begin at IMG_0001 again and again."""
    async with world_of(tmp_path / "birds") as world:
        samples = [sample(n, filepath=f"data/{n}/a.jpg") for n in (1, 2)]
        export(world.settings.manifest, samples)
        image(world.settings.manifest / "data" / "2" / "a.jpg", (7, 7))
        await world.scan()

        await written(world, tmp_path / "out")

    paths = [one["filepath"] for one in read(tmp_path / "out")[1]]
    assert paths == ["data/a.jpg", f"data/a-{oid(2)}.jpg"]
    assert (tmp_path / "out" / paths[1]).resolve().parent.name == "2"


async def test_mask_files_are_found_from_the_new_place(tmp_path: Path) -> None:
    """Their paths were relative to the manifest's folder."""
    async with world_of(tmp_path / "birds") as world:
        mask = label(5, "Segmentation", mask_path="fields/seg/1.png")
        export(world.settings.manifest, [sample(1, seg=mask)])
        await world.scan()

        await written(world, tmp_path / "out")

    (one,) = read(tmp_path / "out")[1]
    assert one["seg"]["mask_path"] == str(tmp_path / "birds" / "fields" / "seg" / "1.png")


async def test_a_dataset_of_a_cvat_manifest_gets_metadata_of_its_own(
    world: World, tmp_path: Path
) -> None:
    """FiftyOne never saw it."""
    manifest = tmp_path / "pool" / "manifest.jsonl"
    image(tmp_path / "pool" / "1.jpg")
    manifest.write_text('{"version":"1.1"}\n{"type":"images"}\n{"name":"1","extension":".jpg"}\n')
    async with world_of(manifest) as other:
        await other.scan(settings={"quiet_s": 1e-9})

        await written(other, tmp_path / "out")

    about, samples = read(tmp_path / "out")
    names = {field["name"] for field in about["sample_fields"]}
    assert {"id", "filepath", "tags", "metadata", "_rand"} <= names
    assert (about["media_type"], samples[0]["filepath"]) == ("image", "data/1.jpg")


async def test_an_unknown_dataset_leaves_nothing(world: World, tmp_path: Path) -> None:
    """Neither at a position before it was opened."""
    with pytest.raises(UnknownDataset):
        await written(world, tmp_path / "out", at=0)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("trouble", [OSError(28, "No space left"), asyncio.CancelledError()])
async def test_an_export_that_fails_leaves_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    """Half an export looks like a dataset that lost its samples."""

    def full(*_: Any, **__: Any) -> None:
        raise trouble

    monkeypatch.setattr(ExportFolder, "finish", full)
    expected = ExportRefused if isinstance(trouble, OSError) else asyncio.CancelledError
    with pytest.raises(expected):
        await written(world, tmp_path / "out")

    assert names(tmp_path) == ["birds"]


@pytest.mark.parametrize("merges", [1, 9])
async def test_an_export_beside_an_annotator_shows_one_state(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merges: int
) -> None:
    """Pages of different moments would be a dataset that never was."""
    monkeypatch.setattr(handler, "PAGE_SAMPLES", 1)
    add_all, left = ExportFolder.add_all, merges
    loop = asyncio.get_running_loop()

    def busy(self: ExportFolder, *args: Any) -> None:
        nonlocal left
        add_all(self, *args)
        if left:
            left -= 1
            edits = [relabelled(*one, "", str(left)) for one in ((2, 12), (1, 11))]
            asyncio.run_coroutine_threadsafe(world.merge(*edits), loop).result()

    monkeypatch.setattr(ExportFolder, "add_all", busy)
    await written(world, tmp_path / "out")

    _, samples = read(tmp_path / "out")
    labels = [one["gt"]["detections"][0].get("label") for one in samples[:2]]
    assert labels[0] == labels[1] or labels == ["cat", None]


def test_what_looks_like_a_number_and_is_none_is_no_number() -> None:
    """A text from a manifest must not become JSON of its own."""
    evil = {"$number": '1, "admin": true'}

    assert spelled({"x": evil}) == b'{"x":{"$number":"1, \\"admin\\": true"}}'
    assert spelled({"x": float("nan")}) == b'{"x":{"$numberDouble":"NaN"}}'
