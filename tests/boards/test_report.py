"""The report: everything that was measured on one page, and CSV files that do not belong together refused."""

import dataclasses
import re
from pathlib import Path

import cv2
import pytest

from fer_edge.bench import BenchRow, write_rows
from fer_edge.bench.sustained import SustainedRow, write_sustained
from fer_edge.errors import DataError
from fer_edge.noise import NOISES

from boards import lab as command
from boards.confusion import ConfusionRow, write_confusions
from boards.detectors.scoring import DetectorRow, write_detectors
from boards.noise import NoiseRow, write_noise
from boards.peers.paired import PeerRow, write_peers
from boards.report.plots import PLOTS, pareto_front
from boards.report.reading import read_measured
from tests.conftest import ROOT

ROW = BenchRow(
    board="Raspberry Pi 5",
    os="Debian",
    arch="aarch64",
    cpu="Cortex-A76",
    runtime="ai-edge-litert",
    runtime_version="2.3.0",
    model="a.int8.tflite",
    model_sha256="f" * 64,
    precision="int8",
    threads=1,
    stage="classify",
    n=10,
    warmup=1,
    mean_ms=2.0,
    p50_ms=1.9,
    p90_ms=2.1,
    p95_ms=2.2,
    p99_ms=2.5,
    fps=500.0,
    model_kb=90.0,
    dataset="FER2013",
    split="PublicTest",
    accuracy=0.65,
    macro_f1=0.6,
    ece=0.02,
    started_at="2026-11-22T10:00:00+00:00",
)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Made-up rows of every kind, of two boards."""
    folder = tmp_path / "measured"
    stages = [
        dataclasses.replace(ROW, stage=s, detector="mediapipe", source="clip.mp4") for s in ("detect", "classify")
    ]
    other = dataclasses.replace(ROW, board="Raspberry Pi 4", model="a.fp32.onnx", accuracy=0.66)
    write_rows(folder / "pi5" / "bench.csv", [ROW, *stages])
    write_rows(folder / "pi4" / "bench.csv", [other])
    heat = SustainedRow("Pi", "A76", "a", "f", 1, "classify", 1, 9, 2.0, 2.5, 500.0, 61.5, 2400.0, False, 5.1, "now")
    write_sustained(folder / "heat.csv", [heat, dataclasses.replace(heat, minute=2, p50_ms=3.0, temp_max_c=85.0)])
    clean = NoiseRow("a.int8.tflite", "f", "int8", "FER2013", "PublicTest", "expression7", "none", 0, 0.0, 9, 0.6, 0.5)
    steps = [dataclasses.replace(clean, noise=kind, step=step) for kind in NOISES for step in range(1, 6)]
    write_noise(folder / "noise.csv", [clean, *steps])
    confusion = ConfusionRow("a.int8.tflite", "f", "FER2013", "PublicTest", "happy", "happy", 7)
    sad = dataclasses.replace(confusion, truth="sad", predicted="sad")
    write_confusions(folder / "confusion.csv", [confusion, sad])
    peer = PeerRow("peer", "x", "f", "LiteRT", "2", 1, "FER2013", "PublicTest", 9, 0.5, 0.4, 4.0, 5.0, 99.0, 2.0, 1.1)
    write_peers(folder / "peers.csv", [peer])
    shares = dict.fromkeys((field.name for field in dataclasses.fields(DetectorRow)), 0.5)
    names = {"detector": "yunet int8", "side_px": 192, "rule": "its own threshold", "cpu": "x86"}
    counts = {"false_with_faces": 1, "faces": 9, "scenes": 9, "empty_scenes": 3}
    write_detectors(folder / "detectors.csv", [DetectorRow(**{**shares, **names, **counts})])
    (folder / "quantize.csv").write_text("file,engine\na,b\n")  # another table of the workbench: passed over
    return folder


def test_the_page_shows_every_kind_that_was_measured(measured: Path, tmp_path: Path) -> None:
    assert command.main(["report", str(measured), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert re.findall(r'<img src="(\w+)\.png"', page) == list(PLOTS)
    for name in PLOTS:
        assert cv2.imread(str(tmp_path / "out" / f"{name}.png")).shape[1] > 400, name
    assert "Raspberry Pi 4" in page
    assert "65.00%" in page
    assert "<td>peer</td>" in page
    assert "<td>yunet int8 192</td>" in page


def test_what_was_not_measured_is_not_drawn(measured: Path, tmp_path: Path) -> None:
    (measured / "noise.csv").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "noise.png").write_bytes(b"of an earlier run")
    assert command.main(["report", str(measured), "--out", str(tmp_path / "out")]) == 0
    assert "noise.png" not in (tmp_path / "out" / "index.html").read_text()
    assert not (tmp_path / "out" / "noise.png").exists()


def test_names_from_csv_cannot_write_markup(measured: Path, tmp_path: Path) -> None:
    write_rows(measured / "odd" / "bench.csv", [dataclasses.replace(ROW, board="<script>alert(1)</script>")])
    assert command.main(["report", str(measured), "--out", str(tmp_path / "out")]) == 0
    assert "<script>" not in (tmp_path / "out" / "index.html").read_text()


def edited(path: Path, before: str, after: str) -> Path:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    return path


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (",p50_ms,", ",p50_s,", "missing p50_ms; unknown 'p50_s'"),
        (",ece,", ",ece,mood,", "unknown 'mood'"),
        (",0.6500,", ",65.0,", "row 2: accuracy is 65, expected a fraction from 0 to 1, not per cent"),
        (",2.0000,1.9000,", ",0.0020,1.9000,", None),
        (",1.9000,2.1000,", ",1900.0,2.1000,", "expected milliseconds in rising order"),
        (",500.0000,", ",0.5000,", "mean_ms 2 and fps 0.5 contradict"),
        (",1.9000,", ",fast,", "row 2: p50_ms is 'fast', expected a number"),
    ],
)
def test_a_csv_made_by_hand_is_refused_with_the_column(
    measured: Path, before: str, after: str, message: str | None
) -> None:
    path = edited(measured / "pi5" / "bench.csv", before, after)
    if message is None:  # a mean below 0.05 ms is too coarse to be checked
        read_measured([path])
        return
    with pytest.raises(DataError, match=rf"bench\.csv.*{message}"):
        read_measured([path])


def test_other_tables_are_checked_too(measured: Path) -> None:
    with pytest.raises(DataError, match=r"peers\.csv, row 2: accuracy is 50, expected a fraction"):
        read_measured([edited(measured / "peers.csv", ",0.5000,", ",50.0,")])
    with pytest.raises(DataError, match=r"noise\.csv: other columns than expected: missing step\."):
        read_measured([edited(measured / "noise.csv", ",step,", ",")])
    with pytest.raises(DataError, match=r"confusion\.csv, row 2: count is 'few', expected a whole number"):
        read_measured([edited(measured / "confusion.csv", "happy,7", "happy,few")])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"Raspberry Pi 5", "Raspbérry Pi 5".encode("latin-1"), "line 2: byte 0xE9 is not UTF-8. Save the file as"),
        (b"2026-11-22T10:00:00+00:00\n", b"2026,1\n", "row 2: 34 cells, expected 33"),
        (b",classify,", b"," + b"x" * 140_000 + b",", "row 2: not CSV: field larger than field limit"),
        (b",500.0000,", b",nan,", "row 2: fps is nan, expected a finite number"),
        (b",500.0000,", b",1_0,", "row 2: fps is '1_0', expected a number"),
        (b",classify,", b",classify," + b"9" * 5000 + b",", r"row 2: 34 cells"),
        (b",500.0000,", b"," + b"9" * 5000 + b",", r"row 2: fps is inf, expected a finite number"),
        (b"accuracy,macro_f1", b"accuracy,accuracy", "column 'accuracy' is there twice"),
    ],
)
def test_a_damaged_csv_is_one_line_with_its_row(measured: Path, before: bytes, after: bytes, message: str) -> None:
    path = measured / "pi5" / "bench.csv"
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, after, 1))
    with pytest.raises(DataError, match=rf"bench\.csv.*({message})") as refused:
        read_measured([path])
    assert len(str(refused.value)) < 400


def test_a_csv_as_spreadsheets_save_it_is_read(measured: Path) -> None:
    path = measured / "pi5" / "bench.csv"
    before = read_measured([path])
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode("utf-8-sig"))
    assert read_measured([path]) == before


def test_the_same_rows_twice_are_refused(measured: Path) -> None:
    (measured / "copy.csv").write_text((measured / "pi5" / "bench.csv").read_text())
    with pytest.raises(DataError, match=r"2 rows of one measurement \(Raspberry Pi 5, .*is a file given twice"):
        read_measured([measured])


def test_a_file_that_is_no_table_of_ours_is_refused_when_named_and_passed_over_in_a_folder(measured: Path) -> None:
    with pytest.raises(DataError, match=r"quantize\.csv: none of the tables of fer-edge \(columns 'engine', 'file'\)"):
        read_measured([measured / "quantize.csv"])
    assert len(read_measured([measured]).bench) == 4


def test_nothing_to_report_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["report", str(tmp_path / "gone.csv")]) == 2
    assert "gone.csv: not found" in capsys.readouterr().err


def test_the_front_holds_what_nothing_beats() -> None:
    assert pareto_front([(3, 70), (1, 60), (2, 59), (4, 70), (1, 58)]) == [(1, 60), (3, 70)]


def test_the_committed_figures_make_a_report() -> None:
    measured = read_measured([ROOT / "docs" / "measured"])
    assert {row.stage for row in measured.bench} >= {"classify", "total"}
