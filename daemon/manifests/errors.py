"""Why a manifest is not taken. None of these removes or changes anything."""

from __future__ import annotations

from events.errors import SyncError


class ManifestRefused(SyncError):
    """A manifest cannot be taken as it is."""


class ManifestMissing(ManifestRefused):
    """The manifest, its folder or its mount is not there, or cannot be read."""


class ManifestBroken(ManifestRefused):
    """The manifest is there and does not say what a manifest says."""


class ManifestChanged(ManifestRefused):
    """The manifest was written to while it was read."""


class ManifestBusy(SyncError):
    """Somebody is writing the manifest; look again a little later."""


class ScratchFailed(SyncError):
    """The temporary file of a scan cannot be written; the manifest itself may be fine."""


class ReadingStopped(SyncError):
    """The reader was told to stop."""
