"""A thousand mutated inputs of every kind; `make fuzz N=300000` runs as many as there is time for."""

import importlib.util
from pathlib import Path

import pytest

from tests.fuzz import harness
from tests.fuzz.targets import ROOT, SABOTAGE, TARGETS

# Seconds a target takes here, on a machine with nothing else to do: two at most.
COUNTS = {"camera": 300, "http": 200, "mqtt": 150, "mqtt-clear": 150, "plan": 200, "video": 300, "face-cache": 300}
COUNTS |= {"calibration": 200, "timeline": 400, "tflite": 500, "tflite-fields": 300}
NEEDED = {"http": "microdot", "mqtt": "paho", "mqtt-clear": "paho"}


@pytest.mark.parametrize("name", TARGETS)
def test_no_mutated_input_crashes_hangs_or_fills_the_memory(name: str) -> None:
    """Each is taken, or refused with an error of one line; what fails is kept in build/fuzz."""
    if name in NEEDED and importlib.util.find_spec(NEEDED[name]) is None:
        pytest.skip(f"{NEEDED[name]} is absent")
    faults = harness.fuzz(name, COUNTS.get(name, 1000), folder=ROOT / "build" / "fuzz")
    assert not faults, "\n".join(map(str, faults))


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, again = ([harness.input_of(TARGETS["contract"], 3, index) for index in range(20)] for _ in range(2))
    assert first == again and len(set(first)) > 10


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
        ("import os; os._exit(0)", "ended with exit code 0"),
        ("import signal; signal.pause()", "ended by SIGABRT"),
        ("[0] * 500_000_000", "MemoryError"),
        ("b'x' * (700 << 20)", "too much memory"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_goes_wrong_is_found_and_kept_and_the_inputs_behind_it_still_run(
    job: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUZZ_SABOTAGE", job)
    if "sleep" in job:
        monkeypatch.setattr(harness, "HANG_S", 2.0)
    bad = [index for index in range(8) if harness.input_of(SABOTAGE, 0, index) == b"bad"]
    faults = harness.fuzz("sabotage", 8, folder=tmp_path)
    assert len(bad) in (2, 3) and [fault.index for fault in faults] == bad
    assert [kind in fault.kind for fault in faults] == [True] * len(bad), faults
    assert all(fault.path and fault.path.read_bytes() == b"bad" for fault in faults)


def test_an_error_of_one_line_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUZZ_SABOTAGE", "raise FerEdgeError('refused')")
    assert harness.fuzz("sabotage", 8, folder=tmp_path) == []
