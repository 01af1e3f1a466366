"""Count what people did in CVAT, and what the log says of it. Imports nothing of Labeltrail.

    python -I judge.py JOURNAL LOG_DB

JOURNAL  the sandbox's record of requests and deliveries (`labeltrail sandbox --journal`)
LOG_DB   the log; its format is `docs/log-format.md`

Prints one JSON object; exit code 1 where something is not proved.

How it counts. The annotations of each job are built anew from the journal, write by write, and
held against what the journal says they were before the next write. An *edit* is one tag or shape
that one write of a person made, changed or removed; that a save gave it another id, and nothing
else, is one edit too. People are all users but the one who made the project.

Each read in the log (`AnnotationsObserved`, all its parts) names the job's `updated_date`, which
says after which write it was made. Between two reads lies a *window* of writes. For each annotation
the read must say exactly what the writes of its window did to it on the whole: id, old and new
value of each facet, or the whole annotation that came or went; nothing where they undid each other.

edits_made      edits of people in the journal; by kinds: added, changed, removed, renumbered
edits_recorded  those whose annotation (for a new id: both) the read of their window tells truly
lost            the others: the read of their window, or no read, tells of them something else
in_net_effect   recorded ones with a later edit of the same annotation in their window: told as one
repeated        what a read says though its window holds no such thing, but an earlier read said it
untrue          what a read says, and was never so
authors         of recorded edits: the read names the right one alone, several with the right one
                among them, nobody, or (wrong) others
final_state     the log's reads, applied one after the other, give what the server holds at the end
deliveries      of those that were answered 2xx: in the log once (the same one sent twice is one),
                not at all, or more often
leaves          every row hashes to its leaf, positions and times have no gap and do not go back
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import struct
import sys
import zlib
from bisect import bisect_right
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]
Key = tuple[str, int]  # "tag" or "shape", and CVAT's id
State = dict[Key, Json]  # facets of each annotation
Statement = tuple[Key, Json]  # an annotation, and what became of it

KINDS = {"tags": "tag", "shapes": "shape"}
WRITE = re.compile(r"/api/jobs/(\d+)/annotations")
TASK_WRITE = re.compile(r"/api/tasks/(\d+)/annotations")
LEAF = struct.Struct(">cQQQq?qiiiiiiiiq")
# What a member is that a payload leaves out.
DEFAULTS: Json = {"group": 0, "source": "manual"}
SHAPE_DEFAULTS: Json = {
    "points": [],
    "rotation": 0.0,
    "occluded": False,
    "outside": False,
    "z_order": 0,
    "score": 1.0,
    "elements": [],
}


class NotJudged(Exception):
    """Something is in the journal or the log that this script does not know how to judge."""


class Write(NamedTuple):
    """One write of a job's annotations: the job's date and annotations after it."""

    date: datetime
    user: str
    state: State
    edited: dict[Key, Json]


class Read(NamedTuple):
    """One `AnnotationsObserved`, all parts of it. told: what it says of each annotation."""

    position: int
    date: datetime
    actor: str | None
    told: list[Statement]


# The journal


class Journal:
    """What happened on the server."""

    def __init__(self, path: str) -> None:
        with Path(path).open(encoding="utf-8") as file:
            self.lines: list[Json] = [json.loads(line) for line in file]
        self.classes: dict[int, Json] = {
            label["id"]: label for line in self.lines for label in line.get("labels", ())
        }
        self.writes: defaultdict[int, list[Write]] = defaultdict(list)
        self.deliveries = [line for line in self.lines if "delivery" in line]
        self.users = {
            line["request"]["sender"]["username"]: line["request"]["sender"]["id"]
            for line in self.deliveries
        }
        self.machine = ""
        self.sound = True
        # The dates that a job had, as its webhooks tell them; also those that never arrived.
        self.dates: defaultdict[int, list[datetime]] = defaultdict(list)
        for line in self.deliveries:
            if line["event"] == "update:job":
                job = line["request"]["job"]
                self.dates[job["id"]].append(date(job["updated_date"]))
        for line in self.lines:
            self._take(line)

    def _take(self, line: Json) -> None:
        if line.get("method") in (None, "GET"):
            return
        if not 200 <= line["status"] < 300:
            if line.get("committed") and "before" in line:
                raise NotJudged(f"a write was made, but answered as an error: line {line['seq']}")
            return
        if line["method"] == "POST" and line["path"] == "/api/projects":
            self.machine = self.machine or line["user"]
        if TASK_WRITE.fullmatch(line["path"]):
            raise NotJudged(f"annotations of a whole task were written: line {line['seq']}")
        if found := WRITE.fullmatch(line["path"]):
            self._write(int(found[1]), line)

    def state(self, job: int) -> State:
        """Return the annotations of a job after its last write so far."""
        return dict(self.writes[job][-1].state) if self.writes[job] else {}

    def _write(self, job: int, line: Json) -> None:
        before = self.state(job)
        self.sound &= self._annotations(line["before"][str(job)]) == before
        action = dict(line["query"]).get("action", "replace")
        after = {} if line["method"] in ("PUT", "DELETE") else dict(before)
        if action == "delete":
            for key in self._ids(line["request"]):
                after.pop(key, None)
        elif line["method"] != "DELETE":
            after |= self._annotations(line["response"])
        edited = {key: one for key in before | after if (one := effect(before, after, key))}
        self.writes[job].append(Write(self._date(job, line, edited), line["user"], after, edited))

    def _date(self, job: int, line: Json, edited: dict[Key, Json]) -> datetime:
        """Return the job's date after a write: the last one before the write was answered."""
        last = self.writes[job][-1].date if self.writes[job] else datetime.min.replace(tzinfo=UTC)
        found = max([last, *(one for one in self.dates[job] if one <= date(line["at"]))])
        if edited and found == last:
            raise NotJudged(f"no webhook tells the date of the write in line {line['seq']}")
        return found

    def _ids(self, document: Json) -> list[Key]:
        return [(KINDS[many], item["id"]) for many in KINDS for item in document[many]]

    def _annotations(self, document: Json) -> State:
        if document.get("tracks"):
            raise NotJudged("there are tracks")
        return {
            (kind, item["id"]): self._facets(kind, item)
            for many, kind in KINDS.items()
            for item in document[many]
        }

    def _facets(self, kind: str, item: Json) -> Json:
        """Return an annotation as the server shows it, attributes filled in, ids by name."""
        label = self.classes[item["label_id"]]
        sent: defaultdict[int, list[str]] = defaultdict(list)
        for value in item["attributes"]:
            sent[value["spec_id"]].append(value["value"])
        values = {
            spec["name"]: sent.get(spec["id"], [spec["default_value"]])
            for spec in label["attributes"]
        }
        named = {name: one[0] if len(one) == 1 else sorted(one) for name, one in values.items()}
        return facets(kind, {**item, "label": label["name"], "attributes": named})


