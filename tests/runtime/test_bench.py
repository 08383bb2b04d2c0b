"""The benchmark's CSV, and what it refuses."""

import csv
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from fer_edge import board
from fer_edge.bench import COLUMNS, bench_classifier, bench_pipeline, measured_sink, read_rows, write_rows
from fer_edge.board import board_info, board_state
from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.errors import DataError, UsageError
from fer_edge.frames import STAGES, Frame
from fer_edge.pipeline import Pipeline

# The order is a promise to everybody who reads these files.
DESIGN = (
    "board,os,arch,cpu,runtime,runtime_version,model,model_sha256,precision,detector,threads,source,stage,n,warmup,"
    "mean_ms,p50_ms,p90_ms,p95_ms,p99_ms,fps,rss_mb,model_kb,temp_max_c,freq_min_mhz,throttled,dataset,split,"
    "accuracy,macro_f1,ece,fer_edge_version,started_at"
)


def test_columns_are_the_published_ones() -> None:
    assert ",".join(COLUMNS) == DESIGN


def test_classifier_row_holds_ordered_percentiles_and_empty_where_not_measured(
    default_model: Path, tmp_path: Path
) -> None:
    row = bench_classifier(Classifier(default_model), n=20, warmup=2)
    assert 0 < row.p50_ms <= row.p90_ms <= row.p95_ms <= row.p99_ms
    write_rows(tmp_path / "bench.csv", [row])
    with open(tmp_path / "bench.csv", newline="") as stream:
        (read,) = csv.DictReader(stream)
    assert tuple(read) == COLUMNS
    assert read["n"] == "20"
    assert read["stage"] == "classify"
    assert read["accuracy"] == read["detector"] == read["dataset"] == ""


def test_rows_are_read_back_as_they_were_written(default_model: Path, tmp_path: Path) -> None:
    row = dataclasses.replace(bench_classifier(Classifier(default_model), n=5, warmup=1), throttled=False, accuracy=0.5)
    write_rows(tmp_path / "bench.csv", [row, row])
    (first, second) = read_rows(tmp_path / "bench.csv")
    assert first == second
    assert (first.throttled, first.accuracy, first.detector, first.n) == (False, 0.5, None, 5)
    assert first.p50_ms == pytest.approx(row.p50_ms, abs=1e-4)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("accuracy,macro_f1", "accuracy", "other columns than expected: missing macro_f1"),
        (",classify,5,", ",classify,five,", r"row 2: n is 'five', expected a whole number"),
        (",classify,5,", ",classify,,", r"row 2: n is '', expected a whole number"),
    ],
)
def test_a_csv_edited_by_hand_is_refused(
    default_model: Path, tmp_path: Path, before: str, after: str, message: str
) -> None:
    write_rows(tmp_path / "bench.csv", [bench_classifier(Classifier(default_model), n=5, warmup=1)])
    text = (tmp_path / "bench.csv").read_text()
    assert before in text
    (tmp_path / "bench.csv").write_text(text.replace(before, after, 1))
    with pytest.raises(DataError, match=rf"bench\.csv.*{message}"):
        read_rows(tmp_path / "bench.csv")


@pytest.fixture
def pipeline(mediapipe_file: Path, default_model: Path) -> Pipeline:
    return Pipeline(open_detector("mediapipe", mediapipe_file), Classifier(default_model))


def frames(image: np.ndarray) -> itertools.count:
    return (Frame(image, index, index / 30, "photo.png") for index in itertools.count())


def test_every_stage_has_a_row_and_total_is_their_sum(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    with measured_sink() as sink:
        rows = bench_pipeline(frames(astronaut), pipeline, sink, n=8, warmup=2)
    assert tuple(row.stage for row in rows) == STAGES
    mean = {row.stage: row.mean_ms for row in rows}
    parts = sum(mean[stage] for stage in ("detect", "track", "crop", "classify", "smooth", "sink"))
    assert mean["total"] == pytest.approx(parts, rel=0.1)
    assert {(row.detector, row.source, row.n) for row in rows} == {("mediapipe", "photo.png", 8)}


def test_a_source_that_ends_in_the_warmup_is_refused(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    with measured_sink() as sink, pytest.raises(UsageError, match="gave 3 frames, expected more than the 5"):
        bench_pipeline(itertools.islice(frames(astronaut), 3), pipeline, sink, n=8, warmup=5)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n", "AMD EPYC"),
        ("processor\t: 0\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n", "Cortex-A76"),
        ("processor\t: 0\nCPU part\t: 0xfff\n", "Arm part 0xfff"),
        ("", ""),
    ],
)
def test_the_processor_is_named(cpuinfo: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "_read", lambda path: cpuinfo if path == "/proc/cpuinfo" else "")
    assert board_info().cpu == name


def test_the_machine_is_described_without_guessing() -> None:
    info, state = board_info(), board_state()
    assert info.arch
    assert info.os
    assert state.rss_mb is None or state.rss_mb > 5
    assert state.temp_c is None or -40 < state.temp_c < 150
