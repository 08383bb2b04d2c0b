"""Ablation: rows that differ by what the plan says, each trained with each seed, resumed, compared in one table."""

import csv
from pathlib import Path

import pytest

from fer_edge.errors import UsageError

from boards import lab as command
from tests.conftest import ROOT
from train.data import cache
from train.data.fer2013 import Fer2013
from train.fit import checkpoint, loop, recipe
from train.studies import ablation

RECIPE = """name = "tiny"
architecture = "fer_residual"
[arguments]
stem = 4
widths = [4, 8]
depths = [1, 1]
[schedule]
epochs = 2
batch = 14
"""
PLAN = """recipe = "{recipe}"
seeds = [0, 1]
target_accuracy = 0.001
[common.schedule]
epochs = 1
[[rows]]
name = "as it is"
[[rows]]
name = "Half the width"
arguments.widths = [2, 4]
"""


@pytest.fixture
def plan_path(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "plan.toml").write_text(PLAN.format(recipe=tmp_path / "tiny.toml"))
    return tmp_path / "plan.toml"


def test_rows_differ_from_the_recipe_by_what_the_plan_says(plan_path: Path) -> None:
    plan = ablation.load_plan(plan_path)
    first, second = (row.recipe for row in plan.rows)
    assert (first.schedule.epochs, second.schedule.epochs) == (1, 1)  # of all rows
    assert (first.schedule.batch, second.schedule.batch) == (14, 14)  # the recipe's own
    assert (first.arguments["widths"], second.arguments["widths"]) == ([4, 8], [2, 4])
    assert second.arguments["stem"] == 4
    assert (first.name, second.name) == ("plan-as-it-is", "plan-half-the-width")


@pytest.mark.slow
def test_the_table_has_the_mean_of_the_seeds_and_resumes(
    plan_path: Path, tiny: Fer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    words = ["ablate", str(plan_path), "--faces", str(tmp_path / "data.npz"), "--runs", str(tmp_path / "runs")]
    assert command.main([*words, "--out", str(tmp_path / "out.csv"), "--jobs", "2"]) == 0
    with open(tmp_path / "out.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["row"] for row in rows] == ["as it is", "Half the width"]
    assert [(row["seeds"], row["epochs"], row["n"], row["split"]) for row in rows] == [
        ("2", "1", "14", "PublicTest")
    ] * 2
    assert [row["model"] for row in rows] == ["plan-as-it-is-seed0", "plan-half-the-width-seed0"]
    assert int(rows[1]["parameters"]) < int(rows[0]["parameters"])
    assert {row["target_accuracy"] for row in rows} == {"0.0010"}
    assert {row["epochs_to_target"] for row in rows} <= {"1.0", "never"}
    for row in rows:
        assert float(row["accuracy_lowest"]) <= float(row["accuracy"]) <= float(row["accuracy_highest"])
    assert "| Half the width |" in capsys.readouterr().out
    kept = sorted(tmp_path.glob("runs/ablation-plan/*.safetensors"))
    assert [checkpoint.load(path).info.name for path in kept] == ["plan-as-it-is-seed0", "plan-half-the-width-seed0"]
    states = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/ablation-plan/*/state.pt")}
    assert len(states) == 4
    assert command.main([*words, "--out", str(tmp_path / "out.csv")]) == 0
    assert states == {path: path.stat().st_mtime_ns for path in states}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe = ", "not valid TOML"),
        ('recipe = "fer-nano"', "seeds is missing"),
        ('recipe = "fer-nano"\nseeds = [0]\nrow = 1\n[[rows]]\nname = "x"', "unknown key 'row'; did you mean rows"),
        ('recipe = "fer-nano"\nseeds = [0]\n[[rows]]\nlabels.smoothing = 0.1', "a row without a name"),
        ('recipe = "fer-nano"\nseeds = [0]\n[[rows]]\nname = "x"\nlabels.smoothin = 0.1', "did you mean smoothing"),
        ('recipe = "fer-nano"\nseeds = [0]\ntarget_accuracy = 55\n[[rows]]\nname = "x"', "expected a fraction"),
        ("recipe = 7\nseeds = [0]\nrows = []", "recipe is 7, expected text"),
        ('recipe = "fer-nano"\nseeds = [0]\nrows = [1]', "rows is 1, expected a table"),
        ('recipe = "fer-nano"\nseeds = [0]\ncommon.task.x = 1\n[[rows]]\nname = "x"', "task is a table, expected text"),
        ('recipe = "fer-nana"\nseeds = [0]\n[[rows]]\nname = "x"', "'fer-nana' not found"),
    ],
)
def test_a_bad_plan_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        ablation.load_plan(tmp_path / "bad.toml")


def test_a_plan_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not found"):
        ablation.load_plan(tmp_path / "absent.toml")


def test_the_committed_plans_load() -> None:
    plans = sorted(ROOT.glob("train/ablations/*.toml"))
    assert plans
    for path in plans:
        plan = ablation.load_plan(path)
        assert len(plan.seeds) >= 2
        assert len({recipe.seeded(row.recipe, 0).name for row in plan.rows}) == len(plan.rows)


def test_epochs_to_a_target_are_counted_from_the_first() -> None:
    logs = [loop.EpochLog(i + 1, 0.1, 1.0, 1.0, {"accuracy": a}, 1.0) for i, a in enumerate((0.3, 0.5, 0.4, 0.6))]
    assert [ablation._epochs_to(logs, target) for target in (0.2, 0.5, 0.6, 0.7)] == [1, 2, 4, None]


def test_the_page_on_training_has_the_table_that_was_measured() -> None:
    assert ablation.table(ROOT / "docs/ablations/fer-nano/ablation.csv") in (ROOT / "docs/training.md").read_text()
