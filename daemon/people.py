"""Who stands behind an actor: names and words of people, kept outside the log so that they can go.

The log knows a person as `<server>/<user id>`. What more is known lies in `people.db`, and `forget`
takes it out for good: the bytes are overwritten, and a mark stays, so that it is not fetched again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import orjson

from daemon.store.driver import number, open_writer, sqlite3
from events.errors import SyncError

NAME: Final = "people.db"
DELIVERIES_NAME: Final = "deliveries.db"
NAMES: Final = "the file of people's names"
BODIES: Final = "the raw bodies of deliveries, which may name whoever is to be forgotten,"
BODIES_HINT: Final = (
    "nobody is forgotten yet; try again, or where the file is damaged, stop the daemon and delete"
    " it: nothing depends on it"
)
FILE_MODE: Final = 0o600
READER_WAIT_MS: Final = 500
NAME_CHARS_MAX: Final = 200
ACTOR: Final = re.compile(r"([a-z][a-z0-9_-]{0,62})/(\d{1,18})")

T = TypeVar("T")


class PeopleUnusable(SyncError):
    """The file of people's names cannot be read or written; the log does not need it."""


class NobodyKnown(SyncError):
    """No person, or more than one, goes by this name."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an actor. forgotten: it was erased, and is not to be fetched again."""

    actor: str
    username: str = ""
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    forgotten: bool = False

    @property
    def shown(self) -> str | None:
        """Return "Ann Lee (ann)", or as much of it as there is."""
        full = f"{self.first_name} {self.last_name}".strip()
        return (
            f"{full} ({self.username})" if full and self.username else full or self.username or None
        )


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What went with a person: rows of names, texts, and raw bodies that named them."""

    names: int
    texts: int
    deliveries: int


def person(server: str, row: Mapping[str, Any]) -> Person:
    """Return the person of a CVAT user object (`BasicUser` or `User`)."""

    def text(name: str) -> str:
        found = row.get(name)
        # Half of a surrogate pair is no UTF-8, and SQLite takes nothing else.
        whole = found.encode("utf-8", "replace").decode() if isinstance(found, str) else ""
        return whole[:NAME_CHARS_MAX]

    return Person(
        actor=f"{server}/{row['id']}",
        username=text("username"),
        first_name=text("first_name"),
        last_name=text("last_name"),
        email=text("email"),
    )


class People:
    """The file and the one thread that uses it, both opened on first use."""

    def __init__(self, folder: Path) -> None:
        # Actor → when a server was asked for it last, in monotonic seconds, known to it or not.
        self.asked: dict[str, float] = {}
        self._folder = folder
        self._thread: ThreadPoolExecutor | None = None
        self._conn: sqlite3.Connection | None = None

    async def known(self, actors: Iterable[str]) -> dict[str, Person]:
        """Return those actors of whom something is known, or was forgotten."""
        wanted = sorted(set(actors))
        return await self._ask(
            lambda conn: {found.actor: found for found in _rows(conn, wanted)}, {}
        )

    async def named(self, username: str) -> list[Person]:
        """Return all who go by a user name, on any server."""
        sql = f"{_SELECT} WHERE username = ?"
        return await self._ask(lambda conn: [*map(_person, conn.execute(sql, (username,)))], [])

    async def keep(self, people: Sequence[Person]) -> None:
        """Keep names, but not of those who were forgotten."""
        rows = [msgspec.structs.astuple(one)[:-1] for one in people]
        await self._do(lambda conn: conn.executemany(_KEEP, rows))

    async def keep_text(self, name: str, author: str | None, salt: bytes, text: str) -> None:
        """Keep a text under the name that the log has for it, unless its author was forgotten.

        name  SHA-256 (hex) of salt ‖ text, which tells nothing of either
        """
        # A text from a server may hold half of a surrogate pair, which is no UTF-8.
        row = (name, author or "", salt, text.encode("utf-8", "surrogatepass"))
        await self._do(lambda conn: conn.execute(_KEEP_TEXT, row))

    async def texts(self, names: Iterable[str]) -> dict[str, str]:
        """Return the texts that are still there, by name."""
        sql = "SELECT name, text FROM texts WHERE name IN (SELECT value FROM json_each(?))"
        wanted = orjson.dumps(sorted(set(names))).decode()
        nothing: list[tuple[str, bytes]] = []
        found = await self._ask(lambda conn: conn.execute(sql, (wanted,)).fetchall(), nothing)
        return {name: text.decode("utf-8", "surrogatepass") for name, text in found}

    async def forget(self, actor: str, *, dry_run: bool = False) -> Erased:
        """Erase everything of a person, and leave a mark. Returned, the bytes are gone."""
        return await self._do(lambda conn: _forget(conn, self._folder, actor, dry_run=dry_run))

    async def close(self) -> None:
        """Close the file."""
        if self._thread is not None:
            if self._conn is not None:
                await self._do(lambda conn: conn.close())
            self._thread.shutdown(wait=False)

    async def _ask(self, question: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        """Answer a question, with `nothing` where there is no file: reading makes none."""
        there = self._conn is not None or await asyncio.to_thread((self._folder / NAME).exists)
        return await self._do(question) if there else nothing

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="people")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._with, work)

    def _with(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with _translated(self._folder / NAME):
            if self._conn is None:
                self._conn = _open(self._folder / NAME)
            return work(self._conn)


_SELECT: Final = "SELECT actor, username, first_name, last_name, email, forgotten FROM people"
_KEEP: Final = """
INSERT INTO people (actor, username, first_name, last_name, email, forgotten)
VALUES (?, ?, ?, ?, ?, 0)
ON CONFLICT (actor) DO UPDATE SET username = excluded.username, first_name = excluded.first_name,
    last_name = excluded.last_name, email = excluded.email WHERE NOT forgotten
