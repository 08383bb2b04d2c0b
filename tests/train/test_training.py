"""The training loop: learns, resumes exactly, refuses a second start, publishes a model others can rebuild."""

import dataclasses
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fer_edge.errors import ModelError, UsageError

from boards import lab as command
from tests.waiting import TIMEOUT_S, eventually
from train import architectures
from train.data import cache
from train.data.fer2013 import EXPRESSIONS, Fer2013
from train.fit import checkpoint, distillation, evaluate, goals, loop, optimizer, prediction, publish, run_state
from train.fit import recipe as recipes
from train.fit.augment import augment, mixed, mixup
from train.fit.cost import cost_of

TINY = recipes.Recipe(
    name="tiny",
    architecture="fer_residual",
    arguments={"stem": 4, "widths": [4, 8], "depths": [1, 1], "dropout": 0.1},
    schedule=recipes.Schedule(epochs=4, batch=14, learning_rate=0.05, warmup_epochs=0.5, ema_decay=0.5),
)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "state.pt", weights_only=True)["network"]


@pytest.mark.slow
def test_training_learns_and_writes_its_log(tiny: Fer2013, tmp_path: Path) -> None:
    long = dataclasses.replace(TINY, schedule=dataclasses.replace(TINY.schedule, epochs=15))
    trainer = loop.fit(long, tiny, tmp_path)
    assert trainer.logs[-1].train_loss < trainer.logs[0].train_loss
    assert trainer.logs[-1].score > 2 / 7
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 16


def test_a_killed_run_continues_to_the_same_weights(tiny: Fer2013, tmp_path: Path) -> None:
    loop.fit(TINY, tiny, tmp_path / "unbroken")
    broken = loop.Trainer(TINY, tiny, tmp_path / "broken")
    (tmp_path / "broken").mkdir()
    for _ in range(2):
        broken.finish_epoch(broken.train_epoch())
    broken.train_epoch()  # killed before this epoch was kept
    loop.fit(TINY, tiny, tmp_path / "broken")
    expected, found = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_run_stops_at_an_epochs_end_when_its_minutes_are_over_and_goes_on_later(
    tiny: Fer2013, tmp_path: Path
) -> None:
    loop.fit(TINY, tiny, tmp_path / "unbroken")
    for epochs in (1, 2, 3):
        with pytest.raises(loop.UnfinishedError, match=rf"--minutes 0 are over after epoch {epochs} of 4"):
            loop.fit(TINY, tiny, tmp_path / "stopped", minutes=0.0)
    loop.fit(TINY, tiny, tmp_path / "stopped", minutes=0.0)  # the last epoch ends the schedule
    expected, found = weights(tmp_path / "unbroken"), weights(tmp_path / "stopped")
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_run_that_seeks_flat_places_resumes_exactly(tiny: Fer2013, tmp_path: Path) -> None:
    flat = dataclasses.replace(TINY, schedule=dataclasses.replace(TINY.schedule, epochs=2, sharpness_radius=0.05))
    loop.fit(flat, tiny, tmp_path / "unbroken")
    with pytest.raises(loop.UnfinishedError):
        loop.fit(flat, tiny, tmp_path / "broken", minutes=0.0)
    loop.fit(flat, tiny, tmp_path / "broken")
    expected, found = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def _hold_lock(run: Path, held: "multiprocessing.Event", release: "multiprocessing.Event") -> None:
    with run_state.single_run(run):
        held.set()
        release.wait(TIMEOUT_S)


def torchrun(tmp_path: Path, tiny: Fer2013, sections: str) -> subprocess.CompletedProcess[str]:
    """Two processes of the recipe "shared", one after the other on however few cores there are."""
    cache.save(tiny, tmp_path / "data.npz")
    recipe = tmp_path / "shared.toml"
    recipe.write_text(
        'name = "shared"\narchitecture = "fer_residual"\n[arguments]\nstem = 4\nwidths = [4, 8]\ndepths = [1, 1]\n'
        f"[schedule]\nepochs = 2\nbatch = 14\n{sections}"
    )
    places = ["--faces", str(tmp_path / "data.npz"), "--runs", str(tmp_path), "--models", str(tmp_path / "models")]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*start, "-m", "boards.lab", "train", str(recipe), *places],
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_torchrun_shares_a_run_among_processes(tiny: Fer2013, tmp_path: Path) -> None:
    done = torchrun(tmp_path, tiny, "")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("epoch 2/2") == 1  # one of them speaks for both
    assert len((tmp_path / "shared" / "log.csv").read_text().splitlines()) == 3
    checkpoint.load(tmp_path / "models" / "shared" / "shared.safetensors")


