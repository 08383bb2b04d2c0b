"""Outputs of a classifier: of any batch a model takes, and those not finite, from the model to every sink."""

import csv
import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from fer_edge.board import BoardState
from fer_edge.classifier import Classifier
from fer_edge.cli import main
from fer_edge.contract import ModelContract
from fer_edge.errors import ModelError
from fer_edge.frames import Box, Detection, Frame, FrameResult
from fer_edge.pictures import Pictures
from fer_edge.pipeline import Pipeline
from fer_edge.program.vitals import Vitals
from fer_edge.sinks import CsvSink, JsonlSink, TerminalSink
from fer_edge.sinks.live_view import LiveView

from tests.runtime.fakes.media import write_video
from tests.runtime.fakes.models import of_values, weights_of, write_onnx, write_tflite_of_batch

FACES = np.random.default_rng(1).integers(60, 256, (6, 48, 48), dtype=np.uint8)
NIGHT = np.full((1, 48, 48), 10, np.uint8)
NOT_FINITE = [float("nan"), float("inf"), float("-inf")]


def softmax_of(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


# --- Batches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 4, 8, "batch"])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_any_number_of_faces_goes_through_a_model_of_any_batch(tmp_path, contract, batch, count) -> None:
    model = Classifier(write_onnx(tmp_path / "model.onnx", contract, batch=batch))
    expected = softmax_of(FACES[:count].reshape(count, -1).astype(np.float32) @ weights_of())
    np.testing.assert_allclose(model.classify(FACES[:count]), expected, rtol=1e-4)


def test_a_tflite_of_a_fixed_batch_is_filled_up(tmp_path: Path, default_model: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="its schema writes the file")
    batched = Classifier(write_tflite_of_batch(tmp_path / "batch4.tflite", default_model, 4))
    np.testing.assert_array_equal(batched.classify(FACES), Classifier(default_model).classify(FACES))


@pytest.mark.parametrize(
    "wrong",
    [
        {"output_shape": ["batch", 7, 1]},
        {"output_shape": [7]},
        {"columns": 8},
        {"reshape_to": [1, 48 * 48]},  # says that it takes any number, and takes one
        {"reshape_to": [-1, 12, 48 * 48]},
        {"batch": 4, "reshape_to": [2, 2, 48 * 48], "output_shape": ["some", "other"]},
    ],
)
def test_a_model_whose_output_is_not_faces_by_labels_is_refused_at_the_start(tmp_path, contract, wrong, capsys) -> None:
    path = write_onnx(tmp_path / "model.onnx", contract, **wrong)
    assert main(["--source", str(tmp_path), "--model", str(path)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fer-edge: {path}: ")


def test_a_model_that_fails_when_it_runs_is_refused_in_one_line(tmp_path, contract) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx: onnxruntime cannot run it \(.*Reshape"):
        Classifier(write_onnx(tmp_path / "model.onnx", contract, reshape_to=[5, 48 * 48]))


def test_a_tflite_that_fails_when_it_runs_is_refused(tmp_path: Path, default_model: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="its schema writes the file")
    classifier = Classifier(default_model)
    with pytest.raises(ModelError, match=r"cannot run it \(.+\)\. Copy or export it again"):
        classifier.engine.run(np.zeros((1, 32, 32, 1), np.int8))


# --- Outputs that are not finite ------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", NOT_FINITE)
@pytest.mark.parametrize("task", ["classes", "values"])
def test_they_are_dropped_and_counted_where_they_leave_the_model(tmp_path, contract, dark, task) -> None:
    contract = of_values(contract) if task == "values" else contract
    model = Classifier(write_onnx(tmp_path / "model.onnx", contract, dark=dark))
    rows = model.classify_each(np.concatenate([FACES[:1], NIGHT, FACES[1:2]]))
    assert [row is None for row in rows] == [False, True, False]
    assert all(np.isfinite(row).all() for row in rows if row is not None)
    assert model.unusable_outputs == 1
    with pytest.raises(ModelError, match="1 of 2 outputs are not finite"):
        model.classify(np.concatenate([FACES[:1], NIGHT]))


def test_a_probability_outside_0_to_1_is_none(tmp_path, contract) -> None:
    said = dataclasses.replace(contract, output=dataclasses.replace(contract.output, meaning="probabilities"))
    classifier = Classifier(write_onnx(tmp_path / "model.onnx", contract))
    classifier.contract = said  # as if black and white, with which it was tried, had been within
    assert classifier.classify_each(FACES) == [None] * 6


def test_they_are_reported_once_and_again_after_an_hour(tmp_path, contract, caplog) -> None:
    now_s = [0.0]
    model = Classifier(write_onnx(tmp_path / "m.onnx", contract, dark=float("nan")), clock_s=lambda: now_s[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            now_s[0] += 4.0
            model.classify_each(NIGHT)
    assert [text[text.index("(") :].split()[0] for text in caplog.messages] == ["(1", "(901"]


class Seen:
    """A detector that always finds the same face, and one that is never dark."""

    name, side_px, min_score = "mediapipe", 48, 0.6

    def detect(self, image_bgr: np.ndarray, *, faint: bool = False) -> list[Detection]:
        return [Detection(Box(20, 20, 60, 60), 0.9), Detection(Box(220, 20, 60, 60), 0.8)]


def room(index: int, *, dark: bool) -> Frame:
    image = np.full((120, 320, 3), 200, np.uint8)
    image[10:90, 10:90] = 5 if dark else 180
    return Frame(image, index, index / 10, "camera")


@pytest.fixture
def results(tmp_path: Path, contract: ModelContract) -> list[FrameResult]:
    """Ten frames; the left face is too dark for the model in frames 3 to 5."""
    pipeline = Pipeline(Seen(), Classifier(write_onnx(tmp_path / "m.onnx", contract, dark=float("nan"))))
    return [pipeline.process(room(index, dark=3 <= index < 6)) for index in range(10)]


def test_such_a_face_is_unnamed_keeps_its_track_and_is_named_again_with_the_next_good_frame(results) -> None:
    assert [len(result.faces) for result in results] == [2, 2, 2, 1, 1, 1, 2, 2, 2, 2]
    assert [len(result.unnamed) for result in results] == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert [face.track_id for face in results[6].faces] == [0, 1]
    assert results[6].faces[0].expression == results[2].faces[0].expression
    np.testing.assert_allclose(results[9].faces[0].probabilities, results[2].faces[0].probabilities, atol=1e-5)


def no_constant(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def test_no_sink_writes_what_is_not_finite(results, tmp_path, capsys) -> None:
    sinks = [JsonlSink(tmp_path / "o.jsonl"), CsvSink(tmp_path / "o.csv", results[0].labels), TerminalSink()]
    for sink in sinks:
        with sink:
            for index, result in enumerate(results):
                sink.write(room(index, dark=False), result)
    lines = (tmp_path / "o.jsonl").read_text().splitlines()
    assert [len(json.loads(line, parse_constant=no_constant)["faces"]) for line in lines][2:7] == [2, 1, 1, 1, 2]
    rows = list(csv.DictReader((tmp_path / "o.csv").open()))
    assert len(rows) == 17 and "nan" not in (tmp_path / "o.csv").read_text() + capsys.readouterr().out


def test_the_page_counts_them(results) -> None:
    vitals = Vitals(10.0, None, 0, BoardState(None, None, None, None), 0, {}, 3)
    view = LiveView(Pictures(), lambda: vitals)
    view.put(room(4, dark=True), results[4])
    state = json.loads(json.dumps(view.state(with_history=True)), parse_constant=no_constant)
    assert (len(state["faces"]), state["unnamed"], state["unusable_outputs"]) == (1, 1, 3)


def test_mqtt_and_prometheus_count_them(results) -> None:
    pytest.importorskip("paho.mqtt", reason="the extra `mqtt` is absent")
    pytest.importorskip("prometheus_client", reason="the extra `metrics` is absent")
    from fer_edge.sinks.mqtt import MqttSink
    from fer_edge.sinks.prometheus import _VitalsCollector

    vitals = Vitals(10.0, None, 0, BoardState(None, None, None, None), 0, {}, 3)
    sink = MqttSink("mqtt://127.0.0.1", "door", lambda: vitals)
    for index, result in enumerate(results):
        sink.write(room(index, dark=False), result)
    texts = (*sink._outbox._waiting, *sink._outbox._newest.values())
    said = [json.loads(text, parse_constant=no_constant) for text in texts]
    assert {"faces": 2, "unusable_outputs": 3}.items() <= {key: one[key] for one in said for key in one}.items()
    found = {
        metric.name: metric.samples[0].value
        for metric in _VitalsCollector(lambda: vitals, lambda: None).collect()
        if metric.samples
    }
    assert found["fer_edge_unusable_outputs"] == 3


def test_a_run_over_dark_frames_ends_well_with_every_line(
    tmp_path, contract, astronaut, mediapipe_file, capsys
) -> None:
    """As FP16 on a GPU overflows: the program goes on, and says so once."""
    model = write_onnx(tmp_path / "m.onnx", contract, dark=float("nan"))
    clip = write_video(
        tmp_path / "clip.avi", [(astronaut * (0.2 if 4 <= i < 7 else 1)).astype(np.uint8) for i in range(12)]
    )
    words = [
        "--source",
        str(clip),
        "--as-fast-as-possible",
        "--model",
        str(model),
        "--jsonl",
        str(tmp_path / "o.jsonl"),
    ]
    assert main(words) == 0
    faces = [json.loads(line)["faces"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [len(found) for found in faces] == [1] * 4 + [0] * 3 + [1] * 5
