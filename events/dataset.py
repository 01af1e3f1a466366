"""Facts of a `dataset/<name>` stream, in FiftyOne's terms.

A document (`dict`) is a FiftyOne document as it was read: MongoDB extended JSON, with numbers that
a float would change kept as `{"$number": "<source text>"}`. Absent and null are the same there.
"""

from __future__ import annotations

import msgspec

from events.registry import Fact, event

Document = dict[str, object]


class LabelChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One label that appears, changes or disappears; addressed by sample, frame, field and id.

    frame     FiftyOne frame number from 1; 0 for the labels of the sample itself
    old, new  appears: `old` is None; disappears: `new` is None, `old` the whole document;
              changes: the changed members only, an absent key is an absent member
    """

    sample: str
    frame: int = 0
    field: str
    label: str
    old: Document | None = None
    new: Document | None = None


class SampleChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Members of one sample that are not labels, before and after."""

    sample: str
    old: Document = {}
    new: Document = {}


class RefusedMedia(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A sample whose file is not opened, and why."""

    sample: str
    filepath: str
    reason: str


@event("DatasetOpened")
class DatasetOpened(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A dataset was declared; `metadata` is its metadata.json without dates and run records."""

    format: str
    media_type: str = "image"
    metadata: Document = {}


@event("DatasetChanged")
class DatasetChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Members of metadata.json changed (classes, mask targets, fields, info)."""

    old: Document = {}
    new: Document = {}


@event("SamplesAdded")
class SamplesAdded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Samples with all their labels, whole documents in the manifest's order."""

    samples: tuple[Document, ...]


@event("SamplesChanged")
class SamplesChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Members of samples that are not labels."""

    changes: tuple[SampleChange, ...]


@event("SamplesRemoved")
class SamplesRemoved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Samples that left the manifest, whole as they were, so that they can be put back."""

    samples: tuple[Document, ...]


@event("DatasetLabelsChanged")
class DatasetLabelsChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The dataset's side changed labels: the difference of two scans of one manifest."""

    changes: tuple[LabelChange, ...]


@event("ManifestScanned")
class ManifestScanned(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A scan was taken: from here on the next one is compared with it.

    digest    SHA-256 (hex) of the manifest's files as read
    position  the position in our log which the manifest says it has seen, if it says one
    """

    manifest: str
    digest: str
    samples: int
    added: int = 0
    changed: int = 0
    removed: int = 0
    position: int | None = None
    refused_media: tuple[RefusedMedia, ...] = ()


@event("ManifestRejected")
class ManifestRejected(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A manifest that could not be taken, and why. It removed and changed nothing."""

    manifest: str
    reason: str
    digest: str = ""
    removed: int = 0


@event("ManifestAcknowledged")
class ManifestAcknowledged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A person accepted what a manifest would remove (`dataset scan --accept`)."""

    manifest: str
    digest: str


FACTS = (
    DatasetOpened,
    DatasetChanged,
    SamplesAdded,
    SamplesChanged,
    SamplesRemoved,
    DatasetLabelsChanged,
    ManifestScanned,
    ManifestRejected,
    ManifestAcknowledged,
)
