"""Bad input to `fer-edge-lab`: exit 2 and one line that says what was expected and found, before any work begins."""

import argparse
import os
import sys
import tarfile
from pathlib import Path

import pytest

from fer_edge.errors import ModelError, UsageError

from boards import lab
from boards.bundle.archive import SUMS, require_bundle
from tests.conftest import ROOT
from train import command_line
from train.command_files import FileType, require_files, require_output_file, require_output_folder

PARSER, _ = lab.command_line()


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A file of each unsuitable sort."""
    (tmp_path / "text.txt").write_text("hello\nworld\n")
    (tmp_path / "junk.bin").write_bytes(os.urandom(5000))
    (tmp_path / "empty").write_bytes(b"")
    return {"text": tmp_path / "text.txt", "junk": tmp_path / "junk.bin", "empty": tmp_path / "empty", "dir": tmp_path}


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command prints; its exit code is 2."""
    code, error = lab.main(words), capsys.readouterr().err
    assert code == 2, error
    (line,) = error.splitlines()
    return line


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["-1", "4294967296", "99999999999999999999999", "1.5", "nan", ""])
@pytest.mark.parametrize(
    "command", ["train fer-nano", "robustness fer-base", "quantize fer-base", "inspect fer-base", "answers a --out b"]
)
def test_a_seed_is_a_whole_number_that_every_generator_takes(
    command: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = said([*command.split(), f"--seed={value}"], capsys)
    assert f"--seed: '{value}' is not a whole number from 0 to 4294967295" in line


def test_every_seed_has_that_type() -> None:
    (commands,) = (action for action in PARSER._actions if isinstance(action, argparse._SubParsersAction))
    types = {
        name: action.type
        for name, parser in commands.choices.items()
        for action in parser._actions
        if "--seed" in action.option_strings
    }
    assert len(types) >= 5
    assert set(types.values()) == {command_line.seed}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("simulate-gate m --rates 99 nan", "'nan' is not a number from -100 to 100"),
        ("simulate-gate m --rates 99 1 --draws 0", "'0' is not a whole number from 1"),
        ("ablate plan.toml --jobs 0", "'0' is not a whole number from 1"),
        ("campaign plan.toml --at-once 0", "'0' is not a whole number from 1"),
        ("train fer-nano --minutes 0", "'0' is not a number from 0.01"),
        ("train fer-nano --minutes=-1", "'-1' is not a number from 0.01"),
        ("train fer-nano --minutes nan", "'nan' is not a number from 0.01"),
        ("kfold fer-nano --folds 1", "'1' is not a whole number from 2"),
        ("ensemble fer-base --largest 0", "'0' is not a whole number from 1"),
        ("copies fer-base --split x", "'x' is none of the splits Training, PublicTest, PrivateTest"),
        ("evaluate fer-base --split x", "'x' is none of the splits"),
        ("fleet-targets hosts.yml --port 99999", "'99999' is not a whole number from 1 to 65535"),
        ("compare-int8 fer-base --out a.csv --count 0", "'0' is not a whole number from 1"),
        ("compare --peer-python python3 --detector-file x --core 99999", "'99999' is no core of this machine: 0"),
        ("answers a --out b --rotation inf", "'inf' is not a number from 0 to 180"),
        ("quantize fer-base --max-drop nan", "'nan' is not a number from 0 to 100"),
        ("calibration-curve fer-base --seeds 0,-1", "'-1' is not a whole number from 0"),
        ("bench fer-base --threads 100000", "'100000' is not a whole number from 1 to 64"),
        ("quantize fer-base --target riscv", "target 'riscv' is unknown; there are: x86, armv8"),
        ("demo --target riscv", "target 'riscv' is unknown; there are: x86, armv8"),
    ],
)
def test_a_number_out_of_range_is_refused_when_it_is_parsed(
    command: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in said(command.split(), capsys)


def test_rates_that_cannot_be_are_refused_before_the_model_runs(
    default_model: Path, public_test: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from quantize.measure import Runnable

    monkeypatch.setattr(Runnable, "predict", lambda *_: pytest.fail("the model ran"))
    words = ["simulate-gate", str(default_model), "--faces", str(ROOT / "data/fer2013.npz"), "--rates", "99", "50"]
    assert "agreement 99.00% with a drop of 50 points cannot be" in said(words, capsys)


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("screenshots --clip nosuch", "nosuch: not found. --clip expects a file"),
        ("screenshots --clip {text}", "--clip: {text}: not a video"),
        ("load --clip {dir}", "--clip: {dir}"),
        ("screenshots --chromium nosuch", "nosuch: no program to run. --chromium"),
        ("compare --peer-python {text} --detector-file {text}", "{text}: no program to run. --peer-python"),
        ("vm pi5 --clip {junk}", "--clip: {junk}: not a video"),
        ("picamera-smoke --clip nosuch", "nosuch: not found. --clip"),
        ("arm64-smoke fer-base --photo nosuch", "nosuch: not found. --photo"),
        ("arm64-smoke fer-base --photo {text}", "--photo: {text}"),
        ("instructions nosuch", "nosuch: not found. MODEL expects a file"),
        ("instructions {dir}", "{dir}: a folder, expected a file"),
        ("report nosuch --out {dir}", "nosuch: not found. CSV_OR_FOLDER expects"),
        ("report {dir} --out {text}", "cannot write {text}: {text} is a file. --out expects"),
        ("pretrained dlib --packages {text}", "cannot write {text}: {text} is a file. --packages expects"),
        ("quantize fer-base --save-calibration /proc/x", "cannot write /proc/x: "),
        ("quantize fer-base --out {text}", "cannot write {text}"),
        ("evaluate fer-base --out {dir}", "{dir}: a folder. --out expects the name of a file"),
        ("train fer-nano --runs {text}/deeper", "cannot write {text}/deeper: {text} is a file"),
        ("table nosuch.csv", "nosuch.csv: not found"),
        ("ablation nosuch", "nosuch: not found. PLAN expects a file"),
        ("overlay fer-base nosuch.png", "nosuch.png: not found"),
        ("bench fer-base --source nosuch.mp4", "nosuch.mp4: not found. --source expects"),
        ("bundle pi5 --detector-file nosuch", "nosuch: not found. --detector-file expects"),
        ("bench-detectors --pictures {text}", "cannot write {text}: {text} is a file. --pictures expects"),
        ("load --out {dir}", "{dir}: a folder. --out expects"),
        ("compare-int8 fer-base --out /proc/x/y.csv", "cannot write /proc/x/y.csv"),
        (
            "compare-int8 fer-base --out {dir}/y.csv --faces nosuch",
            "nosuch not found. Make it with `make data",
        ),
        ("train fer-nano --faces nosuch", "nosuch not found. Make it with `make data"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_the_command_runs(
    command: str, expected: str, places: dict[str, Path], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    options = PARSER.parse_args([word.format(**places) for word in command.split()])
    with pytest.raises(UsageError) as refused:
        require_files(options.parser, options)
    assert str(refused.value).startswith(expected.format(**places))


def test_files_are_checked_before_a_command_runs(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boards.commands.comparisons._report", lambda options: pytest.fail("it ran"))
    line = said(["report", str(places["dir"]), "--out", str(places["text"])], capsys)
    assert line.startswith("fer-edge-lab report: cannot write ")


@pytest.mark.parametrize("word", ["", "a\0b"])
@pytest.mark.parametrize("command", ["export", "quantize", "instructions", "table"])
def test_a_name_that_is_none_is_refused(command: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    said([command, word], capsys)


def test_checking_an_output_leaves_nothing_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("kept")
    require_output_file(tmp_path / "there.csv", "--out")
    require_output_file(tmp_path / "deep/new.csv", "--out")
    require_output_file(Path("/dev/null"), "--out")
    require_output_folder(tmp_path / "deep/er", "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "kept"


def test_every_output_of_a_command_is_checked() -> None:
    (commands,) = (action for action in PARSER._actions if isinstance(action, argparse._SubParsersAction))
    names = ("--out", "--plot", "--save-calibration", "--runs")
    unchecked = {
        f"{name} {action.option_strings[0]}"
        for name, parser in commands.choices.items()
        for action in parser._actions
        if set(action.option_strings) & set(names) and not isinstance(action.type, FileType)
    }
    assert unchecked == set()


# --- tables, inventories and names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("table {empty}", "{empty}: no row; expected a quantize.csv"),
        ("table {text}", "{text}: no column 'accuracy'; expected a quantize.csv"),
        ("fleet {junk}", "{junk} is no inventory that Ansible can read: Failed to parse inventory"),
        ("fleet {text}", "{text} has no host with fer_edge_board"),
        ("report {dir} --out {dir}/report", "{dir}: no CSV of `fer-edge bench`"),
        (
            "demo nosuch",
            "models/nosuch/nosuch.safetensors not found; expected the name of a model in models/: fer-base",
        ),
        ("search nosuch", "models/nosuch/nosuch.safetensors not found"),
        ("release-model nosuch", "models/nosuch/nosuch.safetensors not found"),
        ("keep-figures nosuch", "no .onnx or .tflite in artifacts/nosuch"),
        ("bundle pi5 --key {text}", "{text} cannot sign: "),
        ("instructions {dir}/models.csv", "{dir}/models.csv: not found"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    command: str,
    expected: str,
    places: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    line = said([word.format(**places) for word in command.split()], capsys)
    assert line.startswith(f"fer-edge-lab {command.split()[0]}: {expected.format(**places)}")


def test_a_source_that_is_no_video_is_refused_before_the_models_are_measured(
    default_model: Path, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("boards.bench.bench_classifier", lambda *_, **__: pytest.fail("a model was measured"))
    assert lab.main(["bench", str(default_model.parent), "--source", str(places["text"])]) == 3
    assert "text.txt: not a video that can be decoded" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["text", "empty", "junk"])
def test_a_file_that_is_no_model_is_refused_before_a_userland_is_made(
    name: str, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boards.arm64.userland.make_userland", lambda *_: pytest.fail("a userland was made"))
    model = places[name].rename(places[name].with_suffix(".tflite"))
    assert lab.main(["instructions", str(model), "--out", str(places["dir"] / "out.csv")]) == 4


def test_more_faces_than_there_are_are_refused_before_the_float_model_runs(
    public_test: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (ROOT / "artifacts/fer-base/fer-base.fp32.onnx").is_file():
        pytest.skip("fer-base is not exported here")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("quantize.curve.measure", lambda *_: pytest.fail("it was measured"))
    assert "expected at least 999999" in said(["calibration-curve", "fer-base", "--counts", "32,999999"], capsys)


def test_what_is_no_clip_model_is_refused_before_transformers_is_imported(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.fit.attributes import ClipAttributes

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"no CLIP model \(no config.json\)"):
        ClipAttributes(places["dir"])


def test_a_child_that_refuses_gives_its_exit_code(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lab.main(["ablation", str(places["text"])]) == 2


# --- outside the project --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "expected"),
    [
        ("export fer-base", 4, "models/fer-base/fer-base.safetensors is in {root}: run fer-edge-lab there."),
        ("demo", 2, "models/fer-base/fer-base.safetensors is in {root}"),
        ("figures", 2, "docs/measured is in {root}"),
        ("systems", 2, "models/groups.toml is in {root}"),
        ("release 0.1.0", 2, "CHANGELOG.md is in {root}"),
        ("outdated", 2, "pyproject.toml: No such file or directory. pyproject.toml is in {root}"),
    ],
)
def test_outside_the_projects_folder_a_command_says_where_to_run_it(
    command: str,
    code: int,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lab.main(command.split()) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert expected.format(root=ROOT) in line


def test_what_is_nowhere_has_no_such_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("table nosuch.csv", "fleet hosts.yml", "cost mine.safetensors"):
        lab.main(command.split())
    assert str(ROOT) not in capsys.readouterr().err


# --- bundles --------------------------------------------------------------------------------------------------------


def packed(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        for path in folder.iterdir():
            tar.add(path, path.name)
    return archive


def test_an_archive_that_is_no_bundle_is_refused(places: dict[str, Path], tmp_path: Path) -> None:
    bundle = tmp_path / "contents" / "fer-edge-1-pi5"
    bundle.mkdir(parents=True)
    (bundle / "install.sh").write_text(str(os.urandom(9999)))
    without_sums = packed(bundle.parent, tmp_path / "without.tar.gz")
    (bundle / SUMS).write_text("")
    whole = packed(bundle.parent, tmp_path / "whole.tar.gz")
    require_bundle(whole, "pi5")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:3000])
    for path, expected in (
        (places["junk"], "damaged or cut short"),
        (places["empty"], "damaged or cut short"),
        (cut, "damaged or cut short"),
        (without_sums, "not one folder with install.sh and SHA256SUMS"),
        (tmp_path / "nosuch", "not found"),
    ):
        with pytest.raises(UsageError, match=f"{expected}.*make bundle BOARD=pi5"):
            require_bundle(path, "pi5")


@pytest.mark.parametrize("command", ["arm64-install", "vm"])
def test_a_bundle_is_tried_before_a_machine_is_made_for_it(
    command: str,
    places: dict[str, Path],
    clip: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("boards.vm.board.build_image", "boards.arm64.install.fresh_chroot"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("a machine was made"))
    words = [command, "pi5", "--archive", str(places["junk"]), "--clip", str(clip)]
    assert "not a .tar.gz, damaged or cut short; expected a bundle" in said(words, capsys)
