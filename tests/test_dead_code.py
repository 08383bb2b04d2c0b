"""Nothing is kept that nobody uses: no function, class, method or import, and no fixture."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

vulture = pytest.importorskip("vulture", reason="vulture is absent; `make setup` brings it")

PLACES = ("runtime/fer_edge", "train", "export", "quantize", "boards", "tests", "examples")
KINDS = {"function", "method", "property", "class", "import", "unreachable_code"}
# Names that others call: pytest, http.server, module attributes, microdot, LiteRT's converter by operator.
CALLED_BY_OTHERS = [
    *("test_*", "pytest_*", "do_GET", "log_message", "__getattr__", "__dir__", "awrite", "_conv", "_double"),
    # A fixture is used by its name, which is checked below; a class of a module that stands in for another.
    *("Picamera2Camera", "PICAM2DNG", "PixelFormat"),
]


def is_fixture(node: ast.AST) -> bool:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(ast.unparse(one).startswith("pytest.fixture") for one in decorators)


def test_no_function_class_or_import_is_without_a_use() -> None:
    scan = vulture.Vulture(ignore_names=CALLED_BY_OTHERS, ignore_decorators=["@pytest.fixture*"])
    scan.scavenge([str(ROOT / place) for place in PLACES], exclude=["*/fer_edge/data/*"])
    dead = [one for one in scan.get_unused_code(min_confidence=60) if one.typ in KINDS]
    assert [f"{Path(one.filename).relative_to(ROOT)}:{one.first_lineno} {one.typ} {one.name}" for one in dead] == []


def test_no_fixture_is_without_a_test() -> None:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    asked = {argument.arg for node in nodes if isinstance(node, ast.FunctionDef) for argument in node.args.args}
    asked |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    fixtures = [node for node in nodes if is_fixture(node) and "autouse" not in ast.unparse(node.decorator_list[0])]
    assert len(fixtures) > 30
    assert sorted({node.name for node in fixtures} - asked) == []
