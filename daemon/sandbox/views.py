"""What every version has to show: one module of functions per version."""

from __future__ import annotations

from typing import Protocol

from daemon.sandbox import present, present_2_73
from daemon.sandbox.model import Data, Job, Json, Project, Task, User
from daemon.sandbox.state import State


class Views(Protocol):
    """The functions that differ between versions; see `present`."""

    def full_user(self, user: User, base: str) -> Json: ...

    def project(self, state: State, row: Project, base: str) -> Json: ...

    def task(
        self,
        state: State,
        row: Task,
        base: str,
        *,
        counted: bool = True,
        reader: User | None = None,
    ) -> Json: ...

    def job(
        self,
        state: State,
        row: Job,
        base: str,
        *,
        counted: bool = True,
        reader: User | None = None,
    ) -> Json: ...

    def data_meta(
        self, data: Data, start: int, stop: int, *, of_job: bool, chunks_updated: int
    ) -> Json: ...


VIEWS: dict[str, Views] = {"2.15": present, "2.73": present_2_73}
