"""Scans: what a manifest changed goes into the log, once, and nothing is ever lost by it."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.handlers import scan_append
from daemon.manifests.spool import Spool
from daemon.ports.store import WrongVersion
from daemon.projector import MemoryProjections
from events.dataset import (
    DatasetChanged,
    DatasetLabelsChanged,
    DatasetOpened,
    ManifestRejected,
    ManifestScanned,
    SamplesAdded,
    SamplesChanged,
    SamplesRemoved,
    SamplesSeen,
    ScanConflictRaised,
)
from events.log import LogRestored
from projections.datasets import SCAN_CONFLICTS, SCANNED
from tests.daemon.handlers.scanning import FOLDS, World, relabelled, same, world_of
from tests.daemon.manifests.exports import (
    WRITTEN_AT_S,
    export,
    image,
    label,
    metadata,
    oid,
    sample,
)

LATER_S = WRITTEN_AT_S + 60


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path / "birds") as world:
        yield world


def birds(count: int = 4, **members: Any) -> list[dict[str, Any]]:
    return [sample(n, label(100 + n, label="cat"), **members) for n in range(1, count + 1)]


@pytest.fixture
async def scanned(world: World) -> World:
    """A world whose dataset was scanned once."""
    export(world.settings.manifest, birds())
    await world.scan()
    return world


async def test_the_first_scan_brings_the_whole_dataset(world: World) -> None:
    """Everything that is known of it later follows from these events."""
    export(world.settings.manifest, birds())

    report = await world.scan()

    assert (report.outcome, report.samples, report.added) == ("taken", 4, 4)
    assert world.names() == ["DatasetOpened", "SamplesAdded", "ManifestScanned"]
    opened = world.facts()[0]
    assert isinstance(opened, DatasetOpened)
    assert opened.metadata["name"] == "birds"
    assert not {"annotation_runs", "created_at", "_id"} & opened.metadata.keys()
    assert "created_at" not in str(opened.metadata)
    for one in birds():
        assert same(await world.sample(int(one["_id"]["$oid"], 16)), one)


async def test_the_same_manifest_again_appends_nothing(scanned: World) -> None:
    """A rescan every few minutes must not fill the log."""
    before = await scanned.head()

    report = await scanned.scan()

    assert report.outcome == "unchanged"
    assert await scanned.head() == before
    assert (await scanned.scan(seen=report.looked_at)).outcome == "unchanged"


async def test_dates_of_a_re_export_are_no_change(scanned: World) -> None:
    """FiftyOne writes new dates and the same content each time."""
    before = await scanned.head()
    dates = {"last_modified_at": {"$date": "2027-01-01T00:00:00Z"}, "_rand": 0.1}

    export(scanned.settings.manifest, birds(**dates), about=metadata(last_loaded_at="x"))
    report = await scanned.scan()

    assert report.outcome == "unchanged"
    assert await scanned.head() == before


async def test_a_stale_re_export_with_one_new_tag_changes_one_tag(scanned: World) -> None:
    """Our merges, which the user has not imported, stay; the tag arrives; nobody is asked."""
    await scanned.merge(relabelled(1, 101, "cat", "dog"))
    before = await scanned.head()
    stale = birds()
    stale[0]["tags"] = ["new"]

    export(scanned.settings.manifest, stale)
    report = await scanned.scan()

    assert (report.changed, report.labels, report.conflicts) == (1, 0, 0)
    assert scanned.names(before) == ["SamplesChanged", "ManifestScanned"]
    found = await scanned.sample(1)
    assert found["tags"] == ["new"]
    assert found["gt"]["detections"][0]["label"] == "dog"


async def test_what_both_sides_changed_waits_for_a_decision(scanned: World) -> None:
    """Promise 4. The dataset's value stays, the conflict names both."""
    await scanned.merge(relabelled(1, 101, "cat", "dog"))
    before = await scanned.head()
    theirs = birds()
    theirs[0]["gt"]["detections"][0]["label"] = "owl"

    export(scanned.settings.manifest, theirs)
    report = await scanned.scan()
    again = await scanned.scan()

    assert (report.labels, report.conflicts) == (0, 1)
    assert again.outcome == "unchanged"
    assert scanned.names(before) == ["ScanConflictRaised", "SamplesSeen", "ManifestScanned"]
    assert (await scanned.sample(1))["gt"]["detections"][0]["label"] == "dog"


