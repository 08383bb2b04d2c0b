"""The report draws what the CSV files hold: each mark, bar and cell is traced back to the row it comes from."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from fer_edge.bench.sustained import SustainedRow
from fer_edge.noise import NOISES

from boards.confusion import ConfusionRow
from boards.detectors import recall_plot
from boards.detectors.scoring import EQUAL, OWN, DetectorRow
from boards.instructions import InstructionRow
from boards.noise import NoiseRow
from boards.peers.paired import PeerRow
from boards.report import plots
from boards.report.reading import Measured
from tests.boards.test_report import ROW

INT8 = replace(ROW, model="a.int8.tflite", p50_ms=2.0, p95_ms=2.5, accuracy=0.65)
FP32 = replace(ROW, model="a.fp32.onnx", precision="fp32", p50_ms=5.0, p95_ms=6.0, accuracy=0.66)
PEER = PeerRow("peer", "x", "f", "LiteRT", "2", 1, "FER2013", "PublicTest", 9, 0.5, 0.4, 40.0, 50.0, 99.0, 2.0, 1.1)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Draw a plot and give its figure, which is not saved; None where there was nothing to draw."""
    kept: list[Figure] = []

    def keep(figure: Figure, path: Path) -> bool:
        kept.append(figure)
        return True

    monkeypatch.setattr(plots, "_save", keep)

    def draw(plot: Callable[[Measured, Path], bool], **rows: list[object]) -> Figure | None:
        said = plot(Measured(**rows), tmp_path / "plot.png")  # type: ignore[arg-type]
        assert said == bool(kept)
        return kept[-1] if kept else None

    yield draw
    plt.close("all")


def points(figure: Figure) -> set[tuple[float, float, str, bool]]:
    """Place, marker and whether it is filled of every point of the first axes that stands by itself."""
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    return {
        (
            float(line.get_xdata()[0]),
            round(float(line.get_ydata()[0]), 6),
            line.get_marker(),
            line.get_markerfacecolor() != "white",
        )
        for line in lines
    }


def test_each_classifier_is_a_point_at_its_latency_and_accuracy_marked_by_engine_and_precision(drawn) -> None:
    figure = drawn(plots.pareto, bench=[INT8, FP32], peers=[PEER, replace(PEER, name="fer-edge", p50_ms=7.0)])
    assert points(figure) == {(2.0, 65.0, "s", True), (5.0, 66.0, "o", False), (40.0, 50.0, "^", False)}
    (front,) = (line for line in figure.axes[0].lines if len(line.get_xdata()) == 2)
    assert list(front.get_xdata()) == [2.0, 5.0] and list(front.get_ydata()) == [65.0, 66.0]
    assert "FER2013 PublicTest" in figure.axes[0].get_title() and "Raspberry Pi 5" in figure.axes[0].get_title()


@pytest.mark.parametrize("change", [{"stage": "detect"}, {"accuracy": None}, {"source": "batch 8"}])
def test_what_is_no_accuracy_of_a_classifier_is_no_point(drawn, change: dict[str, object]) -> None:
    assert drawn(plots.pareto, bench=[replace(INT8, **change)], peers=[PEER]) is None


def test_the_bars_of_a_loop_are_its_stages_end_to_end(drawn) -> None:
    means = {"detect": 4.0, "track": 0.5, "crop": 0.25, "classify": 2.0, "total": 99.0}
    rows = [replace(ROW, stage=stage, mean_ms=mean, detector="yunet") for stage, mean in means.items()]
    figure = drawn(plots.stages, bench=[*rows, ROW])
    bars = [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches]
    assert bars == [(0, 4.0), (4.0, 0.5), (4.5, 0.25), (4.75, 2.0), (6.75, 0.0), (6.75, 0.0)]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "a.int8.tflite, yunet\nRaspberry Pi 5, 1 thread"
    ]


HEAT = SustainedRow("Pi", "A76", "a", "f", 1, "classify", 1, 9, 2.0, 2.5, 500.0, 61.5, 2400.0, False, 5.1, "now")


def test_heat_is_shown_as_the_ratio_to_the_first_minute(drawn) -> None:
    hot = replace(HEAT, minute=2, p50_ms=3.0, temp_max_c=85.0)
    figure = drawn(plots.sustained, sustained=[HEAT, hot])
    latency, temperature = (axes.lines[0] for axes in figure.axes)
    assert list(latency.get_ydata()) == [1.0, 1.5]
    assert list(temperature.get_ydata()) == [61.5, 85.0]


def test_without_a_thermometer_there_is_no_panel_of_temperatures(drawn) -> None:
    figure = drawn(plots.sustained, sustained=[replace(HEAT, temp_max_c=None)])
    assert len(figure.axes) == 1 and figure.axes[0].get_xlabel() == "minute"


def test_each_kind_of_noise_begins_with_the_clean_faces_and_falls_step_by_step(drawn) -> None:
    clean = NoiseRow("a.int8.tflite", "f", "int8", "FER2013", "PublicTest", "expression7", "none", 0, 0.0, 9, 0.6, 0.5)
    other = replace(clean, task="positive-negative", accuracy=0.9)
    steps = [
        replace(base, noise=kind, step=step, accuracy=round(base.accuracy - step / 100 - place / 1000, 4))
        for base in (clean, other)
        for place, kind in enumerate(NOISES)
        for step in (3, 1, 2, 5, 4)
    ]
    figure = drawn(plots.noise, noise=[*steps, other, clean])
    for place, axes in enumerate(figure.axes):
        assert axes.get_title().startswith(list(NOISES)[place])
        for base, line in zip((clean, other), axes.lines, strict=True):
            assert list(line.get_xdata()) == [0, 1, 2, 3, 4, 5]
            falling = [base.accuracy - step / 100 - (place / 1000 if step else 0) for step in range(6)]
            assert list(line.get_ydata()) == pytest.approx([100 * share for share in falling])


