"""Targets, losses and figures of goals against sums written out in NumPy."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import DataError, UsageError
from fer_edge.tasks import FER_PLUS, TASKS

from train.data.annotated import ACTION_UNITS, AnnotatedFaces
from train.data.fer2013 import EXPRESSIONS, Fer2013
from train.fit import goals, tasks
from train.fit.goals import ClassTask, LabelTask, ValueTask
from train.fit.recipe import Labels, Recipe

NAN = float("nan")
SEVEN = ClassTask("expression7", EXPRESSIONS)
AFFECT = ValueTask("valence-arousal", ("valence", "arousal"), "ccc")
seeds = st.integers(0, 2**16)


def annotated(**truths: np.ndarray) -> AnnotatedFaces:
    n = len(next(iter(truths.values())))
    named = {name.replace("_", "-"): values for name, values in truths.items()}
    zeros = np.zeros(n, dtype=np.int64)
    return AnnotatedFaces("Faces", np.zeros((n, 48, 48), dtype=np.uint8), zeros, zeros, named)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_loss_of_classes_is_the_cross_entropy_of_the_faces_with_a_distribution(seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(6, 7)).astype(np.float32)
    targets = generator.dirichlet(np.ones(7), 6).astype(np.float32)
    targets[[1, 4]] = np.nan
    kept = [0, 2, 3, 5]
    by_hand = -(targets[kept] * log_softmax(logits[kept])).sum(axis=1).mean()
    assert SEVEN.loss(torch.from_numpy(logits), torch.from_numpy(targets)).item() == pytest.approx(by_hand, rel=1e-4)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_loss_of_values_is_squared_error_and_discordance_averaged_over_the_values(seed: int) -> None:
    generator = np.random.default_rng(seed)
    outputs, truth = generator.normal(size=(2, 8, 2)).astype(np.float32)
    truth[0, 0] = np.nan  # the valence of one face and the arousal of another are unknown
    truth[5, 1] = np.nan
    by_hand = []
    for column in range(2):
        told = ~np.isnan(truth[:, column])
        x, y = outputs[told, column].astype(np.float64), truth[told, column].astype(np.float64)
        covariance = np.cov(x, y, ddof=0)[0, 1]
        ccc = 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        by_hand.append(((x - y) ** 2).mean() + 1 - ccc)
    loss = AFFECT.loss(torch.from_numpy(outputs), torch.from_numpy(truth)).item()
    assert loss == pytest.approx(np.mean(by_hand), rel=1e-3)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_concordance_is_symmetric_within_one_and_punishes_an_offset_that_correlation_forgives(seed: int) -> None:
    first, second = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 30)))
    value = goals.concordance(first, second)
    torch.testing.assert_close(value, goals.concordance(second, first))
    assert -1 <= value <= 1
    assert goals.concordance(first, first + 2) < goals.concordance(first, first + 1) < 1
    assert goals.concordance(first, -first) < 0


def test_a_value_known_of_one_face_alone_has_no_concordance_and_teaches_nothing() -> None:
    outputs = torch.ones(3, 2, requires_grad=True)
    targets = torch.tensor([[0.5, NAN], [NAN, 0.2], [NAN, 0.4]])
    AFFECT.loss(outputs, targets).backward()
    assert (outputs.grad[:, 0] == 0).all()
    assert (outputs.grad[1:, 1] != 0).all()


def test_the_loss_of_units_is_the_binary_cross_entropy_of_what_is_known() -> None:
    task = LabelTask("action-units", ("AU6", "AU12"))
    outputs, targets = torch.tensor([[2.0, -1.0], [0.5, 3.0]]), torch.tensor([[1.0, NAN], [0.0, 1.0]])
    chances = [1 / (1 + np.exp(-2.0)), 1 - 1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-3.0))]
    assert task.loss(outputs, targets).item() == pytest.approx(-np.log(chances).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("task", "width"), [(SEVEN, 7), (AFFECT, 2), (LabelTask("action-units", ACTION_UNITS), len(ACTION_UNITS))]
)
def test_a_batch_nobody_annotated_has_no_loss_and_moves_no_weight(task: goals.Goal, width: int) -> None:
    outputs = torch.randn(4, width, requires_grad=True)
    loss = task.loss(outputs, torch.full((4, width), NAN))
    loss.backward()
    assert loss.item() == 0
    assert (outputs.grad == 0).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_targets_of_classes_are_distributions_blended_and_smoothed(
    share: float, smoothing: float, tiny: Fer2013
) -> None:
    targets = SEVEN.targets(tiny, Labels(ferplus_share=share, smoothing=smoothing)).numpy()
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-5)
    happy = EXPRESSIONS.index("happy")
    row = int(np.flatnonzero(tiny.emotions == happy)[0])  # eight votes for happiness, two for neutral
    expected = np.zeros(7)
    expected[happy] = 1 - share + share * 0.8
    expected[EXPRESSIONS.index("neutral")] = share * 0.2
    np.testing.assert_allclose(targets[row], (1 - smoothing) * expected + smoothing / 7, atol=1e-6)


def test_annotated_classes_are_one_hot_and_unknown_where_nobody_said() -> None:
    data = annotated(expression7=np.array([2, -1, 0]))
    targets = SEVEN.targets(data, Labels(smoothing=0.07))
    assert targets[1].isnan().all()
    torch.testing.assert_close(targets[0], torch.tensor([0.01, 0.01, 0.94, 0.01, 0.01, 0.01, 0.01]))
    assert targets[2].argmax() == 0


def test_a_dataset_without_the_annotation_says_what_it_has() -> None:
    data = annotated(action_units=np.zeros((2, 17), dtype=np.float32))
    with pytest.raises(DataError, match="Faces has no annotation for expression7; it has: action-units"):
        SEVEN.targets(data, Labels())


@pytest.mark.parametrize("balance", [0.25, 1.0])
def test_balance_leaves_a_network_that_learned_the_shares_with_nothing_to_learn(balance: float) -> None:
    """With all of the shares in the loss, equal logits answer every class with its share, the best without a face."""
    targets = torch.eye(3)[[0, 0, 0, 0, 1, 1, 1, 2]]
    offsets = goals.logit_offsets(targets, balance)
    shares = torch.tensor([4 / 8, 3 / 8, 1 / 8])
    expected = shares**balance / (shares**balance).sum()
    torch.testing.assert_close(offsets.softmax(dim=0), expected)


def test_a_class_without_a_face_counts_as_one_face_in_the_balance() -> None:
    offsets = goals.logit_offsets(torch.eye(3)[[0, 0, 0, 1]], 1.0)
    assert offsets[2].item() == pytest.approx(np.log(1 / 4))


def test_figures_of_classes_are_those_of_the_softmax() -> None:
    outputs = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2]], dtype=np.float32))
    figures = ClassTask("x", ("a", "b", "c")).figures(outputs, np.array([0, 1, 2]))
    assert figures["loss"] == pytest.approx(-np.log([0.7, 0.6, 0.2]).mean(), rel=1e-4)
    assert figures["accuracy"] == pytest.approx(2 / 3)
    # F1 of the three: one hit and one false alarm, one hit, one miss.
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_votes_are_a_goal_of_their_own_and_faces_without_any_ask_nothing(tiny: Fer2013) -> None:
    votes = tiny.votes.copy()
    votes[0] = 0
    goal = goals.VoteGoal()
    targets = goal.targets(dataclasses.replace(tiny, votes=votes), Labels())
    assert targets.shape == (len(tiny.emotions), len(FER_PLUS))
    assert targets[0].sum() == 0 and targets[1].sum().item() == pytest.approx(1)
    outputs = torch.randn(2, 8, requires_grad=True)
    goal.loss(outputs, targets[:2]).backward()
    assert (outputs.grad[0] == 0).all() and (outputs.grad[1] != 0).all()


@pytest.mark.parametrize("without", ["votes", "fer2013"])
def test_a_second_head_without_votes_says_how_to_get_them(without: str, tiny: Fer2013) -> None:
    data = dataclasses.replace(tiny, votes=None) if without == "votes" else annotated(expression7=np.zeros(2, int))
    with pytest.raises(UsageError, match=r"second head for FER\+, but no votes were read. Give FERPLUS"):
        goals.VoteGoal().targets(data, Labels())


def test_known_is_what_any_part_of_a_truth_speaks_of() -> None:
    assert goals.known(np.array([3, -1, 0])).tolist() == [True, False, True]
    assert goals.known(np.array([[NAN, 1.0], [NAN, NAN]])).tolist() == [True, False]
    maps = np.full((2, 2, 3, 3), NAN)
    maps[1, 0, 2, 2] = 0
    assert goals.known(maps).tolist() == [False, True]


@pytest.mark.parametrize("task", [name for name in TASKS if name in ("expression7", "expression8")])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_answers_of_classes_are_probabilities_at_the_temperature(task: str, temperature: float) -> None:
    logits = np.random.default_rng(0).normal(size=(5, len(tasks.labels_of(task)))).astype(np.float32)
    answered = tasks.answers(task, logits, temperature)
    np.testing.assert_allclose(np.log(answered), log_softmax(logits / temperature), rtol=1e-4, atol=1e-5)


def test_answers_of_units_are_each_a_probability_and_values_stay_on_their_scale() -> None:
    np.testing.assert_allclose(
        tasks.answers("action-units", np.array([[0.0, 2.0, -2.0]]), 2.0), [[0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.e)]]
    )
    assert tasks.answers("valence-arousal", np.array([[-3.0, 0.25]])).tolist() == [[-1.0, 0.25]]
    assert tasks.answers("smile-intensity", np.array([[-3.0], [4.0]])).tolist() == [[0.0], [1.0]]
    scores = np.array([[5.0, -7.0]])
    assert tasks.answers("saliency", scores) is scores


@pytest.mark.parametrize("name", ["expression7", "valence-arousal", "action-units"])
def test_figures_of_answers_are_those_of_outputs_without_the_loss(name: str) -> None:
    generator = np.random.default_rng(3)
    labels = tasks.labels_of(name)
    outputs = generator.normal(size=(40, len(labels))).astype(np.float32)
    truth = {
        "expression7": generator.integers(0, 7, 40),
        "valence-arousal": generator.uniform(-1, 1, (40, 2)).astype(np.float32),
        "action-units": generator.integers(0, 2, (40, len(labels))).astype(np.float32),
    }[name]
    task = tasks.task_of(Recipe("x", "fer_residual", task=name))
    figures = task.figures(outputs, truth)
    figures.pop("loss")
    answered = tasks.answers(name, outputs)
    if name == "expression7":
        answered = np.log(answered)  # figures of classes take logits, and logarithms of probabilities are some
    assert tasks.figures_of_answers(name, answered, truth) == pytest.approx(figures, rel=1e-4)


def test_a_task_without_a_name_here_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="task 'sleep' is unknown; there are: expression7, expression8"):
        tasks.labels_of("sleep")


@pytest.mark.parametrize(
    ("task", "meaning"),
    [
        ("expression7", "logits"),
        ("action-units", "logits"),
        ("valence-arousal", "values"),
        ("smile-intensity", "values"),
    ],
)
def test_a_contract_says_what_outputs_of_a_task_are(task: str, meaning: str) -> None:
    assert tasks.output_meaning(task) == meaning
    assert tasks.is_of_classes(task) == (task == "expression7")


def test_the_task_attached_once_more_is_a_goal_beside_itself() -> None:
    recipe = Recipe("x", "identity_invariant", task="positive-negative", beside={"attached": 0.5, "independence": 2.0})
    chosen = tasks.beside(recipe)
    assert chosen["attached"].goal == tasks.task_of(recipe)
    assert {name: one.weight for name, one in chosen.items()} == recipe.beside


def test_only_a_map_is_turned_back_for_a_mirrored_face() -> None:
    answered = np.arange(9.0).reshape(1, 9)
    assert tasks.mirrored_back("expression7", answered) is answered
    assert tasks.mirrored_back("saliency", answered).tolist() == [[2, 1, 0, 5, 4, 3, 8, 7, 6]]
