"""Stored answers: the same views on every machine, teachers that answer once, students that learn from the file."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fer_edge.errors import DataError, UsageError

from boards import lab as command
from tests.conftest import ROOT
from train import architectures
from train.data import cache
from train.data.fer2013 import EXPRESSIONS, SPLITS, Fer2013
from train.fit import answers, checkpoint, loop, publish
from train.fit import recipe as recipes
from train.fit.augment import augment_with_maps, composed, sample
from train.fit.views import ViewSettings, view_places

ARGUMENTS = {"stem": 4, "widths": [4, 8], "depths": [1, 1], "dropout": 0.1}
RECIPE = recipes.Recipe(
    name="student",
    architecture="fer_residual",
    arguments=ARGUMENTS,
    schedule=recipes.Schedule(epochs=2, batch=14, warmup_epochs=0.5),
)
SETTINGS = ViewSettings()


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A checkpoint of the seven classes with weights drawn at random."""
    torch.manual_seed(0)
    path = tmp_path / "teacher.safetensors"
    network = architectures.build("fer_residual", ARGUMENTS)
    checkpoint.save(path, network.state_dict(), publish.info_of(dataclasses.replace(RECIPE, name="teacher")))
    return path


def training_images(data: Fer2013) -> np.ndarray:
    return data.images[data.usage == SPLITS.index("Training")]


def write(path: Path, teacher: Path, images: np.ndarray, views: int) -> answers.Answers:
    return list(answers.write_answers(path, [teacher], images, SETTINGS, views, bf16=False))[-1]


def student(path: Path, **distillation: float) -> recipes.Recipe:
    return dataclasses.replace(RECIPE, distillation=recipes.Distillation(answers=str(path), **distillation))


def test_the_first_view_is_the_face_itself() -> None:
    faces = torch.rand(3, 1, 48, 48)
    assert torch.allclose(sample(faces, view_places(SETTINGS, 0, 3)), faces, atol=1e-5)


def test_a_view_is_the_same_on_every_machine() -> None:
    # Philox's raw stream is part of NumPy's promise: these numbers may never change, or stored answers go astray.
    places = view_places(SETTINGS, 1, 2)
    expected = [[1.0281, -0.1129, 0.0657], [0.1129, 1.0281, 0.1008]]
    assert np.allclose(places[0].numpy(), expected, atol=1e-4), places[0]


def test_views_differ_from_one_another_and_half_of_them_are_mirrored() -> None:
    first, second = (view_places(SETTINGS, view, 4000) for view in (1, 2))
    assert not torch.allclose(first, second)
    mirrored = torch.linalg.det(first[:, :, :2]) < 0
    assert 0.45 < mirrored.float().mean() < 0.55


def test_views_stay_within_their_settings() -> None:
    places = view_places(ViewSettings(rotation_deg=5.0, shift=0.1, scale=0.2), 3, 4000)
    zoom = torch.linalg.det(places[:, :, :2]).abs().sqrt()
    assert zoom.min() >= 0.8
    assert zoom.max() <= 1.2
    assert places[:, :, 2].abs().max() <= 0.2  # in units of half a side
    angle = torch.atan2(-places[:, 0, 1], places[:, 1, 1]).rad2deg()
    assert 4.9 < angle.abs().max() <= 5.0


def test_moving_a_view_on_is_looking_twice() -> None:
    faces = F.interpolate(torch.rand(4, 1, 6, 6), (48, 48), mode="bilinear")
    first, then = view_places(SETTINGS, 1, 4), view_places(ViewSettings(3.0, 0.02, 0.03), 2, 4)
    twice, once = sample(sample(faces, first), then), sample(faces, composed(first, then))
    assert (twice - once)[:, :, 8:-8, 8:-8].abs().max() < 0.05


def test_augmentation_moves_on_from_a_view() -> None:
    faces, places = torch.rand(4, 1, 48, 48), view_places(SETTINGS, 1, 4)
    still = recipes.Augmentation(False, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    moved, _ = augment_with_maps(faces, [], still, torch.Generator().manual_seed(0), None, places)
    assert torch.allclose(moved, sample(faces, places), atol=1e-5)


def test_teachers_answer_what_they_would_have_said_of_the_view(tiny: Fer2013, teacher: Path, tmp_path: Path) -> None:
    images = training_images(tiny)
    stored = write(tmp_path / "answers.npz", teacher, images, 2)
    faces = (torch.from_numpy(images).float().unsqueeze(1) - 128) / 64
    network = checkpoint.load(teacher).network
    with torch.no_grad():
        expected = network(sample(faces, view_places(SETTINGS, 1, len(images)))).log_softmax(dim=1)
    assert np.allclose(stored.log_probabilities[1], expected, atol=0.01)
    read = answers.read_answers(tmp_path / "answers.npz")
    assert np.array_equal(read.log_probabilities, stored.log_probabilities)
    assert (read.labels, read.teachers, read.views) == (stored.labels, stored.teachers, SETTINGS)


def test_a_file_is_continued_view_by_view(tiny: Fer2013, teacher: Path, tmp_path: Path) -> None:
    images, path = training_images(tiny), tmp_path / "answers.npz"
    first = write(path, teacher, images, 1)
    both = write(path, teacher, images, 2)
    assert np.array_equal(both.log_probabilities[0], first.log_probabilities[0])
    assert len(both.log_probabilities) == 2


def test_a_file_of_other_faces_is_not_continued(tiny: Fer2013, teacher: Path, tmp_path: Path) -> None:
    images, path = training_images(tiny), tmp_path / "answers.npz"
    write(path, teacher, images, 1)
    with pytest.raises(UsageError, match="its faces_sha256 are"):
        write(path, teacher, images[::-1].copy(), 2)


def test_consensus_moves_every_answer_to_the_mean_over_its_views() -> None:
    probabilities = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]])
    stored = answers.Answers(probabilities.log().half().numpy(), ("a", "b"), (), SETTINGS, "")
    assert torch.allclose(stored.lessons(1.0, 0.0), probabilities, atol=1e-3)
    assert torch.allclose(stored.lessons(1.0, 1.0)[0], torch.tensor([[0.7, 0.3]]), atol=1e-3)
    softened = torch.tensor([0.9, 0.1]).sqrt()
    assert torch.allclose(stored.lessons(2.0, 0.0)[0, 0], softened / softened.sum(), atol=1e-3)


