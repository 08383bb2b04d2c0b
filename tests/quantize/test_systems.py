"""Quantization by the contract's task: what is measured of values, and which operators stay float."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.faces import LabelledFaces, ValuedFaces, load_task_faces
from fer_edge.metrics import concordance

from boards import lab as command
from quantize import search
from quantize.calibration import CalibrationOptions
from quantize.gate import Limits
from quantize.materials import Materials, gather
from quantize.measure import score
from quantize.recipes import TARGETS, recipes_for
from quantize.report import Row
from quantize.source import open_artifacts
from tests.export.small import SPLIT_SIZES, write_faces
from tests.export.systems import exported_system

X86 = TARGETS["x86"]
(RECIPES,) = recipes_for(X86, "qdq-u8-quantile,tflite-quantile")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the tests of export and quantize: each system is exported once."""
    folder = tmp_path_factory.getbasetemp() / "systems"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def faces(folder: Path) -> Path:
    """Drawn faces whose votes are spread by their number; every seventh has none."""
    path = write_faces(folder / "faces.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    votes = np.zeros((sum(SPLIT_SIZES.values()), 10), dtype=np.int8)
    for row in range(len(votes)):
        votes[row, 1] = row % 11
        votes[row, 3] = 10 - row % 11
    votes[::7] = 0
    np.savez(path, **arrays, votes=votes)
    return path


def gathered(architecture: str, folder: Path, faces: Path) -> Materials:
    models = open_artifacts(exported_system(architecture, folder))
    return gather(models, CalibrationOptions(faces, folder / "absent.json", 32, 0), RECIPES, X86, Limits())


def searched(materials: Materials) -> list[Row]:
    """The rows of the files written: an untrained network passes no gate, so it is forced."""
    outcome = search.search(materials, search.Plan((RECIPES,), force=True))
    rows = [row for row in outcome.rows if row.file]
    assert [row.precision for row in rows] == ["fp32", "int8"] * 2
    return rows


@pytest.mark.parametrize("architecture", ["identity_invariant", "saliency_cnn"])
def test_a_model_of_values_is_measured_by_concordance(architecture: str, folder: Path, faces: Path) -> None:
    materials = gathered(architecture, folder, faces)
    evaluation, made = materials.evaluation, materials.models.folder
    assert isinstance(evaluation.faces, ValuedFaces)
    assert len(evaluation.faces) == 140 - 20  # of every seventh face nobody knows
    for row in searched(materials):
        model = Classifier(made / row.file)
        answers = model.classify(evaluation.images)
        columns = zip(evaluation.faces.values.T, answers.T, strict=True)
        assert row.ccc == pytest.approx(np.mean([concordance(*column) for column in columns]), abs=1e-6)
        assert row.accuracy is None
        assert row.int8_convs == (row.convs if row.precision == "int8" else 0)
        if row.precision == "int8":
            assert [one.n for one in model.contract.measured_values] == [120] * len(model.contract.labels)
            beside = json.loads((made / f"{row.file}.json").read_text())
            assert beside["measured_values"][0]["split"] == "PublicTest"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mobilenet_v3", "xception"])
def test_every_convolution_of_a_classifier_becomes_integer(architecture: str, folder: Path, faces: Path) -> None:
    rows = searched(gathered(architecture, folder, faces))
    assert all(row.int8_convs == row.convs > 0 for row in rows if row.precision == "int8")
    assert all(row.agreement > 0.5 for row in rows)


def test_truth_by_task_of_one_cache(faces: Path) -> None:
    polar = load_task_faces(faces, "PublicTest", "positive-negative", ("positive", "negative"))
    assert isinstance(polar, LabelledFaces)
    assert len(polar) == 140 * 5 / 7  # surprise and neutral are neither
    assert polar.label_names == ("positive", "negative")
    assert polar.labels.mean() == pytest.approx(4 / 5)
    smiles = load_task_faces(faces, "PublicTest", "smile-intensity", ("smile",))
    assert isinstance(smiles, ValuedFaces)
    assert smiles.values.shape == (120, 1)


def test_scores_of_values_by_hand() -> None:
    truth = ValuedFaces(np.zeros((2, 4, 4), np.uint8), np.array([[0.0], [1.0]], np.float32), ("x",), "drawn", "all")
    answers, reference = np.array([[0.0], [3.0]], np.float32), np.array([[0.0], [1.0]], np.float32)
    scored = score(answers, reference, truth, "values")
    expected = 2 * 0.75 / (0.25 + 2.25 + 1)
    assert scored.agreement == pytest.approx(expected)
    assert scored.ccc == pytest.approx(expected)
    assert (scored.dataset, scored.n, scored.accuracy) == ("drawn all", 2, None)


@pytest.mark.slow
def test_networks_are_compared_side_by_side_whatever_the_gate_says(folder: Path, faces: Path, tmp_path: Path) -> None:
    path = exported_system("xception", folder).parent.parent / "xception.safetensors"
    places = ["--artifacts", str(tmp_path / "a"), "--out", str(tmp_path / "x.csv")]
    words = [str(path), "--faces", str(faces), "--count", "32", *places]
    assert command.main(["compare-int8", *words]) == 0
    with open(tmp_path / "x.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == ["xception.int8.onnx", "xception.int8.tflite"]
    for row in rows:
        drop = 100 * (float(row["float"]) - float(row["int8"]))
        assert float(row["drop_points"]) == pytest.approx(drop, abs=0.02)
        assert (tmp_path / "a" / "xception" / row["file"]).is_file()
    assert command.main(["compare-int8", str(tmp_path / "absent.safetensors"), "--out", str(tmp_path / "y.csv")]) == 4
