"""Everything that comes from outside, and what must hold whatever it is.

Each target takes one input through the product's own code, folds what was recorded, and lets only
errors of ours pass, as a caller would have to deal with them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from config.settings import Dataset as DatasetSettings
from daemon.clock import Clock, SystemClock
from daemon.cvat.client import CvatClient
from daemon.cvat.server import Limits, ServerConfig
from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from daemon.cvat.wire import Wire
from daemon.demo.dataset import make_dataset
from daemon.handlers.backfill import Backfill
from daemon.handlers.carry_out import Journal
from daemon.handlers.issues import IssueText, IssueWatch
from daemon.handlers.observe import JobWatch
from daemon.handlers.scan import scan
from daemon.handlers.tasks import TaskWatch
from daemon.http.desk import Desk
from daemon.http.front import wire
from daemon.http.front.front import Front
from daemon.http.front.quick import Quick
from daemon.http.receiver import Receiver
from daemon.http.requests import Requests
from daemon.manifests.reading import read_metadata, read_samples
from daemon.manifests.source import Source
from daemon.manifests.spool import Spool
from daemon.metrics import Metrics
from daemon.observer import Observer
from daemon.pool import Pool
from daemon.ports.cvat import CvatError
from daemon.store.memory import MemoryStore
from events.canonical import canonical
from events.errors import SyncError
from events.run import LabelsMerged
from projections import merge
from projections.codec.cvat import Schema, annotations_from_wire, annotations_to_wire
from projections.folds import FOLDS
from projections.upload import FieldRequest
from tests.fakes.projections import InlineProjections
from tests.fuzz.corpus import answers, deliveries
from tests.fuzz.mutate import Rng, hostile_bytes, hostile_json
from tests.projections.story import JOB as merge_job
from tests.projections.story import Story, box, sample

SECRET: Final = "a secret"
TARGET_URL: Final = "http://127.0.0.1:8787/webhooks/cvat/main"
# A log is thrown away after so many inputs, so that memory is that of the product, not the log's.
INPUTS_A_LOG: Final = 300
BODY_BYTES_MAX: Final = 1 << 20
# One accepted manifest in so many goes on through the whole scan; the others end at the reader.
SCANNED: Final = 10


class _LateClock(SystemClock):
    """Shows a time behind all dates of sound inputs: what lies ahead of it is hostile."""

    def now_us(self) -> int:
        return super().now_us() + 365 * 86_400 * 1_000_000


class Log:
    """A log in memory, and all folds over it."""

    def __init__(self) -> None:
        self.clock: Clock = _LateClock()
        self.store = MemoryStore(self.clock)
        self.projections = InlineProjections(self.store, FOLDS)
        self.journal = Journal(self.store, self.projections, self.clock)

    async def fold(self) -> None:
        """Fold all that was recorded; raises what a fold raises."""
        self.projections.fold(await self.store.head())


class Target:
    """One way in. `counts` tells how inputs ended."""

    name = ""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._inputs = 0

    async def take(self, rng: Rng) -> None:
        """Make one input and take it. Raises whatever no caller expects."""
        if self._inputs % INPUTS_A_LOG == 0:
            await self.begin()
        self._inputs += 1
        self.counts[await self.one(rng)] += 1

    def renew(self) -> None:
        """Begin with a new log at the next input."""
        self._inputs = 0

    async def begin(self) -> None:
        """Make a new log."""
        raise NotImplementedError

    async def one(self, rng: Rng) -> str:
        """Take one input; say how it ended."""
        raise NotImplementedError


class _Bodies:
    def keep(self, *bodies: object) -> None:
        """Raw bodies are not kept here."""


class _Across(wire.Channel):
    """Frames without a socket: inputs come on one event loop or on many."""

    def __init__(self, other: Desk | Front) -> None:
        super().__init__(other.hear, other.lost)

    def send(self, kind: wire.Kind, value: object = None) -> None:
        self._heard(kind, msgspec.msgpack.encode(value))


class _Pipe:
    """A transport of one answer. `ended`: the answer, or that aiohttp is asked."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return "127.0.0.1", 1

    def write(self, sent: bytes) -> None:
        self.ended.set_result(sent.split(b" ")[1].decode())


class _Aiohttp(asyncio.Protocol):
    """Stands for aiohttp where a request is more than the short way takes."""

    def connection_made(self, transport: Any) -> None:
        transport.ended.set_result("aiohttp")


