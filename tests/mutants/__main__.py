"""Plant each fault in a copy of the tree, and see its test turn red: `python -m tests.mutants`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from tests.mutants.table import MUTANTS, Mutant

TREE: Final = Path(__file__).parents[2]
COPIED: Final = ("events", "projections", "daemon", "config", "systemd", "tests", "pyproject.toml")
WORKERS: Final = 2
TEST_S: Final = 30
ALL_PASSED, SOME_FAILED = 0, 1

Outcome = Literal["killed", "survived", "does not apply", "broken"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run all mutants, or those whose words are given; fail unless each is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only faults with one of these words")
    words = parser.parse_args(argv).words
    mutants = [one for one in MUTANTS if not words or any(word in one.fault for word in words)]
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        copies = [_copied(Path(folder) / str(number)) for number in range(WORKERS)]
        if _run(copies[0], [one.test for one in mutants]) != ALL_PASSED:
            print("the tests are red without any fault", file=sys.stderr)
            return 1
        shares = [mutants[number::WORKERS] for number in range(WORKERS)]
        found = dict(pair for part in pool.map(_killed, copies, shares) for pair in part)
    outcomes = {one.fault: found[one.fault] for one in mutants}
    seconds = round(time.monotonic() - began_s, 1)
    print(json.dumps({"mutants": outcomes, "seconds": seconds}, indent=1))
    return 0 if set(outcomes.values()) == {"killed"} else 1


def _killed(tree: Path, mutants: Sequence[Mutant]) -> list[tuple[str, Outcome]]:
    return [(one.fault, outcome_of(tree, one)) for one in mutants]


def outcome_of(tree: Path, mutant: Mutant) -> Outcome:
    """Plant one fault in a copy, run its test, take the fault out again."""
    with planted(tree, mutant) as applies:
        if not applies:
            return "does not apply"
        code = _run(tree, [mutant.test])
    # Any other code: the test is not there, or the fault is no valid Python.
    return {ALL_PASSED: "survived", SOME_FAILED: "killed"}.get(code, "broken")  # type: ignore[return-value]


@contextmanager
def planted(tree: Path, mutant: Mutant) -> Iterator[bool]:
    """Change the file within the block; yield False where its text is not there exactly once."""
    path = tree / mutant.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(mutant.search) != 1 or mutant.search == mutant.replace:
        yield False
        return
    path.write_text(whole.replace(mutant.search, mutant.replace), encoding="utf-8")
    try:
        yield True
    finally:
        path.write_text(whole, encoding="utf-8")


def _copied(target: Path) -> Path:
    """Copy the tree as it is, so that no fault is ever planted where somebody works."""
    target.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in COPIED:
        one = TREE / name
        if one.is_dir():
            shutil.copytree(one, target / name, ignore=unwanted)
        else:
            shutil.copy(one, target / name)
    return target


def _run(tree: Path, tests: Sequence[str]) -> int:
    """Run tests in a copy; return pytest's exit code."""
    # -m puts the copy before the installed tree. Compiled files are told from their source by
    # second and size alone, which one fault and the next may share.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider")
    done = subprocess.run(
        [*command, "-o", f"timeout={TEST_S}", *dict.fromkeys(tests)],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode not in (ALL_PASSED, SOME_FAILED) or len(tests) > 1:
        print(done.stdout[-3000:], file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
