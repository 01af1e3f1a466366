"""Record issues and their comments; the texts go elsewhere, where they can be erased."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from daemon.handlers.aside import set_aside
from daemon.handlers.carry_out import Journal
from daemon.handlers.dates import date_in
from daemon.ports.cvat import Aside, CvatApi, Forbidden, NotFound, Row, number
from projections import issues, jobs
from projections.issues import CommentSeen, IssueSeen, Unsure

SALT_BYTES: Final = 16
TEXT_CHARS_MAX: Final = 64 * 1024
POSITION_MAX: Final = 10_000


class IssueText(msgspec.Struct, frozen=True, kw_only=True):
    """The text of a comment. `name`, which the log holds, is SHA-256 (hex) of salt ‖ UTF-8."""

    name: str
    salt: bytes
    text: str
    author: str | None


KeepText = Callable[[IssueText], Awaitable[None]]


async def _forget(text: IssueText) -> None:
    """Keep no text: the log knows that there was one, and nobody what it said."""


@dataclass(frozen=True)
class IssueWatch:
    """Watches the issues of one server's recorded jobs.

    keep_text  is given each text before the fact that names it is recorded
    """

    cvat: CvatApi
    journal: Journal
    keep_text: KeepText = _forget

    @property
    def server(self) -> str:
        """The server's name in the settings and in the log."""
        return self.cvat.name

    async def look(self) -> None:
        """Compare the issues of all recorded jobs in sight. Raises CvatError."""
        seen, said, unsure = await self._all()
        told = await self.journal.projections.ask(
            lambda tables: {row.job for row in tables.scan(issues.ISSUES, self.server)}
        )
        for job in sorted({*seen, *told}):
            if await self._is_readable(job):
                await self._record(job, seen.get(job, []), said, unsure)

    async def look_at(self, job: int) -> None:
        """Compare the issues of one job. Raises CvatError."""
        aside: tuple[Aside, Aside] = [], []
        try:
            rows = await self.cvat.job_issues(job, aside=aside[0])
            comments = await self.cvat.job_comments(job, aside=aside[1])
        except (Forbidden, NotFound):
            return
        unsure = await self._set_aside(aside, rows, comments, whole=False)
        await self._record(job, rows, _by(comments, "issue"), unsure)

    async def _all(self) -> tuple[dict[int, list[Row]], dict[int, list[Row]], Unsure]:
        """Walk all issues by job, and all comments by issue."""
        aside: tuple[Aside, Aside] = [], []
        rows = [row async for row in self.cvat.issues(aside=aside[0])]
        comments = [row async for row in self.cvat.comments(aside=aside[1])]
        unsure = await self._set_aside(aside, rows, comments, whole=True)
        return _by(rows, "job"), _by(comments, "issue"), unsure

    async def _set_aside(
        self,
        aside: tuple[Aside, Aside],
        issues: Sequence[Row],
        comments: Sequence[Row],
        *,
        whole: bool,
    ) -> Unsure:
        """Record which rows cannot be read, and return them: none of them is gone."""
        note = partial(set_aside, self.journal, self.server, whole=whole)
        await note("issues", aside[0], {row["id"] for row in issues})
        await note("comments", aside[1], {row["id"] for row in comments})
        return Unsure(*(frozenset(row.id for row in hidden) for hidden in aside))

    async def _record(
        self,
        job: int,
        rows: Sequence[Row],
        comments: Mapping[int, Sequence[Row]],
        unsure: Unsure,
    ) -> None:
        seen = [_issue(row) for row in rows]
        said = [row for issue in seen for row in comments.get(issue.issue, ())]
        told = [_comment(row) for row in said]
        unknown = await self.journal.projections.ask(
            lambda tables: issues.unknown_comments(tables, self.server, job, told)
        )
        texts = await self._named(row for row in said if row["id"] in set(unknown))
        await self.journal.carry_out(
            lambda tables: issues.observe_issues(
                tables, self.server, job, seen, told, texts, unsure
            )
        )

    async def _is_readable(self, job: int) -> bool:
        """Tell whether the job is recorded: of one that we may not see, no issue is gone."""
        row = await self.journal.projections.ask(
            lambda tables: tables.get(jobs.JOBS, self.server, job)
        )
        return row is not None and not row.condition

    async def _named(self, rows: Iterable[Row]) -> dict[int, str]:
        """Hand texts on, each under a name that tells nothing of it; return comment → name."""
        names: dict[int, str] = {}
        for row in rows:
            salt = secrets.token_bytes(SALT_BYTES)
            text = str(row.get("message") or "")[:TEXT_CHARS_MAX]
            name = hashlib.sha256(salt + text.encode("utf-8", "surrogatepass")).hexdigest()
            owner = _owner(row)
            author = None if owner is None else f"{self.server}/{owner}"
            await self.keep_text(IssueText(name=name, salt=salt, text=text, author=author))
            names[number(row, "id")] = name
        return names


def _by(rows: Iterable[Row], owner: str) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row[owner], []).append(row)
    return found


def _issue(row: Row) -> IssueSeen:
    """Read CVAT's `IssueRead`."""
    position = row.get("position")
    numbers = position[:POSITION_MAX] if isinstance(position, list) else []
    return IssueSeen(
        issue=number(row, "id"),
        frame=int(row.get("frame") or 0),
        position=tuple(float(n) for n in numbers if isinstance(n, int | float)),
        resolved=bool(row.get("resolved")),
        owner=_owner(row),
        created_date=date_in(row, "created_date"),
        updated_date=date_in(row, "updated_date"),
    )


def _comment(row: Row) -> CommentSeen:
    """Read CVAT's `CommentRead`, but for the text."""
    return CommentSeen(
        comment=number(row, "id"),
        issue=number(row, "issue"),
        owner=_owner(row),
        created_date=date_in(row, "created_date"),
        updated_date=date_in(row, "updated_date"),
    )


def _owner(row: Row) -> int | None:
    owner: Any = row.get("owner")
    return owner.get("id") if isinstance(owner, dict) else None