def test_a_confusion_matrix_is_in_per_cent_of_the_true_class(drawn) -> None:
    counts = {("happy", "happy"): 6, ("happy", "sad"): 2, ("sad", "happy"): 0, ("sad", "sad"): 5}
    rows = [ConfusionRow("a.int8.tflite", "f", "FER2013", "PublicTest", *pair, count) for pair, count in counts.items()]
    figure = drawn(plots.confusions, confusions=[*rows, replace(rows[0], model="a.fp32.onnx")])
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.images[0].get_array(), [[75, 25], [0, 100]])
    assert [text.get_text() for text in axes.texts] == ["75", "25", "0", "100"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["happy (8)", "sad (5)"]
    assert axes.get_title().startswith("a.int8.tflite\n")


def test_a_class_without_faces_is_no_division_by_zero(drawn) -> None:
    rows = [
        ConfusionRow("a.fp32.onnx", "f", "x", "y", truth, "sad", 3 * (truth == "sad")) for truth in ("happy", "sad")
    ]
    figure = drawn(plots.confusions, confusions=rows)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[0, 0], [0, 100]])


def test_instructions_of_float_and_int8_lie_side_by_side_with_their_dot_products(drawn) -> None:
    row = InstructionRow("a.fp32.tflite", "f", "ai-edge-litert", "2", "cortex-a76", "trixie", 9_000_000, 0)
    int8 = replace(row, model="a.int8.tflite", instructions=3_000_000, dot_products=500_000)
    figure = drawn(plots.instructions, instructions=[row, int8, replace(row, model="loop, 1 face: total")])
    widths = [round(bar.get_width(), 6) for bar in figure.axes[0].patches if bar.get_width()]
    assert widths == [9.0, 3.0, 0.5]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a, ai-edge-litert\ncortex-a76"]


@pytest.mark.parametrize("plot", [plots.stages, plots.sustained, plots.noise, plots.confusions, plots.instructions])
def test_of_nothing_nothing_is_drawn(drawn, plot: Callable[[Measured, Path], bool]) -> None:
    assert drawn(plot) is None


@pytest.fixture
def detector_row() -> DetectorRow:
    shares = dict.fromkeys((field.name for field in fields(DetectorRow)), 0.5)
    names = {"detector": "yunet int8", "side_px": 192, "rule": OWN, "cpu": "x86", "faces": 9, "scenes": 9}
    return DetectorRow(**{**shares, **names, "false_with_faces": 1, "empty_scenes": 3})  # type: ignore[arg-type]


def test_our_detector_is_drawn_at_its_own_threshold_and_others_once(detector_row: DetectorRow) -> None:
    ours = [replace(detector_row, side_px=side) for side in (128, 192, 320)]
    haar = replace(detector_row, detector="haar", side_px=None)
    equal = replace(haar, rule=EQUAL, recall_10_20=0.1)
    rows = recall_plot._drawn([*ours, replace(ours[1], rule=EQUAL), haar, equal])
    assert rows == [ours[1], ours[2], equal]


def test_recall_is_drawn_by_size_with_its_cost(detector_row: DetectorRow, tmp_path: Path, monkeypatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(recall_plot.plt, "close", kept.append)
    sized = replace(detector_row, recall_10_20=0.1, recall_128_260=0.9, cpu_ms_p50=3.25, false_per_1000=2.0)
    recall_plot.plot_recall([sized], tmp_path / "recall.png")
    (line,) = kept[0].axes[0].lines
    assert list(line.get_ydata()) == [0.1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9]
    assert line.get_label() == "yunet int8 192 px: 3.2 ms, 2 false in 1000"
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")


def test_the_plot_beside_a_bench_csv_keeps_tenths_of_a_point_small(tmp_path: Path, monkeypatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(plots.plt, "close", kept.append)
    near = replace(FP32, accuracy=0.6510)
    assert plots.plot_latency_accuracy([INT8, near, replace(INT8, stage="detect")], tmp_path / "bench.png")
    axes = kept[0].axes[0]
    assert points(kept[0]) >= {(2.0, 65.0, "s", True), (5.0, 65.1, "o", True)}
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(6.0) and low < 65 < high
    assert [line.get_label() for line in axes.lines if not line.get_label().startswith("_")] == [
        "a.int8.tflite: 2.00 ms, 65.0 %, 90 KB",
        "a.fp32.onnx: 5.00 ms, 65.1 %, 90 KB",
    ]
    assert axes.get_xlim() == (0.0, pytest.approx(1.1 * 6.0))


def test_without_an_accuracy_no_picture_is_left(tmp_path: Path) -> None:
    unlabelled = [replace(ROW, accuracy=None, macro_f1=None, ece=None)]
    assert not plots.plot_latency_accuracy(unlabelled, tmp_path / "bench.png")
    assert not list(tmp_path.iterdir())


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1))
def test_the_front_is_what_no_point_beats_in_both(points: list[tuple[float, float]]) -> None:
    front = plots.pareto_front(points)

    def beaten(point: tuple[float, float]) -> bool:
        return any(x <= point[0] and y >= point[1] and (x, y) != point for x, y in points)

    assert set(front) == {point for point in points if not beaten(point)}
    assert front == sorted(front) and len(front) == len(set(front))
