"""Hear when a manifest changes; look now and then where the file system does not tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from watchfiles import Change, awatch

from config.settings import Dataset as DatasetSettings
from daemon import file_systems
from daemon.clock import Clock
from daemon.manifests.source import Source

# A folder's files that make the manifest; changes of media say nothing about labels.
_NAMES: Final = frozenset({"metadata.json", "samples.json", "frames.json", "samples"})
_POLL_MS: Final = 2_000
# watchfiles gathers what happens within this time into one report.
_GATHER_MS: Final = 400
_LOST_S: Final = 5.0


class ManifestWatch:
    """When to look at one dataset's manifest.

    async with ManifestWatch(…) as watch:
        async for _ in watch: …
    """

    def __init__(self, dataset: str, settings: DatasetSettings, clock: Clock) -> None:
        self._dataset = dataset
        self._settings = settings
        self._source = Source(dataset, settings.manifest)
        self._clock = clock
        self._stirred = asyncio.Event()
        self._stop = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ManifestWatch:
        self._listening = asyncio.create_task(self._listen(), name=f"watch {self._dataset}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if self._listening is not None:
            await asyncio.wait([self._listening])
            self._listening.result()

    async def __aiter__(self) -> AsyncIterator[None]:
        """Yield at once; then after each change that was followed by `quiet_s` without another,
        and at the latest `rescan_s` after the last time. Changes while the caller works count.
        """
        while not self._stop.is_set():
            yield
            await self._any(self._stirred.wait(), self._clock.sleep(self._settings.rescan_s))
            while self._stirred.is_set() and not self._stop.is_set():
                self._stirred.clear()
                await self._any(self._clock.sleep(self._settings.quiet_s))

    def look_again(self) -> None:
        """Yield again after `quiet_s`."""
        self._stirred.set()

    def stop(self) -> None:
        """End the iteration."""
        self._stop.set()

    async def _listen(self) -> None:
        """Note what happens to the manifest's files, as far as the file system tells."""
        manifest = self._source.manifest
        polling = self._settings.polling or await asyncio.to_thread(
            file_systems.is_remote, manifest
        )
        while not self._stop.is_set():
            try:
                await self._listen_once(polling)
            except OSError:
                # No such folder, or no more watches to be had. The rescan still finds changes.
                polling = manifest.parent.is_dir()
                await self._any(self._clock.sleep(_LOST_S))

    async def _listen_once(self, polling: bool) -> None:
        """Listen until the manifest's folder comes or goes. Raises OSError when it cannot."""
        manifest = self._source.manifest
        # The folder alone is not enough: an export replaces it by another of the same name.
        places = {manifest.parent, self._source.folder}
        changes_of = awatch(
            *(place for place in places if place.is_dir() or place == manifest.parent),
            watch_filter=self._concerns,
            debounce=_GATHER_MS,
            stop_event=self._stop,
            force_polling=polling,
            poll_delay_ms=_POLL_MS,
            recursive=False,
        )
        # What happened before this moment was not heard; a look tells.
        self._stirred.set()
        async with aclosing(changes_of) as heard:
            async for changes in heard:
                self._stirred.set()
                if any(Path(path) == manifest for _, path in changes):
                    return

    def _concerns(self, _change: Change, path: str) -> bool:
        found, manifest = Path(path), self._source.manifest
        return found == manifest or (found.parent == manifest and found.name in _NAMES)

    async def _any(self, *waits: Coroutine[Any, Any, object]) -> None:
        """Wait for the first of these, or for the stop."""
        tasks = [asyncio.ensure_future(wait) for wait in (*waits, self._stop.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