@pytest.mark.slow
def test_a_student_learns_from_the_file_and_resumes_exactly(tiny: Fer2013, teacher: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers.npz"
    write(path, teacher, training_images(tiny), 3)
    recipe = student(path, share=1.0)
    unbroken = loop.fit(recipe, tiny, tmp_path / "unbroken")
    broken = loop.Trainer(recipe, tiny, tmp_path / "broken")
    (tmp_path / "broken").mkdir()
    broken.finish_epoch(broken.train_epoch())
    resumed = loop.fit(recipe, tiny, tmp_path / "broken")
    assert all(torch.equal(unbroken.average[key], resumed.average[key]) for key in unbroken.average)


def test_each_face_of_a_batch_gets_the_answer_for_its_own_view(tiny: Fer2013, teacher: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers.npz"
    stored = write(path, teacher, training_images(tiny), 3)
    trainer = loop.Trainer(student(path, temperature=1.0, consensus=0.0), tiny, tmp_path)
    rows = torch.tensor([5, 0, 41, 17])
    places, targets = trainer.batches.lessons.draw(rows, torch.Generator().manual_seed(3))
    for row, place, target in zip(rows, places, targets, strict=True):
        views = [view for view in range(3) if torch.equal(view_places(SETTINGS, view, 42)[row], place)]
        expected = torch.from_numpy(stored.log_probabilities[views[0], row]).float().softmax(0)
        assert torch.allclose(target, expected, atol=1e-3)


def test_a_card_names_the_teachers_who_answered(tiny: Fer2013, teacher: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers.npz"
    write(path, teacher, training_images(tiny), 1)
    assert publish.info_of(student(path)).trained_on.endswith(", taught by teacher")


def test_answers_for_other_faces_or_labels_are_refused(tiny: Fer2013, teacher: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers.npz"
    write(path, teacher, training_images(tiny)[::-1].copy(), 1)
    with pytest.raises(UsageError, match="made for other faces"):
        loop.Trainer(student(path), tiny, tmp_path)
    with pytest.raises(UsageError, match=r"answers angry, disgust, .*; expected"):
        loop.Trainer(dataclasses.replace(student(path), task="positive-negative"), tiny, tmp_path)


def test_a_file_that_holds_no_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fer-edge-lab answers"):
        answers.read_answers(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match="not a file of stored answers"):
        answers.read_answers(tmp_path / "text.npz")


def test_a_recipe_names_teachers_or_answers(tmp_path: Path) -> None:
    table = {"name": "x", "architecture": "fer_residual", "distillation": {"teachers": ["a"], "answers": "b"}}
    with pytest.raises(UsageError, match="found teachers and answers, expected one of them"):
        recipes.from_table(table, "x.toml")


def test_the_command_writes_the_file(
    tiny: Fer2013, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    output = tmp_path / "answers.npz"
    arguments = [
        "answers",
        str(teacher),
        "--out",
        str(output),
        "--views",
        "2",
        "--faces",
        str(tmp_path / "data.npz"),
    ]
    assert command.main(arguments) == 0
    assert "2 of 2 views" in capsys.readouterr().out
    assert len(answers.read_answers(output).log_probabilities) == 2


def test_the_committed_answers_are_of_every_face_of_training_and_small_enough_to_commit() -> None:
    path = ROOT / "models/answers/family.npz"
    stored = answers.read_answers(path)
    views, faces, classes = stored.log_probabilities.shape
    assert (faces, classes) == (28_709, len(EXPRESSIONS))
    assert views >= 6
    assert stored.labels == EXPRESSIONS
    probabilities = np.exp(stored.log_probabilities.astype(np.float32)).sum(axis=-1)
    np.testing.assert_allclose(probabilities, 1, atol=0.01)
    assert path.stat().st_size < 5_000_000
