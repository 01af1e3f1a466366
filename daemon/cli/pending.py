"""`labeltrail pending`, `resolve`: what waits for a person."""

from __future__ import annotations

from typing import Any

import click

from daemon.cli.frame import runs
from daemon.cli.tables import table

Json = dict[str, Any]

shows_pending = table(
    ("id", "ID"),
    ("what", "WHAT"),
    ("dataset", "DATASET"),
    ("key", "KEY"),
    ("job", "JOB"),
    ("sample", "SAMPLE"),
    ("label", "LABEL"),
    ("reason", "REASON"),
    ("cvat", "CVAT"),
    ("actor", "ACTOR"),
    ("actor_name", "NAME"),
    empty="nothing waits",
)


@click.command
@click.argument("dataset", required=False)
@runs("pending", shows_pending)
def pending(dataset: str | None) -> Json:
    """List what waits for a decision, in DATASET or in all; exit code 3 where something does."""
    return {"dataset": dataset}


@click.command
@click.argument("id")
@click.option("--cvat", "choice", flag_value="cvat", help="Take CVAT's value over.")
@click.option("--manifest", "choice", flag_value="manifest", help="Take the manifest's value over.")
@click.option("--dataset", "choice", flag_value="dataset", help="Keep the dataset's value.")
@runs("resolve", dry_run=True)
def resolve(id: str, choice: str | None) -> Json:
    """Decide the entry ID of `labeltrail pending`."""
    if choice is None:
        raise click.UsageError("say whose side to take: --cvat, --manifest or --dataset")
    return {"id": id, "choice": choice}