async def test_a_newer_proposal_takes_the_place_of_the_one_that_waits(scanned: World) -> None:
    """A person is asked about what the manifest says now, once."""
    await scanned.merge(relabelled(1, 101, "cat", "dog"))
    theirs = birds()

    for at_s, name in ((LATER_S, "owl"), (LATER_S + 1, "eel")):
        theirs[0]["gt"]["detections"][0]["label"] = name
        export(scanned.settings.manifest, theirs, at_s=at_s)
        await scanned.scan()

    (waiting,) = await scanned.projections.ask(
        lambda tables: list(tables.scan(SCAN_CONFLICTS, "birds"))
    )
    assert waiting.conflict.label is not None
    assert waiting.conflict.label.new == {"label": "eel"}


async def test_a_manifest_that_caught_up_with_us_changes_nothing(scanned: World) -> None:
    """The user imported our export without its mark: both sides say the same."""
    await scanned.merge(relabelled(1, 101, "cat", "dog"))
    before = await scanned.head()
    caught_up = birds()
    caught_up[0]["gt"]["detections"][0]["label"] = "dog"

    export(scanned.settings.manifest, caught_up)
    report = await scanned.scan()

    assert (report.labels, report.conflicts) == (0, 0)
    assert scanned.names(before) == ["SamplesSeen", "ManifestScanned"]


async def test_a_manifest_that_says_what_it_saw_is_compared_with_that(scanned: World) -> None:
    """The user imported our export and took back a merge: that is a change, not an old value."""
    await scanned.merge(relabelled(1, 101, "cat", "dog"), relabelled(2, 102, "cat", "owl"))
    seen = {"labeltrail": {"dataset": "birds", "position": await scanned.head()}}
    await scanned.merge(relabelled(3, 103, "cat", "ant"))
    theirs = birds()  # 1 and 3 as they were first, 2 as we had it
    theirs[1]["gt"]["detections"][0]["label"] = "owl"

    export(scanned.settings.manifest, theirs, about=metadata(info=seen))
    report = await scanned.scan()

    assert (report.labels, report.conflicts) == (1, 0)
    names = [(await scanned.sample(n))["gt"]["detections"][0]["label"] for n in (1, 2, 3)]
    assert names == ["cat", "owl", "ant"]


async def test_the_base_is_always_what_the_manifest_showed_last(scanned: World) -> None:
    """Whatever was taken, held back or had already: the next scan begins where this one ended."""
    await scanned.merge(relabelled(1, 101, "cat", "dog"), relabelled(2, 102, "cat", "owl"))
    seen = {"labeltrail": {"dataset": "birds", "position": await scanned.head()}}
    theirs = birds()
    theirs[2]["gt"]["detections"][0]["label"] = "eel"
    theirs[3]["gt"]["detections"].append(label(200))

    export(scanned.settings.manifest, theirs, about=metadata(info=seen))
    await scanned.scan()
    await scanned.merge(relabelled(3, 103, "eel", "fox"))
    later = [*theirs[:3], {**theirs[3], "tags": ["x"]}]
    export(scanned.settings.manifest, later, about=metadata(info=seen), at_s=LATER_S)
    report = await scanned.scan()

    assert (report.changed, report.labels, report.conflicts) == (1, 0, 0)
    assert (await scanned.sample(3))["gt"]["detections"][0]["label"] == "fox"


async def test_a_mark_of_another_dataset_says_nothing(scanned: World) -> None:
    """A dataset that began as a copy carries the mark of its origin."""
    theirs = birds()
    theirs[0]["tags"] = ["x"]
    mark = {"labeltrail": {"dataset": "bees", "position": 10**9}}

    export(scanned.settings.manifest, theirs, about=metadata(info=mark))
    report = await scanned.scan()

    assert (report.outcome, report.changed) == ("taken", 1)


