"""A pytest plugin that writes each test's processor time as CSV: `pytest -p tests.cost --cost FILE`.

Processor time of the process and of the children it waited for, so a loaded machine changes it little. A fixture that
several tests share is charged to the test that ran first.
"""

import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PHASES = ("setup", "call", "teardown")


def processor_s() -> float:
    """Seconds of processor time of this process and its finished children so far."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class CostTable:
    """Collects one row a test and writes them at the end, the dearest first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, dict[str, float]] = {}

    def _measured(self, item: pytest.Item, phase: str) -> Iterator[None]:
        row = self._rows.setdefault(item.nodeid, dict.fromkeys((*PHASES, "wall"), 0.0))
        processor, wall = processor_s(), time.monotonic()
        yield
        row[phase] += processor_s() - processor
        row["wall"] += time.monotonic() - wall

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        """Measure the fixtures made for the test."""
        yield from self._measured(item, "setup")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Measure the test."""
        yield from self._measured(item, "call")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Measure what ends after the test."""
        yield from self._measured(item, "teardown")

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        rows = sorted(self._rows.items(), key=lambda row: -sum(row[1][phase] for phase in PHASES))
        with open(self._path, "w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["test", *(f"{phase}_processor_s" for phase in PHASES), "wall_s"])
            for test, row in rows:
                writer.writerow([test, *(f"{row[name]:.2f}" for name in (*PHASES, "wall"))])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cost FILE`."""
    parser.addoption("--cost", type=Path, help="write each test's processor time to this CSV")


def pytest_configure(config: pytest.Config) -> None:
    """Measure where `--cost` is given."""
    path = config.getoption("--cost")
    if path is not None:
        config.pluginmanager.register(CostTable(path))
