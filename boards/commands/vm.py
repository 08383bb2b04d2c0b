"""`picamera-smoke`, `vm`: the product on the real picamera2, and on a whole board in a virtual machine."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from boards.commands import Commands
from boards.commands.emulation import add_or_skip, skipping

if TYPE_CHECKING:
    from boards.vm.report import Report

CLIP = Path("media/WolfgangLanger_Pexels.mp4")
REPORTS = Path("docs/measured/vm")


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    smoke = commands.add_parser("picamera-smoke", help="the real picamera2 on libcamera's virtual camera (root)")
    smoke.add_argument("--clip", type=Path, default=CLIP)
    smoke.add_argument("--report", type=Path, default=REPORTS / "picamera.json")
    add_or_skip(smoke)
    smoke.set_defaults(run=_smoke)


def _smoke(options: argparse.Namespace) -> None:
    from boards.vm import picamera

    with skipping(options, "picamera-smoke"):
        _finish(picamera.smoke(options.clip), options.report)


def _finish(report: "Report", path: Path) -> None:
    """Keep the report; raise where a check did not hold."""
    from boards.vm.report import CheckError

    report.write(path)
    print(f"{path}: {len(report.checks)} checks, {report.wall_s:.0f} s, {report.processor_s:.0f} s of processor time")
    if report.failed:
        raise CheckError(f"{report.title}: {', '.join(report.failed)} did not hold.")
