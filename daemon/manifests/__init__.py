"""Manifests of datasets: read, watched and written. Formats: `docs/manifests.md`."""