class Webhooks(Target):
    """Bodies of webhooks, through both ways of the port."""

    name = "webhooks"

    async def begin(self) -> None:
        self.log = Log()
        bodies: Any = _Bodies()
        receiver = Receiver(
            self.log.store,
            self.log.projections,
            self.log.clock,
            secrets=lambda server: [SECRET],
            on_delivery=lambda server, fact: None,
            bodies=bodies,
        )
        self.desk = Desk(receiver, Requests(Metrics()), asyncio.Event())
        self.front = Front(Path("nobody"), wire.Limits(512, BODY_BYTES_MAX, 10.0, 10.0))
        self.quick = Quick(_Aiohttp, self.front.deliver, bytes_max=BODY_BYTES_MAX, keepalive_s=10.0)
        self.front.channel = _Across(self.desk)
        self.desk.channel = _Across(self.front)

    async def one(self, rng: Rng) -> str:
        body = self._body(rng)
        if rng.random() < 0.5:
            status = await self._at_one_look(_in_bytes(rng, body))
        else:
            status = str((await self.front.handle(_request(rng, body))).status)
        await self.log.fold()
        assert status in ("204", "400", "401", "413", "aiohttp"), f"answered {status}"
        return status

    async def _at_one_look(self, sent: bytes) -> str:
        pipe: Any = _Pipe()
        connection = self.quick()
        connection.connection_made(pipe)
        connection.data_received(sent)
        status: str = await pipe.ended
        connection.connection_lost(None)
        return status

    def _body(self, rng: Rng) -> bytes:
        if rng.random() < 0.1:
            return hostile_bytes(rng)
        return hostile_json(rng, rng.choice(deliveries()))


class _Connection:
    """As much of aiohttp's protocol as a request looks at. Unlike a mock it remembers nothing."""

    transport = ssl_context = peername = sockname = None
    _reading_paused = False

    def pause_reading(self) -> None:
        """Nothing comes but what was fed."""

    def resume_reading(self, **_: object) -> None:
        """As above."""


class _Made:
    """What a request holds and the handler does not look at, made once."""

    protocol: Any = _Connection()
    writer: Any = None
    task: Any = None
    url = URL("http://127.0.0.1:8787/webhooks/cvat/main")


_MADE: Final = _Made()


def _signature(rng: Rng, body: bytes) -> str:
    signature = sign(body, SECRET)
    if rng.random() < 0.05:
        return rng.choice(("", "sha256=", signature[:-1], signature.upper(), "x" * 9_000))
    return signature


