"""One step of training against the arithmetic it stands for: rates, averages, losses together, sharpness, noise."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fer_edge.errors import DataError, UsageError

from train.data.fer2013 import SPLITS, Fer2013
from train.fit import loop, tasks
from train.fit.batches import TrainingNoise
from train.fit.loop import Trainer
from train.fit.optimizer import learning_rate_factor, make_optimizers, uphill
from train.fit.recipe import Augmentation, Distillation, Labels, Noise, Recipe, Schedule
from train.fit.workers import ALONE

STILL = Augmentation(
    flip=False, rotation_deg=0, shift=0, scale=0, brightness=0, contrast=0, erase_probability=0, mixup=0
)
TINY = Recipe(
    "tiny",
    "fer_residual",
    {"stem": 4, "widths": [4], "depths": [1], "dropout": 0.0},
    augmentation=STILL,
    schedule=Schedule(epochs=2, batch=21, learning_rate=0.05, warmup_epochs=0.5, ema_decay=0.5),
)


def changed(**schedule: object) -> Recipe:
    return dataclasses.replace(TINY, schedule=dataclasses.replace(TINY.schedule, **schedule))


def drawn(trainer: Trainer) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return trainer.batches.draw(torch.arange(21), 0, 48, torch.Generator().manual_seed(0))


@given(st.integers(1, 200), st.floats(0.1, 20), st.floats(0, 1))
def test_the_rate_climbs_to_its_peak_and_falls_to_nothing_without_a_jump(
    epochs: int, warmup: float, share: float
) -> None:
    schedule = Schedule(epochs=epochs + 20, warmup_epochs=warmup)
    end = schedule.epochs
    assert learning_rate_factor(schedule, 0) == 0
    assert learning_rate_factor(schedule, warmup) == pytest.approx(1)
    assert learning_rate_factor(schedule, end) == pytest.approx(0, abs=1e-12)
    rising, falling = share * warmup, warmup + share * (end - warmup)
    assert learning_rate_factor(schedule, rising) == pytest.approx(share, abs=1e-9)
    assert learning_rate_factor(schedule, falling) == pytest.approx(math.cos(share * math.pi / 2) ** 2, abs=1e-9)


def test_without_a_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert learning_rate_factor(Schedule(warmup_epochs=0.0), 0) == 1


def test_a_step_of_sgd_by_hand() -> None:
    """Nesterov's first step is 1.9 times the gradient; weights decay, biases do not."""
    layer = nn.Linear(2, 1)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    (optimizer,) = make_optimizers(layer, Schedule(learning_rate=0.1, weight_decay=0.01))
    layer.weight.grad, layer.bias.grad = torch.tensor([[1.0, -2.0]]), torch.tensor([3.0])
    for group in optimizer.param_groups:
        group["lr"] = group["peak"]
    optimizer.step()
    torch.testing.assert_close(layer.weight, weight - 0.1 * 1.9 * (torch.tensor([[1.0, -2.0]]) + 0.01 * weight))
    torch.testing.assert_close(layer.bias, bias - 0.1 * 1.9 * 3.0)


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_of_the_weights_is_that_of_the_formula(warmup: bool, tiny: Fer2013, tmp_path: Path) -> None:
    trainer = Trainer(changed(ema_decay=0.6, ema_warmup=warmup), tiny, tmp_path)
    expected = trainer.network.head.weight.detach().clone()
    for step in range(3):
        with torch.no_grad():
            trainer.network.head.weight.add_(step + 1.0)
        trainer._average_weights()
        decay = min(0.6, (1 + step) / (10 + step)) if warmup else 0.6
        expected = decay * expected + (1 - decay) * trainer.network.head.weight.detach()
    torch.testing.assert_close(trainer.average["head.weight"], expected)
    assert trainer.steps_done == 3


