"""What the demo shows: what happens in words, each command as typed, the first lines it prints."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

INDENT: Final = "    "


class Teller:
    """Tells on a console, or nobody."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._step = 0

    def environment(self) -> dict[str, str]:
        """Return what makes commands print for this console."""
        if self._console is None:
            return {}
        colours = {"FORCE_COLOR": "1"} if self._console.color_system else {}
        return {"COLUMNS": str(self._console.width - len(INDENT)), **colours}

    def step(self, title: str) -> None:
        """Begin a step."""
        self._step += 1
        self._print(Text(f"\n{self._step}. {title}", style="bold"))

    def says(self, text: str) -> None:
        """Tell what happens."""
        self._print(Text(f"  {text}"))

    def typed(self, command: str) -> None:
        """Show a command line."""
        if self._console is not None:
            line = Text.assemble(("  $ ", "dim"), (command, "bold cyan"))
            self._console.print(line, soft_wrap=True)

    def shown(self, command: str, text: str) -> None:
        """Show a command and all that it prints."""
        self.typed(command)
        self.printed(text, lines_max=len(text.splitlines()))

    def printed(self, output: str, lines_max: int) -> None:
        """Show the first lines that a command printed, each cut to the console's width."""
        lines = output.rstrip("\n").splitlines()
        for line in lines[:lines_max]:
            self._print(Text.from_ansi(INDENT + line))
        if (left := len(lines) - lines_max) > 0:
            self._print(Text(f"{INDENT}… {left} more lines", style="dim"))

    def _print(self, text: Text) -> None:
        if self._console is not None:
            self._console.print(text, no_wrap=True, overflow="ellipsis", crop=True)
