"""`boards`, `bundle`, `fleet`, `fleet-targets`, `lock`: what a board is, and everything it needs in one archive."""

import argparse
import subprocess
import sys
from pathlib import Path

from fer_edge.arguments import whole_number

from boards.commands.jobs import JobError
from train.command_files import INPUT_FILE, OUTPUT_FILE, OUTPUT_FOLDER
from train.command_line import ARTIFACTS, Commands, add_out


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    profiles = commands.add_parser("boards", help="print the table of boards")
    profiles.set_defaults(run=_profiles)

    bundle = commands.add_parser("bundle", help="make dist/fer-edge-<version>-<board>.tar.gz")
    bundle.add_argument("board", help="a profile's name; `fer-edge-lab boards` lists them")
    bundle.add_argument("--model", default="fer-base")
    bundle.add_argument("--artifacts", type=Path, default=ARTIFACTS)
    bundle.add_argument("--out", type=OUTPUT_FOLDER, default=Path("dist"))
    bundle.add_argument("--key", type=Path, help="OpenSSH private key that signs SHA256SUMS")
    bundle.add_argument("--detector-file", type=INPUT_FILE, help="a local copy of the detector's file")
    bundle.set_defaults(run=_bundle)

    fleet = commands.add_parser("fleet", help="install bundles on the boards of an Ansible inventory; CSV into fleet/")
    fleet.add_argument("inventory", type=Path, help="as boards/fleet/inventory.example.yml shows")
    fleet.set_defaults(run=_fleet)

    targets = commands.add_parser("fleet-targets", help="scrape targets for Prometheus from an Ansible inventory")
    targets.add_argument("inventory", type=Path)
    targets.add_argument("--out", type=OUTPUT_FILE, default=Path("boards/fleet/monitoring/targets.json"))
    targets.add_argument(
        "--port", type=whole_number(1, 65_535), default=9100, help="of [metrics] address (default: 9100)"
    )
    targets.set_defaults(run=_targets)

    release = commands.add_parser("release", help="packages, bundles, checksums and notes of a version")
    release.add_argument("version", help="as runtime/pyproject.toml and CHANGELOG.md have it")
    release.add_argument("--board", action="append", metavar="BOARD", help="a board that gets a bundle (default: pi5)")
    release.add_argument("--model", default="fer-base")
    add_out(release, "dist/release", "folder of the releases", OUTPUT_FOLDER)
    release.set_defaults(run=_release)

    outdated = commands.add_parser("outdated", help="pins that the index has newer versions of; exit code 1 for any")
    outdated.set_defaults(run=_outdated)

    lock = commands.add_parser("lock", help="resolve the boards' wheels again and write boards/locks/")
    lock.set_defaults(run=_lock)


def _profiles(options: argparse.Namespace) -> None:
    from boards.profiles import load_profile, profile_names, table

    print(table([load_profile(name) for name in profile_names()]))


def _bundle(options: argparse.Namespace) -> None:
    from fer_edge.files import sha256_of

    from boards.bundle import BundleRequest, build_bundle, forced_past, which_model
    from boards.profiles import load_profile

    request = BundleRequest(
        load_profile(options.board), options.model, options.artifacts, options.out, options.key, options.detector_file
    )
    profile = request.profile
    if profile.engine.name != request.board.engine.name:
        print(f"engine {profile.engine.name}: {request.model} has no .{request.board.file_type}")
    print(f"model {which_model(request)}")
    missed = forced_past(request)
    if missed:
        print(f"warning: {request.model} was forced past its gate: {missed}", file=sys.stderr)
    archive = build_bundle(request)
    print(f"{archive}  {archive.stat().st_size / 1e6:.0f} MB  SHA-256 {sha256_of(archive)}")


def _fleet(options: argparse.Namespace) -> None:
    from boards.fleet.targets import require_boards

    require_boards(options.inventory)
    program = Path(sys.executable).with_name("ansible-playbook")
    finished = subprocess.run([program, "-i", options.inventory, "boards/fleet/site.yml"])
    if finished.returncode:
        raise JobError(f"Ansible ended with {finished.returncode}: not every board is done.")


def _targets(options: argparse.Namespace) -> None:
    from boards.fleet.targets import write_targets

    count = write_targets(options.inventory, options.out, options.port)
    print(f"{options.out}: {count} boards")


def _release(options: argparse.Namespace) -> None:
    from boards.release import Release, make_release

    release = Release(options.version, tuple(options.board or ["pi5"]), options.model)
    print(*make_release(release, options.out), sep="\n")


def _outdated(options: argparse.Namespace) -> None:
    from boards.locks import outdated, pins

    pinned = pins()
    rows = outdated(pinned)
    for row in rows:
        print(f"{row.pin.name:32}{row.pin.version:20}{row.newest:20}{row.pin.file}")
    if rows:
        behind = f"{len(rows)} of {len(pinned)} pins are not the newest"
        raise JobError(f"{behind}. Raise them, then `make test-all` and `fer-edge-lab lock`.")
    print(f"all {len(pinned)} pins are the newest")


def _lock(options: argparse.Namespace) -> None:
    from boards.locks import write_locks

    for path in write_locks():
        print(path)
