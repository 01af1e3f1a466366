"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes import turns

# Before any module of ours makes its decoders.
turns.watch()


@pytest.fixture(autouse=True)
def _nobody_waits_for_a_decoder() -> Iterator[None]:
    """Neither the event loop nor the log's writer ever decodes more than a megabyte."""
    turns.found.clear()
    turns.elsewhere.clear()
    yield
    assert turns.found == []
