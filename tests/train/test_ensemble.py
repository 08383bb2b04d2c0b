"""Groups of models: the mean of their probabilities over face and mirror image, judged on PublicTest."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import UsageError

from tests.conftest import ROOT
from train.data.fer2013 import EXPRESSIONS, Fer2013
from train.fit.evaluate import Candidate
from train.studies import ensemble


def candidate(name: str, probability_of_truth: float, data: Fer2013, task: str = "expression7") -> Candidate:
    """A model that knows the class by the brightness of `tiny`'s faces, this surely, and else says angry."""

    def answers(images: np.ndarray) -> np.ndarray:
        seen = np.clip((images.mean((1, 2)) - 5) // 30, 0, 6).astype(int)
        probabilities = np.zeros((len(images), 7), np.float32)
        probabilities[:, 0] = 1 - probability_of_truth
        probabilities[np.arange(len(images)), seen] += probability_of_truth
        return probabilities

    return Candidate(name, f"{name}.safetensors", "", task, tuple(EXPRESSIONS), answers)


def test_every_group_is_judged_by_its_mean_and_named_by_its_members(tiny: Fer2013) -> None:
    weak, strong = candidate("weak", 0.4, tiny), candidate("strong", 0.9, tiny)
    rows = {row.group: row for row in ensemble.measure([weak, strong], tiny)}
    assert set(rows) == {"weak", "strong", "weak+strong"}
    assert rows["strong"].accuracy == 1.0
    assert rows["weak"].accuracy == pytest.approx(1 / 7)
    assert rows["weak+strong"].accuracy == 1.0  # 0.65 for the truth on average
    assert rows["weak+strong"].gain == 0.0
    assert rows["weak"].n == 14


def test_groups_stay_within_the_largest_and_begin_with_the_best(tiny: Fer2013) -> None:
    three = [candidate(name, share, tiny) for name, share in (("a", 0.4), ("b", 0.9), ("c", 0.1))]
    rows = ensemble.measure(three, tiny, largest=2)
    assert max(row.members for row in rows) == 2
    assert [row.accuracy for row in rows] == sorted((row.accuracy for row in rows), reverse=True)


def test_models_of_different_tasks_make_no_group(tiny: Fer2013) -> None:
    with pytest.raises(UsageError, match="expected expression7 as a.safetensors does".replace(".", r"\.")):
        ensemble.measure([candidate("a", 0.9, tiny), candidate("b", 0.9, tiny, task="expression8")], tiny)


def test_the_table_and_the_file_say_the_same(tiny: Fer2013, tmp_path: Path) -> None:
    rows = ensemble.measure([candidate("a", 0.9, tiny)], tiny)
    ensemble.write(tmp_path / "ensemble.csv", rows)
    text = (tmp_path / "ensemble.csv").read_text()
    assert text == "group,members,n,accuracy,macro_f1,gain\na,1,14,1.0000,1.0000,0.0000\n"
    assert ensemble.table(rows).splitlines()[-1] == "| a | 100.00% | 100.00% | +0.00 |"


def test_the_page_on_training_shows_what_was_measured() -> None:
    with open(ROOT / "docs/measured/ensemble.csv", newline="") as stream:
        rows = [
            ensemble.GroupRow(
                row["group"],
                *(int(row[name]) for name in ("members", "n")),
                *(float(row[name]) for name in ("accuracy", "macro_f1", "gain")),
            )
            for row in csv.DictReader(stream)
        ]
    page = (ROOT / "docs/training.md").read_text()
    best = [line for line in ensemble.table(rows[:6]).splitlines() if line not in page]
    alone = [
        line for line in ensemble.table([row for row in rows if row.members == 1]).splitlines() if line not in page
    ]
    assert not best + alone