@pytest.mark.slow
def test_torchrun_shares_a_staged_run_whose_body_is_frozen_at_first(
    tiny: Fer2013, write_teacher: Path, tmp_path: Path
) -> None:
    done = torchrun(tmp_path, tiny, f'[finetuning]\nweights = "{write_teacher}"\nhead_epochs = 1\n')
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("epoch 2/2") == 1
    assert re.search(r"shared begins with (\d+) of its \1 tensors", done.stdout)


@pytest.mark.slow
def test_a_second_start_is_refused_while_one_runs(tiny: Fer2013, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold_lock, args=(tmp_path, held, release))
    other.start()
    try:
        assert held.wait(TIMEOUT_S)
        with pytest.raises(UsageError, match="already works in"):
            loop.fit(TINY, tiny, tmp_path)
    finally:
        release.set()
        other.join()


def test_a_run_of_another_recipe_is_not_resumed(tiny: Fer2013, tmp_path: Path) -> None:
    loop.fit(dataclasses.replace(TINY, schedule=dataclasses.replace(TINY.schedule, epochs=1)), tiny, tmp_path)
    with pytest.raises(UsageError, match="another recipe"):
        loop.fit(TINY, tiny, tmp_path)


def test_a_run_of_other_data_or_another_teacher_is_not_resumed(tiny: Fer2013, tmp_path: Path) -> None:
    short = dataclasses.replace(TINY, schedule=dataclasses.replace(TINY.schedule, epochs=1))
    loop.fit(short, tiny, tmp_path / "teacher")
    teacher = publish.publish(short, tiny, tmp_path / "teacher", tmp_path / "models")
    student = dataclasses.replace(short, distillation=recipes.Distillation((str(teacher),)))
    loop.fit(student, tiny, tmp_path / "run")
    loop.fit(student, tiny, tmp_path / "run")
    other = dataclasses.replace(tiny, emotions=np.roll(tiny.emotions, 1))
    with pytest.raises(UsageError, match="other data"):
        loop.fit(student, other, tmp_path / "run")
    info = publish.info_of(short)
    checkpoint.save(teacher, architectures.build(TINY.architecture, TINY.arguments).state_dict(), info)
    with pytest.raises(UsageError, match="the files its recipe names have changed"):
        loop.fit(student, tiny, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "expression8"}, "7 outputs for expression8, expected classes = 8"),
        ({"beside": {"saliency": 0.5}}, "answers nothing beside its task, not 'saliency'"),
    ],
)
def test_a_network_that_cannot_answer_its_recipe_is_refused(
    changes: dict, message: str, tiny: Fer2013, tmp_path: Path, write_teacher: Path
) -> None:
    labels = recipes.Labels(saliency_teacher=str(write_teacher))
    with pytest.raises(UsageError, match=message):
        loop.Trainer(dataclasses.replace(TINY, labels=labels, **changes), tiny, tmp_path)


