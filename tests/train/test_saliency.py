"""Saliency: the indicators and the kernels by hand, the guided network, the overlay."""

import csv
import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fer_edge.errors import ModelError, UsageError

from boards import lab as command
from train import architectures
from train.architectures.saliency_cnn import DifferenceOfGaussians, gaussian_kernel, prior_of
from train.data import cache
from train.data.fer2013 import Fer2013
from train.fit import checkpoint, loop, publish, saliency, tasks
from train.fit.recipe import Labels, Recipe, Schedule
from train.studies import maps

ARGUMENTS = {"stem": 4, "widths": [4, 8], "saliency_channels": 4, "goals": {"smile-intensity": 1}}
GUIDED = Recipe(
    name="guided",
    architecture="saliency_cnn",
    arguments=ARGUMENTS,
    beside={"saliency": 0.5, "smile-intensity": 0.5},
    schedule=Schedule(epochs=2, batch=14, learning_rate=0.05, warmup_epochs=0.5, ema_decay=0.5),
)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    small = Recipe("teacher", "fer_residual", {"stem": 4, "widths": [4], "depths": [1]})
    path = tmp_path / "teacher.safetensors"
    state = architectures.build(small.architecture, small.arguments).state_dict()
    checkpoint.save(path, state, publish.info_of(small))
    return path


def taught(teacher: Path) -> Recipe:
    return dataclasses.replace(GUIDED, labels=Labels(saliency_teacher=str(teacher)))


def test_a_difference_of_gaussians_by_hand() -> None:
    """Of scales 1 and 2 px: the centre and a neighbour of a 5x5 kernel, normalised by their own sums."""
    small, large = (
        {(i, j): math.exp(-(i * i + j * j) / (2 * s * s)) for i in range(-2, 3) for j in range(-2, 3)} for s in (1, 2)
    )
    module = DifferenceOfGaussians([1.0], side=5)
    with torch.no_grad():
        module.log_ratio.fill_(math.log(2))
    kernel = module.kernels()[0, 0]
    for (i, j), value in small.items():
        expected = value / sum(small.values()) - large[i, j] / sum(large.values())
        assert kernel[i + 2, j + 2].item() == pytest.approx(expected, abs=1e-6)
    assert kernel.sum().item() == pytest.approx(0, abs=1e-6)
    assert gaussian_kernel(torch.tensor([1.0]), 5).sum().item() == pytest.approx(1)


def test_the_constant_kernel_follows_the_scales() -> None:
    module = DifferenceOfGaussians()
    faces = torch.randn(1, 1, 20, 20)
    with torch.no_grad():
        module.log_inner.add_(0.3)
    torch.testing.assert_close(module.eval()(faces), module.train()(faces))
    other = DifferenceOfGaussians().eval()
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other(faces), module(faces))


def test_indicators_by_hand() -> None:
    """Prediction (0.5, 0.25, 0.25, 0), truth (0.5, 0.5, 0, 0), gaze on the first pixel."""
    prediction, density = torch.tensor([[0.5, 0.25, 0.25, 0.0]]), torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert saliency.kl_divergence(prediction, density).item() == pytest.approx(0.5 * math.log(2), abs=1e-6)
    assert saliency.similarity(prediction, density).item() == pytest.approx(0.75)
    # Around their means of 1/4: (1/4, 0, 0, -1/4) and (1/4, 1/4, -1/4, -1/4).
    assert saliency.correlation(prediction, density).item() == pytest.approx(2 / (math.sqrt(2) * 2), abs=1e-6)
    gaze = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert saliency.normalised_scanpath_saliency(prediction, gaze).item() == pytest.approx(math.sqrt(2), abs=1e-4)


def test_a_perfect_map_has_the_best_of_every_indicator() -> None:
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(1, 24, 24, generator=generator) ** 8
    maps = torch.from_numpy(saliency.as_maps(density.numpy()))
    task = saliency.SaliencyTask()
    exact = saliency.as_density(density).log().reshape(1, -1)
    best = task.figures(exact.numpy(), maps.numpy())
    assert best["cc"] == pytest.approx(1, abs=1e-4)
    assert best["sim"] == pytest.approx(1, abs=1e-4)
    assert best["kl"] == pytest.approx(0, abs=1e-4)
    flat = task.figures(torch.zeros(1, 576).numpy(), maps.numpy())
    assert flat["cc"] < best["cc"]
    assert flat["nss"] < best["nss"]
    assert flat["loss"] > best["loss"]


def test_an_ablation_judges_maps_by_some_indicators_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.rand(3, 144, generator=generator), torch.rand(3, 2, 24, 24, generator=generator)
    each = [saliency.SaliencyTask(indicators=(name,)).loss(outputs, targets) for name in saliency.INDICATORS]
    assert torch.allclose(saliency.SaliencyTask().loss(outputs, targets), sum(each))


def test_an_unknown_indicator_is_refused() -> None:
    recipe = Recipe("x", "saliency_cnn", {}, task="saliency", labels=Labels(saliency_indicators=("auc",)))
    with pytest.raises(UsageError, match=r"saliency_indicators is \['auc'\], expected some of kl, cc, nss"):
        tasks.task_of(recipe)


@pytest.mark.parametrize("arguments", [{"rates": [1, 1, 1]}, {"differences": False}])
def test_the_parts_of_the_saliency_model_can_be_left_out(arguments: dict[str, object]) -> None:
    network = architectures.build("saliency_cnn", {"widths": [4, 8], "stem": 4, **arguments}).train()
    assert network(torch.randn(2, 1, 48, 48))["saliency"].shape == (2, 24 * 24)


