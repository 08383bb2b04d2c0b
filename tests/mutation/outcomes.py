"""Outcome of each mutant, read from the folder mutmut worked in, as rows of docs/measured."""

import ast
import csv
import difflib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

SURVIVED = "survived"
# mutmut's own numbers, by what the tests of a mutant ended with.
_OUTCOMES = {0: SURVIVED, 1: "killed", 3: "killed", 33: "no tests", 36: "timeout", 24: "timeout", -24: "timeout"}
_MARK = "__mutmut_"


@dataclass(frozen=True)
class Survivor:
    """A mutant that all tests pass. `change` is the line before and after, `why_left` why no test asks for it."""

    subject: str
    file: str
    function: str
    change: str
    why_left: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """The same mutant in another run, whatever its number."""
        return self.file, self.function, self.change


@dataclass(frozen=True)
class Total:
    """How many mutants of a subject were tried, and what became of them."""

    subject: str
    mutants: int
    killed: int
    timeout: int
    no_tests: int
    survived: int

    @classmethod
    def of(cls, subject: str, outcomes: Counter[str]) -> "Total":
        """Count the outcomes of one subject; a mutant that never ends is noticed as well."""
        counts = (outcomes[name] for name in ("killed", "timeout", "no tests", SURVIVED))
        return cls(subject, outcomes.total(), *counts)


def outcomes(folder: Path, file: str) -> dict[str, str]:
    """Return the outcome of each mutant of a file that was tried, by mutmut's name without the module."""
    codes = json.loads((folder / "mutants" / f"{file}.meta").read_text())["exit_code_by_key"]
    tried = {name: code for name, code in codes.items() if code is not None}
    return {name.rpartition(".")[2]: _OUTCOMES.get(code, f"exit code {code}") for name, code in tried.items()}


def survivors(subject: str, folder: Path, file: str) -> Iterator[Survivor]:
    """The mutants of a file that no test noticed; those without any test are among them."""
    functions = {
        node.name: node
        for node in ast.walk(ast.parse((folder / "mutants" / file).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for name, outcome in outcomes(folder, file).items():
        if outcome in (SURVIVED, "no tests"):
            original = name.partition(_MARK)[0]
            change = _change(functions[f"{original}{_MARK}orig"], functions[name])
            yield Survivor(subject, file, original.removeprefix("x_").replace("xǁ", "").replace("ǁ", "."), change)


def _change(before: ast.AST, after: ast.AST) -> str:
    texts = [ast.unparse(node).splitlines()[1:] for node in (before, after)]
    lines = [line for line in difflib.ndiff(*texts) if line[0] in "-+"]
    return " ".join(" ".join(line.split()) for line in lines) or "default of a parameter"


def read(path: Path) -> list[Survivor]:
    """Survivors of an earlier run, with what was said of them."""
    if not path.is_file():
        return []
    with open(path, newline="") as stream:
        return [Survivor(**row) for row in csv.DictReader(stream)]


def write(path: Path, kind: type, rows: list) -> None:
    """Write rows of one dataclass as CSV."""
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
