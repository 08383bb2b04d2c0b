"""`fer-edge-lab`: every job of the workbench under one name, with the same words for the same things."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from boards import groups, lab
from tests.conftest import ROOT
from train import command_line

PARSER, COMMANDS = lab.command_line()


def parsers() -> dict[str, argparse.ArgumentParser]:
    (action,) = (action for action in PARSER._actions if isinstance(action, argparse._SubParsersAction))
    return dict(action.choices)


def test_help_lists_every_command_once_and_imports_no_framework() -> None:
    script = "import sys\nfrom boards.lab import main\ntry: main(['--help'])\nfinally: print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.endswith("False\n")
    listed = re.findall(r"^  ([a-z0-9-]+) +\S", shown.stdout.split("Conversion:")[1], re.MULTILINE)
    assert listed == COMMANDS.names == list(parsers())
    assert len(set(listed)) == len(listed)


def test_the_same_thing_has_the_same_name_everywhere() -> None:
    """--faces is read, --out is written, and the words of older times are gone."""
    options = {}
    for name, parser in parsers().items():
        options[name] = {flag for action in parser._actions for flag in action.option_strings}
    gone = {"--cache", "--output-csv", "--csv", "--results", "--report", "--save-cache"}
    assert {name: found & gone for name, found in options.items() if found & gone} == {}
    assert [name for name, found in options.items() if "--output" in found] == ["adopt"]  # an output of a network
    assert {parser.get_default("faces") for parser in parsers().values()} == {command_line.FACES, None}


@pytest.mark.parametrize("word", ["quantise", "fit-all", "trian"])
def test_an_unknown_command_is_one_line_with_the_nearest(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.main([word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fer-edge-lab: no command '{word}'") and "--help" in line
    assert ("quantize" in line) == (word == "quantise")


def test_a_model_is_named_as_in_models_and_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line.checkpoint_path("fer-base") == Path("models/fer-base/fer-base.safetensors")
    assert command_line.artifact_path("fer-base") == Path("artifacts/fer-base")
    for written in ("x/mine", "mine.safetensors", "/tmp/mine", ".", "./mine"):
        assert command_line.artifact_path(written) == Path(written)
    (tmp_path / "mine").mkdir()
    assert command_line.artifact_path("mine") == Path("mine")  # what is there is meant


def test_errors_begin_with_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.main(["export", "no-such-model"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fer-edge-lab export: ") and "models/no-such-model/no-such-model.safetensors" in line


def test_the_makefile_is_thin_and_every_target_of_it_is_a_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert len(makefile.splitlines()) <= 80
    said = subprocess.run(["make", "-pn", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
    (targets,) = re.findall(r"^OF_LAB := (.*)$", said, re.MULTILINE)
    plain = re.findall(r"^PLAIN := (.*)$", said, re.MULTILINE)[0].split()
    names = {word for word in targets.split() if not word.startswith("$")} | set(plain)
    assert len(names) > 30
    assert names <= set(COMMANDS.names)


def test_words_on_the_make_line_reach_the_command() -> None:
    words = [
        "make",
        "--dry-run",
        "quantize",
        "MODEL=mine",
        "MAX_DROP=0.5",
        "FORCE=1",
        "OPTIONS=--seed 1",
        "FER2013=f.csv",
    ]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
    first, second = (line.split() for line in said.splitlines() if "fer-edge-lab" in line)
    assert first[1:] == ["data", '"f.csv"']
    assert second[1:] == [
        "quantize",
        "mine",
        "--target",
        "x86",
        "--recipes",
        "default",
        "--max-drop",
        "0.5",
        "--force",
        "--seed",
        "1",
    ]
    PARSER.parse_args(second[1:])


def test_the_groups_name_models_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = groups.load_groups()
    named = {*found.family, *found.systems, *found.folded, found.default}
    absent = {name for name in named if not (ROOT / "models" / name).is_dir()}
    assert absent <= {"xception-imagenet"}  # trained where ImageNet's weights are
    assert found.measured("fer-base") == Path("docs/measured/fer-base")
    assert found.measured("saliency") == Path("docs/systems/saliency")
    assert not set(found.family) & set(found.systems)
