"""Xception and its cross-validation: timm's names and weights, stages, folds, near-duplicates, resumption."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fer_edge.errors import ModelError, UsageError

from boards import lab as command
from train import architectures
from train.architectures.xception import Block, MaxPool
from train.data import cache, duplicates
from train.data.fer2013 import Fer2013
from train.data.pixels import normalise
from train.fit import checkpoint, finetuning, loop, prediction, publish
from train.fit.recipe import Distillation, Finetuning, Labels, Recipe, Schedule
from train.studies import kfold

SMALL = {"width": 0.05, "middle": 1, "stem_stride": 1, "dropout": 0.0}
TINY = Recipe(
    name="tiny-xception",
    architecture="xception",
    arguments=SMALL,
    schedule=Schedule(epochs=2, batch=8, learning_rate=0.05, warmup_epochs=0.5, ema_decay=0.5),
)


def timm_names(middle: int = 8) -> set[str]:
    """The tensors of timm's legacy_xception, by its module structure (timm/models/xception.py)."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", "conv2.weight", "fc.weight", "fc.bias"}
    names |= {f"bn{i}.{part}" for i in (1, 2, 3, 4) for part in norm}
    names |= {f"conv{i}.{part}.weight" for i in (3, 4) for part in ("conv1", "pointwise")}
    for block in range(1, middle + 5):
        shrinks = block <= 3 or block == middle + 4
        repeats, first = (2 if shrinks else 3), (0 if block == 1 else 1)
        for repeat in range(repeats):
            at = first + 3 * repeat
            names |= {f"block{block}.rep.{at}.{part}.weight" for part in ("conv1", "pointwise")}
            names |= {f"block{block}.rep.{at + 1}.{part}" for part in norm}
        if shrinks:
            names |= {f"block{block}.skip.weight", *(f"block{block}.skipbn.{part}" for part in norm)}
    return names


def test_its_tensors_have_timms_names_and_its_published_size() -> None:
    network = architectures.build("xception", {"classes": 1000})
    assert set(network.state_dict()) == timm_names()
    # 22,855,952 is the published network's; ours has one colour instead of three in its first 32 filters.
    assert sum(p.numel() for p in network.parameters()) == 22_855_952 - 2 * 32 * 9


def test_a_colour_checkpoint_answers_a_grey_face_as_it_would_in_colour() -> None:
    """The first layer on (p / 255 - 1/2) / (1/2) in three equal colours, and ours on its own scale."""
    colour = torch.nn.Conv2d(3, 8, 3, bias=False)
    network = architectures.build("xception", SMALL)
    adapted = network.adapted({"conv1.weight": colour.weight.detach()})["conv1.weight"]
    pixels = torch.randint(0, 256, (1, 1, 20, 20))
    targets = colour(((pixels / 255 - 0.5) / 0.5).expand(-1, 3, -1, -1))
    found = torch.nn.functional.conv2d(normalise(pixels), adapted)
    # The two scales have their zero half a grey value apart.
    torch.testing.assert_close(found, targets, atol=0.03, rtol=0)


@pytest.mark.parametrize("side", [2, 3, 11, 22])
def test_pooling_gives_the_same_numbers_without_infinite_padding(side: int) -> None:
    pool, features = MaxPool(3, 2, 1), torch.randn(2, 4, side, side) - 3
    torch.testing.assert_close(pool.eval()(features), pool.train()(features))


def test_the_shortcut_gives_the_same_numbers_in_training_and_after() -> None:
    block, features = Block(4, 8, 2, stride=2), torch.randn(2, 4, 11, 10)
    torch.testing.assert_close(block.train()._projected(features), block.eval()._projected(features))


