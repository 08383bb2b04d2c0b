"""The picture the folders draw: the runtime stands alone, and arrows between stages run one way."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, sample, tracked_files

# What each package may import of the others.
ALLOWED = {
    "runtime/fer_edge": {"fer_edge"},
    "train": {"train", "fer_edge"},
    "export": {"export", "train", "fer_edge"},
    "quantize": {"quantize", "export", "train", "fer_edge"},
    "boards": {"boards", "quantize", "export", "train", "fer_edge"},
}
OURS = {"fer_edge", "train", "export", "quantize", "boards", "tests"}
RUNTIME_THIRD_PARTY = {"numpy", "cv2", "onnxruntime", "picamera2", "ai_edge_litert", "tflite_runtime"}
RUNTIME_EXTRAS = {"microdot", "paho", "prometheus_client"}


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
    assert found - set(standard) - {"fer_edge"} <= RUNTIME_THIRD_PARTY | RUNTIME_EXTRAS


def test_a_board_without_the_extras_can_read_a_photograph() -> None:
    """The base install imports no web server, no MQTT client and no Prometheus client."""
    script = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {RUNTIME_EXTRAS!r}: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from fer_edge.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "--source", str(sample("astronaut.png"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for flag, extra in (("--web", "web"), ("--metrics", "metrics"), ("--mqtt", "mqtt")):
        value = "mqtt://127.0.0.1" if flag == "--mqtt" else "0"
        refused = subprocess.run([*command, flag, value], capture_output=True, text=True, timeout=60)
        assert refused.returncode == 2
        assert f'pip install "fer-edge[{extra}]"' in refused.stderr


def test_no_tracked_file_is_over_five_megabytes() -> None:
    paths = tracked_files()
    assert paths
    assert [path for path in paths if path.is_file() and path.stat().st_size > 5_000_000] == []


# The rooms of train/, each with those it may import.
ROOMS = {
    "data": {"data"},
    "architectures": {"data", "architectures"},
    "fit": {"data", "architectures", "fit"},
    "studies": {"data", "architectures", "fit", "studies"},
}


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_of_training_import_one_way(room: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports train.{other}"
        for path in (ROOT / "train" / room).rglob("*.py")
        for other in _rooms_imported(path) - ROOMS[room]
    }
    assert wrong == set()


def _rooms_imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "train":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("train."):
            found.add(node.module.split(".")[1])
    return found


def test_no_docstring_begins_with_what() -> None:
    """A docstring says what something does or is, subject first (plain technical English)."""
    files = [path for folder in (*ALLOWED, "tests", "examples") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if re.search(r'"{3}What\b', path.read_text())] == []