def date(text: str) -> datetime:
    """Read a date as CVAT writes it: without a fraction where that is zero."""
    return datetime.fromisoformat(text)


def facets(kind: str, item: Json) -> Json:
    """Return what of an annotation can change by itself, under the names that the log uses."""
    defaults = DEFAULTS if kind == "tag" else DEFAULTS | SHAPE_DEFAULTS
    found = {name: default if item.get(name) is None else item[name]
             for name, default in defaults.items()}  # fmt: skip
    found |= {"class": item["label"], "frame": item["frame"]}
    if kind == "shape":
        found |= {"type": item["type"], "geometry": found.pop("points")}
    values = item.get("attributes", {})
    return found | {f"attribute:{name}": value for name, value in values.items()}


def effect(before: State, after: State, key: Key) -> Json | None:
    """Say what became of an annotation, None if nothing."""
    old, new = before.get(key), after.get(key)
    if old is None or new is None:
        return None if old is new else {"added": new} if new else {"removed": old}
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return {"old": only(changed, old), "new": only(changed, new)} if changed else None


def only(names: set[str], held: Json) -> Json:
    """Return some members of an object."""
    return {name: value for name, value in held.items() if name in names}


# The log


class Log:
    """What the log says happened."""

    def __init__(self, path: str) -> None:
        self.db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.reads: defaultdict[int, list[Read]] = defaultdict(list)
        self.learned: dict[int, str] = {}
        self.deliveries: Counter[str] = Counter()
        self.events = 0
        self.sound = True
        self._recorded_at = 0
        with closing(self.db):
            for row in self.db.execute(
                "SELECT position, s.name, version, e.id, t.name, schema, recorded_at, occurred_at,"
                " actor, evidence, correlation, causation, codec, payload, leaf FROM events e"
                " JOIN streams s ON s.id = e.stream JOIN types t ON t.id = e.type"
                " ORDER BY position"
            ):
                self._take(row)

    def _take(self, row: tuple[Any, ...]) -> None:
        position, stream, type_, recorded_at, actor = row[0], row[1], row[4], row[6], row[8]
        self.events += 1
        self.sound &= position == self.events and recorded_at >= self._recorded_at
        self.sound &= leaf(row[:-1]) == row[-1]
        self._recorded_at = recorded_at
        fact = self._plain(json.loads(unpacked(row[12], row[13])))
        if type_ == "AnnotationsObserved":
            self._read(int(stream.rpartition("/")[2]), position, actor, fact)
        elif type_ == "ActorLearned":
            self.learned[fact["position"]] = ",".join(fact["actors"])
        elif type_ == "DeliveryReceived":
            self.deliveries[fact["body_hash"]] += 1
        elif type_ == "JobSchemaChanged" and (fact.get("carried") or fact.get("removed")):
            raise NotJudged(f"annotations changed with their classes at {position}")

    def _read(self, job: int, position: int, actor: str | None, fact: Json) -> None:
        told = [
            *(((item["kind"], item["id"]), {"added": facets(item["kind"], item)})
              for item in fact.get("added", ())),
            *(((item["kind"], item["id"]), {"removed": facets(item["kind"], item)})
              for item in fact.get("removed", ())),
            *(((item["kind"], item["id"]), {"old": item.get("old", {}), "new": item.get("new", {})})
              for item in fact.get("changed", ())),
        ]  # fmt: skip
        if fact.get("part", 1) > 1:
            self.reads[job][-1].told.extend(told)
        else:
            self.reads[job].append(Read(position, date(fact["updated_date"]), actor, told))

    def _plain(self, value: Any) -> Any:
        """Undo the marks of the canonical form (docs/canonical-form.md)."""
        match value:
            case {"$blob": str(name)} if len(value) == 1:
                codec, stored = self.db.execute(
                    "SELECT codec, value FROM blobs WHERE name = ?", (bytes.fromhex(name),)
                ).fetchone()
                return json.loads(unpacked(codec, stored))
            case {"$literal": dict(held)} if len(value) == 1:
                return {name: self._plain(one) for name, one in held.items()}
            case {"$numberDouble": str(text)} if len(value) == 1:
                return float(text)
            case {"$numberInteger": str(text)} if len(value) == 1:
                return int(text)
            case dict():
                return {name: self._plain(one) for name, one in value.items()}
            case list():
                return [self._plain(one) for one in value]
        return value


