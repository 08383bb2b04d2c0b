"""The house: short functions, no import cycle, file names that say within a package which file is meant."""

import ast
import statistics

import pytest

from tests import structure
from tests.conftest import ROOT
from tests.structure import Module


@pytest.fixture(scope="module")
def found() -> dict[str, Module]:
    return structure.modules()


def module(text: str, name: str = "a.py") -> Module:
    return Module(ROOT / "train" / name, ast.parse(text), len(text.splitlines()))


def test_half_of_all_functions_have_twelve_lines_and_nineteen_of_twenty_have_forty(found: dict[str, Module]) -> None:
    lengths = structure.function_lengths(found)
    assert len(lengths) > 2000
    assert statistics.median(lengths) <= 12
    assert lengths[int(0.95 * len(lengths))] <= 40


def test_no_module_imports_itself_through_others(found: dict[str, Module]) -> None:
    assert structure.cycle(structure.graph(found, at_start=True)) == []


def test_no_file_name_stands_twice_in_a_package(found: dict[str, Module]) -> None:
    assert structure.repeated_names(found) == []


def test_no_module_is_over_four_hundred_lines(found: dict[str, Module]) -> None:
    assert {name: one.lines for name, one in found.items() if one.lines > 400} == {}


def test_every_package_says_what_lives_in_it(found: dict[str, Module]) -> None:
    packages = [one for one in found.values() if one.path.name == "__init__.py" and "guest" not in one.path.parts]
    assert len(packages) > 20
    assert [str(one.path.relative_to(ROOT)) for one in packages if not ast.get_docstring(one.tree)] == []


# The counting itself.
def test_a_cycle_is_found_through_imports_at_the_start_alone() -> None:
    first = module("from train import b\n")
    second = module("if TYPE_CHECKING:\n    from train import a\ndef f():\n    from train import a\n", "b.py")
    third = module("class A:\n    from train import a\n", "c.py")
    two = {"train.a": first, "train.b": second}
    assert structure.cycle(structure.graph(two, at_start=True)) == []
    assert structure.cycle(structure.graph(two)) == ["train.a", "train.b"]
    three = {"train.a": module("import train.c\n"), "train.c": third}
    assert structure.cycle(structure.graph(three, at_start=True)) == ["train.a", "train.c"]


def test_callers_are_modules_and_names_of_modules_count_as_theirs() -> None:
    names = {
        "train.a": module("from train.b import f\n"),
        "train.b": module("", "b.py"),
        "train.c": module("import train.b", "c.py"),
    }
    assert structure.callers(names) == {"train.a": set(), "train.b": {"train.a", "train.c"}, "train.c": set()}


def test_a_function_is_counted_from_its_def_to_its_end() -> None:
    text = "def f():\n    return 1\n\nclass A:\n    async def g(self):\n        a = 1\n        return a\n"
    assert structure.function_lengths({"train.a": module(text)}) == [2, 3]


def test_names_of_other_packages_and_of_programs_on_other_machines_may_repeat() -> None:
    def at(path: str) -> Module:
        return Module(ROOT / path, ast.parse(""), 0)

    guest = structure.ELSEWHERE[0]
    fine = {
        "train.a": at("train/a.py"),
        "export.a": at("export/a.py"),
        "boards.b": at("boards/b.py"),
        "boards.g.b": at(f"{guest}b.py"),
    }
    assert structure.repeated_names(fine) == []
    assert structure.repeated_names({**fine, "train.fit.a": at("train/fit/a.py")}) == ["train: a.py"]


def test_the_figures_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert structure.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == [
        "functions",
        "modules",
        "file names repeated within a package",
        "import cycle",
    ]