"""
_KEEP_TEXT: Final = """
INSERT OR IGNORE INTO texts (name, author, salt, text) SELECT ?1, ?2, ?3, ?4
WHERE NOT EXISTS (SELECT 1 FROM people WHERE actor = ?2 AND forgotten)
"""
_MARK: Final = """
INSERT INTO people (actor, username, first_name, last_name, email, forgotten)
VALUES (?, '', '', '', '', 1)
ON CONFLICT (actor) DO UPDATE SET username = '', first_name = '', last_name = '', email = '',
    forgotten = 1
"""


def _open(path: Path) -> sqlite3.Connection:
    path.touch(mode=FILE_MODE)
    conn = open_writer(path)
    if not number(conn, "SELECT count(*) FROM sqlite_master"):
        # Imported on use: it costs 0.17 s, and the file is made once.
        import sqlite_utils

        db = sqlite_utils.Database(conn)
        with db.atomic():
            names = dict.fromkeys(("actor", "username", "first_name", "last_name", "email"), str)
            db.table("people").create({**names, "forgotten": int}, pk="actor", strict=True)
            db.table("people").create_index(["username"])
            db.table("texts").create(
                {"name": str, "author": str, "salt": bytes, "text": bytes}, pk="name", strict=True
            )
            db.table("texts").create_index(["author"])
    return conn


def _rows(conn: sqlite3.Connection, actors: Sequence[str]) -> Iterator[Person]:
    sql = f"{_SELECT} WHERE actor IN (SELECT value FROM json_each(?))"  # noqa: S608
    return map(_person, conn.execute(sql, (orjson.dumps(actors).decode(),)).fetchall())


def _person(row: Sequence[Any]) -> Person:
    actor, username, first_name, last_name, email, forgotten = row
    return Person(
        actor=actor,
        username=username,
        first_name=first_name,
        last_name=last_name,
        email=email,
        forgotten=bool(forgotten),
    )


def _forget(conn: sqlite3.Connection, folder: Path, actor: str, *, dry_run: bool) -> Erased:
    erased = Erased(
        names=number(conn, "SELECT count(*) FROM people WHERE actor = ? AND NOT forgotten", actor),
        texts=number(conn, "SELECT count(*) FROM texts WHERE author = ?", actor),
        deliveries=_forget_deliveries(folder / DELIVERIES_NAME, actor, dry_run=dry_run),
    )
    if not dry_run:
        conn.execute("PRAGMA secure_delete = ON")
        conn.execute("DELETE FROM texts WHERE author = ?", (actor,))
        conn.execute(_MARK, (actor,))
        _overwrite(conn)
    return erased


def _forget_deliveries(path: Path, actor: str, *, dry_run: bool) -> int:
    """Delete the raw webhook bodies that name somebody; they lie beside the log for a while."""
    if not path.exists():
        return 0
    server, number_text = actor.split("/")
    with (
        _translated(path, BODIES, BODIES_HINT),
        closing(sqlite3.connect(path, isolation_level=None)) as conn,
    ):
        bodies = conn.execute("SELECT rowid, body FROM bodies WHERE server = ?", (server,))
        found = [(row,) for row, body in bodies if _names(body, int(number_text))]
        if not dry_run:
            conn.execute("PRAGMA secure_delete = ON")
            conn.executemany("DELETE FROM bodies WHERE rowid = ?", found)
            _overwrite(conn)
    return len(found)


def _names(body: bytes, user: int) -> bool:
    try:
        left = [orjson.loads(body)]
    except orjson.JSONDecodeError:
        return True  # What cannot be read may hold anything.
    while left:
        match left.pop():
            case dict() as members:
                if members.get("id") == user and "username" in members:
                    return True
                left += members.values()
            case list() as items:
                left += items
    return False


def _overwrite(conn: sqlite3.Connection) -> None:
    """Leave nothing of what was deleted in the file, nor in the WAL beside it."""
    conn.execute(f"PRAGMA busy_timeout = {READER_WAIT_MS}")
    # The WAL holds old pages until it is emptied; the file, free ones until it is written anew.
    for step in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
        answer = conn.execute(step).fetchone()
        if answer is not None and answer[0]:
            raise PeopleUnusable(
                "somebody reads the file, so that erased bytes cannot be overwritten yet",
                hint="the names are out of use; repeat the command to overwrite them",
            )


@contextmanager
def _translated(path: Path, what: str = NAMES, hint: str | None = None) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as exc:
        raise PeopleUnusable(
            f"{what} cannot be used", path=str(path), reason=str(exc), hint=hint
        ) from exc
