"""Report of a run: one line a check on the terminal, a JSON file, and the table of docs/boards.md."""

import json
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fer_edge.errors import FerEdgeError, UsageError
from fer_edge.files import atomic_write


class CheckError(FerEdgeError):
    """The product did not do what a check asks for; the message holds what was seen."""


@dataclass(frozen=True)
class Check:
    """One thing that was tried: what was seen, or what was wrong where it did not hold, and how long it took."""

    name: str
    held: bool
    seen: str
    seconds: float


@dataclass
class Report:
    """The checks of one run, versions of the systems it ran on, and the time of all its processes until `write`."""

    title: str
    versions: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    wall_s: float = 0.0
    processor_s: float = 0.0

    def __post_init__(self) -> None:
        self._began_s = time.monotonic()

    def check(self, name: str, function: Callable[[], str]) -> bool:
        """Run one check, keep and print what it saw; return whether it held.

        A fault of the check itself does not hold either, and is told apart: the checks before it are not lost.
        """
        began_s = time.monotonic()
        try:
            held, seen = True, function()
        except FerEdgeError as error:
            held, seen = False, str(error)
        except Exception as error:
            traceback.print_exc()
            held, seen = False, f"the check itself failed: {type(error).__name__}: {error}"
        check = Check(name, held, seen, round(time.monotonic() - began_s, 1))
        self.checks.append(check)
        print(f"{'ok  ' if held else 'FAIL'} {name} ({check.seconds:.0f} s): {seen}", flush=True)
        return held

    @property
    def failed(self) -> list[str]:
        """Names of the checks that did not hold."""
        return [check.name for check in self.checks if not check.held]

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        self.wall_s = round(time.monotonic() - self._began_s, 1)
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        self.processor_s = round(sum(one.ru_utime + one.ru_stime for one in usage), 1)  # QEMU's is in the children's
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")


def expect(holds: bool, message: str) -> None:
    """Raise CheckError with `message` unless it holds."""
    if not holds:
        raise CheckError(message)


def read_report(path: Path) -> Report:
    """Read what Report.write wrote."""
    table = json.loads(path.read_text())
    checks = [Check(**check) for check in table.pop("checks")]
    return Report(**table, checks=checks)


BEGIN, END = "<!-- reports: make picamera-smoke, make vm -->", "<!-- end of reports -->"


def write_section(page: Path, folder: Path) -> None:
    """Put a table of every report in `folder` between the two marks of a page. Raises UsageError without the marks."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{page} lacks the lines {BEGIN} and {END}.")
    tables = "\n".join(_table(read_report(path)) for path in sorted(folder.glob("*.json")))
    with atomic_write(page) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{tables}{END}{after}")


def _table(report: Report) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    times = f"{report.wall_s:.0f} s, {report.processor_s:.0f} s of processor time"
    rows = [f"| {check.name} | {_cell(check)} | {check.seconds:.0f} |" for check in report.checks]
    return "\n".join(
        [f"**{report.title}**: {versions}; {times}.", "", "| check | seen | s |", "|---|---|---|", *rows, "", ""]
    )


def _cell(check: Check) -> str:
    seen = " ".join(check.seen.split()).replace("|", "\\|").replace("<", "&lt;")
    return seen if check.held else f"**did not hold**: {seen[:300]}"
