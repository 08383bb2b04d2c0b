"""The lock files of boards: which there are, and that each is of the requirements that its boards have now."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from boards import locks
from boards.arm64.cores import CORES
from boards.arm64.userland import lock_of
from boards.profiles import load_profile, profile_names
from boards.wheels import LOCKS, Target, check_lock
from tests.conftest import ROOT

Asked = dict[Path, tuple[Sequence[str], Target]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Collect what each lock file would be made of; nothing is resolved or downloaded."""
    found: Asked = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(locks, "write_lock", lambda path, needs, target: found.update({path: (needs, target)}))
    assert locks.write_locks() == list(found)
    return found


def test_every_system_of_every_board_has_its_wheels_locked(asked: Asked) -> None:
    for profile in map(load_profile, profile_names()):
        for system in profile.system:
            needs, target = asked[profile.lock(system)]
            assert (needs, target) == (system.wheels, profile.target(system)), profile.name


def test_boards_with_the_same_needs_share_a_lock(asked: Asked) -> None:
    systems = [(profile, system) for profile in map(load_profile, profile_names()) for system in profile.system]
    assert len({profile.lock(system) for profile, system in systems}) < len(systems)


def test_both_releases_of_debian_have_the_wheels_the_emulator_tries(asked: Asked) -> None:
    emulated = {lock_of(core): core for core in CORES.values()}
    assert {path.name for path in emulated} == {"emulated-bookworm.txt", "emulated-trixie.txt"}
    for path, core in emulated.items():
        needs, target = asked[path]
        assert target == core.target
        assert [need.split("==")[0] for need in needs] == [
            "ai-edge-litert",
            "numpy",
            "onnxruntime",
            "opencv-python-headless",
        ]


def test_the_committed_locks_are_these_and_made_for_what_is_asked_now(asked: Asked) -> None:
    assert {path.name for path in (ROOT / LOCKS).glob("*.txt")} == {path.name for path in asked}
    for path, (needs, _) in asked.items():
        check_lock(path, needs)


def test_every_line_of_a_lock_has_one_version_and_one_hash() -> None:
    for path in (ROOT / LOCKS).glob("*.txt"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        names = [line.split("==")[0] for line in lines]
        assert len(names) == len(set(names)) > 2, path.name
        assert all(len(line.partition(" --hash=sha256:")[2]) == 64 for line in lines), path.name
