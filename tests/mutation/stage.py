"""The folder mutmut works in: packages at its top, as it wants them, and no more than the subject needs."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import tomllib

from tests.conftest import ROOT

SUBJECTS = Path(__file__).with_name("subjects.toml")
# Any of them may be imported by the code under test or by its tests.
_PACKAGES = ("runtime/fer_edge", "quantize", "export", "train", "boards", "tests")


@dataclass(frozen=True)
class Subject:
    """One entry of subjects.toml; `package` is below the root, `files` below it, `tests` below tests/."""

    name: str
    package: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    copies: tuple[str, ...] = ()

    @property
    def top(self) -> str:
        """The package as it is imported."""
        return Path(self.package).name


def subjects() -> dict[str, Subject]:
    """All subjects by name."""
    table = tomllib.loads(SUBJECTS.read_text())
    return {
        name: Subject(name, **{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})
        for name, entry in table.items()
    }


def stage(subject: Subject, folder: Path) -> None:
    """Fill `folder` with what the subject needs, and the configuration of mutmut."""
    shutil.rmtree(folder, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for package in _PACKAGES:
        shutil.copytree(ROOT / package, folder / Path(package).name, ignore=ignore)
    for name in subject.copies:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "setup.cfg").write_text(_configuration(subject))


def _configuration(subject: Subject) -> str:
    lists = {
        "source_paths": [subject.top],
        "only_mutate": [f"{subject.top}/{name}" for name in subject.files],
        "also_copy": [*(Path(package).name for package in _PACKAGES), *{name.split("/")[0] for name in subject.copies}],
        "pytest_add_cli_args_test_selection": [f"tests/{name}" for name in subject.tests],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"],
    }
    lines = ["[mutmut]", "track_dependencies = false", "use_git_change_detection = false"]
    for name, values in lists.items():
        lines += [f"{name} =", *(f"    {value}" for value in values)]
    return "\n".join([*lines, ""])
