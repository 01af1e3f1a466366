"""One reading of a manifest, whole and checked, into a spool."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from daemon.manifests import cvat, fiftyone
from daemon.manifests.errors import ManifestBroken, ManifestMissing, ReadingStopped
from daemon.manifests.fiftyone import Metadata
from daemon.manifests.media import MediaPlaces, MediaRefused
from daemon.manifests.source import Source
from daemon.manifests.spool import Spool
from events.canonical import NotCanonical, canonical
from events.dataset import Document, RefusedMedia
from projections.documents import digest_of, object_id, split, unaddressable

REFUSED_NAMED_MAX: Final = 100


class Reading(NamedTuple):
    """What a manifest says.

    digest   SHA-256 (hex) of its content: metadata, position, samples, and which media are there
    refused  how many samples have media that are not opened; the first of them by name
    """

    samples: int
    digest: str
    refused: int
    refused_media: tuple[RefusedMedia, ...]


def read_metadata(source: Source) -> Metadata:
    """Read what a manifest says of the whole dataset. Raises ManifestRefused."""
    if source.format == "cvat":
        return Metadata({}, "image", None)
    try:
        return fiftyone.read_metadata(source.manifest, dataset=source.dataset)
    except OSError as exc:
        raise _unreadable(source, exc) from exc


def read_samples(
    source: Source, metadata: Metadata, spool: Spool, *, stopped: Callable[[], bool]
) -> Reading:
    """Read all samples into a spool.

    stopped  asked between samples; once it says so, ReadingStopped is raised

    Raises ManifestRefused when there is anything that cannot be taken; nothing is taken then.
    """
    steps = _sample_by_sample(source, metadata, spool)
    while not stopped():
        try:
            next(steps)
        except StopIteration as ended:
            reading: Reading = ended.value
            return reading
    raise ReadingStopped("the reading was stopped", hint="nothing was written")


def to_read(source: Source, spool: Path) -> bytes:
    """Return the part that `work` takes."""
    return _encode(_ToRead(source.dataset, str(source.manifest), _names(source), str(spool)))


def work(parts: Sequence[bytes]) -> Iterator[bytes | None]:
    """Read all samples in a process of the pool: `to_read` in, `Reading` in msgpack out.

    The spool is in its place with all that was read, or as it was: an attempt that is cut off
    leaves nothing to the next.
    """
    asked = _to_read.decode(parts[0])
    source = Source(asked.dataset, Path(asked.manifest), tuple(map(Path, asked.media_roots)))
    place, here = Path(asked.spool), Path(f"{asked.spool}-read")
    shutil.copyfile(place, here)
    with closing(Spool(here)) as spool:
        reading = yield from _sample_by_sample(source, read_metadata(source), spool)
    here.replace(place)
    yield _encode(reading)


class _ToRead(NamedTuple):
    dataset: str
    manifest: str
    media_roots: tuple[str, ...]
    spool: str


def _names(source: Source) -> tuple[str, ...]:
    return tuple(map(str, source.media_roots))


_encode = msgspec.msgpack.Encoder().encode
_to_read = msgspec.msgpack.Decoder(_ToRead)


def _sample_by_sample(
    source: Source, metadata: Metadata, spool: Spool
) -> Generator[None, None, Reading]:
    """Read all samples into a spool, one with each step."""
    digest = hashlib.sha256()
    samples = refused = 0
    named: list[RefusedMedia] = []
    places = MediaPlaces(source.folder, source.media_roots)
    spool.begin()
    try:
        digest.update(canonical([metadata.document, metadata.position]))
        for document in _documents(source):
            yield
            samples += 1
            sample = _note(spool, samples, document, digest.update)
            if (media := _refused(places, sample, document)) is not None:
                refused += 1
                digest.update(b"refused")
                named += [media] if len(named) < REFUSED_NAMED_MAX else []
    except OSError as exc:
        raise _unreadable(source, exc) from exc
    except NotCanonical as exc:
        raise ManifestBroken(
            "metadata.json holds what the log cannot write", reason=exc.message
        ) from exc
    spool.end()
    return Reading(samples, digest.hexdigest(), refused, tuple(named))


def _documents(source: Source) -> Iterator[Document]:
    if source.format == "cvat":
        return cvat.read_samples(source.manifest, dataset=source.dataset)
    return fiftyone.read_samples(source.manifest)


def _note(spool: Spool, nth: int, document: Document, told: Callable[[bytes], object]) -> str:
    """Check a sample and put it into the spool; return its id."""
    sample = object_id(document)
    if sample is None:
        raise ManifestBroken("a sample without an id of 24 hex digits", nth=nth)
    members, labels = split(document)
    for field in unaddressable(members):
        raise ManifestBroken(
            "labels without an id, or two with the same id in one list",
            sample=sample,
            field=field,
            hint="nothing was changed; give the labels ids of their own and export again",
        )
    try:
        digest = digest_of(members, labels)
        known = spool.note(nth, sample, digest, document)
    except NotCanonical as exc:
        raise ManifestBroken(
            "the sample holds what the log cannot write", sample=sample, reason=exc.message
        ) from exc
    if not known:
        raise ManifestBroken(
            "two samples have the same id",
            sample=sample,
            hint="nothing was changed; export the dataset again, each sample once",
        )
    told(digest)
    return sample


def _refused(places: MediaPlaces, sample: str, document: Document) -> RefusedMedia | None:
    filepath = document.get("filepath")
    try:
        places.resolve(filepath)
    except MediaRefused as exc:
        reason = f"{exc.message}; {exc.hint}" if exc.hint else exc.message
        return RefusedMedia(sample=sample, filepath=str(filepath)[:4_096], reason=reason)
    return None


def _unreadable(source: Source, exc: OSError) -> ManifestMissing:
    return ManifestMissing(
        "the manifest cannot be read",
        manifest=str(source.manifest),
        reason=exc.strerror or type(exc).__name__,
        hint="nothing was removed; look after the disk, the mount or the rights",
    )