@pytest.fixture
def write_teacher(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.safetensors"
    network = architectures.build(TINY.architecture, TINY.arguments)
    checkpoint.save(path, network.state_dict(), publish.info_of(TINY))
    return path


@pytest.mark.slow
def test_sigkill_loses_no_finished_epoch(tiny: Fer2013, tmp_path: Path) -> None:
    """The command itself, killed while it trains, started again: it says where it goes on, and ends."""
    cache.save(tiny, tmp_path / "data.npz")
    recipe = tmp_path / "killed.toml"
    recipe.write_text(
        'name = "killed"\narchitecture = "fer_residual"\n[arguments]\nstem = 4\nwidths = [4, 8]\ndepths = [1, 1]\n'
        "[schedule]\nepochs = 40\nbatch = 14\n"
    )
    places = ["--faces", str(tmp_path / "data.npz"), "--runs", str(tmp_path), "--models", str(tmp_path / "models")]
    words = [sys.executable, "-m", "boards.lab", "train", str(recipe), *places]
    state = tmp_path / "killed" / "state.pt"
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually(state.is_file, "no epoch was finished", process=process, timeout_s=250)
        process.kill()
    kept = len(torch.load(state, weights_only=True)["logs"])
    assert 0 < kept < 40
    (tmp_path / "killed" / ".log.csv.1.part").touch()  # where the kill met a file being written
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"resuming killed after epoch {kept} of 40" in done.stdout
    assert len((tmp_path / "killed" / "log.csv").read_text().splitlines()) == 41
    assert not list((tmp_path / "killed").glob(".*.part"))


def test_a_student_learns_from_its_teachers_and_resumes_with_them(tiny: Fer2013, tmp_path: Path) -> None:
    """Labels that say nothing, teachers that know: what the student learns comes from them, and survives a kill."""
    knowing = dataclasses.replace(TINY, schedule=dataclasses.replace(TINY.schedule, epochs=15))
    loop.fit(knowing, tiny, tmp_path / "teacher")
    teacher = publish.publish(knowing, tiny, tmp_path / "teacher", tmp_path / "models")
    student = dataclasses.replace(
        TINY, name="student", distillation=recipes.Distillation((str(teacher), str(teacher)), share=1.0)
    )
    blind = dataclasses.replace(tiny, emotions=np.where(tiny.usage == 0, 0, tiny.emotions), votes=tiny.votes * 0)
    before = {key: value.clone() for key, value in distillation.load_teacher(teacher, EXPRESSIONS).state_dict().items()}
    unbroken = loop.fit(student, blind, tmp_path / "unbroken")
    assert len(set(prediction.predict(unbroken.network, tiny.images).argmax(axis=1).tolist())) > 1
    assert all(torch.equal(before[key], value) for key, value in unbroken.teachers[0].state_dict().items())
    broken = loop.Trainer(student, blind, tmp_path / "broken")
    (tmp_path / "broken").mkdir()
    broken.finish_epoch(broken.train_epoch())
    loop.fit(student, blind, tmp_path / "broken")
    expected, found = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_teacher_of_other_labels_is_refused_before_anything_is_trained(tiny: Fer2013, tmp_path: Path) -> None:
    polar = dataclasses.replace(
        TINY, name="polar", task="positive-negative", arguments={**TINY.arguments, "classes": 2}
    )
    loop.fit(polar, tiny, tmp_path / "teacher")
    teacher = publish.publish(polar, tiny, tmp_path / "teacher", tmp_path / "models")
    student = dataclasses.replace(TINY, distillation=recipes.Distillation((str(teacher),), share=0.5))
    with pytest.raises(ModelError, match="teaches negative, positive; expected angry"):
        loop.fit(student, tiny, tmp_path / "student")
    assert not (tmp_path / "student" / "state.pt").exists()


def test_a_network_for_ferplus_begins_with_the_second_head_of_one_for_seven_classes() -> None:
    sizes = {"stem": 4, "widths": [4, 8], "depths": [1, 1]}
    seven = architectures.build("fer_residual", {**sizes, "second_classes": 8}).state_dict()
    eight = architectures.build("fer_residual", {**sizes, "classes": 8})
    assert torch.equal(eight.adapted(seven)["head.weight"], seven["second_head.weight"])
    again = architectures.build("fer_residual", sizes)
    assert torch.equal(again.adapted(seven)["head.weight"], seven["head.weight"])


def test_a_teacher_that_scales_its_faces_up_is_trained_at_its_own_side() -> None:
    table = {"name": "x", "architecture": "mobilenet_v1", "arguments": {"side": 64}}
    assert recipes.from_table({**table, "schedule": {"sizes": [48, 64]}}, "x.toml").schedule.size(59) == 64
    with pytest.raises(UsageError, match=r"sizes is \[48\], expected 64 at its end"):
        recipes.from_table(table, "x.toml")


def test_a_size_a_network_cannot_take_is_refused_at_the_start(tiny: Fer2013, tmp_path: Path) -> None:
    recipe = recipes.from_table(
        {
            "name": "odd",
            "architecture": "saliency_cnn",
            "arguments": {"stem": 4, "widths": [4, 6, 8], "saliency_channels": 2},
            "schedule": {"epochs": 1, "sizes": [30, 48]},
        },
        "odd",
    )
    with pytest.raises(UsageError, match="odd: its network cannot take faces of 30 pixels"):
        loop.fit(recipe, tiny, tmp_path / "odd")


def test_distillation_loss_by_hand() -> None:
    """Teacher 3:1 at temperature 1 is (log 3, 0); a student that is undecided pays log 2."""
    taught = torch.tensor([[[np.log(3.0), 0.0]]])
    assert distillation.distillation_loss(
        torch.zeros(1, 2), distillation.lesson(taught, 1.0), 1.0
    ).item() == pytest.approx(np.log(2))
    agreeing = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert distillation.distillation_loss(taught[0], distillation.lesson(taught, 1.0), 1.0).item() == pytest.approx(
        agreeing
    )
    halved = torch.tensor([[[2 * np.log(3.0), 0.0]]])
    assert distillation.distillation_loss(halved[0], distillation.lesson(halved, 2.0), 2.0).item() == pytest.approx(
        4 * agreeing
    )


def test_a_teacher_that_is_not_there_is_one_error(tiny: Fer2013, tmp_path: Path) -> None:
    taught = dataclasses.replace(TINY, distillation=recipes.Distillation(("absent.safetensors",)))
    with pytest.raises(ModelError, match="checkpoint not found"):
        loop.fit(taught, tiny, tmp_path)


def test_averaging_that_warms_up_follows_the_first_steps(tiny: Fer2013, tmp_path: Path) -> None:
    slow = dataclasses.replace(TINY.schedule, ema_decay=0.999, epochs=1)
    distances = []
    for warm in (False, True):
        recipe = dataclasses.replace(TINY, schedule=dataclasses.replace(slow, ema_warmup=warm))
        trainer = loop.fit(recipe, tiny, tmp_path / str(warm))
        live = trainer.network.state_dict()["head.weight"]
        distances.append((trainer.average["head.weight"] - live).abs().mean().item())
    assert distances[1] < distances[0]


def test_targets_blend_labels_and_votes(tiny: Fer2013) -> None:
    targets = goals.soft_targets(tiny, recipes.Labels(ferplus_share=0.5)).numpy()
    # Face 0 is angry by FER2013; FER+ gave anger 8 and neutral 2 of ten votes.
    np.testing.assert_allclose(targets[0], [0.9, 0, 0, 0, 0, 0, 0.1], atol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)


def test_a_face_without_votes_keeps_its_label(tiny: Fer2013) -> None:
    silent = dataclasses.replace(tiny, votes=np.zeros_like(tiny.votes))
    targets = goals.soft_targets(silent, recipes.Labels(ferplus_share=0.5)).numpy()
    assert (targets.argmax(axis=1) == tiny.emotions).all()
    assert (targets.max(axis=1) == 1).all()


def test_blending_without_votes_says_what_is_missing(tiny: Fer2013) -> None:
    with pytest.raises(UsageError, match="FERPLUS="):
        goals.soft_targets(dataclasses.replace(tiny, votes=None), recipes.Labels(ferplus_share=0.5))


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    schedule = recipes.Schedule(epochs=10, warmup_epochs=2.0)
    shares = [optimizer.learning_rate_factor(schedule, epoch) for epoch in (0.0, 1.0, 2.0, 6.0, 10.0)]
    assert shares == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])


