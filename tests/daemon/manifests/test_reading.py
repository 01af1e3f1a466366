"""One reading: whole, checked, and on disk instead of in memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daemon.handlers.scan_append import BATCH_BYTES, BATCH_SAMPLES, batches
from daemon.manifests.errors import ManifestBroken, ReadingStopped
from daemon.manifests.fiftyone import Metadata
from daemon.manifests.reading import Reading, read_metadata, read_samples
from daemon.manifests.source import Source
from daemon.manifests.spool import Before, Changed, Spool
from projections.documents import digest
from tests.daemon.manifests.exports import detections, export, label, metadata, oid, sample

ALL = (1, 2**40)


def never() -> bool:
    return False


def read(folder: Path, spool: Spool, stopped: Callable[[], bool] = never) -> Reading:
    source = Source("birds", folder)
    return read_samples(source, read_metadata(source), spool, stopped=stopped)


@pytest.fixture
def spool(tmp_path: Path) -> Any:
    with closing(Spool(tmp_path / "spool")) as spool:
        yield spool


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([sample(1), sample(1)], "same id"),
        ([sample(1, label(5), label(5))], "two with the same id"),
        ([sample(1, label(5), {"_cls": "Detection"})], "without an id"),
        ([sample(1, gt=detections({"_id": {"$oid": "x"}, "_cls": "Detection"}))], "without an id"),
        ([{"_id": "1"}], "without an id"),
        ([sample(1, text="\ud800")], "log cannot write"),
        ([sample(1, big=10**3_900)], "log cannot write"),
    ],
)
def test_what_has_no_address_or_no_spelling_is_refused(
    tmp_path: Path, spool: Spool, samples: list[Any], reason: str
) -> None:
    """Better no scan than one that mixes two labels up, or that cannot be recorded."""
    export(tmp_path / "birds", samples, images=False)

    with pytest.raises(ManifestBroken, match=reason):
        read(tmp_path / "birds", spool)


@pytest.mark.parametrize("about", [metadata(media_type="group"), metadata(name="\ud800")])
def test_metadata_that_cannot_be_taken_is_refused(
    tmp_path: Path, spool: Spool, about: dict[str, Any]
) -> None:
    """As for samples."""
    export(tmp_path / "birds", [sample(1)], about=about, images=False)

    with pytest.raises(ManifestBroken):
        read(tmp_path / "birds", spool)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["metadata.json", "samples.json", "manifest.jsonl"])
@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_file_in_the_place_of_one_is_refused(
    tmp_path: Path, spool: Spool, name: str, put: Callable[[Path], None]
) -> None:
    """A named pipe held the thread that read it for ever, and the daemon when it was to end."""
    folder = tmp_path / "birds"
    export(folder, [sample(1)], images=False)
    (folder / name).unlink(missing_ok=True)
    put(folder / name)

    with pytest.raises(ManifestBroken, match="no regular file"):
        read(folder / name if name == "manifest.jsonl" else folder, spool)


def test_the_digest_follows_content_order_and_media(tmp_path: Path) -> None:
    """It says whether there is anything to do at all."""

    def told(name: str, samples: list[Any], **about: Any) -> str:
        export(tmp_path / name, samples, **about)
        with closing(Spool(tmp_path / f"{name}.spool")) as spool:
            return read(tmp_path / name, spool).digest

    same = [sample(1), sample(2, label(7))]
    dated = [{**one, "_rand": 0.1, "created_at": {"$date": "x"}} for one in same]
    first = told("a", same)

    assert told("b", dated, about=metadata(last_loaded_at="x")) == first
    others = {
        told("c", same[::-1]),
        told("d", same[:1]),
        told("e", same, images=False),
        told("f", same, about=metadata(tags=["x"])),
        told("g", same, about=metadata(info={"labeltrail": {"dataset": "birds", "position": 1}})),
    }
    assert len(others | {first}) == 6


def test_only_what_moved_is_kept(tmp_path: Path, spool: Spool) -> None:
    """The work of a scan grows with the change."""
    old = [sample(n, label(n)) for n in range(1, 5)]
    spool.remember(Before(oid(n), digest(one), digest(one)) for n, one in enumerate(old, 1))
    new = [old[3], {**old[1], "tags": ["x"]}, old[0], sample(9)]
    export(tmp_path / "birds", new, images=False)

    read(tmp_path / "birds", spool)

    changed = list(spool.changed(ALL))
    assert changed == [Changed(oid(2), new[1]), Changed(oid(9), new[3])]
    assert [nth for nth, _ in spool.sizes()] == [2, 4]
    assert spool.bytes() == sum(size for _, size in spool.sizes()) > 0
    assert list(spool.gone()) == [oid(3)]
    assert spool.counts() == (4, 1)


def test_numbers_survive_the_spool(tmp_path: Path, spool: Spool) -> None:
    """JSON's fast readers turn large integers into floats."""
    numbers = {"a": 2**70, "b": 2**64 - 1, "c": -(2**63), "d": 0.1 + 0.2, "e": 1.0, "f": 5e-324}
    export(tmp_path / "birds", [sample(1, **numbers)], images=False)

    read(tmp_path / "birds", spool)

    (found,) = spool.changed(ALL)
    again = {name: found.document[name] for name in numbers}
    assert [(value, type(value)) for value in again.values()] == [
        (value, type(value)) for value in numbers.values()
    ]


def test_a_reader_stops_when_it_is_told_to(tmp_path: Path, spool: Spool) -> None:
    """A daemon that ends does not wait for gigabytes."""
    export(tmp_path / "birds", [sample(n) for n in range(1, 9)], images=False)
    asked = iter([False, False, True])

    with pytest.raises(ReadingStopped):
        read(tmp_path / "birds", spool, stopped=lambda: next(asked))


def test_memory_does_not_grow_with_the_manifest(tmp_path: Path) -> None:
    """What a reading holds at once is a window of the file and one document."""

    def peak(samples: int) -> int:
        folder = tmp_path / str(samples)
        boxes = [label(k, bounding_box=[0.1, 0.2, 0.3, 0.4], note="x" * 2_000) for k in range(20)]
        export(folder, (sample(n, *boxes) for n in range(1, samples + 1)), images=False)
        source = Source("birds", folder)
        about = Metadata({}, "image", None)
        with closing(Spool(tmp_path / f"{samples}.spool")) as spool:
            tracemalloc.start()
            read_samples(source, about, spool, stopped=never)
            _, top = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return top

    small, large = peak(50), peak(400)

    assert large < small + 500_000


def test_batches_are_bounded_in_number_and_size() -> None:
    """One event must fit in memory many times over; a giant sample stands alone."""
    sizes = [10] * 1_200 + [BATCH_BYTES * 3] + [BATCH_BYTES // 2] * 3

    found = list(batches(enumerate(sizes, 1)))

    lengths = [last - first + 1 for first, last in found]
    assert lengths == [BATCH_SAMPLES, BATCH_SAMPLES, 200, 1, 2, 1]
    assert [first for first, _ in found[1:]] == [last + 1 for _, last in found[:-1]]
