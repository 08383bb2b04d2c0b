"""The tests themselves: they wait for events and not for a while, and no clock decides whether one passes."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "tests").rglob("*.py"))
# A camera's own pace is what the fake of it has; all other waiting is in one place.
SLEEPS = {"waiting.py", "runtime/fakes/picamera2.py"}
# Time stamps, which are what the time is compared with, or how long a run takes that a person started.
CLOCKS = {
    *("waiting.py", "cost.py", "fuzz/__main__.py", "runtime/fakes/feeding.py"),
    *("runtime/test_sources_live.py", "runtime/test_sources_rtsp.py", "runtime/test_mqtt.py", "runtime/test_web.py"),
}


def calls(path: Path, names: set[str]) -> list[int]:
    """Lines of a file that call a function of the module `time` by one of these names."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    called = [(node.lineno, ast.unparse(node.func)) for node in found]
    return [line for line, name in called if name.removeprefix("time.") in names]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "tests"))


@pytest.mark.parametrize(
    ("names", "allowed"),
    [({"sleep"}, SLEEPS), ({"monotonic", "perf_counter", "time", "perf_counter_ns", "monotonic_ns"}, CLOCKS)],
    ids=["sleeps", "clocks"],
)
def test_nothing_waits_for_a_while_or_measures_time_but_where_it_is_said(names: set[str], allowed: set[str]) -> None:
    found = {name_of(path) for path in FILES if calls(path, names)}
    assert found <= allowed | {"runtime/fakes/picamera2.py"}


def test_every_file_of_tests_says_what_it_is_about() -> None:
    without = [
        name_of(path)
        for path in FILES
        if path.name.startswith("test_") and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert without == []
