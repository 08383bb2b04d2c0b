"""The mutants of install.sh: each a text in place of another, tried by the tests that should notice."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tomllib

from tests.mutation.outcomes import SURVIVED, Survivor

SUBJECT, SCRIPT = "install", Path("boards/bundle/install.sh")
TESTS = "tests/boards/test_install.py"
_TABLE = Path(__file__).with_name("installer.toml")
# What pytest ends with where `tests` names none.
_NO_TESTS = 5


@dataclass(frozen=True)
class ShellMutant:
    """`after` in place of `before`; `tests` is an expression of pytest -k."""

    before: str
    after: str
    tests: str

    def apply(self, script: str) -> str:
        """The script with the fault. Raises ValueError unless `before` stands in it once."""
        if script.count(self.before) != 1:
            raise ValueError(f"install.sh holds {self.before!r} {script.count(self.before)} times, expected once.")
        return script.replace(self.before, self.after)

    @property
    def change(self) -> str:
        """Before and after on one line."""
        return " ".join(f"- {self.before} + {self.after or '(nothing)'}".split())


def mutants() -> list[ShellMutant]:
    """All of installer.toml."""
    return [ShellMutant(**entry) for entry in tomllib.loads(_TABLE.read_text())["mutant"]]


def try_all(folder: Path) -> Iterator[tuple[Counter[str], list[Survivor]]]:
    """Try each mutant in a staged `folder`; after each, what became of those so far, and which no test noticed.

    Raises RuntimeError where the tests fail without any mutant: every mutant would seem to be noticed.
    """
    if _outcome(folder, "not at_every_step") != SURVIVED:
        raise RuntimeError(f"{TESTS} fails in {folder} without any mutant. Run it there to see why.")
    path = folder / SCRIPT
    script, counts, found = path.read_text(), Counter[str](), []
    try:
        for mutant in mutants():
            path.write_text(mutant.apply(script))
            outcome = _outcome(folder, mutant.tests)
            counts[outcome] += 1
            if outcome != "killed":
                found.append(Survivor(SUBJECT, str(SCRIPT), _function_of(script, mutant.before), mutant.change))
            print(f"{outcome:9} {mutant.change[:100]}", flush=True)
            yield counts, found
    finally:
        path.write_text(script)


def _outcome(folder: Path, tests: str) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", TESTS, "-k", tests]
    finished = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True)
    return {0: SURVIVED, _NO_TESTS: "no tests"}.get(finished.returncode, "killed")


def _function_of(script: str, text: str) -> str:
    """The shell function a text stands in."""
    above = script[: script.index(text)].splitlines()
    return next((line.partition("(")[0] for line in reversed(above) if line[:1].isalpha() and "() {" in line), "main")
