"""Quantization-aware training of networks that came as a file: a torch module is made of their ONNX."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fer_edge.classifier import Classifier
from fer_edge.errors import ModelError
from fer_edge.faces import LabelledFaces

from export.artifacts import write_contract
from export.metadata import put_in_tflite
from quantize import onnx_graph, qat, session
from quantize.onnx_graph import FloatGraph
from quantize.recipes import TARGETS, TRAINED, recipes_for
from quantize.source import FloatModels, open_artifacts
from tests.quantize.test_adopted import LABELS, Tilted, adopted, picture

SCALINGS = {
    "one scale, nchw": (("--range", "0..1"), False),
    "one scale, nhwc": (("--mean", "0,0,0", "--std", "1,1,1"), True),
    "by channel, nchw": (("--mean", "0,0.01,0.02", "--std", "0.9,1,1.1"), False),
    "by channel, nhwc": (("--mean", "0,0.01,0.02", "--std", "0.9,1,1.1"), True),
}


@pytest.fixture(scope="module")
def drawn() -> LabelledFaces:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, len(LABELS), 96)
    return LabelledFaces(
        np.stack([picture(label, generator) for label in labels]), labels, LABELS, dataset="drawn", split="all"
    )


@pytest.fixture(scope="module", params=SCALINGS)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FloatModels:
    words, nhwc = SCALINGS[request.param]
    network = Tilted(0, 1, nhwc=nhwc).eval()
    network.head.weight.data *= 20  # answers that are no sigmoid's
    return open_artifacts(adopted(tmp_path_factory.mktemp("adopted"), network, "--colour", "rgb", *words, nhwc=nhwc))


@pytest.fixture(scope="module")
def teacher(models: FloatModels) -> nn.Module:
    return qat.teacher_of(models.graph, models.golden, models.name)


def logits(network: nn.Module, graph: FloatGraph, faces: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(qat.values_of(graph, qat.normalise(torch.from_numpy(graph.pixels(faces))))).numpy()


def test_the_torch_module_of_an_adopted_graph_answers_as_the_file(models, teacher, drawn) -> None:
    expected = models.classifiers["onnx"].logits(drawn.images[:16])
    np.testing.assert_allclose(logits(teacher, models.graph, drawn.images[:16]), expected, atol=1e-4)


@pytest.mark.slow
def test_trained_on_it_becomes_both_kinds_of_file_again(models, teacher, drawn, tmp_path: Path) -> None:
    graph, faces = models.graph, drawn.images[:16]
    tuned = qat.finetuned(teacher, graph, drawn, drawn, 2, 1e-3)
    expected = logits(tuned, graph, faces)
    assert np.abs(expected - logits(teacher, graph, faces)).max() > 1e-4  # two steps moved the weights
    again = qat.onnx_again(tuned, graph)
    assert (again.input, again.scaling, again.contract) == (
        again.body.graph.input[0].name,
        graph.scaling,
        graph.contract,
    )
    name = again.body.graph.output[0].name
    made = np.concatenate([part[name] for part in onnx_graph.activations(again, again.body, (name,), faces)])
    np.testing.assert_allclose(made, expected, atol=1e-4)
    contract = models.classifiers["tflite"].contract
    path = tmp_path / "mine.fp32.tflite"
    path.write_bytes(put_in_tflite(qat.tflite_again(tuned, graph), contract))
    write_contract(path, contract)
    np.testing.assert_allclose(Classifier(path).logits(faces), expected, atol=1e-4)


class OneFace(nn.Module):
    """A class token for one face, as exporters of transformers write it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.token, self.conv, self.head = nn.Parameter(torch.randn(1, 1, 8)), nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 3)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(faces).flatten(2).transpose(1, 2)
        return self.head(torch.cat([self.token, tokens], dim=1).mean(dim=1))


def test_a_network_for_one_face_at_a_time_is_not_trained(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    torch.onnx.export(OneFace().eval(), (torch.zeros(1, 3, 32, 32),), path, dynamo=False, input_names=["x"])
    from boards.lab import main as lab

    words = ("--labels", ",".join(LABELS), "--licence", "MIT", "--colour", "rgb", "--range", "0..1")
    assert lab(["adopt", str(path), *words, "--out", str(tmp_path / "artifacts")]) == 0
    models = open_artifacts(tmp_path / "artifacts" / "mine")
    with pytest.raises(ModelError, match="mine: cannot be trained, as it takes one face at a time"):
        qat.teacher_of(models.graph, models.golden, models.name)


def test_long_training_is_left_to_who_asks_for_it(models, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    rungs = recipes_for(TARGETS["x86"], "default")
    assert session._without_long_training(rungs, models) == rungs
    monkeypatch.setattr(session, "_TRAINED_MMAC", 0.1)
    left = session._without_long_training(rungs, models)
    assert not [recipe for rung in left for recipe in rung if recipe.backend in TRAINED]
    assert [recipe for rung in left for recipe in rung] == [
        recipe for rung in rungs for recipe in rung if recipe.backend not in TRAINED
    ]
    assert "--recipes qdq-u8-trained,tflite-trained does it all the same" in capsys.readouterr().out


def test_a_tflite_alone_lacks_what_is_trained(models) -> None:
    from quantize.trial import missing

    alone = replace(models, classifiers={"tflite": models.classifiers["tflite"]})
    recipe = next(recipe for recipe in recipes_for(TARGETS["x86"], "tflite-trained")[0])
    materials = Namespace(models=alone, faces=object(), checkpoint=None)
    assert missing(recipe, materials) == "a float .onnx, whose weights it trains"
