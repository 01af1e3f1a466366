"""`labeltrail`, and `python -m daemon`."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("events", "projections", "daemon", "config")


def main() -> None:
    """Run the command line, after a look at who answers to our generic package names."""
    if intruder := _intruder():
        sys.stderr.write(intruder)
        sys.exit(1)
    from daemon.cli import run

    run()


def _intruder() -> str | None:
    """Say which package is somebody else's, None if all four lie in one folder.

    PyPI's Events, python-daemon and config install packages of the same names. They are looked
    for and not imported: an intruder's code is never run.
    """
    home = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = PathFinder.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != home / name / "__init__.py":
            return (
                f"error: the package `{name}` is not Labeltrail's (found={str(found)!r}, "
                f"expected={str(home / name)!r})\n"
                "hint: a PYTHONPATH entry or another distribution comes first; "
                "install Labeltrail in an environment of its own\n"
            )
    return None


if __name__ == "__main__":
    main()
