"""Mutate the subjects with mutmut and write what no test noticed: `python -m tests.mutation [SUBJECT ...]`.

Writes docs/measured/mutants.csv, the survivors, and docs/measured/mutation.csv, the counts. Rows of other subjects
stay, and so does what was said of a survivor that is still one.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.mutation import installer
from tests.mutation.outcomes import Survivor, Total, outcomes, read, survivors, write
from tests.mutation.stage import Subject, stage, subjects

SURVIVORS, TOTALS = ROOT / "docs/measured/mutants.csv", ROOT / "docs/measured/mutation.csv"


def main(arguments: list[str] | None = None) -> int:
    """Try the named subjects, or all."""
    known = subjects()
    names = [*known, installer.SUBJECT]
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--work", type=Path, default=ROOT / "build/mutants", help="folder to work in")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    options = parser.parse_args(arguments)
    unknown = set(options.subjects) - set(names)
    if unknown:
        parser.error(f"{unknown.pop()}: expected one of {', '.join(names)}")
    for name in options.subjects or names:
        folder = options.work / name
        if name == installer.SUBJECT:
            stage(Subject(name, "boards", (), ()), folder)
            for counts, found in installer.try_all(folder):  # each takes its time, so none is lost at the end
                keep(name, counts, found)
        else:
            stage(known[name], folder)
            tried(folder, options.jobs)
            keep(name, *read_outcomes(known[name], folder))
    return 0


def tried(folder: Path, jobs: int) -> None:
    """Run mutmut in the folder. Raises CalledProcessError where the tests fail without any mutant."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "HYPOTHESIS_PROFILE": "mutants", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs)]
    with open(folder / "log.txt", "w") as log:
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=True)


def read_outcomes(subject: Subject, folder: Path) -> tuple[Counter[str], list[Survivor]]:
    """Return the outcomes of the mutants of Python code."""
    files = [f"{subject.top}/{name}" for name in subject.files]
    counts = Counter(one for file in files for one in outcomes(folder, file).values())
    return counts, [one for file in files for one in survivors(subject.name, folder, file)]


def keep(name: str, counts: Counter[str], found: list[Survivor]) -> None:
    """Put what became of a subject's mutants in the place of what the tables say of it."""
    said = {one.key: one.why_left for one in read(SURVIVORS)}
    found = [replace(one, why_left=said.get(one.key, "")) for one in found]
    total = Total.of(name, counts)
    write(SURVIVORS, Survivor, _with(read(SURVIVORS), found, name))
    write(TOTALS, Total, _with(totals(), [total], name))
    print(f"{name}: {total.survived + total.no_tests} of {total.mutants} mutants survive", flush=True)


def _with(rows: list[Any], new: list[Any], name: str) -> list[Any]:
    """`rows` with those of the subject replaced."""
    return sorted([*(row for row in rows if row.subject != name), *new], key=lambda row: row.subject)


def totals() -> list[Total]:
    """The counts of earlier runs."""
    if not TOTALS.is_file():
        return []
    with open(TOTALS, newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [Total(row.pop("subject"), **{name: int(count) for name, count in row.items()}) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
