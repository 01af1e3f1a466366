"""`labeltrail completion`."""

from __future__ import annotations

import click


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL.

    For bash: echo 'eval "$(labeltrail completion bash)"' >> ~/.bashrc
    """
    from click.shell_completion import get_completion_class

    completer = get_completion_class(shell)
    assert completer is not None
    root = click.get_current_context().find_root().command
    click.echo(completer(root, {}, "labeltrail", "_LABELTRAIL_COMPLETE").source())
