"""`labeltrail serve`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from daemon.cli.frame import complain, config_option


@click.command
@config_option
def serve(config: Path | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP reads the settings again."""
    from daemon.serve import main
    from events.errors import SyncError

    try:
        main(config)
    except SyncError as exc:
        sys.exit(complain(exc))
