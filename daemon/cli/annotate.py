"""`labeltrail annotate`, `load`, `run`, `hook`: the way to CVAT and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs
from daemon.cli.tables import cell, table

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
RESTRICTIONS = ("additions", "deletions", "label-edits", "index-edits", "spatial-edits")
TYPES = ("detections", "classification", "classifications")
POLICIES = ("manual", "on-save", "on-job-completed")

shows_runs = table(
    ("dataset", "DATASET"),
    ("key", "KEY"),
    ("server", "SERVER"),
    ("state", "STATE"),
    ("policy", "POLICY"),
    ("fields", "FIELDS"),
    ("samples", "SAMPLES"),
    ("tasks", "TASKS"),
    ("waiting", "WAITING"),
    empty="no annotation run; `labeltrail annotate DATASET KEY` makes one",
)
shows_loaded = table(
    ("job", "JOB"),
    ("state", "STATE"),
    ("added", "ADDED"),
    ("changed", "CHANGED"),
    ("removed", "REMOVED"),
    ("conflicts", "CONFLICTS"),
    ("rejected", "REJECTED"),
    ("quarantined", "QUARANTINED"),
    ("held", "HELD"),
    empty="the run has no jobs",
)


def shows_run(objects: Iterator[Json], console: Console) -> None:
    """Progress while there is some, then the run with its jobs."""
    from rich.progress import Progress

    with Progress(console=console, disable=not console.is_terminal) as bar:
        bars: dict[str, Any] = {}
        for found in objects:
            if found["kind"] == "progress":
                what = found["what"]
                if what not in bars:
                    bars[what] = bar.add_task(what)
                bar.update(bars[what], completed=found["done"], total=found["total"])
            elif found["kind"] == "plan":
                _print_plan(found, console)
            else:
                _print_run(found, console)


def _print_plan(plan: Json, console: Console) -> None:
    """What RunRequested or SchemaCompiled would say; both leave out what is the default."""
    for task in plan.get("tasks", ()):
        jobs = f", jobs of {plan['segment_size']}" if "segment_size" in plan else ""
        console.print(
            f"      task  {task['name']}: {len(task['samples'])} samples{jobs}", markup=False
        )
    for field in plan.get("fields", ()):
        known = "existing" if field.get("existing") else "new"
        console.print(f"     field  {field['name']}: {known} {field['type']}", markup=False)
    if "server" in plan:
        project = plan.get("project") or "a new one"
        shown = project if plan.get("hooked", True) else "none, so CVAT tells nothing"
        console.print(f"   project  {shown}, on {plan['server']}", markup=False)
    for label in plan.get("labels", ()):
        attributes = ", ".join(one["name"] for one in label.get("attributes", ()))
        shown = f"{label['name']} ({label['type']}): {attributes}".removesuffix(": ")
        console.print(f"     label  {shown}", markup=False)


def _print_run(run: Json, console: Console) -> None:
    for name in ("dataset", "key", "server", "state", "policy", "fields", "project", "tasks"):
        console.print(f"{name:>10}  {cell(run[name])}", markup=False)
    for job in run["jobs"]:
        shown = ", ".join(f"{name} {cell(one)}" for name, one in job.items() if one is not None)
        console.print(f"            {shown}", markup=False)
    for unsent in run["unsent"]:
        console.print(
            f"    unsent  {unsent['field']} {unsent['label']}: {unsent['reason']}", markup=False
        )
    if run["waits_for"]:
        counts = ", ".join(f"{count} {what}" for what, count in run["waits_for"].items())
        console.print(f"   waiting  {counts}; see `labeltrail pending`", markup=False)


class Attribute(click.ParamType[Json]):
    """NAME, NAME:TYPE or NAME:TYPE:VALUE,VALUE with CVAT's input types."""

    name = "attribute"

    def convert(self, value: Any, param: Any, ctx: Any) -> Json:
        name, _, rest = str(value).partition(":")
        kind, _, values = rest.partition(":")
        if kind not in ("", "text", "select", "radio", "checkbox", "number") or not name:
            self.fail(f"{value!r} is not NAME[:TYPE[:VALUE,VALUE…]]", param, ctx)
        if kind in ("select", "radio") and not values:
            self.fail(f"{value!r}: {kind} needs values", param, ctx)
        offered = values.split(",") if values else ["true", "false"] * (kind == "checkbox")
        return {"name": name, "input_type": kind or "text", "values": offered}


