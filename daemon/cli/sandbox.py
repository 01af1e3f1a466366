"""`labeltrail sandbox`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command
@click.option("--port", default=8080, show_default=True, help="0 takes any free one.")
@click.option("--as", "version", default="2.15", show_default=True, help="CVAT release to be.")
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that gets a line for each request and delivery.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the address as a JSON object.")
def sandbox(port: int, version: str, journal: Path | None, as_json: bool) -> None:
    """Run a CVAT server in memory, to try things on, until Ctrl-C."""
    import asyncio
    import contextlib
    import json

    from daemon.sandbox.sandbox import DEFAULT_USERS, VERSIONS, Sandbox, serve_forever

    if version not in VERSIONS:
        raise click.BadParameter(f"there are {', '.join(VERSIONS)}", param_hint="--as")

    def ready(url: str) -> None:
        who = ", ".join(f"{user} / {password}" for user, password in DEFAULT_USERS.items())
        words = f"CVAT sandbox {version} at {url}\nusers (name / password): {who}"
        found = {"kind": "sandbox", "url": url, "version": version}
        click.echo(json.dumps(found) if as_json else words)

    with contextlib.suppress(KeyboardInterrupt):
        made = Sandbox(version=version, port=port, journal=journal)
        asyncio.run(serve_forever(made, ready=ready))