def test_evidence_lies_where_the_answer_comes_from() -> None:
    class Corner(torch.nn.Module):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            return faces[:, 0, :8, :8].square().sum((1, 2))[:, None] * torch.tensor([[1.0, 0.0]])

    faces = np.random.default_rng(0).integers(0, 120, (3, 48, 48), dtype=np.uint8)
    density, fixations = saliency.evidence(Corner(), faces).transpose(1, 0, 2, 3)
    np.testing.assert_allclose(density.sum((1, 2)), 1, rtol=1e-4)
    assert (density[:, :8, :8].sum((1, 2)) > 0.99).all()
    assert (fixations[:, :8, :8].sum((1, 2)) == fixations.sum((1, 2))).all()


def test_a_flat_prior_is_one_everywhere() -> None:
    torch.testing.assert_close(prior_of(torch.zeros(2, 1, 6, 6)), torch.ones(2, 1, 6, 6))


def test_the_guided_network_answers_all_goals_in_training_and_its_task_after() -> None:
    network = architectures.build("saliency_cnn", ARGUMENTS)
    faces = torch.randn(3, 1, 48, 48)
    shapes = {name: tuple(output.shape) for name, output in network.train()(faces).items()}
    assert shapes == {"task": (3, 7), "saliency": (3, 576), "smile-intensity": (3, 1)}
    assert network.eval()(faces).shape == (3, 7)
    assert architectures.build("saliency_cnn", {"output": "saliency"}).eval()(faces).shape == (3, 576)


def test_gradient_reaches_every_parameter() -> None:
    network = architectures.build("saliency_cnn", ARGUMENTS)
    sum(output.square().mean() for output in network(torch.randn(4, 1, 32, 32)).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.slow
def test_it_learns_and_resumes_to_the_same_weights(tiny: Fer2013, teacher: Path, tmp_path: Path) -> None:
    loop.fit(taught(teacher), tiny, tmp_path / "unbroken")
    broken = loop.Trainer(taught(teacher), tiny, tmp_path / "broken")
    (tmp_path / "broken").mkdir()
    broken.finish_epoch(broken.train_epoch())
    loop.fit(taught(teacher), tiny, tmp_path / "broken")
    first, second = (torch.load(tmp_path / name / "state.pt")["network"] for name in ("unbroken", "broken"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_fer2013_has_no_gaze_of_its_own(tiny: Fer2013, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"labels\.saliency_teacher"):
        loop.Trainer(GUIDED, tiny, tmp_path)


def test_the_overlay_is_a_picture(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guided = tmp_path / "guided.safetensors"
    state = architectures.build("saliency_cnn", ARGUMENTS).state_dict()
    checkpoint.save(guided, state, publish.info_of(GUIDED))
    face, drawn = tmp_path / "face.png", tmp_path / "overlay.png"
    cv2.imwrite(str(face), np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8))
    assert command.main(["overlay", str(guided), str(face), "--out", str(drawn)]) == 0
    assert cv2.imread(str(drawn)).shape == (384, 384, 3)
    assert command.main(["overlay", str(teacher), str(face), "--out", str(drawn)]) == ModelError.exit_code
    assert command.main(["overlay", str(guided), str(tmp_path / "absent.png")]) == 2
    assert "predicts no saliency" in capsys.readouterr().err


def test_maps_are_measured_beside_the_mean_of_all(
    tiny: Fer2013, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On maps that are all the same, the mean of them is perfect; a network that never learned is not."""
    recipe, path, output = taught(teacher), tmp_path / "guided.safetensors", tmp_path / "maps.csv"
    state = architectures.build(recipe.architecture, recipe.arguments).state_dict()
    checkpoint.save(path, state, publish.info_of(recipe))
    cache.save(dataclasses.replace(tiny, images=np.repeat(tiny.images[:1], len(tiny.images), 0)), tmp_path / "d.npz")
    assert command.main(["maps", str(path), "--faces", str(tmp_path / "d.npz"), "--out", str(output)]) == 0
    with open(output, newline="") as stream:
        own, mean = csv.DictReader(stream)
    assert (own["map"], mean["map"], own["truth"]) == ("its own", "the mean map", "evidence of teacher")
    assert float(mean["cc"]) > 0.99 > float(own["cc"]) and float(mean["kl"]) < 0.001 < float(own["kl"])
    assert "| `guided`, its own |" in capsys.readouterr().out
    with pytest.raises(ModelError, match="predicts no saliency"):
        maps.measure(teacher, tiny)


def test_maps_can_be_held_against_the_evidence_of_another_network(tiny: Fer2013, teacher: Path, tmp_path: Path) -> None:
    recipe, path, other = taught(teacher), tmp_path / "guided.safetensors", tmp_path / "other.safetensors"
    checkpoint.save(
        path, architectures.build(recipe.architecture, recipe.arguments).state_dict(), publish.info_of(recipe)
    )
    loaded = checkpoint.load(teacher)
    state = {name: tensor.roll(1) for name, tensor in loaded.network.state_dict().items()}
    checkpoint.save(other, state, loaded.info)
    known, stranger = maps.measure(path, tiny)[0], maps.measure(path, tiny, str(other))[0]
    assert (known.truth, stranger.truth) == ("evidence of teacher", "evidence of other")
    assert known.indicators != stranger.indicators


def test_the_saliency_task_is_for_training_alone() -> None:
    assert tasks.labels_of("saliency") == ()


def test_what_stands_in_for_gaze_is_said(teacher: Path) -> None:
    assert publish.info_of(taught(teacher)).trained_on.endswith("evidence of teacher in place of gaze")