def test_augmentation_that_is_switched_off_changes_nothing() -> None:
    still = recipes.Augmentation(
        flip=False, rotation_deg=0, shift=0, scale=0, brightness=0, contrast=0, erase_probability=0
    )
    faces = torch.rand(5, 1, 48, 48) * 3.9 - 1.95
    torch.testing.assert_close(augment(faces, still, torch.Generator().manual_seed(0)), faces, atol=1e-4, rtol=0)


def test_augmentation_keeps_shape_and_range_and_repeats_with_its_seed() -> None:
    faces = torch.rand(9, 1, 48, 48) * 4 - 2
    first = augment(faces, recipes.Augmentation(), torch.Generator().manual_seed(3))
    again = augment(faces, recipes.Augmentation(), torch.Generator().manual_seed(3))
    assert first.shape == faces.shape
    assert first.min() >= -2
    assert first.max() <= 2
    assert torch.equal(first, again)
    assert not torch.equal(first, faces)


def test_augmentation_can_sample_a_smaller_side() -> None:
    faces = torch.rand(3, 1, 48, 48) * 4 - 2
    assert augment(faces, recipes.Augmentation(), torch.Generator().manual_seed(0), 32).shape == (3, 1, 32, 32)


def test_sizes_share_the_epochs_equally_and_the_last_takes_the_rest() -> None:
    schedule = recipes.Schedule(epochs=7, sizes=(32, 40, 48))
    assert [schedule.size(epoch) for epoch in range(7)] == [32, 32, 32, 40, 40, 48, 48]
    assert recipes.Schedule(epochs=1, sizes=(32, 48)).size(0) == 32


