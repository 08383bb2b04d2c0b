"""A task of values through the runtime: what sinks write and what is drawn goes by the task, not by the system."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from fer_edge.contract import ModelContract
from fer_edge.drawing import draw
from fer_edge.frames import Box, Detection, Face, Frame, FrameResult
from fer_edge.pipeline import Pipeline
from fer_edge.sinks import CsvSink, JsonlSink
from fer_edge.tasks import TASKS

IMAGE = np.full((240, 320, 3), 128, np.uint8)
FRAME = Frame(IMAGE, 0, 0.0, "drawn")


def result(task: str, labels: tuple[str, ...], numbers: tuple[float, ...], name: str) -> FrameResult:
    face = Face(Box(40, 40, 80, 80), 0.9, 1, name, max(map(abs, numbers)), numbers, labels, task)
    return FrameResult(0, 0.0, "drawn", 320, 240, labels, (face,), task=task)


AFFECT = result("valence-arousal", ("valence", "arousal"), (-0.5, 0.25), "anger")
CLASSES = result("positive-negative", ("negative", "positive"), (0.25, 0.75), "positive")


def test_json_lines_name_values_values(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "x.jsonl") as sink:
        sink.write(FRAME, AFFECT)
        sink.write(FRAME, CLASSES)
    affect, classes = (json.loads(line)["faces"][0] for line in (tmp_path / "x.jsonl").read_text().splitlines())
    assert affect["values"] == {"valence": -0.5, "arousal": 0.25}
    assert (affect["expression"], affect["confidence"], "probabilities" in affect) == ("anger", 0.5, False)
    assert classes["probabilities"] == {"negative": 0.25, "positive": 0.75}


def test_csv_keeps_the_sign_of_a_value(tmp_path: Path) -> None:
    with CsvSink(tmp_path / "x.csv", AFFECT.labels) as sink:
        sink.write(FRAME, AFFECT)
    assert (tmp_path / "x.csv").read_text().splitlines()[1].endswith(",-0.5,0.25")


def test_a_bar_of_a_signed_value_grows_from_the_middle() -> None:
    """Drawn pictures of -v and v differ, and each from that of 0."""
    pictures = [
        draw(IMAGE, result("valence-arousal", ("valence", "arousal"), (value, 0.0), "neutral")).astype(int)
        for value in (-0.8, 0.0, 0.8)
    ]
    # Left of the middle for a negative value, right of it for a positive one; the label's text is above these rows.
    rows = slice(40, 80)
    bars = [np.flatnonzero(np.abs(p[rows] - pictures[1][rows]).sum(axis=(0, 2))) for p in (pictures[0], pictures[2])]
    assert len(bars[0]) > 0
    assert bars[0].max() <= bars[1].min() + 2


class OneFace:
    """A detector that always finds the same face."""

    name, side_px, min_score = "mediapipe", 48, 0.6

    def detect(self, image_bgr: np.ndarray, *, faint: bool = False) -> list[Detection]:
        return [Detection(Box(40, 40, 80, 80), 0.9)]


class Says:
    """A classifier that gives one answer after the other."""

    def __init__(self, contract: ModelContract, *answers: tuple[float, ...]) -> None:
        self.contract, self._answers = contract, iter(answers)

    def classify_each(self, crops: np.ndarray) -> list[np.ndarray]:
        return [np.array(next(self._answers), np.float32) for _ in crops]


def test_values_are_named_by_what_they_are_now_and_no_name_stays(contract: ModelContract) -> None:
    """A class stays until another is clearly more likely; values have no class that could."""
    affect = dataclasses.replace(
        contract,
        schema_version=2,
        task="valence-arousal",
        labels=("valence", "arousal"),
        output=dataclasses.replace(contract.output, meaning="values"),
    )
    said = Says(affect, (0.8, 0.5), (-0.65, -0.3))
    pipeline = Pipeline(OneFace(), said, smoothing=1.0, hysteresis=2.0)
    first, second = (pipeline.process(Frame(IMAGE, index, 0.0, "drawn")) for index in range(2))
    assert (first.task, first.faces[0].expression) == ("valence-arousal", "happiness")
    assert second.faces[0].expression == "sadness"
    assert second.faces[0].confidence == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("task", "confidence", "numbers", "words"),
    [
        ("expression7", 0.874, (0.874, 0.126), "87%"),
        ("action-units", 0.6, (0.6, 0.9), "60%"),
        ("valence-arousal", 0.62, (0.62, -0.1), "+0.62 -0.10"),
        ("smile-intensity", 0.25, (0.25,), "0.25"),
    ],
)
def test_a_face_is_said_in_percent_or_in_values(task, confidence, numbers, words) -> None:
    assert TASKS[task].strength(confidence, numbers) == words


def test_names_are_the_labels_of_a_model_or_the_anchors_of_its_scales() -> None:
    assert TASKS["expression7"].names(("a", "b")) == ("a", "b")
    assert TASKS["smile-intensity"].names(("smile",)) == ("no smile", "slight smile", "smile")
