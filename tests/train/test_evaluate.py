"""Evaluation: one command, one row a file and split in results.csv, float checkpoints and deployable files alike."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.errors import UsageError

from boards import lab as command
from train import architectures
from train.data import cache
from train.data.fer2013 import Fer2013
from train.fit import checkpoint, evaluate, publish, tasks
from train.fit.recipe import Recipe

SMALL = Recipe("small", "fer_residual", {"stem": 4, "widths": [4], "depths": [1]})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    state = architectures.build(SMALL.architecture, SMALL.arguments).state_dict()
    measured = {"PublicTest": {"n": 14, "accuracy": 0.1, "macro_f1": 0.1}}
    checkpoint.save(tmp_path / "small.safetensors", state, publish.info_of(SMALL, measured=measured))
    return tmp_path / "small.safetensors"


def test_evaluating_twice_keeps_one_row_a_split(weights: Path, tiny: Fer2013, tmp_path: Path) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    words = ["evaluate", str(weights), "--faces", str(tmp_path / "data.npz")]
    for split in ("PublicTest", "PublicTest", "PrivateTest"):
        assert command.main([*words, "--split", split, "--out", str(tmp_path / "results.csv")]) == 0
    with open(tmp_path / "results.csv", newline="") as stream:
        assert [row["split"] for row in csv.DictReader(stream)] == ["PublicTest", "PrivateTest"]


def test_a_deployable_file_is_measured_as_the_board_runs_it(default_model: Path, tiny: Fer2013, tmp_path: Path) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    words = ["evaluate", str(default_model), "--faces", str(tmp_path / "data.npz"), "--split", "PublicTest"]
    assert command.main([*words, "--out", str(tmp_path / "results.csv")]) == 0
    with open(tmp_path / "results.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    classifier, chosen = Classifier(default_model), tiny.usage == 1
    said = classifier.classify(tiny.images[chosen]).argmax(axis=1)
    assert float(row["accuracy"]) == pytest.approx(np.mean(said == tiny.emotions[chosen]), abs=1e-4)
    assert (row["file"], row["n"]) == (default_model.name, "14")
    assert row["checkpoint_sha256"] == classifier.contract.checkpoint_sha256


def test_a_file_of_another_checkpoint_is_not_measured_beside_it(
    weights: Path, default_model: Path, tiny: Fer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    words = ["evaluate", str(weights), str(default_model), "--faces", str(tmp_path / "data.npz")]
    assert command.main([*words, "--out", str(tmp_path / "results.csv")]) == 2
    assert "Run `make export quantize` again" in capsys.readouterr().err
    assert not (tmp_path / "results.csv").exists()


def test_an_unknown_split_is_refused(weights: Path, tiny: Fer2013) -> None:
    with pytest.raises(UsageError, match="there are: Training, PublicTest, PrivateTest"):
        evaluate.evaluate(evaluate.open_candidate(weights), tiny, "Test")


def test_private_test_measures_no_model_that_is_not_finished(tiny: Fer2013, tmp_path: Path) -> None:
    """A fold, or a row of an ablation: choosing among them by PrivateTest would make its figures worthless."""
    state = architectures.build(SMALL.architecture, SMALL.arguments).state_dict()
    checkpoint.save(tmp_path / "fold.safetensors", state, publish.info_of(SMALL))
    fold = evaluate.open_candidate(tmp_path / "fold.safetensors")
    evaluate.evaluate(fold, tiny, "PublicTest")
    with pytest.raises(UsageError, match="no finished model"):
        evaluate.evaluate(fold, tiny, "PrivateTest")


def test_results_with_other_columns_stand_in_one_file(weights: Path, tiny: Fer2013, tmp_path: Path) -> None:
    """Two datasets do not code the same action units: what a row does not have is empty."""
    path = tmp_path / "results.csv"
    path.write_text(
        "date,model,file,checkpoint_sha256,dataset,split,n,f1_AU1\n2026-01-01,x,x.onnx,0,CK+,PublicTest,3,1\n"
    )
    evaluate.append_result(path, evaluate.evaluate(evaluate.open_candidate(weights), tiny, "PublicTest"))
    with open(path, newline="") as stream:
        old, new = csv.DictReader(stream)
    assert (old["f1_AU1"], old["accuracy"], new["f1_AU1"]) == ("1", "", "")
    assert float(new["accuracy"]) >= 0


def test_the_map_of_a_mirrored_face_is_turned_back() -> None:
    answered = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(tasks.mirrored_back("saliency", answered), [[1, 0, 3, 2], [5, 4, 7, 6]])
    assert tasks.mirrored_back("expression7", answered) is answered