@click.command
@click.argument("dataset")
@click.argument("key")
@click.option("--server", help="The CVAT server; needed where several are declared.")
@click.option("--field", "fields", multiple=True, help="Label field; may be repeated.")
@click.option("--type", "label_type", type=click.Choice(TYPES), help="For a new field.")
@click.option("--class", "classes", multiple=True, help="A class; default: those in the field.")
@click.option(
    "--attribute", "attributes", type=Attribute(), multiple=True, help="NAME[:TYPE[:V,V…]]."
)
@click.option("--no-attributes", is_flag=True, help="Send none; default: those in the field.")
@click.option("--forbid", type=click.Choice(RESTRICTIONS), multiple=True, help="Refuse such edits.")
@click.option("--id", "ids", multiple=True, help="Only this sample; may be repeated.")
@click.option("--tag", "tags", multiple=True, help="Only samples with this tag; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many samples.")
@click.option("--task-size", type=click.IntRange(min=1), help="Images in a task; default: all.")
@click.option("--segment-size", type=click.IntRange(min=1), help="Images in a job; default: all.")
@click.option("--image-quality", type=click.IntRange(0, 100), default=75, show_default=True)
@click.option("--policy", type=click.Choice(POLICIES), default="manual", show_default=True)
@click.option("--project", help="Use or make the project of this name; default: one of its own.")
@click.option("--no-project", is_flag=True, help="Tasks outside projects; CVAT tells nothing then.")
@runs("annotate", shows_run, dry_run=True)
def annotate(
    fields: tuple[str, ...],
    classes: tuple[str, ...],
    attributes: tuple[Json, ...],
    no_attributes: bool,
    forbid: tuple[str, ...],
    **asked: Any,
) -> Json:
    """Send samples of DATASET to CVAT as the annotation run KEY.

    An interrupted run goes on when it is asked for again. With --no-project tasks fire no webhook:
    edits are found by polling, later, and without an author.
    """
    if asked["project"] and asked["no_project"]:
        raise click.UsageError("--project and --no-project exclude each other")
    if attributes and no_attributes:
        raise click.UsageError("--attribute and --no-attributes exclude each other")
    return {
        **asked,
        "fields": list(fields),
        "classes": list(classes) or None,
        "attributes": [] if no_attributes else list(attributes) or None,
        "forbid": ["allow_" + name.replace("-", "_") for name in forbid],
        "ids": list(asked["ids"]),
        "tags": list(asked["tags"]),
    }


@click.command
@click.argument("dataset")
@click.argument("key")
@runs("load", shows_loaded, dry_run=True)
def load(dataset: str, key: str) -> Json:
    """Bring what annotators did in the run KEY to DATASET.

    Ends with exit code 3 where something waits for a decision; see `labeltrail pending`.
    """
    return {"dataset": dataset, "key": key}


@click.group
def run() -> None:
    """Look at annotation runs, rename them, take them off the server."""


@run.command("ls")
@click.argument("dataset", required=False)
@click.option("--deleted", is_flag=True, help="Also runs whose record was closed.")
@runs("run.ls", shows_runs)
def ls(dataset: str | None, deleted: bool) -> Json:
    """List annotation runs."""
    return {"dataset": dataset, "deleted": deleted}


@run.command("info")
@click.argument("dataset")
@click.argument("key")
@runs("run.info", shows_run)
def info(dataset: str, key: str) -> Json:
    """Tell everything about the run KEY of DATASET."""
    return {"dataset": dataset, "key": key}


def shows_cleanup(objects: Iterator[Json], console: Console) -> None:
    """Say what went, or what would go, and what stays."""
    for found in objects:
        if found["kind"] == "progress":
            continue
        done = "deleted" if found["kind"] == "cleaned up" else "would delete"
        console.print(f"{done} tasks: {_numbers(found, 'tasks')}", markup=False)
        project = found.get("project")
        console.print(f"{done} project: {'none' if project is None else project}", markup=False)
        for name, why in (
            ("foreign", "stay, as these ids are other tasks today"),
            ("others", "are in the project and are not the run's, so it stays"),
            ("unloaded", "hold edits that are not in the dataset"),
        ):
            if found.get(name):
                what = "jobs" if name == "unloaded" else "tasks"
                console.print(f"{what} {_numbers(found, name)} {why}", markup=False)


