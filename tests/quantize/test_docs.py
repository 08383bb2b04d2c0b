"""The page on INT8: its table and the figures in its text are those of the committed CSV files."""

import csv

import numpy as np
import pytest

from fer_edge.errors import UsageError

from boards import lab as command
from quantize import simulate
from quantize.report import markdown
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "quantization.md").read_text()
MEASURED = ROOT / "docs" / "measured" / "fer-nano"


def row(recipe: str) -> dict[str, str]:
    with open(MEASURED / "search.csv", newline="") as stream:
        return next(row for row in csv.DictReader(stream) if row["recipe"] == recipe)


def test_the_table_is_that_of_the_committed_search() -> None:
    assert markdown(MEASURED / "search.csv") in PAGE


def test_the_table_of_verdicts_is_that_of_the_committed_simulation() -> None:
    assert simulate.table(ROOT / "docs" / "measured" / "gate.csv") in PAGE


def test_no_bad_file_passes_and_the_default_faces_decide() -> None:
    with open(ROOT / "docs" / "measured" / "gate.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    good, bad = ([row for row in rows if row["agreement"] == rate] for rate in ("0.9889", "0.961"))
    assert {float(row["passed"]) for row in bad} == {0.0}
    assert max(float(row["failed"]) for row in good) <= 0.01
    assert float(good[-1]["passed"]) > 0.9
    assert float(bad[-1]["failed"]) == 1


def test_a_simulated_file_has_the_rates_asked_for() -> None:
    generator = np.random.default_rng(0)
    outputs, labels = generator.normal(size=(2000, 7)).astype(np.float32), generator.integers(0, 7, 2000)
    outputs[np.arange(1200), labels[:1200]] += 9
    made = simulate.changed(outputs, labels, simulate.Rates(0.96, 0.8)).argmax(axis=1)
    named = outputs.argmax(axis=1)
    assert (made == named).mean() == pytest.approx(0.96, abs=0.001)
    assert 100 * ((named == labels).mean() - (made == labels).mean()) == pytest.approx(0.8, abs=0.06)
    with pytest.raises(UsageError, match="cannot be"):
        simulate.changed(outputs, labels, simulate.Rates(0.99, 5.0))


def test_what_is_said_of_training_is_what_was_measured() -> None:
    text = " ".join(PAGE.split())
    trained, plain, best = row("nncf-qat"), row("nncf"), row("qdq-u8-quantile")
    for figure in ("agreement", "accuracy"):
        first, second, third = (f"{float(entry[figure]):.2%}".replace("%", " %") for entry in (plain, trained, best))
        assert f"from {first} to {second}" in text
        assert third in text
    assert trained["int8_convs"] == trained["convs"] == "13"
    assert float(trained["latency_ratio"]) <= 1.02 * float(best["latency_ratio"])


def test_a_table_that_is_none_is_refused(tmp_path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    assert command.main(["table", str(path)]) == 2
