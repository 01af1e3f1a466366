"""Coverage-guided fuzzing of what reads bytes first: `python -m tests.fuzz.guided [-runs=N]`.

Needs atheris, which is no dependency of ours and is not to be had everywhere: `pip install
atheris`. Options are libFuzzer's.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.fuzz.corpus import answers, deliveries


def main() -> int:
    """Fuzz until something breaks, or for -runs=N inputs; without atheris, say so."""
    try:
        import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        print("atheris is not installed here; nothing was tried", file=sys.stderr)
        return 0
    with atheris.instrument_imports(include=["daemon", "events", "projections"]):
        from tests.fuzz.first_readers import take
    # atheris ends the process itself, so the folder is left to the system's own cleaning.
    folder = Path(tempfile.mkdtemp(prefix="labeltrail-fuzz-"))
    _write_samples(folder)
    atheris.Setup([*sys.argv, str(folder)], take)
    atheris.Fuzz()
    return 0


def _write_samples(folder: Path) -> None:
    """Begin with what was recorded: to find one delivery by chance takes for ever."""
    documents = [*deliveries(), *answers()["/api/jobs/N/annotations"]]
    for number, document in enumerate(documents):
        for which in range(4):
            name = folder / f"{number}-{which}"
            name.write_bytes(bytes([which]) + json.dumps(document).encode())


if __name__ == "__main__":
    raise SystemExit(main())