async def test_a_mark_from_a_history_that_was_lost_is_rejected(scanned: World) -> None:
    """The restored log has grown past that position, with other events on the way."""
    lost = await scanned.head() + 1
    await scanned.append("log", LogRestored(epoch=1_800_000_000, position=lost - 1))
    await scanned.merge(relabelled(1, 101, "cat", "dog"), relabelled(2, 102, "cat", "owl"))
    mark = {"labeltrail": {"dataset": "birds", "position": lost}}

    export(scanned.settings.manifest, birds(), about=metadata(info=mark))
    report = await scanned.scan()

    assert report.outcome == "rejected"
    assert "export the dataset anew" in report.hint


async def test_a_mark_from_beyond_the_log_is_rejected(scanned: World) -> None:
    """A log put back from a backup does not know what such a manifest has seen."""
    mark = {"labeltrail": {"dataset": "birds", "position": 10**9}}

    export(scanned.settings.manifest, birds(), about=metadata(info=mark))
    report = await scanned.scan()

    assert report.outcome == "rejected"
    assert "backup" in report.hint


async def test_samples_that_leave_are_in_the_log_whole(scanned: World) -> None:
    """So that they can be put back."""
    settings = {"removed_share_max": 0.5}

    export(scanned.settings.manifest, birds()[1:])
    report = await scanned.scan(settings=settings)

    assert (report.outcome, report.removed) == ("taken", 1)
    (removed,) = (fact for fact in scanned.facts() if isinstance(fact, SamplesRemoved))
    assert same(removed.samples[0], birds()[0])
    assert await scanned.sample(1) is None


async def test_a_mass_removal_waits_for_a_person(scanned: World) -> None:
    """A wrong query exported is sooner the reason than a will to delete a quarter."""
    before = await scanned.head()
    export(scanned.settings.manifest, birds()[1:])

    held = await scanned.scan()
    again = await scanned.scan()
    names = scanned.names(before)
    accepted = await scanned.scan(accept=True, actor="local/ann")

    assert (held.outcome, again.outcome, held.removed) == ("held", "held", 1)
    assert names == ["ManifestRejected"]
    assert (accepted.outcome, accepted.removed) == ("taken", 1)
    assert scanned.names(before)[1:] == [
        "ManifestAcknowledged",
        "SamplesRemoved",
        "ManifestScanned",
    ]


async def test_a_sample_whose_labels_were_edited_does_not_just_go(scanned: World) -> None:
    """An annotator's work would go with it."""
    await scanned.merge(relabelled(1, 101, "cat", "dog"))

    export(scanned.settings.manifest, birds()[1:])
    report = await scanned.scan(accept=True)
    back = birds()
    back[0]["tags"] = ["back"]
    export(scanned.settings.manifest, back, at_s=LATER_S)
    returned = await scanned.scan()

    assert (report.removed, report.conflicts) == (0, 1)
    assert (returned.added, returned.conflicts) == (0, 2)
    assert (await scanned.sample(1))["gt"]["detections"][0]["label"] == "dog"


async def test_metadata_changes_are_recorded_member_by_member(scanned: World) -> None:
    """Classes belong to what an annotator is asked."""
    before = await scanned.head()

    export(scanned.settings.manifest, birds(), about=metadata(default_classes=["cat"]))
    await scanned.scan()

    changed = scanned.facts(before)[0]
    assert changed == DatasetChanged(old={}, new={"default_classes": ["cat"]})


async def test_an_export_in_progress_removes_nothing(scanned: World) -> None:
    """`export(overwrite=True)` deletes the folder, writes samples, and metadata.json at last."""
    folder = scanned.settings.manifest
    before = await scanned.head()
    outcomes = []

    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "samples.json").write_text('{"samples": []}')
    outcomes.append((await scanned.scan()).outcome)
    (folder / "samples.json").unlink()
    (folder / "metadata.json").write_text("{}")
    outcomes.append((await scanned.scan()).outcome)
    export(folder, birds())
    outcomes.append((await scanned.scan()).outcome)

    assert outcomes == ["waiting", "waiting", "unchanged"]
    assert await scanned.head() == before


async def test_a_manifest_that_just_changed_is_left_alone(scanned: World) -> None:
    """Half a file can be whole JSON."""
    now_s = scanned.clock.now_us() // 10**6
    export(scanned.settings.manifest, birds(1), at_s=now_s)

    report = await scanned.scan(settings={"quiet_s": 3_600.0})

    assert report.outcome == "waiting"