def unpacked(codec: str, stored: bytes) -> bytes:
    """Return the spelled value."""
    return zlib.decompress(stored) if codec == "json+zlib" else stored


def leaf(row: tuple[Any, ...]) -> bytes:
    """Hash a row as docs/log-format.md says."""
    position, stream, version, id_, type_, schema, recorded, occurred, *rest = row
    texts = [stream, id_, type_, *rest]
    parts = [part.encode() if isinstance(part, str) else part for part in texts]
    lengths = [-1 if part is None else len(part) for part in parts]
    times = (recorded, occurred is not None, occurred or 0)
    head = LEAF.pack(b"\0", position, version, schema, *times, *lengths)
    return hashlib.sha256(head + b"".join(part or b"" for part in parts)).digest()


# The judgement


class Judge:
    """Holds one against the other."""

    def __init__(self, journal: Journal, log: Log) -> None:
        self.journal = journal
        self.log = log
        self.count: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.authors: Counter[str] = Counter({"right": 0, "several": 0, "unknown": 0, "wrong": 0})

    def verdict(self) -> Json:
        """Return all counts, and whether everything is proved."""
        for job in sorted({*self.journal.writes, *self.log.reads}):
            self._job(job)
        found: Json = {
            "events": self.log.events,
            "edits_made": self.count["edits"],
            "kinds": dict(sorted(self.kinds.items())),
            "edits_recorded": self.count["recorded"],
            "lost": self.count["edits"] - self.count["recorded"],
            "in_net_effect": self.count["in net effect"],
            "repeated": self.count["repeated"],
            "untrue": self.count["untrue"],
            "authors": dict(self.authors),
            "annotations": sum(len(self.journal.state(job)) for job in self.journal.writes),
            "final_state_equal": all(
                self._last(job) == self.journal.state(job)
                for job in {*self.journal.writes, *self.log.reads}
            ),
            "deliveries": self._deliveries(),
            "journal_sound": self.journal.sound,
            "leaves_ok": self.log.sound,
        }
        return {**found, "ok": self._is_proved(found)}

    @staticmethod
    def _is_proved(found: Json) -> bool:
        wrong = (
            found["lost"],
            found["repeated"],
            found["untrue"],
            found["authors"]["wrong"],
            found["deliveries"]["lost"],
            found["deliveries"]["repeated"],
        )
        right = (found["final_state_equal"], found["journal_sound"], found["leaves_ok"])
        return not any(wrong) and all(right) and found["edits_made"] > 0

    def _job(self, job: int) -> None:
        writes, done = self.journal.writes[job], 0
        said: list[Statement] = []
        for read in self.log.reads[job]:
            upto = max(done, bisect_right([one.date for one in writes], read.date))
            self._window(writes[done:upto], writes[done - 1].state if done else {}, read, said)
            said += read.told
            done = upto
        self._window(writes[done:], writes[done - 1].state if done else {}, None, said)

    def _window(
        self, writes: list[Write], before: State, read: Read | None, said: list[Statement]
    ) -> None:
        after = writes[-1].state if writes else before
        told = dict(read.told) if read else {}
        expected = {key: effect(before, after, key) for one in writes for key in one.edited}
        if read:
            self._statements(read, expected, said)
        true = {key for key, one in expected.items() if told.get(key) == one}
        last = {key: number for number, one in enumerate(writes) for key in one.edited}
        for number, one in enumerate(writes):
            for keys in edits(one.edited) if one.user != self.journal.machine else ():
                self.kinds[kind_of(one.edited, keys)] += 1
                self.count["edits"] += 1
                if true.issuperset(keys):
                    self.count["recorded"] += 1
                    self.count["in net effect"] += any(last[key] > number for key in keys)
                    if read:
                        self.authors[self._author(read, one.user)] += 1

    def _statements(
        self, read: Read, expected: dict[Key, Json | None], said: list[Statement]
    ) -> None:
        here: set[Key] = set()
        for statement in read.told:
            key, what = statement
            if key in here or expected.get(key) != what:
                again = key in here or statement in said
                self.count["repeated" if again else "untrue"] += 1
            here.add(key)

    def _author(self, read: Read, user: str) -> str:
        actor = read.actor or self.log.learned.get(read.position)
        if actor is None:
            return "unknown"
        named = {int(one.rpartition("/")[2]) for one in actor.split(",")}
        if self.journal.users.get(user) not in named:
            return "wrong"
        return "right" if len(named) == 1 else "several"

    def _last(self, job: int) -> State:
        """Apply all reads of a job."""
        state: State = {}
        for read in self.log.reads[job]:
            for key, what in read.told:
                if "removed" in what:
                    state.pop(key, None)
                else:
                    kept = {name: value for name, value in state.get(key, {}).items()
                            if name not in what.get("old", {})}  # fmt: skip
                    state[key] = what.get("added") or kept | what["new"]
        return state

    def _deliveries(self) -> Json:
        answered = {
            digest(line["request"])
            for line in self.journal.deliveries
            if line["status"] is not None and 200 <= line["status"] < 300
        }
        counts = [self.log.deliveries[one] for one in answered]
        return {
            "answered": len(answered),
            "recorded": sum(count > 0 for count in counts),
            "lost": sum(count == 0 for count in counts),
            "repeated": sum(max(0, count - 1) for count in self.log.deliveries.values()),
        }