def test_validation_measures_the_average_and_leaves_the_network_as_it_was(tiny: Fer2013, tmp_path: Path) -> None:
    trainer = Trainer(TINY, tiny, tmp_path)
    before = trainer.validate()
    with torch.no_grad():
        for weight in trainer.network.parameters():
            weight.add_(1.0)
    moved = trainer.network.head.weight.detach().clone()
    assert trainer.validate() == before
    torch.testing.assert_close(trainer.network.head.weight, moved, rtol=0, atol=0)


def test_the_loss_of_all_goals_is_their_weighted_sum(tiny: Fer2013, tmp_path: Path) -> None:
    arguments = {"stem": 4, "widths": [4], "saliency_channels": 4, "goals": {"smile-intensity": 1}}
    recipe = dataclasses.replace(
        TINY, architecture="saliency_cnn", arguments=arguments, beside={"smile-intensity": 0.25}
    )
    trainer = Trainer(recipe, tiny, tmp_path)
    outputs = {tasks.TASK: torch.randn(21, 7), "smile-intensity": torch.rand(21, 1)}
    _, targets = drawn(trainer)
    alone = trainer.task.loss(outputs[tasks.TASK], targets[tasks.TASK])
    smile = tasks.beside(recipe)["smile-intensity"].goal.loss(outputs["smile-intensity"], targets["smile-intensity"])
    torch.testing.assert_close(trainer._loss(outputs, targets), alone + 0.25 * smile)


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_a_lesson_shares_the_loss_with_the_labels(share: float, tiny: Fer2013, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, distillation=Distillation(share=share, temperature=3.0))
    trainer = Trainer(recipe, tiny, tmp_path)
    logits, lesson = torch.randn(21, 7), torch.softmax(torch.randn(21, 7), dim=1)
    _, targets = drawn(trainer)
    labels = -(targets[tasks.TASK] * logits.log_softmax(dim=1)).sum(dim=1).mean()
    taught = -9 * (lesson * (logits / 3).log_softmax(dim=1)).sum(dim=1).mean()
    loss = trainer._loss({tasks.TASK: logits}, {**targets, "lesson": lesson})
    torch.testing.assert_close(loss, (1 - share) * labels + share * taught)


def test_balance_is_in_the_loss_and_not_in_what_the_network_answers(tiny: Fer2013, tmp_path: Path) -> None:
    balanced = dataclasses.replace(TINY, labels=Labels(balance=1.0, ferplus_share=0.0))
    trainer = Trainer(balanced, tiny, tmp_path)
    _, targets = drawn(trainer)
    shares = torch.bincount(torch.from_numpy(tiny.emotions[tiny.usage == SPLITS.index("Training")])) / 42
    uniform = trainer._loss({tasks.TASK: torch.zeros(21, 7)}, targets)
    torch.testing.assert_close(uniform, -(targets[tasks.TASK] @ shares.log()).mean())


def test_sharpness_takes_the_gradient_of_the_place_uphill() -> None:
    """Of a loss w'Aw/2 the gradient uphill is A(w + r Aw / |Aw|), which differs from Aw."""
    matrix, radius = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), 0.5
    network = nn.Linear(2, 1, bias=False)

    def backward() -> None:
        network.zero_grad()
        w = network.weight[0]
        (w @ matrix @ w / 2).backward()

    backward()
    w, gradient = network.weight.detach()[0].clone(), network.weight.grad[0].clone()
    with uphill(network, radius):
        backward()
    torch.testing.assert_close(network.weight.grad[0], matrix @ (w + radius * gradient / gradient.norm()))
    torch.testing.assert_close(network.weight.detach()[0], w, rtol=0, atol=0)


def test_weights_come_back_from_uphill_when_the_loss_there_cannot_be_had() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network(torch.randn(4, 2)).square().sum().backward()
    before = network[0].weight.detach().clone()
    with pytest.raises(RuntimeError, match="out of memory"), uphill(network, 0.5):
        raise RuntimeError("out of memory")
    torch.testing.assert_close(network[0].weight.detach(), before, rtol=0, atol=0)
    assert network[1].momentum == 0.1


