"""The model inside the package: ours, traceable to its checkpoint, and as good as it says."""

import json
from pathlib import Path

import pytest

from fer_edge.classifier import Classifier
from fer_edge.faces import LabelledFaces
from fer_edge.files import sha256_of
from fer_edge.metrics import classification_metrics

from tests.conftest import ROOT


def test_it_comes_from_the_committed_checkpoint_and_calibration(default_model: Path) -> None:
    contract = Classifier(default_model).contract
    folder = ROOT / "models" / contract.name
    assert contract.checkpoint_sha256 == sha256_of(folder / f"{contract.name}.safetensors")
    cache = json.loads((folder / "calibration.json").read_text())
    assert cache["checkpoint_sha256"] == contract.checkpoint_sha256
    assert f"{cache['count']} faces" in (contract.calibrated_on or "")


def test_it_is_small_and_says_what_it_scored(default_model: Path) -> None:
    contract = Classifier(default_model).contract
    assert default_model.stat().st_size < 1_200_000
    (measured,) = contract.measured
    assert (measured.dataset, measured.split, measured.n, measured.crops) == ("FER2013", "PublicTest", 3589, "single")
    assert measured.accuracy >= 0.655


def test_it_scores_on_publictest_what_its_contract_says(default_model: Path, public_test: LabelledFaces) -> None:
    classifier = Classifier(default_model)
    metrics = classification_metrics(public_test.labels, classifier.classify(public_test.images))
    (measured,) = classifier.contract.measured
    # Other processors round a few ties otherwise.
    assert metrics.accuracy == pytest.approx(measured.accuracy, abs=0.002)
    assert metrics.macro_f1 == pytest.approx(measured.macro_f1, abs=0.004)