def test_gradient_reaches_every_parameter() -> None:
    network = architectures.build("xception", SMALL)
    network(torch.randn(4, 1, 48, 48)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def pretrained(path: Path, classes: int = 1000) -> Path:
    """A local file as timm would write it for the small network: colour, its own head."""
    state = architectures.build("xception", {**SMALL, "classes": classes}).state_dict()
    state["conv1.weight"] = state["conv1.weight"].expand(-1, 3, -1, -1).clone()
    torch.save(state, path)
    return path


def test_the_head_learns_first_and_the_rest_after_it(tiny: Fer2013, tmp_path: Path) -> None:
    settings = Finetuning(str(pretrained(tmp_path / "weights.pth")), head_epochs=1, body_rate=0.1)
    trainer = loop.Trainer(dataclasses.replace(TINY, finetuning=settings), tiny, tmp_path)
    start = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    trainer.finish_epoch(trainer.train_epoch())
    first = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    assert {key for key in start if not torch.equal(start[key], first[key])} == {"fc.weight", "fc.bias"}
    trainer.finish_epoch(trainer.train_epoch())
    second = trainer.network.state_dict()
    assert {key for key in first if not torch.equal(first[key], second[key])} > {"conv1.weight", "bn1.running_mean"}


def test_a_staged_run_resumes_to_the_same_weights(tiny: Fer2013, tmp_path: Path) -> None:
    settings = Finetuning(str(pretrained(tmp_path / "weights.pth")), head_epochs=1, body_rate=0.1)
    staged = dataclasses.replace(TINY, finetuning=settings, schedule=dataclasses.replace(TINY.schedule, epochs=3))
    loop.fit(staged, tiny, tmp_path / "unbroken")
    broken = loop.Trainer(staged, tiny, tmp_path / "broken")
    (tmp_path / "broken").mkdir()
    for _ in range(2):
        broken.finish_epoch(broken.train_epoch())
    loop.fit(staged, tiny, tmp_path / "broken")
    first, second = (torch.load(tmp_path / name / "state.pt")["network"] for name in ("unbroken", "broken"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_pretrained_tensors_are_taken_where_they_fit(tmp_path: Path) -> None:
    network = architectures.build("xception", SMALL)
    taken = finetuning.start_from(network, Finetuning(str(pretrained(tmp_path / "weights.pth"))))
    assert taken == len(network.state_dict()) - 2  # all but the head of other classes


@pytest.mark.parametrize("name", ["absent.pth", "text.pth", "text.safetensors", "strange.safetensors"])
def test_weights_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    save_file({"elsewhere": torch.zeros(2)}, tmp_path / "strange.safetensors")
    with pytest.raises(ModelError, match=r"not found|not a readable|none of its 1 tensors fits"):
        finetuning.start_from(architectures.build("xception", SMALL), Finetuning(str(tmp_path / name)))


def faces(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures, which differ as faces do."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 6, 6)).astype(np.float32)
    large = torch.nn.functional.interpolate(torch.from_numpy(small)[:, None], (48, 48), mode="bicubic")[:, 0]
    return large.clamp(0, 255).numpy().astype(np.uint8)


def test_copies_are_found_whatever_was_done_to_them() -> None:
    originals = faces(12)
    brighter = np.clip(originals.astype(int) + 25, 0, 255).astype(np.uint8)
    noisy = np.clip(originals + np.random.default_rng(1).normal(0, 4, originals.shape), 0, 255).astype(np.uint8)
    groups = duplicates.groups(np.concatenate([originals, brighter, noisy]))
    assert len(set(groups[:12].tolist())) == 12
    assert (groups[12:24] == groups[:12]).mean() > 0.9
    assert (groups[24:] == groups[:12]).mean() > 0.9


def test_copies_with_a_mark_across_them_are_found_and_strangers_are_not() -> None:
    """The hash alone finds fewer than half of these."""
    originals = faces(40, seed=3)
    marked = originals.astype(int)
    marked[:, 20:25, 6:42] += 60
    both = np.concatenate([originals, np.clip(marked, 0, 255).astype(np.uint8)])
    hashes = duplicates.perceptual_hashes(both)
    assert (np.bitwise_count(hashes[:40] ^ hashes[40:]) <= duplicates.MAX_DISTANCE).mean() < 0.5
    groups = duplicates.groups(both)
    assert len(set(groups[:40].tolist())) == 40
    assert (groups[40:] == groups[:40]).mean() > 0.9
    pairs = duplicates.pairs(both)
    assert (pairs[:, 0] < pairs[:, 1]).all()


@pytest.fixture
def doubled(tiny: Fer2013) -> Fer2013:
    """Every training face three times, with other light."""
    training = np.flatnonzero(tiny.usage == 0)
    images = tiny.images.copy()
    images[training] = np.concatenate([faces(14), faces(14) // 2, np.clip(faces(14).astype(int) + 9, 0, 255)])
    emotions = tiny.emotions.copy()
    emotions[training] = np.tile(np.arange(14) % 7, 3)
    return dataclasses.replace(tiny, images=images.astype(np.uint8), emotions=emotions)


def test_near_duplicates_never_straddle_folds(doubled: Fer2013) -> None:
    fold_of = kfold.assign_folds(doubled, 2)
    training = doubled.usage == 0
    assert (fold_of[~training] == -1).all()
    groups = duplicates.groups(doubled.images[training])
    assert len(set(groups.tolist())) < training.sum() / 2
    for group in set(groups.tolist()):
        assert len(set(fold_of[training][groups == group].tolist())) == 1


def test_folds_are_disjoint_cover_training_and_hide_the_rest(tiny: Fer2013) -> None:
    fold_of = kfold.assign_folds(tiny, 3)
    assert sorted(set(fold_of[tiny.usage == 0].tolist())) == [0, 1, 2]
    data = kfold.fold_data(tiny, fold_of, 1)
    assert len(data.images) == (tiny.usage == 0).sum()
    assert (data.usage == 1).sum() == (fold_of == 1).sum()
    assert not (data.usage == 2).any()


@pytest.mark.parametrize("count", [1, 7])
def test_a_number_of_folds_the_data_cannot_give_is_refused(tiny: Fer2013, count: int) -> None:
    with pytest.raises(UsageError, match="expected 2 to 6, the number of faces of the rarest class"):
        kfold.assign_folds(tiny, count)


def write_recipe(path: Path) -> Path:
    path.write_text(
        'name = "tiny-xception"\narchitecture = "xception"\n'
        "[arguments]\nwidth = 0.05\nmiddle = 1\nstem_stride = 1\ndropout = 0.0\n"
        "[schedule]\nepochs = 1\nbatch = 8\nlearning_rate = 0.05\nwarmup_epochs = 0.5\n"
    )
    return path


def test_the_command_validates_publishes_and_resumes(tiny: Fer2013, tmp_path: Path) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    places = ["--faces", str(tmp_path / "data.npz"), "--runs", str(tmp_path / "runs"), "--models", str(tmp_path / "m")]
    words = ["kfold", str(write_recipe(tmp_path / "x.toml")), "--folds", "2", *places]
    assert command.main(words) == 0
    folder = tmp_path / "runs" / "tiny-xception"
    with open(folder / "folds.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["row"] for row in rows] == ["fold 0", "fold 1", "all folds", "ensemble"]
    assert [row["split"] for row in rows] == ["Training", "Training", "Training", "PublicTest"]
    assert int(rows[0]["n"]) + int(rows[1]["n"]) == int(rows[2]["n"]) == 42
    assert float(rows[2]["spread"]) == pytest.approx(
        np.std([float(row["accuracy"]) for row in rows[:2]], ddof=1), abs=1e-3
    )
    with np.load(folder / "out-of-fold.npz") as kept:
        np.testing.assert_allclose(kept["predictions"].sum(axis=1), 1, rtol=1e-4)
        said = kept["predictions"].argmax(axis=1)
    assert np.mean(said == tiny.emotions[tiny.usage == 0]) == pytest.approx(float(rows[2]["accuracy"]), abs=1e-4)
    card = (tmp_path / "m" / "tiny-xception" / "README.md").read_text()
    assert "weights of the last epoch, watched on fold" in card
    published = checkpoint.load(tmp_path / "m" / "tiny-xception" / "tiny-xception.safetensors").network.state_dict()
    best = max(range(2), key=lambda fold: float(rows[fold]["accuracy"]))
    measured = checkpoint.load(folder / f"tiny-xception-fold{best}.safetensors").network.state_dict()
    assert all(torch.equal(published[key], measured[key]) for key in measured), "what was measured is what is published"
    states = {path: path.stat().st_mtime_ns for path in folder.glob("fold*/state.pt")}
    assert len(states) == 2
    assert command.main(words) == 0
    assert states == {path: path.stat().st_mtime_ns for path in states}


def test_an_out_of_fold_prediction_comes_from_the_network_that_did_not_see_the_face(
    tiny: Fer2013, tmp_path: Path
) -> None:
    result = kfold.cross_validate(TINY, tiny, 2, tmp_path)
    training = np.flatnonzero(tiny.usage == 0)
    face = training[0]
    network = checkpoint.load(result.checkpoints[result.fold_of[face]]).network
    logits = prediction.predict(network, tiny.images[face : face + 1])
    np.testing.assert_allclose(torch.from_numpy(logits).softmax(1).numpy()[0], result.predictions[0], rtol=1e-3)


def test_weights_that_saw_the_faces_held_out_are_refused(tiny: Fer2013, tmp_path: Path) -> None:
    path = tmp_path / "known.safetensors"
    network = architectures.build(TINY.architecture, TINY.arguments)
    checkpoint.save(path, network.state_dict(), publish.info_of(TINY))
    for changes in (
        {"distillation": Distillation(teachers=(str(path),))},
        {"finetuning": Finetuning(weights=str(path))},
        {"labels": Labels(saliency_teacher=str(path))},
    ):
        with pytest.raises(UsageError, match=r"known\.safetensors may know the faces a fold holds out"):
            kfold.cross_validate(dataclasses.replace(TINY, **changes), tiny, 2, tmp_path)
    taught = dataclasses.replace(TINY, distillation=Distillation(answers="family.npz"))
    with pytest.raises(UsageError, match=r"family\.npz may know the faces a fold holds out"):
        kfold.cross_validate(taught, tiny, 2, tmp_path)


def test_the_ensemble_can_teach_a_student(tiny: Fer2013, tmp_path: Path) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    student = tmp_path / "student.toml"
    student.write_text(
        'name = "student"\narchitecture = "fer_residual"\n[arguments]\nstem = 4\nwidths = [4]\ndepths = [1]\n'
        "[schedule]\nepochs = 1\nbatch = 14\n"
    )
    places = ["--faces", str(tmp_path / "data.npz"), "--runs", str(tmp_path / "runs"), "--models", str(tmp_path / "m")]
    recipe = write_recipe(tmp_path / "x.toml")
    assert command.main(["kfold", str(recipe), "--folds", "2", "--student", str(student), *places]) == 0
    name = "student-of-tiny-xception"  # the student's own recipe may have a model, too
    info = checkpoint.load(tmp_path / "m" / name / f"{name}.safetensors").info
    assert "taught by tiny-xception-fold0 and tiny-xception-fold1" in info.trained_on
