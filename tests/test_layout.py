"""The picture the folders draw: the runtime stands alone, and arrows between stages run one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# What each package may import of the others.
ALLOWED = {
    "runtime/fer_edge": {"fer_edge"},
    "train": {"train", "fer_edge"},
    "export": {"export", "train", "fer_edge"},
    "quantize": {"quantize", "export", "train", "fer_edge"},
    "boards": {"boards", "fer_edge"},
}
OURS = {"fer_edge", "train", "export", "quantize", "boards", "tests"}
RUNTIME_THIRD_PARTY = {"numpy", "cv2", "onnxruntime", "picamera2", "ai_edge_litert", "tflite_runtime"}


def imports(path: Path) -> set[str]:
    """Top-level names a file imports, wherever in the file it does so."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_arrows_run_one_way(package: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in (imports(path) & OURS) - ALLOWED[package]
    }
    assert wrong == set()


def test_the_runtime_needs_nothing_of_the_workbench() -> None:
    standard = sys.stdlib_module_names
    found = set().union(*(imports(path) for path in (ROOT / "runtime").rglob("*.py")))
    assert found - set(standard) - {"fer_edge"} <= RUNTIME_THIRD_PARTY


def test_no_tracked_file_is_over_five_megabytes() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert paths
    assert [path for path in paths if path.is_file() and path.stat().st_size > 5_000_000] == []
