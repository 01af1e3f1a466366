"""Hand a dataset on, as it is now or as it was at a position of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from config.settings import Dataset as DatasetSettings
from daemon.manifests.export import (
    ExportFolder,
    ExportRefused,
    MediaForm,
    check_place,
    complete_metadata,
)
from daemon.manifests.source import Source
from daemon.manifests.threads import finished, until_stopped
from daemon.ports.projections import Projections
from events.dataset import Document, RefusedMedia
from events.errors import SyncError
from projections.datasets import DATASETS, SAMPLES_IN_ORDER, Dataset
from projections.label_fields import LABEL_FIELDS
from projections.restored import epoch_of
from projections.scan_batch import documents, streams_of
from projections.tables import Tables

PAGE_SAMPLES: Final = 100
# A dataset may be annotated while it is exported; the pages must all show one state.
TRIES: Final = 3


class UnknownDataset(SyncError):
    """The log knows no dataset of this name (at this position)."""


class _Moved(Exception):
    """The dataset changed between two pages."""


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    position       the place in the log whose state this is; metadata.json says it too
    refused        how many samples keep a path to a file that is not in the export
    refused_media  the first of them by name, and why
    """

    dataset: str
    folder: str
    position: int
    samples: int
    refused: int
    refused_media: tuple[RefusedMedia, ...]


class _Opening(NamedTuple):
    """What a dataset is apart from its samples, and the last position that touched it."""

    dataset: Dataset
    label_fields: list[tuple[str, str]]
    position: int
    epoch: int


async def export_fiftyone(
    dataset: str,
    folder: Path,
    settings: DatasetSettings,
    *,
    projections: Projections,
    at: int | None = None,
    media: MediaForm = "symlink",
    watched: Collection[Path] = (),
    overwrite: bool = False,
) -> ExportReport:
    """Write a FiftyOneDataset folder.

    at         the position whose state is written; None: now
    media      link to the files, copy them, or only name them
    watched    the manifests of all datasets; nothing is written within their reach
    overwrite  replace an earlier export of ours

    Raises ExportRefused, UnknownDataset, BeyondLog; nothing is left behind then.
    """
    await asyncio.to_thread(check_place, folder, watched=watched, overwrite=overwrite)
    source = Source(dataset, settings.manifest, tuple(settings.media_roots))
    for tries_left in reversed(range(TRIES)):
        opening = await projections.ask(partial(_opening, dataset=dataset), at=at)
        # What keeps changing is read as it was at one position: dearer, and it stands still.
        pages_at = at if at is not None or tries_left else opening.position
        try:
            return await _write(source, folder, opening, projections, pages_at, media, overwrite)
        except _Moved:
            continue
        except OSError as exc:
            raise ExportRefused(
                "the export cannot be written", folder=str(folder), reason=str(exc)
            ) from exc
    raise AssertionError("a state at a position does not move")


async def _write(
    source: Source,
    folder: Path,
    opening: _Opening,
    projections: Projections,
    at: int | None,
    media: MediaForm,
    overwrite: bool,
) -> ExportReport:
    export = ExportFolder(folder, source, media)
    fields = _media_fields(opening.dataset.metadata)
    page = partial(_page, dataset=source.dataset, expected=opening.position)
    start: int | None = 0
    try:
        await finished(export.open)
        while start is not None:
            found, start = await projections.ask(partial(page, start=start), at=at)
            await until_stopped(partial(export.add_all, found, fields))
        metadata = complete_metadata(
            source.dataset,
            opening.dataset.metadata,
            opening.label_fields,
            position=opening.position,
            epoch=opening.epoch,
        )
        await finished(partial(export.finish, metadata, overwrite=overwrite))
    finally:
        await asyncio.to_thread(export.discard)
    return ExportReport(
        dataset=source.dataset,
        folder=str(folder),
        position=opening.position,
        samples=export.samples,
        refused=export.refused,
        refused_media=tuple(export.refused_media),
    )


def _opening(tables: Tables, dataset: str) -> _Opening:
    row = tables.get(DATASETS, dataset)
    if row is None:
        raise UnknownDataset("the log knows no such dataset", dataset=dataset)
    fields = [(one.field, one.label_class) for one in tables.scan(LABEL_FIELDS, dataset)]
    return _Opening(row, fields, _touched(tables, dataset), epoch_of(tables))


def _page(
    tables: Tables, *, dataset: str, start: int, expected: int
) -> tuple[list[Document], int | None]:
    """Return samples from a place in the dataset's order on, and where the next page begins."""
    if _touched(tables, dataset) != expected:
        raise _Moved
    rows = list(islice(tables.scan(SAMPLES_IN_ORDER, dataset, start=(start,)), PAGE_SAMPLES))
    found = documents(tables, dataset, [row.sample for row in rows])
    return list(found.values()), rows[-1].order + 1 if len(rows) == PAGE_SAMPLES else None


def _touched(tables: Tables, dataset: str) -> int:
    """Return the last position that may have changed the dataset or its labels."""
    return max(row.position for row in streams_of(tables, dataset))


def _media_fields(metadata: Document) -> list[str]:
    match metadata.get("app_config"):
        case {"media_fields": [*names]}:
            return [name for name in names if isinstance(name, str) and name != "filepath"]
    return []