def test_a_gradient_of_any_length_moves_a_bounded_way(tiny: Fer2013, tmp_path: Path) -> None:
    trainer = Trainer(changed(weight_decay=0.0), tiny, tmp_path)
    faces, targets = drawn(trainer)
    before = [weight.detach().clone() for weight in trainer.network.parameters()]
    trainer._backward = lambda *_: [setattr(w, "grad", torch.full_like(w, 1e6)) for w in trainer.network.parameters()]
    trainer._step(faces, targets, 1.0)
    after = trainer.network.parameters()
    moved = torch.stack([(w.detach() - old).norm() for w, old in zip(after, before, strict=True)]).norm()
    assert moved.item() == pytest.approx(0.05 * 1.9 * 5.0, rel=1e-3)  # the rate, Nesterov's first step, the limit


@pytest.mark.parametrize("steps", [1, 3, 5])
@pytest.mark.parametrize("epochs", [1, 4, 30])
def test_a_curriculum_begins_with_the_weakest_noise_and_ends_with_the_strongest(steps: int, epochs: int) -> None:
    curriculum = TrainingNoise(Noise(share=1.0, kinds=("blur",), schedule="curriculum", steps=steps), epochs)
    hardest = [curriculum.hardest(epoch) for epoch in range(epochs)]
    assert hardest[0] == 1 and hardest == sorted(hardest)
    assert set(hardest) <= set(range(1, steps + 1))
    if epochs >= steps:
        assert set(hardest) == set(range(1, steps + 1))
    mixed = TrainingNoise(Noise(share=1.0, kinds=("blur",), schedule="mixed", steps=steps), epochs)
    assert {mixed.hardest(epoch) for epoch in range(epochs)} == {steps}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_faces_get_noise_and_the_others_stay_to_the_last_bit(share: float) -> None:
    faces = (torch.randint(40, 200, (300, 1, 12, 12), generator=torch.Generator().manual_seed(1)) - 128.0) / 64
    noisy = TrainingNoise(Noise(share=share, kinds=("gaussian",)), 1)(faces, 0, torch.Generator().manual_seed(2))
    same = (noisy == faces).flatten(1).all(dim=1)
    assert 1 - same.float().mean().item() == pytest.approx(share, abs=0.07)
    assert noisy.min() >= -2 and noisy.max() < 2


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"arguments": {**TINY.arguments, "classes": 8}},
            UsageError,
            "tiny: 8 outputs for expression7, expected classes = 7",
        ),
        (
            {"beside": {"smile-intensity": 1.0}},
            UsageError,
            r"answers nothing beside its task, not 'smile-intensity' of",
        ),
    ],
)
def test_a_network_is_asked_for_its_outputs_before_it_is_trained(
    changes: dict[str, object], error: type[Exception], message: str, tiny: Fer2013, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        loop.fit(dataclasses.replace(TINY, **changes), tiny, tmp_path / "run")
    assert not (tmp_path / "run" / "state.pt").exists()


def test_faces_of_training_alone_cannot_be_watched(tiny: Fer2013, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no faces of PublicTest with a truth for expression7"):
        Trainer(TINY, tiny.rows(tiny.usage == SPLITS.index("Training")), tmp_path)


def test_asking_a_network_for_its_outputs_spends_no_random_number(tiny: Fer2013, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, arguments={**TINY.arguments, "dropout": 0.5})
    trainer = Trainer(recipe, tiny, tmp_path)
    statistics = trainer.network.state_dict()
    before = {name: value.clone() for name, value in statistics.items()}
    state = torch.get_rng_state()
    trainer._require_outputs()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in trainer.network.state_dict().items())


def test_a_process_on_its_own_leads_and_waits_for_nobody() -> None:
    network = nn.Linear(1, 1)
    assert ALONE.leads and ALONE.parallel(network) is network
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    ALONE.wait()