def test_a_face_stays_the_greater_part_of_its_mixture() -> None:
    share, partner = mixup(500, 0.4, torch.Generator().manual_seed(0))
    assert share.min() >= 0.5
    assert 0.5 < share.mean() < 0.99
    assert sorted(partner.tolist()) == list(range(500))
    again, _ = mixup(500, 0.4, torch.Generator().manual_seed(0))
    assert torch.equal(share, again)


def test_mixing_by_hand() -> None:
    values = torch.tensor([[0.0, 4.0], [8.0, 0.0]])
    found = mixed(values, torch.tensor([0.75, 1.0]), torch.tensor([1, 0]))
    torch.testing.assert_close(found, torch.tensor([[2.0, 3.0], [8.0, 0.0]]))
    assert mixed(torch.zeros(2, 1, 5, 5), torch.ones(2), torch.tensor([1, 0])).shape == (2, 1, 5, 5)


def test_mixed_targets_belong_to_mixed_faces(tiny: Fer2013, tmp_path: Path) -> None:
    """Every face is one brightness and every target its class number, so a mixture shows in both by the same share."""
    flat = np.repeat(np.arange(70, dtype=np.uint8)[:, None] * 3, 48 * 48, axis=1).reshape(70, 48, 48)
    still = recipes.Augmentation(
        flip=False, rotation_deg=0, shift=0, scale=0, brightness=0, contrast=0, erase_probability=0, mixup=0.4
    )
    data = dataclasses.replace(tiny, images=flat)
    trainer = loop.Trainer(dataclasses.replace(TINY, augmentation=still), data, tmp_path)
    trainer.batches.targets["labels"] = torch.arange(42.0).view(-1, 1) * 3
    faces, targets = trainer.batches.draw(torch.arange(42), 0, 48, torch.Generator().manual_seed(0))
    torch.testing.assert_close(faces[:, 0, 20, 20] * 64 + 128, targets["labels"][:, 0], atol=0.01, rtol=0)


