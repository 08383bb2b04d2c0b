"""Accuracy under the noise ladder: every condition, and two tasks scored on their own faces."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fer_edge.faces import LabelledFaces
from fer_edge.noise import NOISES

from boards import lab as command
from boards.noise import CLEAN, NOISE_COLUMNS, measure_noise, write_noise
from tests.export.systems import exported_system

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Smooth made-up pictures, so that a blur or a JPEG can be told from the picture."""
    y, x = np.mgrid[0:48, 0:48]
    waves = [127 + 100 * np.sin(x / (2 + i)) * np.cos(y / (3 + i)) for i in range(7)]
    return np.stack(waves).astype(np.uint8)


@pytest.mark.slow
def test_a_model_of_another_task_has_no_noise_ladder_and_that_is_no_error(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    systems = tmp_path_factory.getbasetemp() / "systems"
    systems.mkdir(exist_ok=True)
    path = exported_system("identity_invariant", systems) / "identity_invariant.fp32.tflite"
    faces = tmp_path / "faces.npz"  # never read, so that it may be empty
    faces.touch()
    words = ["bench-noise", str(path), "--faces", str(faces), "--out", str(tmp_path / "noise.csv")]
    assert command.main(words) == 0
    assert "identity_invariant.fp32.tflite: no noise ladder" in capsys.readouterr().out
    assert not (tmp_path / "noise.csv").exists()


def test_rows_hold_both_tasks_for_every_condition(default_model: Path, images: np.ndarray, tmp_path: Path) -> None:
    faces = LabelledFaces(images, np.arange(7), LABELS, "made", "test")
    rows = list(measure_noise(default_model, faces))
    assert len(rows) == 2 * (1 + 5 * len(NOISES))
    assert [row.task for row in rows[:2]] == ["expression7", "positive-negative"]
    assert (rows[0].noise, rows[0].step, rows[0].n) == (CLEAN, 0, 7)
    assert {row.n for row in rows if row.task == "positive-negative"} == {5}  # surprise and neutral are neither
    write_noise(tmp_path / "noise.csv", rows)
    with open(tmp_path / "noise.csv", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert tuple(read[0]) == NOISE_COLUMNS
    assert len(read) == len(rows)