def edits(edited: dict[Key, Json]) -> list[list[Key]]:
    """Cut what one write did into edits; an annotation under a new id is one, with both its ids."""
    left = {key: what["removed"] for key, what in edited.items() if "removed" in what}
    found = []
    for key, what in edited.items():
        if "removed" not in what:
            twin = next((one for one, was in left.items()
                         if one[0] == key[0] and was == what.get("added")), None)  # fmt: skip
            found.append([key] if twin is None else [twin, key])
            if twin is not None:
                del left[twin]
    return found + [[key] for key in left]


def kind_of(edited: dict[Key, Json], keys: list[Key]) -> str:
    """Name an edit."""
    if len(keys) > 1:
        return "renumbered"
    return next((name for name in ("added", "removed") if name in edited[keys[0]]), "changed")


def digest(request: Json) -> str:
    """Return the name under which the log knows a delivery: SHA-256 of its sorted JSON."""
    spelled = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(spelled.encode()).hexdigest()


def main(journal: str, log: str) -> int:
    """Print the verdict, return the exit code."""
    try:
        found = Judge(Journal(journal), Log(log)).verdict()
    except NotJudged as exc:
        print(f"not judged: {exc}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -I judge.py JOURNAL LOG_DB")
    sys.exit(main(sys.argv[1], sys.argv[2]))