def test_muon_mixup_small_sizes_second_head_and_a_teacher_that_answered_once_resume_exactly(
    tiny: Fer2013, tmp_path: Path
) -> None:
    loop.fit(TINY, tiny, tmp_path / "teacher")
    teacher = str(publish.publish(TINY, tiny, tmp_path / "teacher", tmp_path / "models"))
    rich = dataclasses.replace(
        TINY,
        arguments={**TINY.arguments, "second_classes": 8},
        labels=recipes.Labels(second_head=0.3),
        augmentation=recipes.Augmentation(mixup=0.3),
        schedule=dataclasses.replace(TINY.schedule, sizes=(16, 48), muon_learning_rate=0.02),
        distillation=recipes.Distillation((teacher,), live=False),
    )
    before = architectures.build(rich.architecture, rich.arguments)
    unbroken = loop.fit(rich, tiny, tmp_path / "unbroken")
    assert unbroken.teachers == []
    torch.testing.assert_close(unbroken.batches.targets["lesson"].sum(dim=1), torch.ones(42))
    assert not torch.equal(before.second_head.weight, unbroken.network.second_head.weight)
    broken = loop.Trainer(rich, tiny, tmp_path / "broken")
    (tmp_path / "broken").mkdir()
    for _ in range(3):
        broken.finish_epoch(broken.train_epoch())
    loop.fit(rich, tiny, tmp_path / "broken")
    expected, found = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_the_second_head_answers_in_training_alone() -> None:
    network = architectures.build("fer_residual", {**TINY.arguments, "second_classes": 8})
    faces = torch.zeros(2, 1, 48, 48)
    assert {name: output.shape for name, output in network.train()(faces).items()} == {"task": (2, 7), "second": (2, 8)}
    assert network.eval()(faces).shape == (2, 7)


def test_targets_of_the_second_head_are_the_votes_of_all_eight(tiny: Fer2013) -> None:
    votes = tiny.votes.copy()
    votes[0] = 0
    targets = goals.VoteGoal().targets(dataclasses.replace(tiny, votes=votes), recipes.Labels()).numpy()
    np.testing.assert_allclose(targets[0], 0)
    # Face 3 is happy: eight votes for happiness, the second of FER+, and two for neutral, its first.
    np.testing.assert_allclose(targets[3], [0.2, 0.8, 0, 0, 0, 0, 0, 0], atol=1e-6)


def test_a_second_head_without_its_classes_is_refused(tiny: Fer2013, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs second_classes = 8"):
        loop.Trainer(dataclasses.replace(TINY, labels=recipes.Labels(second_head=0.3)), tiny, tmp_path)


def test_a_seed_changes_name_and_start(tmp_path: Path) -> None:
    other = recipes.seeded(TINY, 5)
    assert (other.name, other.schedule.seed) == ("tiny-seed5", 5)
    assert dataclasses.replace(other.schedule, seed=0) == TINY.schedule


def test_cost_by_hand() -> None:
    """A 3x3 convolution to 4 channels at 24x24 and a linear layer from 4 to 2."""

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False)
            self.head = torch.nn.Linear(4, 2)

        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(faces).mean((2, 3)))

    cost = cost_of(Small())
    assert (cost.parameters, cost.macs) == (36 + 10, 9 * 4 * 24 * 24 + 8)


@pytest.mark.parametrize("second_classes", [0, 8])
def test_gradient_reaches_every_parameter(second_classes: int) -> None:
    network = architectures.build("fer_residual", {"second_classes": second_classes})
    answers = network(torch.randn(4, 1, 48, 48))
    sum(output.square().sum() for output in (answers.values() if second_classes else [answers])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "parameters", "mmac"), [("base", 1_100_000, 60), ("small", 350_000, 30), ("nano", 90_000, 10)]
)
def test_the_family_keeps_to_its_sizes(name: str, parameters: int, mmac: float) -> None:
    """An INT8 .tflite of 1,200, 400 and 110 KB at most: a byte a parameter, and what the file needs beside them."""
    chosen = recipes.load(f"fer-{name}")
    network = architectures.build(chosen.architecture, chosen.arguments)
    cost = cost_of(network)
    assert cost.parameters <= parameters
    assert cost.mmac <= mmac
    assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_a_published_model_can_be_rebuilt_and_measured(tiny: Fer2013, tmp_path: Path) -> None:
    trainer = loop.fit(TINY, tiny, tmp_path / "run")
    path = publish.publish(TINY, tiny, tmp_path / "run", tmp_path / "models")
    loaded = checkpoint.load(path)
    result = evaluate.evaluate(evaluate.open_candidate(path), tiny, "PublicTest")
    assert result.single.accuracy == pytest.approx(trainer.logs[-1].score)
    assert loaded.info.measured["PublicTest"]["accuracy"] == pytest.approx(trainer.logs[-1].score)
    assert {p.name for p in path.parent.iterdir()} == {
        "tiny.safetensors",
        "README.md",
        "recipe.json",
        "log.csv",
        "curves.png",
        "confusion.png",
    }


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 100])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.safetensors: not a readable safetensors"):
        checkpoint.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("header", ["{", "[]", '{"name": "x"}', '{"labels": null}'])
