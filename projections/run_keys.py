"""Runs by the key that people know them by; a renamed run keeps its stream."""

from __future__ import annotations

import re
from typing import Final

from events.errors import SyncError
from events.run import RunDeleted, RunRenamed
from projections import runs
from projections.decision import Decision, Draft
from projections.streams import versions
from projections.tables import Tables

KEY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,62}")


class UnknownRun(SyncError):
    """The dataset has no annotation run under this key."""


class RunExists(SyncError):
    """The dataset has an annotation run under this key."""


class BadKey(SyncError):
    """This cannot be the key of a run: it is part of names in the log."""


def find_run(tables: Tables, dataset: str, key: str) -> runs.RunRow:
    """Return the run of this key as it is today. Raises UnknownRun."""
    found = known_run(tables, dataset, key)
    if found is None:
        raise UnknownRun(
            "the dataset has no annotation run under this key",
            dataset=dataset,
            key=key,
            hint="see `labeltrail run ls`",
        )
    return found


def known_run(tables: Tables, dataset: str, key: str) -> runs.RunRow | None:
    """Return the run of this key as it is today, None where there is none."""
    row = tables.get(runs.RUNS, dataset, key)
    if row is not None and row.title == key:
        return None if row.deleted else row
    rows = tables.scan(runs.RUNS, dataset)
    return next((row for row in rows if row.title == key and not row.deleted), None)


def check_free(tables: Tables, dataset: str, key: str) -> None:
    """Raise RunExists where a new run or another name cannot be this key, or BadKey.

    The key that a run began with names its stream in the log, for ever.
    """
    if not KEY.fullmatch(key):
        raise BadKey(
            "this cannot be the key of a run",
            key=key[:80],
            hint="nothing was written; use letters, digits, dots, dashes and underscores",
        )
    began = tables.get(runs.RUNS, dataset, key)
    if began is None and known_run(tables, dataset, key) is None:
        return
    now = "is deleted" if began and began.deleted else f"is called {began.title}" if began else ""
    raise RunExists(
        "the dataset has an annotation run under this key",
        dataset=dataset,
        key=key,
        now=now if began and now != f"is called {key}" else None,
        hint="nothing was written; choose another key, or see `labeltrail run info`",
    )


def rename(tables: Tables, dataset: str, key: str, new_key: str) -> Decision:
    """Decide on another key for a run. Raises UnknownRun, RunExists."""
    run = find_run(tables, dataset, key)
    if new_key == key:
        return Decision()
    if new_key != run.key:
        check_free(tables, dataset, new_key)
    return Decision([Draft(run.stream, RunRenamed(key=new_key))], versions(tables, [run.stream]))


def delete(tables: Tables, dataset: str, key: str) -> Decision:
    """Decide to close the record of a run; labels and server stay. Raises UnknownRun."""
    run = find_run(tables, dataset, key)
    return Decision([Draft(run.stream, RunDeleted())], versions(tables, [run.stream]))
