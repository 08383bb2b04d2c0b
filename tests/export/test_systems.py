"""Every published system goes through export as it is: the files compute what torch computes, the contract its task."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fer_edge.classifier import Classifier
from fer_edge.contract import lowest_schema
from fer_edge.errors import ModelError, UsageError
from fer_edge.tasks import TASKS, VALUES

from boards import lab as command
from export.contracts import float_contract
from export.golden import load_golden
from tests.export.small import info
from tests.export.systems import SYSTEMS, exported_system, network_of
from train import architectures
from train.data import pixels
from train.fit import checkpoint, tasks


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the tests of export and quantize: each system is exported once."""
    folder = tmp_path_factory.getbasetemp() / "systems"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("architecture", SYSTEMS)
def test_both_files_answer_as_torch_does_and_say_their_task(architecture: str, folder: Path) -> None:
    artifacts, task = exported_system(architecture, folder), SYSTEMS[architecture][0]
    golden = load_golden(artifacts / "golden.npz")
    for suffix in ("onnx", "tflite"):
        classifier = Classifier(artifacts / f"{architecture}.fp32.{suffix}")
        contract = classifier.contract
        assert (contract.task, contract.labels) == (task, tasks.labels_of(task))
        assert contract.schema_version == lowest_schema(contract)
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


def test_every_task_with_labels_of_its_own_can_be_trained() -> None:
    """`classes` is open-ended: its labels come with a model that was trained elsewhere."""
    assert all(tasks.labels_of(task) for task in TASKS if task != "classes")


def test_classes_of_any_name_are_for_models_trained_elsewhere() -> None:
    with pytest.raises(UsageError, match="task 'classes' is unknown"):
        tasks.labels_of("classes")


def test_attributes_are_attached_to_a_trained_network_when_it_is_exported(folder: Path, tmp_path: Path) -> None:
    """The same weights answer otherwise: with the identity beside the expression."""
    arguments = {**SYSTEMS["identity_invariant"][1], "attached": False}
    network = network_of("identity_invariant")
    network.attached = False
    header = info(
        name="affect",
        architecture="identity_invariant",
        arguments=arguments,
        task="valence-arousal",
        labels=tasks.labels_of("valence-arousal"),
        measured={},
    )
    path = tmp_path / "affect.safetensors"
    checkpoint.save(path, network.state_dict(), header)
    assert command.main(["export", str(path), "--attached", "--out", str(tmp_path)]) == 0
    golden = load_golden(tmp_path / "affect-attached" / "golden.npz")
    faces = pixels.normalise(torch.from_numpy(golden.inputs)).unsqueeze(1)
    with torch.no_grad():
        detached = network(faces).numpy()
    assert np.abs(detached - golden.logits).max() > 1e-3
    np.testing.assert_allclose(load_golden(folder_of(folder)).logits, golden.logits, atol=1e-5)


def folder_of(folder: Path) -> Path:
    """Golden vectors of the same random weights, built with the identity attached."""
    return exported_system("identity_invariant", folder) / "golden.npz"


def test_a_network_without_attributes_has_none_to_attach(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plain.safetensors"
    state = architectures.build("fer_residual", {"stem": 4, "widths": [4], "depths": [1]}).state_dict()
    checkpoint.save(path, state, info(arguments={"stem": 4, "widths": [4], "depths": [1]}))
    assert command.main(["export", str(path), "--attached", "--out", str(tmp_path)]) == 4
    assert "fer_residual has no attributes to attach" in capsys.readouterr().err