def _in_bytes(rng: Rng, body: bytes) -> bytes:
    """Return a request in bytes, now and then with a slip in its head."""
    fields = f"{SIGNATURE_HEADER}: {_signature(rng, body)}\r\nContent-Length: {len(body)}\r\n"
    head = bytearray(f"POST /webhooks/cvat/main HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
    if rng.random() < 0.1:
        at = rng.randrange(len(head))
        head[at : at + rng.randrange(3)] = hostile_bytes(rng)[:40]
    return bytes(head) + body


def _request(rng: Rng, body: bytes) -> web.Request:
    signature = _signature(rng, body)
    loop = asyncio.get_running_loop()
    content = StreamReader(_MADE.protocol, 2**16, loop=loop)
    content.feed_data(body)
    content.feed_eof()
    headers = CIMultiDictProxy(CIMultiDict({SIGNATURE_HEADER: signature}))
    head = RawRequestMessage(
        "POST", _MADE.url.path, HttpVersion11, headers, (), False, None, False, False, _MADE.url
    )
    return web.Request(
        head,
        content,
        _MADE.protocol,
        _MADE.writer,
        _MADE.task,
        loop,
        client_max_size=BODY_BYTES_MAX,
    )


class Manifests(Target):
    """metadata.json, samples.json and manifest.jsonl, through the reader; some on into the log."""

    name = "manifests"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder / "export"
        self.jsonl = folder / "images" / "manifest.jsonl"
        make_dataset(self.folder)
        self.jsonl.parent.mkdir()
        self.parts = {
            name: json.loads((self.folder / name).read_text())
            for name in ("metadata.json", "samples.json")
        }
        self.parts["samples.json"]["samples"] = self.parts["samples.json"]["samples"][:3]

    async def begin(self) -> None:
        self.log = Log()

    async def one(self, rng: Rng) -> str:
        source = self._write(rng)
        try:
            self._read(source)
        except SyncError:
            return f"refused {source.format}"
        if rng.random() < 1 / SCANNED:
            return await self._scan(source)
        return f"read {source.format}"

    def _write(self, rng: Rng) -> Source:
        if rng.random() < 0.3:
            self.jsonl.write_bytes(b"\n".join(_jsonl(rng)))
            return Source("street", self.jsonl)
        hurt = rng.choice(("metadata.json", "samples.json", "samples.json"))
        for name in ("samples.json", "metadata.json"):
            part = self.parts[name]
            sound = json.dumps(part).encode()
            (self.folder / name).write_bytes(hostile(rng, part) if name == hurt else sound)
        return Source("street", self.folder)

    def _read(self, source: Source) -> None:
        with closing(Spool(Path(":memory:"))) as spool:
            metadata = read_metadata(source)
            read_samples(source, metadata, spool, stopped=lambda: False)

    async def _scan(self, source: Source) -> str:
        settings = DatasetSettings(manifest=source.manifest, quiet_s=1e-6)
        log = self.log
        report = await scan(
            source.dataset,
            settings,
            store=log.store,
            projections=_WithPast(log),
            clock=log.clock,
            pool=Pool(),
            accept=True,
        )
        await log.fold()
        return f"scanned: {report.outcome}"


class _WithPast(InlineProjections):
    """Answers about the past, too: by folding the log anew."""

    def __init__(self, log: Log) -> None:
        super().__init__(log.store, FOLDS)
        self._log = log

    async def ask(self, question: Callable[..., Any], *, at: int | None = None, **_: Any) -> Any:
        if at is None:
            return await self._log.projections.ask(question)
        past = InlineProjections(self._log.store, FOLDS)
        past.fold(at)
        return question(past.shelf.tables)


def hostile(rng: Rng, document: Any) -> bytes:
    """Return bytes like a document, or like nothing."""
    return hostile_bytes(rng) if rng.random() < 0.05 else hostile_json(rng, document)


def _jsonl(rng: Rng) -> Iterator[bytes]:
    image = {"name": "frame", "extension": ".png", "width": 640, "height": 480, "meta": {}}
    lines: list[Any] = [{"version": "1.1"}, {"type": "images"}]
    lines += [{**image, "name": f"frame-{number}"} for number in range(3)]
    hurt = rng.randrange(len(lines))
    for number, line in enumerate(lines):
        yield hostile(rng, line) if number == hurt else json.dumps(line).encode()


class Answers(Target):
    """What a CVAT server answers, through the client and everything that asks it by itself."""

    name = "answers"

    async def begin(self) -> None:
        self.log = Log()
        self.session = _Session()
        self.date, self.cursor = 0, ""
        config = ServerConfig(
            name="main",
            url="http://cvat.test",
            limits=Limits(attempts=1, pages_max=3, answer_bytes_max=1 << 20),
        )
        session: Any = self.session
        cvat = CvatClient(Wire(config, session, self.log.clock))
        journal = self.log.journal
        self.watch = JobWatch(cvat, journal, Pool(), own=1)
        self.observer = Observer(self.watch, clock=self.log.clock)
        self.tasks = TaskWatch(cvat, journal)
        self.issues = IssueWatch(cvat, journal, _keep_text)
        self.backfill = Backfill(cvat, journal, TARGET_URL)
        self.cvat = cvat

    async def one(self, rng: Rng) -> str:
        self._answer(rng)
        works = (self._look, self._look, self._look, self._sweep, self._poll, self._round)
        work = rng.choice(works)
        try:
            ended = await work(rng)
        except SyncError as exc:
            # Callers wait out what a server does, and nothing else.
            if not isinstance(exc, CvatError):
                raise AssertionError(f"{type(exc).__name__} is no CvatError") from exc
            ended = type(exc).__name__
        await self.log.fold()
        if ended == "frozen":
            self.renew()
        return f"{work.__name__.strip('_')}: {ended}"

    def _answer(self, rng: Rng) -> None:
        """Let the server answer soundly, but for one or two kinds of request."""
        self.date += 1
        sound = {path: rng.choice(documents) for path, documents in SOUND.items()}
        document, _ = sound["/api/jobs/N"]
        sound["/api/jobs/N"] = _spelled({**document, "updated_date": self._later()})
        hurt = rng.sample(list(sound), rng.randint(1, 2))
        if rng.random() < 0.5:
            hurt = [rng.choice(("/api/jobs/N", "/api/labels", "/api/jobs/N/annotations"))]
        self.session.bodies = {
            path: hostile(rng, document) if path in hurt else spelled
            for path, (document, spelled) in sound.items()
        }

    def _later(self) -> str:
        return f"2026-12-01T{self.date // 3600:02}:{self.date // 60 % 60:02}:{self.date % 60:02}Z"

    async def _look(self, rng: Rng) -> str:
        return (await self.watch.observe(JOB)).outcome

    async def _sweep(self, rng: Rng) -> str:
        await self.observer.sweep()
        return "swept"

    async def _poll(self, rng: Rng) -> str:
        self.cursor = await self.observer.poll(self.cursor)
        return "polled"

    async def _round(self, rng: Rng) -> str:
        match rng.randrange(5):
            case 0:
                await self.tasks.look()
                return "tasks"
            case 1:
                await self.issues.look()
                return "issues"
            case 2:
                _ = [filled async for filled in self.backfill.fill()]
                return "deliveries"
            case 3:
                await self.cvat.about()
                await self.cvat.self_user()
                return "server"
        await self.cvat.job_meta(JOB)
        _ = [row async for row in self.cvat.projects()]
        return "meta"


class Merges(Target):
    """Annotations of a run's job that are hostile and readable, on into the dataset."""

    name = "merges"

    async def begin(self) -> None:
        self.story = Story()
        self.story.open(sample(0, *(box(number) for number in (10, 11, 12))), sample(1, box(20)))
        self.story.annotate(FieldRequest(name="gt", classes=("bus", "car")))
        schema = self.schema = Schema(self.story.labels)
        shown = list(self.story.shown.values())
        self.sound = annotations_to_wire(shown, schema, with_ids=True)

    async def one(self, rng: Rng) -> str:
        story = self.story
        try:
            found = annotations_from_wire(hostile(rng, self.sound), self.schema)
        except SyncError:
            return "refused"
        story.second += 1
        drafts = story.carry_out(story.look(annotations=found))
        drafts += story.carry_out(merge.identify(story.tables, "main", merge_job))
        story.settle()
        drafts += story.carry_out(merge.decide(story.tables, "main", merge_job))
        for draft in drafts:
            canonical(msgspec.to_builtins(draft.fact))
        again = merge.decide(story.tables, "main", merge_job).drafts
        assert not again, f"a merge was not the last one: {again}"
        return "merged" if any(isinstance(one.fact, LabelsMerged) for one in drafts) else "nothing"


async def _keep_text(text: IssueText) -> None:
    """Texts are not kept here."""


def _matching() -> dict[str, tuple[Any, ...]]:
    """Return answers that belong together: the labels of those jobs whose annotations they are."""
    found = answers()
    labels: list[Any] = []
    annotations: list[Any] = []
    for page in found["/api/labels"]:
        known = {label["id"] for label in page["results"]}
        fitting = [one for one in found["/api/jobs/N/annotations"] if _label_ids(one) & known]
        if len(fitting) > len(annotations):
            labels = [page]
            annotations = [one for one in fitting if _label_ids(one) <= known]
    [webhooks] = [found["/api/webhooks"]]
    for page in webhooks:
        for row in page["results"]:
            row["target_url"] = TARGET_URL
    return {**found, "/api/labels": tuple(labels), "/api/jobs/N/annotations": tuple(annotations)}


def _label_ids(document: Any) -> set[int]:
    return {item["label_id"] for many in ("tags", "shapes", "tracks") for item in document[many]}


Sound = tuple[Any, bytes]


def _spelled(document: Any) -> Sound:
    return document, json.dumps(document).encode()


# Spelled once: most of what a server answers is sound, whatever the input.
SOUND: Final[dict[str, tuple[Sound, ...]]] = {
    path: tuple(map(_spelled, documents)) for path, documents in _matching().items()
}
JOB: Final = 7


class _Content:
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for first in range(0, len(self._body), size):
            yield self._body[first : first + size]


class _Response:
    status = 200
    content_type = "application/json"
    headers: Mapping[str, str] = CIMultiDict()

    def __init__(self, body: bytes) -> None:
        self.content = _Content(body)


class _Session:
    """As much of `aiohttp.ClientSession` as the client's wire uses."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    @asynccontextmanager
    async def request(self, method: str, url: URL, **_: Any) -> AsyncIterator[_Response]:
        path = "/".join("N" if part.isdigit() else part for part in url.path.split("/"))
        yield _Response(self.bodies.get(path, b"{}"))


TARGETS: Final = ("webhooks", "manifests", "answers", "merges")


def target(name: str, folder: Path) -> Target:
    """Make a target by its name."""
    match name:
        case "webhooks":
            return Webhooks()
        case "manifests":
            return Manifests(folder)
        case "merges":
            return Merges()
    return Answers()


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Make a folder in memory where there is one: a million files need not reach a disk."""
    shm = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=shm if shm.is_dir() and shutil.disk_usage(shm) else None)


async def run(name: str, seeds: Iterator[int], seed: int, folder: Path) -> Counter[str]:
    """Take inputs by their seeds, one after the other; name the seed that breaks anything."""
    chosen = target(name, folder)
    # Each refusal and each oddity would be a line.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for number in seeds:
        try:
            await chosen.take(random.Random(f"{seed}/{name}/{number}"))
        except Exception as exc:
            exc.add_note(f"fuzz: target {name}, seed {seed}, input {number}")
            raise
    return chosen.counts
