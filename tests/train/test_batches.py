"""Batches of Training: which faces are drawn, what comes beside them, and what chance they follow."""

import dataclasses

import numpy as np
import pytest
import torch

from fer_edge.errors import DataError

from train.data.fer2013 import SPLITS, Fer2013
from train.fit import recipe as recipes
from train.fit import tasks
from train.fit.batches import Batches
from train.fit.recipe import Recipe

STILL = recipes.Augmentation(
    flip=False, rotation_deg=0, shift=0, scale=0, brightness=0, contrast=0, erase_probability=0, mixup=0
)
PLAIN = Recipe(name="tiny", architecture="fer_residual", augmentation=STILL)


def batches_of(recipe: Recipe, data: Fer2013) -> Batches:
    return Batches(recipe, data, tasks.task_of(recipe), tasks.beside(recipe), [], torch.device("cpu"))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_only_faces_of_training_are_drawn_with_their_own_targets(tiny: Fer2013) -> None:
    batches = batches_of(PLAIN, tiny)
    training = tiny.usage == SPLITS.index("Training")
    assert len(batches) == training.sum()
    faces, targets = batches.draw(torch.tensor([4, 0]), 0, 48, seeded(0))
    pixels = (faces[:, 0] * 64 + 128).round().numpy()
    np.testing.assert_array_equal(pixels, tiny.images[training][[4, 0]])
    assert targets[tasks.TASK].argmax(dim=1).tolist() == tiny.emotions[training][[4, 0]].tolist()


def test_a_face_without_a_truth_is_left_out(tiny: Fer2013) -> None:
    votes = tiny.votes.copy()
    votes[[0, 7]] = 0
    silent = dataclasses.replace(tiny, votes=votes)
    assert len(batches_of(dataclasses.replace(PLAIN, task="valence-arousal"), silent)) == 42 - 2


def test_without_a_single_truth_in_training_there_is_nothing_to_learn(tiny: Fer2013) -> None:
    elsewhere = dataclasses.replace(tiny, usage=np.full_like(tiny.usage, SPLITS.index("PublicTest")))
    with pytest.raises(DataError, match="no faces of Training with a truth for expression7"):
        batches_of(PLAIN, elsewhere)


def test_every_goal_beside_the_task_brings_targets_of_the_same_faces(tiny: Fer2013) -> None:
    recipe = dataclasses.replace(PLAIN, beside={"smile-intensity": 0.5})
    _, targets = batches_of(recipe, tiny).draw(torch.arange(10), 0, 48, seeded(0))
    assert set(targets) == {tasks.TASK, "smile-intensity"}
    assert {len(table) for table in targets.values()} == {10}


def test_faces_come_in_the_size_that_is_asked_for(tiny: Fer2013) -> None:
    faces, _ = batches_of(PLAIN, tiny).draw(torch.arange(3), 0, 32, seeded(0))
    assert faces.shape == (3, 1, 32, 32)


def test_chance_is_that_of_the_generator_alone(tiny: Fer2013) -> None:
    """So a resumed run sees what an unbroken one would have seen."""
    recipe = dataclasses.replace(
        PLAIN,
        augmentation=recipes.Augmentation(mixup=0.4),
        noise=recipes.Noise(share=0.5, kinds=("blur",), schedule="mixed"),
    )
    batches = batches_of(recipe, tiny)
    first, again, other = (batches.draw(torch.arange(20), 1, 48, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1][tasks.TASK], again[1][tasks.TASK])
    assert not torch.equal(first[0], other[0])


def test_noise_grows_with_the_epochs_of_a_curriculum(tiny: Fer2013) -> None:
    noisy = recipes.Noise(share=1.0, schedule="curriculum", kinds=("gaussian",))
    recipe = dataclasses.replace(PLAIN, noise=noisy, schedule=dataclasses.replace(PLAIN.schedule, epochs=10))
    batches, clean = batches_of(recipe, tiny), batches_of(PLAIN, tiny)
    rows = torch.arange(42)
    still = clean.draw(rows, 0, 48, seeded(0))[0]
    early, late = ((batches.draw(rows, epoch, 48, seeded(3))[0] - still).abs().mean().item() for epoch in (0, 9))
    assert 0 < early < late


def test_teachers_answer_once_for_every_face_before_training(tiny: Fer2013) -> None:
    class Teacher(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.calls = torch.nn.Parameter(torch.zeros(1)), 0

        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            self.calls += len(faces)
            return torch.tensor([3.0, 0, 0, 0, 0, 0, 0]).expand(len(faces), 7)

    teacher = Teacher().eval()
    batches = Batches(PLAIN, tiny, tasks.task_of(PLAIN), {}, [teacher], torch.device("cpu"))
    answered = teacher.calls
    _, targets = batches.draw(torch.arange(5), 0, 48, seeded(0))
    assert teacher.calls == answered >= 42
    torch.testing.assert_close(targets["lesson"].sum(dim=1), torch.ones(5))
    assert targets["lesson"].argmax(dim=1).tolist() == [0] * 5
