"""`picamera-smoke`, `vm`: the product on the real picamera2, and on a whole board in a virtual machine."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from boards.commands.emulation import add_or_skip, skipping
from boards.media import CLIP, VIDEO
from train.command_files import OUTPUT_FILE
from train.command_line import Commands

if TYPE_CHECKING:
    from boards.vm.report import Report

REPORTS, PAGE = Path("docs/measured/vm"), Path("docs/boards.md")


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    smoke = commands.add_parser("picamera-smoke", help="the real picamera2 on libcamera's virtual camera (root)")
    smoke.add_argument("--clip", type=VIDEO, default=CLIP)
    smoke.add_argument("--out", type=OUTPUT_FILE, default=REPORTS / "picamera.json")
    add_or_skip(smoke)
    smoke.set_defaults(run=_smoke)

    board = commands.add_parser("vm", help="a whole board in QEMU: kernel, systemd, camera, power cut (root, minutes)")
    board.add_argument("board", help="x86-64, pi5 or pi4")
    board.add_argument("--archive", type=Path, help="the bundle (default: the board's in dist/)")
    board.add_argument("--clip", type=VIDEO, default=CLIP)
    board.add_argument("--out", type=OUTPUT_FILE, help="default: docs/measured/vm/BOARD.json")
    add_or_skip(board)
    board.set_defaults(run=_vm)


def _smoke(options: argparse.Namespace) -> None:
    from boards.vm import picamera

    with skipping(options, "picamera-smoke"):
        _finish(picamera.smoke(options.clip), options.out)


def _vm(options: argparse.Namespace) -> None:
    from fer_edge import __version__
    from fer_edge.errors import UsageError

    from boards.vm.board import BOARDS, try_board

    if options.board not in BOARDS:
        raise UsageError(f"board {options.board!r} has no virtual machine; there are: {', '.join(BOARDS)}.")
    archive = options.archive or Path("dist") / f"fer-edge-{__version__}-{options.board}.tar.gz"
    with skipping(options, f"vm {options.board}"):
        report = try_board(BOARDS[options.board], archive, options.clip)
        _finish(report, options.out or REPORTS / f"{options.board}.json")


def _finish(report: "Report", path: Path) -> None:
    """Keep the report; raise where a check did not hold."""
    from boards.vm.report import CheckError, write_section

    report.write(path)
    if path.parent == REPORTS:
        write_section(PAGE, REPORTS)
    print(f"{path}: {len(report.checks)} checks, {report.wall_s:.0f} s, {report.processor_s:.0f} s of processor time")
    if report.failed:
        raise CheckError(f"{report.title}: {', '.join(report.failed)} did not hold.")
