"""Names of datasets and servers, completed by the shell from the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import click


def declared(
    kind: Literal["datasets", "servers"],
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return what completes a name that is declared in the settings."""

    def complete(context: click.Context, _param: click.Parameter, typed: str) -> list[str]:
        from daemon.app import BadSettings, load_settings

        try:
            settings = load_settings(context.params.get("config"))
        except BadSettings:
            return []  # A shell has no place to show what is wrong; the command itself will.
        return sorted(name for name in getattr(settings, kind) if name.startswith(typed))

    return complete
