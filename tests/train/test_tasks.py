"""Tasks: what is learned of a face, their losses and figures by hand, and one loop that trains them all."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_edge.errors import DataError, UsageError
from fer_edge.tasks import FER_PLUS

from train.data.fer2013 import Fer2013
from train.fit import checkpoint, evaluate, goals, loop, publish, tasks
from train.fit.batches import TrainingNoise
from train.fit.goals import ClassTask, LabelTask, ValueTask
from train.fit.prediction import predict
from train.fit.recipe import Distillation, Labels, Noise, Recipe, Schedule

TINY = Recipe(
    name="tiny",
    architecture="fer_residual",
    arguments={"stem": 4, "widths": [4, 8], "depths": [1, 1], "dropout": 0.1},
    schedule=Schedule(epochs=3, batch=14, learning_rate=0.05, warmup_epochs=0.5, ema_decay=0.5),
)
LADDER = Noise(share=0.5, kinds=("gaussian", "jpeg", "low light"), schedule="curriculum")


def of_task(name: str, **changes: object) -> Recipe:
    arguments = {**TINY.arguments, "classes": len(tasks.labels_of(name))}
    return dataclasses.replace(TINY, task=name, arguments=arguments, **changes)


def state(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "state.pt", weights_only=True)["network"]


def test_concordance_by_hand() -> None:
    """Series (0, 1) and (0, 3): means 0.5 and 1.5, variances 0.25 and 2.25, covariance 0.75."""
    first, second = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 3.0])
    assert goals.concordance(first, second).item() == pytest.approx(2 * 0.75 / (0.25 + 2.25 + 1))
    assert goals.concordance(first, first).item() == pytest.approx(1)


def test_the_loss_adds_half_the_logarithm_of_a_classs_share() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [float("nan"), float("nan")]])
    torch.testing.assert_close(goals.logit_offsets(targets, 0.5), 0.5 * torch.tensor([0.75, 0.25]).log())


def test_balance_names_a_rare_class_more_often(tiny: Fer2013, tmp_path: Path) -> None:
    """One class has few faces of Training; a network that learned with balance gives it more."""
    rare = 1
    emotions = np.where(np.arange(len(tiny.emotions)) % 12 == 0, rare, 3)
    data = dataclasses.replace(tiny, emotions=emotions.astype(tiny.emotions.dtype))
    shares = []
    for balance in (0.0, 1.0):
        recipe = dataclasses.replace(TINY, labels=Labels(ferplus_share=0.0, balance=balance))
        trainer = loop.fit(recipe, data, tmp_path / str(balance))
        trainer.network.load_state_dict(trainer.average)
        outputs = torch.from_numpy(predict(trainer.network, data.images))
        shares.append(outputs.softmax(dim=1)[:, rare].mean().item())
    assert shares[1] > shares[0]


def test_a_value_nobody_knows_teaches_nothing() -> None:
    task = ValueTask("valence-arousal", ("valence", "arousal"), "ccc")
    outputs = torch.tensor([[0.1, 0.2], [0.5, 0.1], [9.0, 9.0]], requires_grad=True)
    targets = torch.tensor([[0.0, 0.5], [1.0, -0.5], [float("nan"), float("nan")]])
    task.loss(outputs, targets).backward()
    assert (outputs.grad[2] == 0).all()
    assert (outputs.grad[:2] != 0).all()
    assert task.loss(outputs, targets * float("nan")).item() == 0


def test_figures_of_values_name_each_of_them() -> None:
    task = ValueTask("smile-intensity", ("smile",), "icc")
    truth = np.array([[0.0], [0.5], [1.0]], dtype=np.float32)
    figures = task.figures(np.array([[-2.0], [0.5], [3.0]], dtype=np.float32), truth)
    assert next(iter(figures)) == "loss"
    assert list(figures)[1] == "icc"
    # Outside its scale an estimate counts as the scale's end.
    assert (figures["icc"], figures["mae_smile"], figures["loss"]) == (pytest.approx(1), 0.0, 0.0)


def test_figures_of_units_leave_out_those_nobody_looked_for() -> None:
    task = LabelTask("action-units", ("AU6", "AU12", "AU23"))
    nan = float("nan")
    truth = np.array([[1, 1, nan], [0, 1, nan], [1, nan, nan]], dtype=np.float32)
    figures = task.figures(np.array([[2, 2, 0], [2, -2, 0], [2, 2, 0]], dtype=np.float32), truth)
    assert set(figures) == {"loss", "f1", "f1_AU6", "f1_AU12"}
    assert figures["f1_AU6"] == pytest.approx(0.8)  # two hits, one false alarm
    assert figures["f1_AU12"] == pytest.approx(2 / 3)  # one hit, one miss
    assert figures["f1"] == pytest.approx((0.8 + 2 / 3) / 2)


def test_neither_positive_nor_negative_teaches_to_be_undecided(tiny: Fer2013) -> None:
    targets = ClassTask("positive-negative", ("negative", "positive")).targets(tiny, Labels(ferplus_share=0.0))
    emotions = dict(zip(tiny.emotions.tolist(), targets.tolist(), strict=True))
    assert [emotions[number] for number in range(7)] == [
        *([1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5])
    ]


def test_eight_classes_are_taught_by_the_votes(tiny: Fer2013) -> None:
    targets = ClassTask("expression8", FER_PLUS).targets(tiny, Labels())
    # Face 3 is happy: eight votes for happiness, two for neutral.
    np.testing.assert_allclose(targets[3], [0.2, 0.8, 0, 0, 0, 0, 0, 0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["expression8", "positive-negative", "valence-arousal", "smile-intensity"])
def test_every_task_of_fer2013_trains_publishes_and_is_measured(name: str, tiny: Fer2013, tmp_path: Path) -> None:
    recipe = of_task(name)
    trainer = loop.fit(recipe, tiny, tmp_path / "run")
    path = publish.publish(recipe, tiny, tmp_path / "run", tmp_path / "models")
    result = evaluate.evaluate(evaluate.open_candidate(path), tiny, "PublicTest")
    figures = result.figures()
    assert next(iter(figures.values())) == pytest.approx(trainer.logs[-1].score, abs=1e-6)
    assert checkpoint.load(path).info.labels == tasks.labels_of(name)
    assert (tmp_path / "models" / f"results-{name}.csv").is_file()
    assert (path.parent / "confusion.png").is_file() == tasks.is_of_classes(name)


def test_faces_without_votes_are_left_out_of_a_task_of_votes(tiny: Fer2013, tmp_path: Path) -> None:
    votes = tiny.votes.copy()
    votes[:5] = 0
    trainer = loop.Trainer(of_task("valence-arousal"), dataclasses.replace(tiny, votes=votes), tmp_path)
    assert len(trainer.batches) == 42 - 5


def test_a_task_without_any_truth_is_one_error(tiny: Fer2013, tmp_path: Path) -> None:
    silent = dataclasses.replace(tiny, votes=tiny.votes * 0)
    with pytest.raises(DataError, match="no faces of Training with a truth for valence-arousal"):
        loop.Trainer(of_task("valence-arousal"), silent, tmp_path)
    with pytest.raises(DataError, match=r"needs the FER\+ votes"):
        loop.Trainer(of_task("smile-intensity"), dataclasses.replace(tiny, votes=None), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "mind-reading"}, "task 'mind-reading' is unknown"),
        ({"beside": {"telepathy": 1.0}}, r"\[beside\] 'telepathy' is unknown"),
        ({"task": "valence-arousal", "distillation": Distillation(("x",))}, "valence-arousal has none"),
    ],
)
def test_a_recipe_that_asks_the_impossible_is_refused(
    changes: dict[str, object], message: str, tiny: Fer2013, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        loop.Trainer(dataclasses.replace(TINY, **changes), tiny, tmp_path)


@pytest.mark.slow
def test_a_run_under_noise_resumes_to_the_same_weights(tiny: Fer2013, tmp_path: Path) -> None:
    noisy = dataclasses.replace(TINY, noise=LADDER)
    loop.fit(noisy, tiny, tmp_path / "unbroken")
    broken = loop.Trainer(noisy, tiny, tmp_path / "broken")
    (tmp_path / "broken").mkdir()
    broken.finish_epoch(broken.train_epoch())
    loop.fit(noisy, tiny, tmp_path / "broken")
    first, second = state(tmp_path / "unbroken"), state(tmp_path / "broken")
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_a_run_begun_before_an_option_was_added_goes_on(tiny: Fer2013, tmp_path: Path) -> None:
    import json

    loop.fit(dataclasses.replace(TINY, schedule=dataclasses.replace(TINY.schedule, epochs=3)), tiny, tmp_path)
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    before = json.loads(kept["recipe"])
    for option in ("task", "beside", "noise", "finetuning"):
        del before[option]
    torch.save({**kept, "recipe": json.dumps(before), "best_accuracy": 0.5}, tmp_path / "state.pt")
    assert len(loop.fit(TINY, tiny, tmp_path).logs) == 3


def test_noise_comes_to_its_share_of_the_faces_and_no_others() -> None:
    faces = torch.zeros(400, 1, 48, 48)
    noisy = TrainingNoise(Noise(share=0.3, kinds=("gaussian",)), 10)(faces, 0, torch.Generator().manual_seed(0))
    changed = (noisy != faces).flatten(1).any(dim=1).float().mean().item()
    assert changed == pytest.approx(0.3, abs=0.06)
    assert noisy.min() >= -2
    assert noisy.max() < 2


def test_the_curriculum_climbs_the_ladder_in_equal_parts() -> None:
    climbing = TrainingNoise(dataclasses.replace(LADDER, steps=5), 10)
    assert [climbing.hardest(epoch) for epoch in range(10)] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert TrainingNoise(dataclasses.replace(LADDER, schedule="mixed"), 10).hardest(0) == 5


def test_no_noise_draws_no_chance() -> None:
    """A recipe without noise trains to the very weights it did before there was noise."""
    generator = torch.Generator().manual_seed(0)
    faces = torch.zeros(4, 1, 48, 48)
    assert TrainingNoise(Noise(), 10)(faces, 0, generator) is faces
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=torch.Generator().manual_seed(0)))
