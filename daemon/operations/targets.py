"""What a person may mean where a command looks at a state: a dataset, or a job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from events.errors import SyncError
from projections.datasets import DATASETS
from projections.jobs import JOBS

if TYPE_CHECKING:
    from daemon.app import App

# What such a look needs of the projections.
FOLDS: Final = ("datasets", "label_fields", "jobs")
_JOB: Final = re.compile(r"job/([a-z][a-z0-9_-]*)/(\d{1,18})")


class UnknownTarget(SyncError):
    """Neither a dataset nor a job that the log knows."""


class Job(NamedTuple):
    """One job of a CVAT server."""

    server: str
    job: int


async def target(app: App, text: str) -> str | Job:
    """Return the dataset or job that a text names. Raises UnknownTarget."""
    if named := _JOB.fullmatch(text):
        job = Job(named[1], int(named[2]))
        if await app.projections.ask(lambda tables: tables.get(JOBS, *job)) is not None:
            return job
    elif await app.projections.ask(lambda tables: tables.get(DATASETS, text)) is not None:
        return text
    raise UnknownTarget(
        "the log knows no such dataset or job",
        target=text[:80],
        hint="give the name of a dataset, or job/SERVER/ID; see `labeltrail status`",
    )
