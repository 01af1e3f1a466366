"""The mutants fit the code, and the run can fail; `make mutants` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.__main__ import TREE, outcome_of, planted
from tests.mutants.table import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.fault)
def test_each_fault_fits_the_code_and_names_a_test(mutant: Mutant) -> None:
    """Code moves on; a fault that fits nowhere any more would guard nothing in silence."""
    file, *names = mutant.test.split("::")

    whole = (TREE / mutant.file).read_text(encoding="utf-8")
    tests = "".join(path.read_text() for path in (TREE / file).parent.glob("*.py"))

    assert whole.count(mutant.search) == 1
    assert mutant.search != mutant.replace
    assert f"def {names[-1]}(" in tests
    compile(whole.replace(mutant.search, mutant.replace), mutant.file, "exec")


def test_a_fault_that_nobody_notices_survives(tmp_path: Path) -> None:
    """A run that calls everything killed would prove nothing."""
    (tmp_path / "sums.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "test_sums.py").write_text(
        "from sums import add\n\n\ndef test_one():\n    assert add(2, 2) == 4\n\n\n"
        "def test_two():\n    assert add(1, 2) == 3\n"
    )
    mutant = Mutant("times", "sums.py", "a + b", "a * b", "test_sums.py::test_one")

    outcomes = [
        outcome_of(tmp_path, one)
        for one in (
            mutant,
            mutant._replace(test="test_sums.py::test_two"),
            mutant._replace(search="a - b"),
            mutant._replace(test="test_sums.py::test_three"),
        )
    ]

    assert outcomes == ["survived", "killed", "does not apply", "broken"]


def test_a_fault_is_taken_out_again_whatever_happens(tmp_path: Path) -> None:
    """Two faults at once could hide each other."""
    (tmp_path / "one.py").write_text("a = 1\n")

    with pytest.raises(FileNotFoundError), planted(tmp_path, Mutant("", "one.py", "1", "2", "")):
        (tmp_path / "two.py").read_text()

    assert (tmp_path / "one.py").read_text() == "a = 1\n"
