"""Wheels for a board: versions of the workbench where a profile leaves them open, locks made for what is asked."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fer_edge.errors import UsageError

from boards import wheels
from boards.wheels import Target, check_lock, download, resolve, workbench_versions, write_lock
from tests.boards.tiny_wheel import add_wheel, use_as_index

BOARD = Target("aarch64", "3.11", (2, 36))


@pytest.fixture
def constraints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text("# pinned\nnumpy==2.4.6\nAi-Edge_Litert==2.3.0\nopencv-python-headless==5.0.0.93\n")
    monkeypatch.setattr(wheels, "CONSTRAINTS", path)
    return path


def test_a_board_takes_wheels_from_its_own_glibc_down_to_2014(constraints: Path) -> None:
    platforms = BOARD.platforms
    assert platforms[0] == "manylinux_2_36_aarch64"
    assert platforms[-3:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64")
    assert len(platforms) == 36 - 17 + 1 + 2


def test_versions_are_those_the_workbench_was_tested_with(constraints: Path) -> None:
    assert workbench_versions(["numpy", "ai-edge-litert"]) == ["numpy==2.4.6", "Ai-Edge_Litert==2.3.0"]
    with pytest.raises(UsageError, match=r"constraints\.txt pins no torch, jax\."):
        workbench_versions(["torch", "numpy", "jax"])


def test_what_a_profile_names_itself_is_not_held_to_the_workbench(constraints: Path) -> None:
    left = wheels._open_constraints(["numpy==1.26.4", "ai_edge_litert>=2"])
    assert left == ["opencv-python-headless==5.0.0.93"]


@pytest.mark.parametrize(
    ("requirement", "name"),
    [("Ai_Edge.Litert==2", "ai-edge-litert"), ("numpy<2", "numpy"), ("a[b]>=1; x", "a"), ("tomli", "tomli")],
)
def test_names_are_compared_in_their_normal_form(requirement: str, name: str) -> None:
    assert wheels.package_name(requirement) == name


def test_a_wheel_tells_its_requirement() -> None:
    path = Path("ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_17_aarch64.whl")
    assert wheels._requirement(path) == "ai-edge-litert==2.3.0"


def test_a_lock_for_other_requirements_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("# for: numpy==2.4.6\nnumpy==2.4.6 --hash=sha256:00\n")
    check_lock(lock, ["numpy==2.4.6"])
    with pytest.raises(UsageError, match=r"lock\.txt was made for \['numpy==2\.4\.6'\]\. Make it again with"):
        check_lock(lock, ["numpy==1.26.4"])
    lock.write_text("numpy==2.4.6\n")
    with pytest.raises(UsageError, match="was made for nothing"):
        check_lock(lock, ["numpy==2.4.6"])


def test_a_lock_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.txt not found\. Make it with `fer-edge-lab lock`"):
        download(tmp_path / "absent.txt", BOARD, tmp_path)


def test_wheels_that_cannot_be_had_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip itself, told to look at nothing but an empty folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    lock = tmp_path / "lock.txt"
    lock.write_text(f"numpy==2.4.6 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(UsageError, match=r"wheels for aarch64, Python 3\.11: .*Check the network") as refused:
        download(lock, BOARD, tmp_path / "wheels")
    assert "\n" not in str(refused.value)


@pytest.fixture
def index(tmp_path: Path, constraints: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index with an engine for two machines and two Pythons, which needs a package that the workbench pins."""
    pytest.importorskip("uv", reason="uv is absent; `make setup` brings it")
    constraints.write_text("numpy==2.4.6\n")
    folder = tmp_path / "index"
    folder.mkdir()
    for tag in (
        "cp311-cp311-manylinux_2_28_aarch64",
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp312-cp312-manylinux_2_28_aarch64",
    ):
        add_wheel(folder, "engine", "1.0", tag=tag, needs=("numpy",))
    add_wheel(folder, "engine", "2.0", tag="cp311-cp311-manylinux_2_39_aarch64", needs=("numpy",))
    for version in ("1.26.4", "2.4.6", "9.9"):
        add_wheel(folder, "numpy", version)
    use_as_index(folder, monkeypatch)
    return folder


def test_a_board_gets_what_its_glibc_can_load_with_the_versions_of_the_workbench(index: Path) -> None:
    assert resolve(["engine"], BOARD) == ["engine==1.0", "numpy==2.4.6"]
    assert resolve(["engine"], Target("aarch64", "3.11", (2, 41))) == ["engine==2.0", "numpy==2.4.6"]
    assert resolve(["engine", "numpy<2"], BOARD) == ["engine==1.0", "numpy==1.26.4"]


def test_what_no_board_of_that_kind_can_have_is_refused(index: Path) -> None:
    with pytest.raises(UsageError, match=r"no set of wheels for Target\(arch='aarch64', python='3\.13'"):
        resolve(["engine"], Target("aarch64", "3.13", (2, 41)))


def test_a_lock_names_each_wheel_with_its_hash_and_brings_those_alone(index: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    write_lock(lock, ["engine"], BOARD)
    check_lock(lock, ["engine"])
    pinned = [line.split(" --hash=sha256:") for line in lock.read_text().splitlines() if not line.startswith("#")]
    assert [name for name, _ in pinned] == ["engine==1.0", "numpy==2.4.6"]
    brought = download(lock, BOARD, tmp_path / "wheels")
    assert [path.name for path in brought] == [
        "engine-1.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "numpy-2.4.6-py3-none-any.whl",
    ]
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in brought] == [digest for _, digest in pinned]


def test_a_wheel_that_changed_since_its_lock_is_not_taken(index: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    write_lock(lock, ["engine"], BOARD)
    add_wheel(index, "numpy", "2.4.6", needs=("surprise",))
    with pytest.raises(UsageError, match=r"wheels for aarch64, Python 3\.11: "):
        download(lock, BOARD, tmp_path / "wheels")


# --- names, as the packaging library reads them -----------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z0-9]{1,3}([._-]{1,2}[A-Za-z0-9]{1,3}){0,3}", fullmatch=True)
ENDS = st.sampled_from(["", "==1.0", ">=2", "[extra]==3", " ; python_version < '3.11'", "<2", "~=1.4", "!=1"])


@given(NAMES, ENDS)
def test_the_name_of_a_requirement_is_that_which_pip_compares(name: str, end: str) -> None:
    assert wheels.package_name(name + end) == canonicalize_name(Requirement(name + end).name)


@given(NAMES, st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}", fullmatch=True))
def test_a_wheel_is_pinned_under_the_name_that_pip_finds_it_by(name: str, version: str) -> None:
    wheel = Path(f"{name.replace('-', '_')}-{version}-py3-none-any.whl")
    found, _, pinned = wheels._requirement(wheel).partition("==")
    assert (canonicalize_name(found), pinned) == (canonicalize_name(name), version)


@given(st.integers(17, 60))
def test_a_newer_glibc_takes_all_that_an_older_one_takes(minor: int) -> None:
    older, newer = (Target("x86_64", "3.11", (2, one)).platforms for one in (minor, minor + 1))
    assert newer[1:] == older and newer[0] == f"manylinux_2_{minor + 1}_x86_64"
    assert older[-2:] == ("manylinux2014_x86_64", "linux_x86_64")
