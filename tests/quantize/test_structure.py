"""quantize/ stays livable: imports run one way and in no circle, modules and functions stay short."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

MODULES = {path.stem: path for path in (ROOT / "quantize").glob("*.py")}


def imported(path: Path) -> set[str]:
    """First two parts of every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found.update(".".join(name.split(".")[:2]) for name in names)
    return found


def test_quantize_imports_nothing_of_boards() -> None:
    assert {name for path in MODULES.values() for name in imported(path) if name.split(".")[0] == "boards"} == set()


def test_no_import_leads_back() -> None:
    graph = {
        name: {other.partition(".")[2] for other in imported(path) if other.startswith("quantize.")} & MODULES.keys()
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join((*way, name))}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_modules_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 250
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