async def test_samples_newer_than_metadata_are_not_taken(scanned: World) -> None:
    """An export that died after samples.json has the metadata of the one before."""
    folder = scanned.settings.manifest
    export(folder, birds(1))
    os.utime(folder / "samples.json", (LATER_S, LATER_S))

    report = await scanned.scan(accept=True)

    assert report.outcome == "rejected"
    assert "older" in report.reason
    assert await scanned.sample(4) is not None


@pytest.mark.parametrize("gone", ["folder", "mount", "rights"])
async def test_a_missing_manifest_is_recorded_once_and_removes_nothing(
    scanned: World, gone: str
) -> None:
    """An unplugged mount looks like an empty folder; a dead disk like none."""
    folder = scanned.settings.manifest
    before = await scanned.head()
    shutil.rmtree(folder)
    if gone == "mount":
        folder.mkdir()  # the mount point itself is still there
    elif gone == "rights":
        folder.write_text("")  # even root gets ENOTDIR for what lies below

    reports = [await scanned.scan(accept=True) for _ in range(3)]

    assert [report.outcome for report in reports] == ["rejected"] * 3
    assert scanned.names(before) == ["ManifestRejected"]
    assert await scanned.sample(4) is not None
    if gone == "rights":
        folder.unlink()
    export(folder, birds())
    assert (await scanned.scan()).outcome == "taken"
    assert scanned.names(before) == ["ManifestRejected", "ManifestScanned"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"samples": [', "too early"),
        (b'{"samples": [{"_id": {"$oid": "1"}}]}', "without an id"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
async def test_a_broken_manifest_is_recorded_and_loses_nothing(
    scanned: World, broken: bytes, reason: str
) -> None:
    """Where, what and what to do is in the log and in the report."""
    folder = scanned.settings.manifest
    (folder / "samples.json").write_bytes(broken)
    os.utime(folder / "samples.json", (WRITTEN_AT_S, WRITTEN_AT_S))
    before = await scanned.head()

    reports = [await scanned.scan(accept=True) for _ in range(2)]

    (recorded,) = scanned.facts(before)
    assert isinstance(recorded, ManifestRejected)
    assert reason in recorded.reason
    assert {(report.outcome, report.removed) for report in reports} == {("rejected", 0)}
    assert await scanned.sample(4) is not None


async def test_videos_are_rejected_with_a_reason(world: World) -> None:
    """Better no dataset than one without its frames."""
    export(world.settings.manifest, birds(), about=metadata(media_type="video"))

    report = await world.scan()

    assert report.outcome == "rejected"
    assert "only images" in report.reason
    assert world.names() == ["ManifestRejected"]


async def test_a_manifest_that_changes_under_the_reader_is_not_taken(
    scanned: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two looks, before and after, must agree."""
    export(scanned.settings.manifest, birds(2))
    before = await scanned.head()
    remember = scanned.projections.ask

    async def meanwhile(*args: Any, **options: Any) -> Any:
        os.utime(scanned.settings.manifest / "samples.json", (LATER_S, LATER_S))
        return await remember(*args, **options)

    monkeypatch.setattr(scanned.projections, "ask", meanwhile)
    report = await scanned.scan(accept=True)

    assert report.outcome == "rejected"
    assert "while it was read" in report.reason
    assert scanned.names(before) == ["ManifestRejected"]


async def test_media_outside_or_missing_are_refused_one_by_one(
    world: World, tmp_path: Path
) -> None:
    """A manifest must not be able to hand /etc/passwd to an annotation server."""
    folder = world.settings.manifest
    samples = birds(4)
    export(folder, samples)
    secret = image(tmp_path / "secret" / "key.jpg")
    (folder / "data" / "2.jpg").unlink()
    (folder / "data" / "2.jpg").symlink_to(secret)
    (folder / "data" / "3.jpg").unlink()

    report = await world.scan()
    allowed = await world.scan(settings={"media_roots": (tmp_path / "secret",)})

    assert (report.outcome, report.samples, report.refused) == ("taken", 4, 2)
    reasons = {one.sample: one.reason for one in report.refused_media}
    assert "media_roots" in reasons[oid(2)]
    assert "missing" in reasons[oid(3)]
    assert [one.sample for one in allowed.refused_media] == [oid(3)]


async def test_a_dry_run_tells_and_appends_nothing(scanned: World) -> None:
    """A person looks before the log does."""
    before = await scanned.head()
    export(scanned.settings.manifest, [*birds(3), sample(9)])

    report = await scanned.scan(dry_run=True, accept=True)

    assert (report.outcome, report.added, report.removed) == ("taken", 1, 1)
    assert await scanned.head() == before


async def test_a_scan_that_died_half_way_is_healed_by_the_next(
    scanned: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a death before any of its appends: in the end the log says the same."""
    monkeypatch.setattr(scan_append, "BATCH_SAMPLES", 1)
    await scanned.merge(relabelled(1, 101, "cat", "dog"))
    theirs = [*birds()[:3], *[sample(n, label(100 + n)) for n in range(5, 9)]]
    theirs[0]["gt"]["detections"][0]["label"] = "owl"
    theirs[1]["tags"] = ["x"]
    export(scanned.settings.manifest, theirs)
    append = scanned.store.append
    deaths = 0

    for lives in range(1, 20):
        left = lives

        async def dies(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise InterruptedError
            return await append(*args, **options)

        monkeypatch.setattr(scanned.store, "append", dies)
        try:
            report = await scanned.scan(accept=True)
        except InterruptedError:
            deaths += 1
            continue
        break
    monkeypatch.undo()

    assert deaths >= 3
    assert report.outcome == "taken"
    facts = scanned.facts()
    added = [one["_id"] for fact in facts if isinstance(fact, SamplesAdded) for one in fact.samples]
    assert len(added) == 8
    conflicts = [
        one.id for fact in facts if isinstance(fact, ScanConflictRaised) for one in fact.conflicts
    ]
    assert len(conflicts) == len(set(conflicts)) == 1
    assert sum(isinstance(fact, SamplesRemoved) for fact in facts) == 1
    assert sum(isinstance(fact, SamplesChanged) for fact in facts) == 1
    assert (await scanned.scan()).outcome == "unchanged"


async def test_what_a_dead_scan_left_is_taken_back_with_the_manifest(
    scanned: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is again what the last whole scan saw; the dataset must be, too."""
    tagged = birds()
    tagged[0]["tags"] = ["x"]
    export(scanned.settings.manifest, tagged)
    append = scanned.store.append

    async def dies(events: Any, **options: Any) -> Any:
        if isinstance(events[0].fact, ManifestScanned):
            raise InterruptedError
        return await append(events, **options)

    monkeypatch.setattr(scanned.store, "append", dies)
    with pytest.raises(InterruptedError):
        await scanned.scan()
    monkeypatch.undo()
    left = (await scanned.sample(1))["tags"]
    export(scanned.settings.manifest, birds())
    report = await scanned.scan()

    assert left == ["x"]
    assert (report.outcome, report.changed) == ("taken", 1)
    assert (await scanned.sample(1))["tags"] == []
    assert (await scanned.scan()).outcome == "unchanged"


async def test_a_folder_that_stays_without_metadata_is_told(scanned: World) -> None:
    """A wrong path must not look like an export that takes its time."""
    folder = scanned.settings.manifest
    (folder / "metadata.json").unlink()
    soon = await scanned.scan()
    for one in (*folder.iterdir(), folder):
        os.utime(one, (WRITTEN_AT_S, WRITTEN_AT_S))
    late = await scanned.scan()

    assert (soon.outcome, late.outcome) == ("waiting", "rejected")
    assert "no finished" in late.reason


@pytest.mark.parametrize("name", ["samples.json", "metadata.json"])
async def test_a_pipe_in_place_of_a_file_holds_up_nobody(scanned: World, name: str) -> None:
    """Opening it would wait for ever."""
    path = scanned.settings.manifest / name
    path.unlink()
    os.mkfifo(path)
    os.utime(path, (WRITTEN_AT_S, WRITTEN_AT_S))

    report = await scanned.scan()

    assert report.outcome == "rejected"


async def test_a_merge_in_between_makes_the_scan_decide_again(
    scanned: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan names the versions of the runs it was decided on, though it writes none of them."""
    await scanned.merge(relabelled(2, 102, "cat", "dog"))
    theirs = birds()
    theirs[0]["gt"]["detections"][0]["label"] = "owl"
    export(scanned.settings.manifest, theirs)
    before = await scanned.head()
    append, refused = scanned.store.append, []

    async def overtaken(events: Any, **options: Any) -> Any:
        if any(isinstance(event.fact, DatasetLabelsChanged) for event in events) and not refused:
            monkeypatch.setattr(scanned.store, "append", append)
            await scanned.merge(relabelled(1, 101, "cat", "dog"))
        try:
            return await append(events, **options)
        except WrongVersion as exc:
            refused.append(exc.stream)
            raise

    monkeypatch.setattr(scanned.store, "append", overtaken)
    report = await scanned.scan()

    assert refused == ["run/birds/first"]
    assert (report.labels, report.conflicts) == (0, 1)
    assert not any(isinstance(fact, DatasetLabelsChanged) for fact in scanned.facts(before))


async def test_replay_gives_the_same_state(scanned: World) -> None:
    """Promise 1: projections follow from the log alone."""
    await scanned.merge(relabelled(1, 101, "cat", "dog"))
    theirs = [*birds(3), sample(7, label(9))]
    theirs[0]["gt"]["detections"][0]["label"] = "owl"
    export(scanned.settings.manifest, theirs)
    await scanned.scan(accept=True)

    def state(tables: Any) -> Any:
        return [row.digest for row in tables.scan(SCANNED)]

    anew = MemoryProjections(scanned.store, FOLDS)
    assert await anew.ask(state) == await scanned.projections.ask(state)
    await anew.close()


async def test_cvat_manifests_bring_images_without_labels(world: World, tmp_path: Path) -> None:
    """Ids are derived from the file's name, so that a re-scan finds the same samples."""
    manifest = tmp_path / "manifest.jsonl"
    image(tmp_path / "a" / "1.jpg")
    manifest.write_text(
        '{"version":"1.1"}\n{"type":"images"}\n'
        '{"name":"a/1","extension":".jpg","width":4,"height":3,"checksum":"x"}\n{}\n'
        '{"name":"../2","extension":".jpg"}\n'
    )
    os.utime(manifest, (WRITTEN_AT_S, WRITTEN_AT_S))

    report = await world.scan(settings={"manifest": manifest})
    again = await world.scan(settings={"manifest": manifest})

    assert (report.outcome, report.added, report.refused) == ("taken", 2, 1)
    assert again.outcome == "unchanged"
    (added,) = (fact for fact in world.facts() if isinstance(fact, SamplesAdded))
    assert added.samples[0]["metadata"] == {"_cls": "ImageMetadata", "width": 4, "height": 3}


async def test_one_event_is_enough_for_what_was_only_seen(scanned: World) -> None:
    """The names in this module are those of the log."""
    await scanned.merge(relabelled(1, 101, "cat", "dog"))
    theirs = birds()
    theirs[0]["gt"]["detections"][0]["label"] = "dog"
    export(scanned.settings.manifest, theirs)
    before = await scanned.head()

    await scanned.scan()

    seen, taken = scanned.facts(before)
    assert isinstance(seen, SamplesSeen)
    assert isinstance(taken, ManifestScanned)
    assert [same(one, theirs[0]) for one in seen.samples] == [True]


@pytest.mark.parametrize("step", ["remember", "counts", "bytes", "changed"])
async def test_a_cancelled_scan_closes_no_file_that_a_thread_still_works_on(
    scanned: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """SQLite crashes where a connection is closed under a statement, and with it the daemon."""
    begun, go_on = threading.Event(), threading.Event()
    ended: list[str] = []
    do, close = getattr(Spool, step), Spool.close

    def slowly(spool: Spool, *given: Any) -> Any:
        begun.set()
        assert go_on.wait(10)
        done = do(spool, *given)
        ended.append(step)
        return done

    def closed(spool: Spool) -> None:
        ended.append("close")
        close(spool)

    export(scanned.settings.manifest, birds(5), at_s=LATER_S)
    monkeypatch.setattr(Spool, step, slowly)
    monkeypatch.setattr(Spool, "close", closed)
    scan = asyncio.create_task(scanned.scan())
    await asyncio.to_thread(begun.wait, 10)
    ended.clear()

    scan.cancel()
    await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.wait([scan])

    assert scan.cancelled()
    assert ended == [step, "close"]
