"""Models of seven and of eight expressions, each judged by FER2013's labels and by FER+'s majority."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.tasks import FER_PLUS

from tests.conftest import ROOT
from train.data.fer2013 import EXPRESSIONS, SPLITS, Fer2013
from train.fit.evaluate import Candidate
from train.studies import label_sets


def candidate(task: str, labels: tuple[str, ...], answer: str) -> Candidate:
    """A model that always says the same, quite surely, and contempt for the rest."""

    def answers(images: np.ndarray) -> np.ndarray:
        probabilities = np.full((len(images), len(labels)), 0.01, np.float32)
        probabilities[:, labels.index(answer)] = 0.4
        if "contempt" in labels:
            probabilities[:, labels.index("contempt")] = 0.5
        return probabilities

    return Candidate(answer, f"{answer}.safetensors", "", task, labels, answers)


def test_eight_without_contempt_and_seven_without_a_word_for_it() -> None:
    eight = np.array([[0.1, 0.2, 0.05, 0.05, 0.04, 0.03, 0.03, 0.5]], np.float32)
    seven = label_sets.in_terms_of("expression7", eight, FER_PLUS)
    assert seven.shape == (1, 7)
    assert seven[0, EXPRESSIONS.index("happy")] == pytest.approx(0.4)  # 0.2 of the half that is not contempt
    back = label_sets.in_terms_of("expression8", seven, EXPRESSIONS)
    assert back[0, FER_PLUS.index("contempt")] == 0
    assert back[0, FER_PLUS.index("happiness")] == pytest.approx(0.4)


def test_each_model_is_judged_by_both_label_sets(tiny: Fer2013, tmp_path: Path) -> None:
    happy = candidate("expression7", tuple(EXPRESSIONS), "happy")
    surprise = candidate("expression8", FER_PLUS, "surprise")
    rows = label_sets.measure([happy, surprise], tiny, "PublicTest")
    assert {(row.model, row.labels) for row in rows} == {
        (model, labels) for model in ("happy", "surprise") for labels in label_sets.LABEL_SETS
    }
    by = {(row.model, row.labels): row for row in rows}
    assert by["happy", "FER2013"].accuracy == pytest.approx(1 / 7)
    assert by["surprise", "FER2013"].accuracy == pytest.approx(1 / 7)  # contempt does not count there
    assert by["surprise", "FER+ majority"].accuracy == 0  # and here it is what the model said
    label_sets.write(tmp_path / "x.csv", rows)
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 5
    assert label_sets.table(rows).count("| `happy.safetensors` |") == 1


def test_other_tasks_and_unfinished_models_are_refused(tiny: Fer2013) -> None:
    other = dataclasses.replace(candidate("expression7", tuple(EXPRESSIONS), "happy"), task="valence-arousal")
    with pytest.raises(UsageError, match="expected expression7 or expression8"):
        label_sets.measure([other], tiny, "PublicTest")
    unfinished = dataclasses.replace(candidate("expression7", tuple(EXPRESSIONS), "happy"), finished=False)
    with pytest.raises(UsageError, match="no finished model"):
        label_sets.measure([unfinished], tiny, "PrivateTest")
    assert label_sets.measure([unfinished], tiny, "PublicTest")
    with pytest.raises(UsageError, match=f"there are: {', '.join(SPLITS)}"):
        label_sets.measure([unfinished], tiny, "Test")


def test_the_page_on_training_shows_what_was_measured() -> None:
    with open(ROOT / "docs/measured/labelsets.csv", newline="") as stream:
        rows = [
            label_sets.LabelSetRow(
                *(row[name] for name in ("model", "file", "checkpoint_sha256", "labels", "split")),
                int(row["n"]),
                float(row["accuracy"]),
                float(row["macro_f1"]),
            )
            for row in csv.DictReader(stream)
        ]
    assert label_sets.table(rows) in (ROOT / "docs/training.md").read_text()


def test_the_readme_says_of_fer_plus_what_was_measured() -> None:
    with open(ROOT / "models/results-expression8.csv", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream) if row["split"] == "PrivateTest"}
    row, int8 = rows["fer-plus.safetensors"], rows["fer-plus.int8.tflite"]
    words = " ".join((ROOT / "README.md").read_text().split())
    assert f"{float(row['accuracy']):.2%} of {int(row['n']):,} faces" in words
    assert f"INT8 TFLite {float(int8['accuracy']):.2%}; float macro-F1 {float(row['macro_f1']):.2%}" in words
