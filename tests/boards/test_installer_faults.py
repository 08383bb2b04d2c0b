"""The faults that `make mutants` puts into install.sh: each has its place in the script, and tests to notice it."""

import ast

import pytest

from tests.conftest import ROOT
from tests.mutation import installer

SCRIPT = (ROOT / installer.SCRIPT).read_text()
NAMES = [
    node.name
    for node in ast.parse((ROOT / installer.TESTS).read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]
MUTANTS = installer.mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.change[:60] for mutant in MUTANTS])
def test_a_fault_can_be_put_in_and_tests_are_named_that_should_notice(mutant: installer.ShellMutant) -> None:
    assert mutant.apply(SCRIPT) != SCRIPT
    words = [
        word for word in mutant.tests.replace("(", " ").replace(")", " ").split() if word not in ("or", "and", "not")
    ]
    assert words
    assert [word for word in words if not any(word in name for name in NAMES)] == []


def test_no_fault_is_listed_twice() -> None:
    changes = [mutant.change for mutant in MUTANTS]
    assert len(changes) == len(set(changes)) > 30


def test_a_place_that_is_not_there_or_not_alone_is_an_error() -> None:
    with pytest.raises(ValueError, match="'no such text' 0 times, expected once"):
        installer.ShellMutant("no such text", "", "x").apply(SCRIPT)
    with pytest.raises(ValueError, match="times, expected once"):
        installer.ShellMutant("fail", "", "x").apply(SCRIPT)
