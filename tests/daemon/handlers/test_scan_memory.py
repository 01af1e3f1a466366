"""A scan of any size fits: memory is bounded by the batches, not by the dataset."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LABELS_A_SAMPLE = 20

SCRIPT = """
import asyncio, json, sys
from pathlib import Path
from daemon.clock import SystemClock
from daemon.handlers.export import export_fiftyone
from daemon.handlers.scan import scan
from daemon.pool import Pool
from daemon.projector import SqliteProjections, file, tables
from daemon.store import driver
from daemon.store.sqlite import SqliteStore
from config.settings import Dataset
from tests.daemon.handlers.scanning import FOLDS
from tests.daemon.manifests.exports import WRITTEN_AT_S, date, label, metadata, sample

# What log and projector keep at hand has bounds of its own; here they are small.
tables.KNOWN_BYTES_MAX, file._CACHE_KIB, driver._CACHE_KIB = 2**20, 2_048, 2_048
folder, samples, labels = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def make(manifest):
    manifest.mkdir()
    with (manifest / "samples.json").open("w") as file:
        file.write('{"samples": [')
        for n in range(1, samples + 1):
            boxes = [
                label(labels * n + k, label="cat", bounding_box=[1 / n, 1 / 3, k / 7, 0.5])
                for k in range(labels)
            ]
            file.write("," * (n > 1) + json.dumps(sample(n, *boxes)))
        file.write("]}")
    (manifest / "metadata.json").write_text(json.dumps(metadata()))
    date(manifest, WRITTEN_AT_S)


def peak_kib():
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


async def main():
    make(folder / "birds")
    before = peak_kib()
    clock = SystemClock()
    store = await SqliteStore.open(folder / "log.db", clock)
    projections = await SqliteProjections.open(folder / "projections.db", store, FOLDS)
    settings = Dataset(manifest=folder / "birds")
    pool = Pool()
    report = await scan(
        "birds", settings, store=store, projections=projections, clock=clock, pool=pool
    )
    assert (report.outcome, report.added) == ("taken", samples), report
    out = await export_fiftyone("birds", folder / "out", settings, projections=projections)
    assert out.samples == samples, out
    await pool.close()
    await projections.close()
    await store.close()
    size = (folder / "birds" / "samples.json").stat().st_size
    print(json.dumps([peak_kib() - before, size]))


asyncio.run(main())
"""


def grown_kib(folder: Path, samples: int) -> tuple[int, int]:
    """Scan and export a dataset in a process of its own.

    Returns by how much it grew (KiB), and the size of its samples.json (bytes).
    """
    folder.mkdir()
    command = [sys.executable, "-c", SCRIPT, str(folder), str(samples), str(LABELS_A_SAMPLE)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    grown, size = json.loads(done.stdout.splitlines()[-1])
    return grown, size


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_is_bounded_whatever_the_size_of_the_manifest(tmp_path: Path) -> None:
    """`samples.json` may be gigabytes; four times the samples take the same memory."""
    small, _ = grown_kib(tmp_path / "small", 2_000)
    large, size = grown_kib(tmp_path / "large", 8_000)

    assert large - small < size // 1024 / 4
    assert large < 1.25 * small
