"""Every published system goes through export as it is: the files compute what torch computes, the contract its task."""

from pathlib import Path

import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.contract import schema_version_of
from fer_edge.errors import ModelError
from fer_edge.tasks import TASKS, VALUES

from export.contracts import float_contract
from export.golden import load_golden
from tests.export.small import info
from tests.export.systems import SYSTEMS, exported_system
from train import tasks


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the tests of export and quantize: each system is exported once."""
    folder = tmp_path_factory.getbasetemp() / "systems"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("architecture", SYSTEMS)
def test_both_files_answer_as_torch_does_and_say_their_task(architecture: str, folder: Path) -> None:
    artefacts, task = exported_system(architecture, folder), SYSTEMS[architecture][0]
    golden = load_golden(artefacts / "golden.npz")
    for suffix in ("onnx", "tflite"):
        classifier = Classifier(artefacts / f"{architecture}.fp32.{suffix}")
        contract = classifier.contract
        assert (contract.task, contract.labels) == (task, tasks.labels_of(task))
        assert contract.schema_version == schema_version_of(task)
        np.testing.assert_allclose(classifier.logits(golden.inputs), golden.logits, atol=1e-4)
        answers = classifier.classify(golden.inputs)
        assert answers.min() >= contract.task_spec.low
        assert answers.max() <= contract.task_spec.high
        of_values = contract.task_spec.kind == VALUES
        assert contract.output.meaning == ("values" if of_values else "logits")
        assert [one.label for one in contract.measured_values] == (list(contract.labels) if of_values else [])


def test_a_task_for_training_alone_is_not_exported() -> None:
    with pytest.raises(ModelError, match="task 'saliency' is for training alone"):
        float_contract(info(task="saliency", labels=()), "0" * 64, layout="NCHW")


def test_every_task_of_a_contract_can_be_trained() -> None:
    assert all(tasks.labels_of(task) for task in TASKS)
