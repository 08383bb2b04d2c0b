"""Lines of code by package, and of the tests beside them: `python -m tests.lines [--out docs/measured/lines.csv]`.

A line counts where a token of code begins or goes on: blank lines, comments and docstrings do not.
"""

import argparse
import ast
import csv
import sys
from pathlib import Path

from tests.conftest import ROOT

# A package, and where its tests are.
PACKAGES = {
    "runtime/fer_edge": "tests/runtime",
    "train": "tests/train",
    "export": "tests/export",
    "quantize": "tests/quantize",
    "boards": "tests/boards",
}


def code_lines(path: Path) -> int:
    """Lines of a file that hold code."""
    text = path.read_text()
    tree = ast.parse(text)
    without = {number for node in ast.walk(tree) for number in _docstring(node)}
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        1 for number, line in lines if number not in without and line.strip() and not line.strip().startswith("#")
    )


def _docstring(node: ast.AST) -> range:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return range(0)
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is None:
        return range(0)
    return range(first.lineno, (first.end_lineno or first.lineno) + 1)


def counted() -> list[tuple[str, int, int, float]]:
    """Package, its lines, those of its tests, and how many of these come on one of those; the sum last."""

    def lines(folder: str) -> int:
        return sum(code_lines(path) for path in (ROOT / folder).rglob("*.py") if "build" not in path.parts)

    found = [(package, lines(package), lines(tests)) for package, tests in PACKAGES.items()]
    source, tests = sum(row[1] for row in found), lines("tests")
    return [(name, own, beside, round(beside / own, 2)) for name, own, beside in (*found, ("all", source, tests))]


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.lines", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the table as CSV")
    options = parser.parse_args(arguments)
    header, rows = ("package", "source_lines", "test_lines", "tests_to_source"), counted()
    print("{:18} {:>12} {:>10} {:>16}".format(*header))
    for row in rows:
        print("{:18} {:>12} {:>10} {:>16.2f}".format(*row))
    if options.out is not None:
        with open(options.out, "w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
