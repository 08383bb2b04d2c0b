"""`instructions`, `arm64-smoke`, `arm64-install`, `vm`: what an x86 machine can prove of an Arm board."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from boards.instructions import INSTRUCTIONS
from boards.media import CLIP, PHOTO, VIDEO
from train.command_files import INPUT_FILE, OUTPUT_FILE
from train.command_line import Commands, artifact_path

if TYPE_CHECKING:
    from boards.vm.report import Report

REPORTS, PAGE = Path("docs/measured/vm"), Path("docs/boards.md")
if TYPE_CHECKING:
    from boards.instructions import InstructionRow


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    instructions = commands.add_parser("instructions", help="count instructions an inference on emulated Arm cores")
    instructions.add_argument("models", type=INPUT_FILE, nargs="+", metavar="MODEL", help=".tflite or .onnx")
    instructions.add_argument("--cpu", action="append", help="cortex-a53, -a72 or -a76 (default: a72 and a76)")
    instructions.add_argument("--fresh", action="store_true", help="forget the rows of earlier runs")
    instructions.add_argument("--out", type=OUTPUT_FILE, default=INSTRUCTIONS)
    add_or_skip(instructions)
    instructions.set_defaults(run=_instructions)

    loop = commands.add_parser("loop-instructions", help="count a frame's way through the whole loop, by stage")
    loop.add_argument("--clip", type=VIDEO, default=CLIP)
    loop.add_argument("--cpu", action="append", help="cortex-a53, -a72 or -a76 (default: a72 and a76)")
    loop.add_argument("--check", action="store_true", help="compare with the recorded counts, and record nothing")
    loop.add_argument("--out", type=OUTPUT_FILE, default=INSTRUCTIONS)
    add_or_skip(loop)
    loop.set_defaults(run=_loop)

    smoke = commands.add_parser("arm64-smoke", help="the runtime on emulated cores: same faces, logits and counts")
    smoke.add_argument("folder", type=artifact_path, help="name of a model in artifacts/, or a folder")
    smoke.add_argument("--photo", type=PHOTO, default=Path("media/astronaut.png"))
    smoke.add_argument("--cpu", action="append", help="a core (default: cortex-a72 and -a76)")
    add_or_skip(smoke)
    smoke.set_defaults(run=_smoke)

    install = commands.add_parser("arm64-install", help="a bundle installed, upgraded and rolled back in a chroot")
    install.add_argument("board")
    install.add_argument("--archive", type=Path, help="the bundle (default: the board's in dist/)")
    install.add_argument("--clip", type=VIDEO, default=CLIP)
    install.set_defaults(run=_install)


def add_or_skip(command: argparse.ArgumentParser) -> None:
    """Add --or-skip, for CI."""
    command.add_argument("--or-skip", action="store_true", help="end well, saying so, where QEMU is not installed")


@contextlib.contextmanager
def skipping(options: argparse.Namespace, what: str) -> Iterator[None]:
    """With --or-skip a machine that cannot emulate is said, and no error."""
    from boards.arm64.userland import EmulationError

    try:
        yield
    except EmulationError as error:
        if not options.or_skip:
            raise
        print(f"{what} skipped: {error}")


def _instructions(options: argparse.Namespace) -> None:
    with skipping(options, "instructions"):
        _count(options)


def _count(options: argparse.Namespace) -> None:
    from fer_edge.engines import open_engine

    from boards.arm64.cores import COUNTED, core_named
    from boards.arm64.counting import count_instructions
    from boards.arm64.userland import make_userland
    from boards.instructions import merged, read_instructions, write_instructions

    cores = [core_named(name) for name in options.cpu or COUNTED]
    old = read_instructions(options.out) if options.out.exists() and not options.fresh else []
    for path in options.models:
        open_engine(path)  # what does not run here is refused before a userland is made
    rows = [row for core in cores for row in count_instructions(make_userland(core), options.models)]
    write_instructions(merged(old, rows), options.out)
    for row in rows:
        counts = f"{row.instructions / 1e6:9.2f} M instructions{row.dot_products / 1e6:9.2f} M dot products"
        print(f"{row.model:40}{row.cpu:12}{counts}")
    print(options.out)


def _loop(options: argparse.Namespace) -> None:
    with skipping(options, "loop-instructions"):
        _count_loop(options.cpu, options.clip, options.out, check=options.check)


def _count_loop(cpus: list[str] | None, clip: Path, out: Path, *, check: bool) -> None:
    from fer_edge.detectors import DETECTOR_FILES, default_detector
    from fer_edge.models import DEFAULT_MODEL

    from boards.arm64.cores import COUNTED, core_named
    from boards.arm64.loop import LookCase, count_looks, count_loop
    from boards.arm64.smoke import require_counts
    from boards.arm64.userland import make_userland
    from boards.detectors.contenders import SIDES_PX
    from boards.instructions import merged, read_instructions, write_instructions

    if default_detector() != "yunet":
        print("loop-instructions skipped: YuNet was not made here (`make setup` does, where it can be fetched)")
        return
    detector, recorded = DETECTOR_FILES["yunet"].path, read_instructions(out)
    looks = [LookCase("mediapipe", DETECTOR_FILES["mediapipe"].path, None)]
    looks += [LookCase("yunet", detector, side_px) for side_px in SIDES_PX]
    for core in [core_named(name) for name in cpus or COUNTED]:
        userland = make_userland(core)
        rows = count_loop(userland, clip, DEFAULT_MODEL, detector)
        rows += count_looks(userland, clip, looks)
        for row in rows:
            print(f"{row.model:48}{row.cpu:12}{row.instructions / 1e6:9.2f} M")
        if check:
            require_counts(
                core.name, [row for row in rows if row.model.endswith(": total") or ":" not in row.model], recorded
            )
        else:
            recorded = merged([row for row in recorded if not _is_older(row, rows)], rows)
            write_instructions(recorded, out)


def _is_older(row: InstructionRow, newer: list[InstructionRow]) -> bool:
    """Whether it is of the same loop, with other files."""
    return any((row.model, row.engine, row.cpu) == (one.model, one.engine, one.cpu) for one in newer)


def _smoke(options: argparse.Namespace) -> None:
    with skipping(options, "arm64-smoke"):
        _smoke_cores(options)
        _count_loop(options.cpu, CLIP, INSTRUCTIONS, check=True)


def _smoke_cores(options: argparse.Namespace) -> None:
    from boards.arm64.cores import COUNTED, core_named
    from boards.arm64.smoke import smoke, smoke_models
    from boards.arm64.userland import make_userland
    from boards.instructions import read_instructions

    models, recorded = smoke_models(options.folder), read_instructions()
    for core in [core_named(name) for name in options.cpu or COUNTED]:
        result = smoke(make_userland(core), models, options.photo, recorded)
        print(f"{core.name} ({core.suite}): {options.photo.name}: {', '.join(result.labels)}")
        for row, difference in zip(result.rows, result.differences, strict=True):
            counts = f"{row.instructions / 1e6:8.2f} M instructions{row.dot_products / 1e6:8.2f} M dot products"
            print(f"  {row.model:24}{counts}   logits within {difference:g} of x86")


def _install(options: argparse.Namespace) -> None:
    from fer_edge import __version__

    from boards.arm64.install import try_bundle
    from boards.profiles import load_profile

    archive = options.archive or Path("dist") / f"fer-edge-{__version__}-{options.board}.tar.gz"
    for line in try_bundle(load_profile(options.board), archive, options.clip):
        print(f"ok: {line}", flush=True)


def register_vm(commands: Commands) -> None:
    """Add the commands to the parser."""
    smoke = commands.add_parser("picamera-smoke", help="the real picamera2 on libcamera's virtual camera (root)")
    smoke.add_argument("--clip", type=VIDEO, default=CLIP)
    smoke.add_argument("--out", type=OUTPUT_FILE, default=REPORTS / "picamera.json")
    add_or_skip(smoke)
    smoke.set_defaults(run=_vm_smoke)

    board = commands.add_parser("vm", help="a whole board in QEMU: kernel, systemd, camera, power cut (root, minutes)")
    board.add_argument("board", help="x86-64, pi5 or pi4")
    board.add_argument("--archive", type=Path, help="the bundle (default: the board's in dist/)")
    board.add_argument("--clip", type=VIDEO, default=CLIP)
    board.add_argument("--out", type=OUTPUT_FILE, help="default: docs/measured/vm/BOARD.json")
    add_or_skip(board)
    board.set_defaults(run=_vm)


def _vm_smoke(options: argparse.Namespace) -> None:
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


def _finish(report: Report, path: Path) -> None:
    """Keep the report; raise where a check did not hold."""
    from boards.vm.report import CheckError, write_section

    report.write(path)
    if path.parent == REPORTS:
        write_section(PAGE, REPORTS)
    print(f"{path}: {len(report.checks)} checks, {report.wall_s:.0f} s, {report.processor_s:.0f} s of processor time")
    if report.failed:
        raise CheckError(f"{report.title}: {', '.join(report.failed)} did not hold.")
