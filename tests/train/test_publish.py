"""Published models: card, header and row of results say the same, and unfinished runs are not published."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_edge.errors import DataError, ModelError, UsageError

from train import architectures
from train.data.fer2013 import EXPRESSIONS, Fer2013
from train.fit import checkpoint, cost, evaluate, loop, publish, tasks
from train.fit.evaluate import Candidate
from train.fit.publish import info_of
from train.fit.recipe import Distillation, Finetuning, Labels, Noise, Recipe, Schedule

SMALL = {"stem": 4, "widths": [4], "depths": [1], "dropout": 0.0}
TINY = Recipe(
    "tiny", "fer_residual", SMALL, schedule=Schedule(epochs=1, batch=14, learning_rate=0.05, warmup_epochs=0.5)
)


def saved(path: Path, recipe: Recipe = TINY, **changes: object) -> Path:
    torch.manual_seed(0)
    state = architectures.build(recipe.architecture, recipe.arguments).state_dict()
    checkpoint.save(path, state, dataclasses.replace(info_of(recipe), **changes))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("changes", "dataset", "said"),
    [
        ({}, "FER2013", "FER2013 Training, labels blended with FER+ votes (50%)"),
        ({"labels": Labels(ferplus_share=0.0)}, "FER2013", "FER2013 Training"),
        ({}, "AffectNet", "AffectNet Training"),
        ({"task": "valence-arousal"}, "FER2013", "FER2013 Training, valence-arousal by its FER+ votes"),
        ({"task": "valence-arousal"}, "AFEW-VA", "AFEW-VA Training"),
        (
            {"distillation": Distillation(teachers=("models/a/a.safetensors", "b.safetensors"))},
            "AffectNet",
            "AffectNet Training, taught by a and b",
        ),
        (
            {"noise": Noise(share=0.25, kinds=("blur",), schedule="curriculum")},
            "AffectNet",
            "AffectNet Training, 25% of the faces with noise (curriculum)",
        ),
        ({"finetuning": Finetuning("weights/x.pth")}, "AffectNet", "AffectNet Training, begun from x.pth"),
        ({"labels": Labels(saliency_teacher="t.safetensors")}, "AffectNet", "AffectNet Training"),
        (
            {"labels": Labels(saliency_teacher="t.safetensors"), "beside": {"saliency": 1.0}},
            "AffectNet",
            "AffectNet Training, evidence of t in place of gaze",
        ),
        ({"beside": {"attributes": 1.0}}, "AffectNet", "AffectNet Training, photometric attributes kept apart"),
        (
            {"beside": {"attributes": 1.0}, "labels": Labels(attributes="data/faceres.npz")},
            "AffectNet",
            "AffectNet Training, attributes of faceres.npz kept apart",
        ),
    ],
)
def test_a_model_says_what_it_learned_from(changes: dict[str, object], dataset: str, said: str) -> None:
    assert info_of(dataclasses.replace(TINY, **changes), dataset).trained_on == said


@pytest.fixture
def trained(tiny: Fer2013, tmp_path: Path) -> Path:
    loop.fit(TINY, tiny, tmp_path / "run")
    return tmp_path / "run"


def test_a_card_its_header_and_its_row_say_the_same_figures(trained: Path, tiny: Fer2013, tmp_path: Path) -> None:
    path = publish.publish(TINY, tiny, trained, tmp_path / "models", validated_on="fold 2 of 5")
    loaded, card = checkpoint.load(path), (path.parent / "README.md").read_text()
    measured = loaded.info.measured["PublicTest"]
    (row,) = rows_of(tmp_path / "models" / "results.csv")
    assert float(row["accuracy"]) == pytest.approx(measured["accuracy"], abs=5e-5)
    assert f"**{measured['accuracy']:.2%}** accuracy, **{measured['macro_f1']:.2%}** macro-F1" in card
    assert (row["n"], measured["n"], row["checkpoint_sha256"]) == ("14", 14, loaded.sha256)
    assert f"`{loaded.sha256}`" in card and "watched on fold 2 of 5" in card
    assert f"{cost.cost_of(loaded.network).parameters:,}" in card
    assert f"temperature | {loaded.info.temperature:.3f}" in card
    assert "1 epochs" in card and "Disgust is rare in the data" in card
    assert json.loads((path.parent / "recipe.json").read_text())["schedule"]["epochs"] == 1
    names = {one.name for one in path.parent.iterdir()}
    assert names == {"tiny.safetensors", "README.md", "recipe.json", "log.csv", "curves.png", "confusion.png"}


def test_it_is_the_average_of_the_last_epoch_that_is_published(trained: Path, tiny: Fer2013, tmp_path: Path) -> None:
    average = torch.load(trained / "state.pt", weights_only=True)["average"]
    path = publish.publish(TINY, tiny, trained, tmp_path / "models")
    state = checkpoint.load(path).network.state_dict()
    assert all(torch.equal(state[name], average[name]) for name in average)


def test_a_run_that_never_began_or_did_not_end_is_not_published(trained: Path, tiny: Fer2013, tmp_path: Path) -> None:
    longer = dataclasses.replace(TINY, schedule=dataclasses.replace(TINY.schedule, epochs=3))
    with pytest.raises(UsageError, match=r"1 of 3 epochs done\. Finish with `make train` first"):
        publish.publish(longer, tiny, trained, tmp_path / "models")
    with pytest.raises(UsageError, match=r"no run of tiny in .*none\. Train it with `make train RECIPE=tiny`"):
        publish.publish(TINY, tiny, tmp_path / "none", tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_checkpoint_comes_back_with_its_header_and_its_digest(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", temperature=1.25, measured={"PublicTest": {"n": 3}})
    first, second = checkpoint.load(path), checkpoint.load(saved(tmp_path / "b.safetensors"))
    assert (first.info.temperature, first.info.measured) == (1.25, {"PublicTest": {"n": 3}})
    assert first.info.labels == EXPRESSIONS and not first.network.training
    assert first.sha256 != second.sha256 and len(first.sha256) == 64
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "the name '' cannot name a folder"),
        ({"name": "../up"}, r"the name '\.\./up' cannot name a folder"),
        ({"name": ".hidden"}, r"the name '\.hidden' cannot name a folder"),
        ({"architecture": "transformer"}, "transformer.*unknown"),
        ({"arguments": {"stem": 4, "widths": [4], "depths": [2]}}, "weights do not fit fer_residual"),
        ({"arguments": {"stems": 4}}, "architecture fer_residual"),
    ],
)
def test_a_header_that_does_not_fit_its_weights_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = saved(tmp_path / "a.safetensors", **changes)
    with pytest.raises(ModelError, match=message) as refusal:
        checkpoint.load(path)
    assert str(refusal.value).startswith(str(path)) and "\n" not in str(refusal.value)


def test_attributes_can_be_attached_to_a_network_that_has_them_alone(tmp_path: Path) -> None:
    arguments = {"classes": 7, "backbone_arguments": {"stem": 4, "widths": [4], "depths": [1]}}
    path = saved(tmp_path / "i.safetensors", Recipe("i", "identity_invariant", arguments), measured={"x": {}})
    one = checkpoint.attached(checkpoint.load(path), path)
    assert (one.info.name, one.info.measured, one.info.arguments["attached"]) == ("i-attached", {}, True)
    faces = torch.randn(2, 1, 48, 48)
    assert not torch.equal(one.network(faces), checkpoint.load(path).network(faces))
    plain = saved(tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="fer_residual has no attributes to attach"):
        checkpoint.attached(checkpoint.load(plain), plain)


def test_the_cost_of_models_is_a_row_each_by_hand(tmp_path: Path) -> None:
    paths = [saved(tmp_path / "a.safetensors"), saved(tmp_path / "b.safetensors", name="b")]
    cost.write_costs(tmp_path / "cost.csv", paths)
    network = checkpoint.load(paths[0]).network
    macs = 0
    sizes = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(lambda m, _, out, name=name: sizes.update({name: (m, out.shape)}))
    network(torch.zeros(1, 1, 48, 48))
    for module, shape in sizes.values():
        macs += module.weight.numel() * (shape[2] * shape[3] if len(shape) == 4 else 1)
    rows = rows_of(tmp_path / "cost.csv")
    assert [row["model"] for row in rows] == ["tiny", "b"]
    assert rows[0]["mmac"] == f"{macs / 1e6:.1f}"
    assert int(rows[0]["parameters"]) == sum(p.numel() for p in network.parameters())


def guessing(answers: np.ndarray, task: str = "expression7", **changes: object) -> Candidate:
    """A model that answers the same of every face, whatever it is shown."""
    labels = tuple(tasks.labels_of(task))
    one = Candidate("m", "m.onnx", "ab" * 32, task, labels, lambda images: np.repeat(answers, len(images), axis=0))
    return dataclasses.replace(one, **changes)


def test_a_model_that_names_one_class_is_right_as_often_as_that_class_is(tiny: Fer2013) -> None:
    happy = np.eye(7, dtype=np.float32)[[EXPRESSIONS.index("happy")]]
    result = evaluate.evaluate(guessing(happy), tiny, "PublicTest")
    assert (result.n, result.single.accuracy) == (14, pytest.approx(2 / 14))
    assert result.figures()["recall_happy"] == 1 and result.figures()["recall_sad"] == 0
    assert result.figures()["flip_accuracy"] == result.figures()["accuracy"]
    assert result.lines()[0].split() == ["single", "crop", "accuracy", "14.29%", "macro-F1", "3.57%", "ECE", "0.857"]


def test_the_mirror_image_is_averaged_with_the_face(tiny: Fer2013) -> None:
    """A model that knows a face by its first pixel, and of its mirror says "angry" with more force."""
    marked = tiny.images.copy()
    marked[:, 0, 0], marked[:, 0, -1] = tiny.emotions, 200

    def answers(images: np.ndarray) -> np.ndarray:
        seen = images[:, 0, 0]
        known = 0.4 * np.eye(7)[np.minimum(seen, 6)] + 0.6 / 7
        return np.where((seen < 7)[:, None], known, np.eye(7)[[0]])

    candidate = dataclasses.replace(guessing(np.eye(7)), answers=answers)
    result = evaluate.evaluate(candidate, dataclasses.replace(tiny, images=marked), "PublicTest")
    assert result.single.accuracy == 1
    assert result.flip.accuracy == pytest.approx(2 / 14)  # those that are angry


def test_a_split_in_which_nobody_was_annotated_is_one_line(tiny: Fer2013) -> None:
    silent = dataclasses.replace(tiny, votes=tiny.votes * 0)
    with pytest.raises(DataError, match="FER2013: no face of PublicTest has a truth for valence-arousal"):
        evaluate.evaluate(guessing(np.zeros((1, 2)), "valence-arousal"), silent, "PublicTest")


def test_a_model_of_other_labels_is_no_candidate(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", labels=(*EXPRESSIONS[:6], "bored"))
    with pytest.raises(ModelError, match=r"its labels for expression7 are .*bored; expected angry, disgust"):
        evaluate.open_candidate(path)


def test_rows_of_other_splits_and_files_stay_where_a_row_is_replaced(tiny: Fer2013, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.csv"
    for number, (split, file) in enumerate(
        [("PublicTest", "a"), ("Training", "a"), ("PublicTest", "b"), ("PublicTest", "a")]
    ):
        answers = np.eye(7, dtype=np.float32)[[number]]
        evaluate.append_result(path, evaluate.evaluate(guessing(answers, file=file), tiny, split))
    rows = rows_of(path)
    assert [(row["split"], row["file"]) for row in rows] == [
        ("Training", "a"),
        ("PublicTest", "b"),
        ("PublicTest", "a"),
    ]
    assert rows[-1]["recall_" + EXPRESSIONS[3]] == "1.0000"


@pytest.mark.parametrize(
    ("task", "name"), [("expression7", "results.csv"), ("valence-arousal", "results-valence-arousal.csv")]
)
def test_results_of_each_task_have_a_file_of_their_own(task: str, name: str) -> None:
    assert evaluate.results_path(Path("models"), task) == Path("models") / name