def test_a_checkpoint_with_a_damaged_header_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.zeros(1)}, path, metadata={"fer_edge": header})
    with pytest.raises(ModelError, match="header is damaged"):
        checkpoint.load(path)


def test_a_checkpoint_can_be_read_by_others(tmp_path: Path) -> None:
    state = architectures.build(TINY.architecture, TINY.arguments).state_dict()
    checkpoint.save(tmp_path / "x.safetensors", state, publish.info_of(TINY))
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o644


def test_every_recipe_loads_and_builds() -> None:
    for path in recipes.RECIPES.glob("*.toml"):
        recipe = recipes.load(path.stem)
        assert recipe.name == path.stem
        architectures.build(recipe.architecture, recipe.arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"', "architecture is missing"),
        ('name = "x"\narchitecture = "y"\ncolour = 1', "unknown key 'colour'"),
        ('name = "x"\narchitecture = "y"\n[schedule]\nepoch = 3', "did you mean epochs"),
        (
            'name = "x"\narchitecture = "y"\n[schedule]\nepochs = "many"',
            "schedule, epochs is 'many', expected a whole number",
        ),
        ('name = "x"\narchitecture = "y"\n[schedule]\nsizes = [32, 64]', "expected sides of 8 to 48"),
        ('name = "x"\narchitecture = "y"\n[schedule]\nsizes = [48, 32]', "expected 48 at its end"),
        ('name = "x"\narchitecture = "y"\n[schedule]\nsizes = [4.5]', "sizes is 4.5, expected a whole number"),
        ('name = "x"\narchitecture = "y"\n[distillation]\nlive = 1', "live is 1, expected true or false"),
        ('name = "x"\narchitecture = "y"\n[schedule]\nprecision = "fp8"', "expected fp32 or bf16"),
        ('name = "x"\narchitecture = "y"\n[labels]\nbalance = 1.5', "balance is 1.5, expected 0 to 1"),
        (
            'name = "x"\narchitecture = "y"\ntask = "valence-arousal"\n[labels]\nbalance = 0.5',
            "balance is for classes, and the task is valence-arousal",
        ),
        ('name = "x"\narchitecture = "y"\nlabels = 3', "labels: a number, expected a table"),
        ('name = "x"\narchitecture = "y"\n[schedule]\nepochs = 0', "epochs is 0, expected 1 to 1000000"),
        ('name = "x"\narchitecture = "y"\n[schedule]\nbatch = 0', "batch is 0, expected 1 to 1000000"),
        ('name = "x"\narchitecture = "y"\n[distillation]\nteachers = "one"', "teachers is 'one', expected a list"),
        ("name = ", "not valid TOML"),
        ('name = "x"\narchitecture = "y"\n[beside]\nx = -1', "weights are .-1.0., expected numbers above 0"),
        ('name = "x"\narchitecture = "y"\n[schedule]\nlearning_rate = inf', "learning_rate is inf, expected a finite"),
        ('name = "x"\narchitecture = "y"\nbeside = 7', "beside is 7, expected a table"),
    ],
)
def test_a_bad_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        recipes.load(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize("arguments", [{"widths": [8, 8], "depths": [1]}, {"stems": 8}, {"stem": -1}])
def test_arguments_an_architecture_cannot_be_built_with_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="architecture fer_residual"):
        architectures.build("fer_residual", arguments)


def test_errors_are_one_line_and_an_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command.main(["train", "no-such-recipe"]) == 2
    assert command.main(["data", str(tmp_path / "absent.csv")]) == 2
    assert command.main(["evaluate", str(tmp_path / "absent.safetensors")]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("fer-edge-lab ") for line in lines)