def _numbers(found: Json, name: str) -> str:
    return ", ".join(map(str, found.get(name) or ())) or "none"


@run.command("cleanup")
@click.argument("dataset")
@click.argument("key")
@click.option("--discard", is_flag=True, help="Also edits that were not loaded.")
@runs("run.cleanup", shows_cleanup, dry_run=True)
def cleanup(dataset: str, key: str, discard: bool) -> Json:
    """Delete the tasks of the run KEY from the server, and its own project if it is empty then.

    Labels stay in DATASET, and all events in the log. Asked for again, an interrupted cleanup goes
    on.
    """
    return {"dataset": dataset, "key": key, "discard": discard}


@run.command("rename")
@click.argument("dataset")
@click.argument("key")
@click.argument("new_key")
@runs("run.rename", dry_run=True)
def rename(dataset: str, key: str, new_key: str) -> Json:
    """Let the run KEY go by NEW_KEY from now on."""
    return {"dataset": dataset, "key": key, "new_key": new_key}


@run.command("delete")
@click.argument("dataset")
@click.argument("key")
@runs("run.delete", dry_run=True)
def delete(dataset: str, key: str) -> Json:
    """Close the record of the run KEY; its tasks stay on the server, its labels in DATASET."""
    return {"dataset": dataset, "key": key}


@click.group
def hook() -> None:
    """Let CVAT tell us when something happens."""


@hook.command("install")
@click.argument("project", type=int)
@click.option("--server", help="The CVAT server; needed where several are declared.")
@runs("hook.install", dry_run=True)
def install(project: int, server: str | None) -> Json:
    """Install the webhook of PROJECT (its id in CVAT), and let CVAT try it."""
    return {"project": project, "server": server}


shows_filled = table(
    ("webhook", "WEBHOOK"),
    ("read", "READ"),
    ("new", "NEW"),
    ("unreadable", "UNREADABLE"),
    ("complete", "COMPLETE"),
    ("refused", "REFUSED"),
    empty="no webhook of the server sends to us; `labeltrail hook install PROJECT` makes one",
)


@hook.command("backfill")
@click.option("--server", help="The CVAT server; needed where several are declared.")
@runs("hook.backfill", shows_filled, dry_run=True)
def backfill(server: str | None) -> Json:
    """Record what CVAT sent while we could not hear it, from its own list of deliveries.

    The daemon does this by itself at start and every few minutes.
    """
    return {"server": server}


shows_hooks = table(
    ("webhook", "WEBHOOK"),
    ("project", "PROJECT"),
    ("active", "ACTIVE"),
    ("last_status", "LAST STATUS"),
    ("last_delivery", "LAST DELIVERY"),
    ("missed", "MISSED"),
    ("refused", "REFUSED"),
    empty="no webhook of the server sends to us; `labeltrail hook install PROJECT` makes one",
)


@hook.command("status")
@click.option("--server", help="The CVAT server; needed where several are declared.")
@runs("hook.status", shows_hooks)
def status(server: str | None) -> Json:
    """List the webhooks that send to us, and how many deliveries of each never came.

    `labeltrail hook backfill` records those that are missed.
    """
    return {"server": server}


def shows_rotated(objects: Iterator[Json], console: Console) -> None:
    """A line for each webhook, then what is left to do."""
    for found in objects:
        if found["kind"] == "hook":
            ping = found.get("ping_status")
            tried = "" if ping is None else f": a try was answered {ping}"
            console.print(f"webhook {found['webhook']}{tried}", markup=False)
            continue
        console.print(f"{found['hooks']} webhooks have the new secret")
        if found["by_settings"]:
            console.print(
                "it is the first of `webhook_secrets`: take the others out of the settings"
            )
        else:
            console.print("the old one is not accepted any more")


@hook.command("rotate")
@click.option("--server", help="The CVAT server; needed where several are declared.")
@runs("hook.rotate", shows_rotated, dry_run=True)
def rotate(server: str | None) -> Json:
    """Give all our webhooks another secret; no delivery is refused meanwhile.

    Where the settings hold `webhook_secrets`, their first one is given to all webhooks. Repeat the
    command if it was interrupted.
    """
    return {"server": server}
