"""The one base of every error a caller is meant to decide on."""

from __future__ import annotations


class SyncError(Exception):
    """Something went wrong that a person or a caller can act on.

    message  what went wrong, in lower case
    hint     what to do, and whether anything was written
    facts    the values that were met, by name
    """

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
        text = f"{self.message} ({facts})" if facts else self.message
        return f"{text}; {self.hint}" if self.hint else text
