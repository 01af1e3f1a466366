"""Facts of a `dataset/<name>` stream, in FiftyOne's terms.

A document (`dict`) is a FiftyOne document as it was read: MongoDB extended JSON, with numbers that
a float would change kept as `{"$number": "<source text>"}`. Absent and null are the same there.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from events.registry import Fact, event

Document = dict[str, object]


class LabelChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One label that appears, changes or disappears; addressed by sample, frame, field and id.

    frame     FiftyOne frame number from 1; 0 for the labels of the sample itself
    old, new  appears: `old` is None; disappears: `new` is None, `old` the whole document;
              changes: the changed members only, an absent key is an absent member
    alone     appears: the field holds this one label itself (`Classification`), no list of them
    """

    sample: str
    frame: int = 0
    field: str
    label: str
    old: Document | None = None
    new: Document | None = None
    alone: bool = False


class SampleChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Members of one sample that are not labels, before and after."""

    sample: str
    old: Document = {}
    new: Document = {}


class ScanConflict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A manifest's change beside what the dataset holds by now; the dataset's value stays.

    label    the members of one label that both sides changed, or the label that would go
    members  the members of the sample itself that both sides changed
             (neither of them: the whole sample would go, with labels that were edited meanwhile)
    dataset  the label's or the sample's document as it is and stays; None: it was deleted
    """

    id: str
    sample: str
    label: LabelChange | None = None
    members: SampleChange | None = None
    dataset: Document | None = None


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


@event("SamplesSeen")
class SamplesSeen(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What a manifest shows where it is not what the dataset took over.

    samples  whole documents: the dataset had made the change already, or a conflict holds it back
    gone     ids of samples that left the manifest and stay in the dataset

    It moves nothing but the base that the next scan is compared with.
    """

    samples: tuple[Document, ...] = ()
    gone: tuple[str, ...] = ()


@event("ScanConflictRaised")
class ScanConflictRaised(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The manifest and an annotation run changed the same members since the last scan."""

    conflicts: tuple[ScanConflict, ...]


@event("ScanConflictResolved")
class ScanConflictResolved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A person chose. `label` or `members` is what the dataset takes over.

    A sample that goes by this choice leaves by a SamplesRemoved beside it.
    """

    id: str
    choice: Literal["manifest", "dataset"]
    label: LabelChange | None = None
    members: SampleChange | None = None


@event("ManifestScanned")
class ManifestScanned(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A scan was taken: from here on the next one is compared with it.

    digest         SHA-256 (hex) of what the manifest says, dates left out
    position       the position in our log which the manifest says it has seen, if it says one
    refused        how many samples have media that are not opened
    refused_media  the first of them, by name
    """

    manifest: str
    digest: str
    samples: int
    added: int = 0
    changed: int = 0
    removed: int = 0
    position: int | None = None
    conflicts: int = 0
    refused: int = 0
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
    SamplesSeen,
    ScanConflictRaised,
    ScanConflictResolved,
    ManifestScanned,
    ManifestRejected,
    ManifestAcknowledged,
)
