"""`make outdated`: which pins are behind the index, and the exit code that tells a scheduled job so."""

from pathlib import Path

import pytest

from fer_edge.errors import UsageError

from boards import lab, locks
from boards.locks import Outdated, Pin
from tests.boards.tiny_wheel import add_wheel, use_as_index
from tests.conftest import ROOT

pytest.importorskip("uv", reason="uv is absent; `make setup` brings it")

PROJECT = """[dependency-groups]
train = ["alpha==1.0", {include-group = "dev"}]
dev = ["Beta_Tools[cli]==2.0; python_version >= '3.11'", "gamma>=3"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that pins two packages itself and a third by its constraints; it is the working folder."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "constraints.txt").write_text("# Tested together.\nalpha==1.0\nBeta-Tools==2.0\ngamma==3.0\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that uv asks in the place of an index: every package at the version that is pinned."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, version in (("alpha", "1.0"), ("beta_tools", "2.0"), ("gamma", "3.0")):
        add_wheel(folder, name, version, needs=("absent",))
    use_as_index(folder, monkeypatch)
    return folder


def test_a_pin_is_of_the_file_to_change_first(project: Path) -> None:
    of_project, of_constraints = Path("pyproject.toml"), Path("constraints.txt")
    assert locks.pins() == [
        Pin("alpha", "1.0", of_project),
        Pin("beta-tools", "2.0", of_project),
        Pin("gamma", "3.0", of_constraints),
    ]


def test_files_that_disagree_are_refused_with_both_versions(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "pyproject.toml").write_text(PROJECT.replace("alpha==1.0", "alpha==1.1"))
    assert lab.main(["outdated"]) == 2
    assert "constraints.txt pins alpha 1.0, expected 1.1 as pyproject.toml does. " in capsys.readouterr().err


def test_newest_pins_end_with_exit_code_0(project: Path, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.main(["outdated"]) == 0
    assert capsys.readouterr().out == "all 3 pins are the newest\n"


def test_pins_behind_the_index_are_listed_and_end_with_exit_code_1(
    project: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_wheel(index, "beta_tools", "2.1")
    add_wheel(index, "gamma", "10.0")
    assert lab.main(["outdated"]) == 1
    said = capsys.readouterr()
    assert [line.split() for line in said.out.splitlines()] == [
        ["beta-tools", "2.0", "2.1", "pyproject.toml"],
        ["gamma", "3.0", "10.0", "constraints.txt"],
    ]
    assert "2 of 3 pins are not the newest" in said.err


def test_a_newer_version_that_is_not_final_does_not_count(project: Path, index: Path) -> None:
    add_wheel(index, "gamma", "4.0rc1")
    assert locks.outdated(locks.pins()) == []


def test_a_pinned_version_the_index_withdrew_is_listed(project: Path, index: Path) -> None:
    (index / "gamma-3.0-py3-none-any.whl").unlink()
    add_wheel(index, "gamma", "2.9")
    assert locks.outdated(locks.pins()) == [Outdated(Pin("gamma", "3.0", Path("constraints.txt")), "2.9")]


def test_an_index_that_does_not_answer_is_an_error_and_not_newest_pins(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    assert lab.main(["outdated"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "the index could not be asked: " in said.err
    assert said.err.count("\n") == 1


def test_a_package_the_index_does_not_have_is_named(project: Path, index: Path) -> None:
    (index / "alpha-1.0-py3-none-any.whl").unlink()
    with pytest.raises(UsageError, match="alpha was not found"):
        locks.outdated(locks.pins())


def test_the_workbench_pins_every_package_it_names_in_its_constraints_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    pinned = {pin.name: pin for pin in locks.pins()}
    held = {locks.package_name(line) for line in Path("constraints.txt").read_text().splitlines() if "==" in line}
    assert {pin.name for pin in pinned.values() if pin.file.name == "pyproject.toml"} - held == set()
    assert {"torch", "ai-edge-litert", "anyio"} <= set(pinned)
