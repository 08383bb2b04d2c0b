"""Evaluation: one command, one row a file and split in results.csv, float checkpoints and deployable files alike."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.errors import UsageError

from train import __main__ as command
from train import architectures, cache, checkpoint, evaluate, publish
from train.fer2013 import Fer2013
from train.recipe import Recipe

SMALL = Recipe("small", "fer_residual", {"stem": 4, "widths": [4], "depths": [1]})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    state = architectures.build(SMALL.architecture, SMALL.arguments).state_dict()
    checkpoint.save(tmp_path / "small.safetensors", state, publish.info_of(SMALL))
    return tmp_path / "small.safetensors"


def test_evaluating_twice_keeps_one_row_a_split(weights: Path, tiny: Fer2013, tmp_path: Path) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    words = ["evaluate", str(weights), "--cache", str(tmp_path / "data.npz")]
    for split in ("PublicTest", "PublicTest", "PrivateTest"):
        assert command.main([*words, "--split", split, "--results", str(tmp_path / "results.csv")]) == 0
    with open(tmp_path / "results.csv", newline="") as stream:
        assert [row["split"] for row in csv.DictReader(stream)] == ["PublicTest", "PrivateTest"]


def test_a_deployable_file_is_measured_as_the_board_runs_it(default_model: Path, tiny: Fer2013, tmp_path: Path) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    words = ["evaluate", str(default_model), "--cache", str(tmp_path / "data.npz"), "--split", "PublicTest"]
    assert command.main([*words, "--results", str(tmp_path / "results.csv")]) == 0
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
    words = ["evaluate", str(weights), str(default_model), "--cache", str(tmp_path / "data.npz")]
    assert command.main([*words, "--results", str(tmp_path / "results.csv")]) == 2
    assert "Run `make export quantize` again" in capsys.readouterr().err
    assert not (tmp_path / "results.csv").exists()


def test_an_unknown_split_is_refused(weights: Path, tiny: Fer2013) -> None:
    with pytest.raises(UsageError, match="there are: Training, PublicTest, PrivateTest"):
        evaluate.evaluate(evaluate.open_candidate(weights), tiny, "Test")
