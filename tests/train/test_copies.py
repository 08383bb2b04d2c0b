"""Copies that a model may have met: the faces of a split whose near-duplicates are in Training, measured apart."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from boards import lab as command
from tests.conftest import ROOT
from tests.train.test_xception import faces
from train.data import cache
from train.data.fer2013 import EXPRESSIONS, Fer2013
from train.fit.evaluate import Candidate
from train.studies import copies


@pytest.fixture
def sharing(tiny: Fer2013) -> Fer2013:
    """Faces that differ; the first five of PublicTest are faces of Training, a little brighter."""
    images = faces(len(tiny.images), seed=7)
    images[42:47] = np.clip(images[:5].astype(int) + 9, 0, 255)
    return dataclasses.replace(tiny, images=images)


def test_faces_with_a_copy_in_training_are_found(sharing: Fer2013) -> None:
    assert copies.in_training(sharing, "PublicTest").tolist() == [True] * 5 + [False] * 9
    assert not copies.in_training(sharing, "PrivateTest").any()


def test_they_are_measured_apart(sharing: Fer2013) -> None:
    def answers(images: np.ndarray) -> np.ndarray:
        """Right about the first five, as one who remembers them; happy about all others."""
        said = np.full(len(images), EXPRESSIONS.index("happy"))
        said[:5] = sharing.emotions[42:47]
        return np.eye(len(EXPRESSIONS))[said]

    candidate = Candidate("m", "m.onnx", "0" * 64, "expression7", EXPRESSIONS, answers)
    (row,) = copies.measure([candidate], sharing, "PublicTest")
    others = float((sharing.emotions[47:56] == EXPRESSIONS.index("happy")).mean())
    assert (row.n, row.with_copy, row.accuracy_with_copy) == (14, 5, 1.0)
    assert row.accuracy_without == pytest.approx(others)
    assert row.accuracy == pytest.approx((5 + 9 * others) / 14)


def test_the_command_writes_a_row_a_model(sharing: Fer2013, default_model: Path, tmp_path: Path) -> None:
    cache.save(sharing, tmp_path / "data.npz")
    words = ["copies", str(default_model), "--faces", str(tmp_path / "data.npz"), "--out", str(tmp_path / "c.csv")]
    assert command.main(words) == 0
    with open(tmp_path / "c.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["file"], row["split"], row["n"], row["with_copy"]) == (default_model.name, "PublicTest", "14", "5")


def test_a_split_without_copies_is_one_line(
    sharing: Fer2013, default_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.save(sharing, tmp_path / "data.npz")
    words = ["copies", str(default_model), "--faces", str(tmp_path / "data.npz"), "--split", "PrivateTest"]
    assert command.main([*words, "--out", str(tmp_path / "c.csv")]) == 2
    assert "0 of 14 faces have a copy in Training" in capsys.readouterr().err
    assert not (tmp_path / "c.csv").exists()


def test_the_page_on_training_has_the_table_that_was_measured() -> None:
    with open(ROOT / "docs/measured/copies.csv", newline="") as stream:
        rows = [
            copies.CopiesRow(
                *(row[name] for name in ("model", "file", "checkpoint_sha256", "split")),
                *(int(row[name]) for name in ("n", "with_copy")),
                *(float(row[name]) for name in ("accuracy_with_copy", "accuracy_without")),
            )
            for row in csv.DictReader(stream)
        ]
    assert copies.table(rows) in (ROOT / "docs/training.md").read_text()
