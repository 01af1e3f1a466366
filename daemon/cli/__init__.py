"""The command line. A module here holds click functions and how their output looks.

Nothing heavier than click may be imported when these modules load: `labeltrail --help` is held
to 0.35 s, and a test holds the list of what it imports.
"""

from __future__ import annotations

import click

from daemon.cli import (
    annotate,
    backup,
    completion,
    dataset,
    demo,
    doctor,
    export,
    forget,
    history,
    log,
    pending,
    sandbox,
    serve,
    server,
    service,
    status,
    token,
    verify,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="labeltrail", prog_name="labeltrail")
def labeltrail() -> None:
    """Record every label change between FiftyOne and CVAT, and put any moment back."""


for command in (
    serve.serve,
    doctor.doctor,
    status.status,
    dataset.dataset,
    server.server,
    annotate.annotate,
    annotate.load,
    annotate.run,
    annotate.hook,
    pending.pending,
    pending.resolve,
    log.log,
    history.show,
    history.diff,
    history.at,
    export.export,
    token.token,
    verify.verify,
    verify.replay,
    backup.backup,
    forget.forget,
    service.service,
    sandbox.sandbox,
    demo.demo,
    completion.completion,
):
    labeltrail.add_command(command)


def run() -> None:
    """Run the command line of this process."""
    labeltrail(prog_name="labeltrail")
