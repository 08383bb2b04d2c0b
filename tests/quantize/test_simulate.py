"""How often the gate passes files of known rates: the sum of the verdicts, the CSV, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import UsageError

from quantize.simulate import Frequency, Rates, changed, simulate, table, write
from tests.export import small

LABELS = np.arange(700) % 7


def named(share_right: float) -> np.ndarray:
    """Predictions right on that share of LABELS."""
    classes = np.where(np.arange(700) % 100 < 100 * share_right, LABELS, (LABELS + 1) % 7)
    outputs = np.eye(7, dtype=np.float32)[classes]
    return (
        outputs
        + np.eye(7, dtype=np.float32)[(classes + 2) % 7] / 2
        + np.eye(7, dtype=np.float32)[(classes + 3) % 7] / 4
    )


@pytest.mark.parametrize(("agreement", "drop"), [(0.98, 0.0), (0.95, 1.0), (0.9, 3.0), (1.0, 0.0)])
def test_a_changed_file_has_the_rates_asked_for(agreement: float, drop: float) -> None:
    own = named(0.7)
    made = changed(own, LABELS, Rates(agreement, drop)).argmax(axis=1)
    before = own.argmax(axis=1)
    assert (made == before).mean() == pytest.approx(agreement, abs=0.003)
    assert (before == LABELS).mean() - (made == LABELS).mean() == pytest.approx(drop / 100, abs=0.003)


def test_a_file_cannot_lose_more_than_it_changes() -> None:
    with pytest.raises(UsageError, match=r"agreement 99\.00% with a drop of 5 points cannot be"):
        changed(named(0.7), LABELS, Rates(0.99, 5))


def test_every_draw_has_one_verdict_and_more_faces_leave_fewer_open(default_model: Path, tmp_path: Path) -> None:
    faces = small.write_faces(tmp_path / "faces.npz")
    few, many = simulate(default_model, [Rates(0.5, 0.0)], faces, "PublicTest", 20, (32, 1000))
    for row in (few, many):
        assert row.passed + row.failed + row.too_few == pytest.approx(1)
        assert (row.draws, row.agreement, row.model) == (20, 0.5, "fer-base")
    assert (few.faces, many.faces) == (32, 1000)
    assert many.failed == 1, "half of the faces change"
    assert many.too_few <= few.too_few


def test_the_table_has_a_row_a_number_of_faces_and_four_columns_a_file(tmp_path: Path) -> None:
    def row(agreement: float, faces: int, passed: float) -> Frequency:
        return Frequency(agreement, 0.2, faces, 100, 0.75, passed, 0.0, 1 - passed, "fer-base", "FER2013 PublicTest")

    rows = [row(0.99, 32, 0.0), row(0.99, 3589, 0.98), row(0.95, 32, 0.0), row(0.95, 3589, 0.02)]
    write(rows, tmp_path / "gate.csv")
    lines = table(tmp_path / "gate.csv").splitlines()
    assert len(lines) == 2 + 2
    assert lines[0].count("passed before") == 2
    assert lines[2] == "| 32 | 75% | 0% | 0% | 100% | 75% | 0% | 0% | 100% |"
    assert lines[3].startswith("| 3,589 | 75% | 98% | 0% | 2% |")
