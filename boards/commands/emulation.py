"""`instructions`, `arm64-smoke`, `arm64-install`: what an x86 machine can prove of an Arm board."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from boards.commands import Commands


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    instructions = commands.add_parser("instructions", help="count instructions an inference on emulated Arm cores")
    instructions.add_argument("models", type=Path, nargs="+", metavar="MODEL", help=".tflite or .onnx")
    instructions.add_argument("--cpu", action="append", help="cortex-a53, -a72 or -a76 (default: a72 and a76)")
    instructions.add_argument("--fresh", action="store_true", help="forget the rows of earlier runs")
    instructions.add_argument("--out", type=Path, default=Path("boards/instructions.csv"))
    add_or_skip(instructions)
    instructions.set_defaults(run=_instructions)

    smoke = commands.add_parser("arm64-smoke", help="the runtime on emulated cores: same faces, logits and counts")
    smoke.add_argument("folder", type=Path, help="an artefact folder such as artifacts/fer-base")
    smoke.add_argument("--photo", type=Path, default=Path("media/astronaut.png"))
    smoke.add_argument("--cpu", action="append", help="a core (default: cortex-a72 and -a76)")
    add_or_skip(smoke)
    smoke.set_defaults(run=_smoke)

    install = commands.add_parser("arm64-install", help="a bundle installed, upgraded and rolled back in a chroot")
    install.add_argument("board")
    install.add_argument("--archive", type=Path, help="the bundle (default: the board's in dist/)")
    install.add_argument("--clip", type=Path, default=Path("media/WolfgangLanger_Pexels.mp4"))
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
    from boards.arm64.cores import COUNTED, core_named
    from boards.arm64.counting import count_instructions
    from boards.arm64.userland import make_userland
    from boards.instructions import merged, read_instructions, write_instructions

    cores = [core_named(name) for name in options.cpu or COUNTED]
    rows = [row for core in cores for row in count_instructions(make_userland(core), options.models)]
    old = read_instructions(options.out) if options.out.exists() and not options.fresh else []
    write_instructions(merged(old, rows), options.out)
    for row in rows:
        counts = f"{row.instructions / 1e6:9.2f} M instructions{row.dot_products / 1e6:9.2f} M dot products"
        print(f"{row.model:40}{row.cpu:12}{counts}")
    print(options.out)


def _smoke(options: argparse.Namespace) -> None:
    with skipping(options, "arm64-smoke"):
        _smoke_cores(options)


def _smoke_cores(options: argparse.Namespace) -> None:
    from boards.arm64.cores import COUNTED, core_named
    from boards.arm64.smoke import smoke, smoke_models
    from boards.arm64.userland import make_userland
    from boards.instructions import read_instructions

    models, recorded = smoke_models(options.folder), read_instructions()
    for core in map(core_named, options.cpu or COUNTED):
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
