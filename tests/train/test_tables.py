"""Tables of studies: what each cell says, by hand, without a training."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.metrics import classification_metrics

from train.fit import recipe as recipes
from train.fit.recipe import Recipe, Schedule
from train.fit.run_state import EpochLog
from train.studies import ablation, copies, kfold, maps
from train.studies.ablation import Plan, Row
from train.studies.copies import CopiesRow
from train.studies.maps import MapRow

SMALL = Recipe("plan-wide", "fer_residual", {"stem": 4, "widths": [4], "depths": [1]}, schedule=Schedule(epochs=3))
HEAD = "| | MMAC | accuracy | lowest, highest | macro-F1 |"


def logs(*accuracies: float) -> list[EpochLog]:
    return [
        EpochLog(number, 0.1, 1.0, 1.0, {"accuracy": value, "macro_f1": value / 2}, 1.0)
        for number, value in enumerate(accuracies, start=1)
    ]


def ended(*runs: list[EpochLog]) -> dict[str, list[EpochLog]]:
    return {recipes.seeded(SMALL, seed).name: run for seed, run in enumerate(runs)}


@pytest.mark.parametrize(
    ("target", "reached", "cell"),
    [(None, (), ""), (0.3, (2, 1), "1.5"), (0.5, (3, None), "never"), (0.9, (None, None), "never")],
)
def test_an_ablation_counts_the_epochs_to_its_target_over_all_seeds(
    target: float | None, reached: tuple[int | None, ...], cell: str, tmp_path: Path
) -> None:
    plan = Plan("plan", (Row("wide", SMALL),), (0, 1), target)
    result = ablation._result(plan.rows[0], plan, ended(logs(0.1, 0.3, 0.5), logs(0.45, 0.2, 0.4)), 14)
    assert (result.accuracies, result.macro_f1s) == ((0.5, 0.4), (0.25, 0.2))  # of the last epoch, not the best
    assert (result.model, result.epochs_to_target) == ("plan-wide-seed0", reached)
    ablation.write(tmp_path / "out.csv", [result])
    with open(tmp_path / "out.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    figures = (row["accuracy"], row["accuracy_lowest"], row["accuracy_highest"], row["macro_f1"])
    assert figures == ("0.4500", "0.4000", "0.5000", "0.2250")
    assert (row["epochs_to_target"], row["seeds"], row["n"]) == (cell, "2", "14")
    head, _, line = ablation.table(tmp_path / "out.csv").splitlines()
    assert head == (HEAD if target is None else f"{HEAD} epochs to {target:.0%} |")
    end = f"| 45.00% | 40.00%, 50.00% | 22.50% |{f' {cell} |' if cell else ''}"
    assert line.startswith("| wide | ") and line.endswith(end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = [0]\nrows = []\n", "recipe is missing"),
        ('recipe = "fer-nano"\nseeds = [-1]\nrows = []\n', "seeds.*-1, expected 0 to"),
        ('recipe = "fer-nano"\nseeds = [0]\nrows = [{}]\n', "a row without a name"),
        ('recipe = "fer-nano"\nseeds = [0]\nrows = [{name = 3}]\n', "a row without a name"),
        (
            'recipe = "fer-nano"\nseeds = [0]\nrows = []\ntarget_accuracy = 55.0\n',
            "is 55.*not per cent",
        ),
        ('recipe = "none-such"\nseeds = [0]\nrows = []\n', "recipe 'none-such' not found"),
        (
            'recipe = "fer-nano"\nseeds = [0]\n[[rows]]\nname = "x"\nschedule.epoch = 3\n',
            "plan-x, schedule.*did you mean epochs",
        ),
    ],
)
def test_a_plan_of_an_ablation_that_cannot_be_followed_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as refusal:
        ablation.load_plan(tmp_path / "plan.toml")
    assert "\n" not in str(refusal.value)


def test_accuracy_of_all_faces_is_that_of_both_kinds_by_their_number(tmp_path: Path) -> None:
    row = CopiesRow("m", "m.onnx", "ab", "PublicTest", 10, 4, 0.75, 0.5)
    assert row.accuracy == pytest.approx((3 + 3) / 10)
    assert copies.table([row]).splitlines()[-1] == "| `m.onnx` | 60.00% | 75.00% | 50.00% |"
    copies.write(tmp_path / "copies.csv", [row])
    with open(tmp_path / "copies.csv", newline="") as stream:
        (written,) = csv.DictReader(stream)
    assert tuple(written) == copies._FIELDS
    assert (written["with_copy"], float(written["accuracy_with_copy"])) == ("4", 0.75)


def test_maps_are_a_line_each_with_their_four_indicators(tmp_path: Path) -> None:
    indicators = {"kl": 0.5, "cc": 0.25, "nss": 1.125, "sim": 0.75}
    row = MapRow("m", "its own", "gaze", "CAT2000", 20, indicators)
    assert maps.table([row]).splitlines()[-1] == "| `m`, its own | 20 | 0.500 | 0.250 | 1.125 | 0.750 |"
    maps.write(tmp_path / "maps.csv", [row])
    with open(tmp_path / "maps.csv", newline="") as stream:
        (written,) = csv.DictReader(stream)
    assert {name: float(written[name]) for name in indicators} == indicators
    assert (written["split"], written["truth"], written["dataset"]) == ("PublicTest", "gaze", "CAT2000")


def test_folds_are_a_row_each_then_all_together_with_their_spread(tmp_path: Path) -> None:
    truth = np.arange(8) % 2
    right, half = np.eye(2)[truth], np.eye(2)[np.zeros(8, dtype=int)]
    measured = tuple(classification_metrics(truth, answers) for answers in (half, right, half))
    together = classification_metrics(np.tile(truth, 3), np.concatenate([half, right, half]))
    result = kfold.CrossValidation(
        SMALL, np.zeros(8, dtype=np.int64), measured, together, measured[1], right.astype(np.float32), ()
    )
    assert result.best == 1
    path = kfold.write(result, tmp_path)
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["row"], row["split"], row["n"], row["accuracy"], row["spread"]) for row in rows] == [
        ("fold 0", "Training", "8", "0.5000", ""),
        ("fold 1", "Training", "8", "1.0000", ""),
        ("fold 2", "Training", "8", "0.5000", ""),
        ("all folds", "Training", "24", "0.6667", "0.2887"),  # of 0.5, 1, 0.5 with n - 1
        ("ensemble", "PublicTest", "8", "1.0000", ""),
    ]
    kept = np.load(tmp_path / "out-of-fold.npz")
    np.testing.assert_array_equal(kept["predictions"], right)


def test_the_recipe_of_a_fold_differs_by_its_name_alone() -> None:
    assert dataclasses.replace(kfold.fold_recipe(SMALL, 3), name=SMALL.name) == SMALL
    assert kfold.fold_recipe(SMALL, 3).name == "plan-wide-fold3"
