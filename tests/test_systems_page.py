"""The page of the published systems: its tables are those of the committed CSV files."""

import csv

import pytest

from boards.figures import systems_table, variants_table
from boards.groups import SYSTEMS
from tests.conftest import ROOT
from train.studies import maps, probe, robustness

PAGE = (ROOT / "docs/systems.md").read_text()


def rows_of(name: str) -> list[dict[str, str]]:
    with open(ROOT / SYSTEMS / name, newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_quantize_made_of_each() -> None:
    assert systems_table(ROOT / SYSTEMS) in PAGE


def test_what_each_change_to_mobilenetv3_is_worth() -> None:
    assert variants_table(ROOT / "docs/ablations/mobilenetv3") in PAGE


@pytest.mark.parametrize(
    "name", [f"{what}{kind}.csv" for what in ("probe", "probe-faceres") for kind in ("", "-two-layer")]
)
def test_what_a_probe_finds_before_and_after(name: str) -> None:
    rows = rows_of(name)
    named = [
        probe.ProbeRow(row["model"], row["features"], row["attribute"], row["dataset"], int(row["n"]), float(row["r2"]))
        for row in rows
    ]
    assert probe.table(named) in PAGE


@pytest.mark.parametrize(
    "name",
    ["robustness.csv", "robustness-fer-small.csv", "robustness-fer-base.csv", "robustness-positive-negative.csv"],
)
def test_accuracy_under_noise(name: str) -> None:
    names = ("model", "file", "dataset", "noise")
    numbers = {"n": int, "step": int, "seed": int, "accuracy": float, "macro_f1": float}
    rows = [
        robustness.RobustnessRow(
            **{name: row[name] for name in names}, **{name: kind(row[name]) for name, kind in numbers.items()}
        )
        for row in rows_of(name)
    ]
    for line in robustness.table(rows).splitlines()[2:]:
        assert line in PAGE


@pytest.mark.parametrize("name", ["maps.csv", "maps-fer-base.csv"])
def test_how_near_the_maps_are(name: str) -> None:
    rows = [
        maps.MapRow(
            *(row[name] for name in ("model", "map", "truth", "dataset")),
            int(row["n"]),
            {name: float(row[name]) for name in ("kl", "cc", "nss", "sim")},
        )
        for row in rows_of(name)
    ]
    assert maps.table(rows) in PAGE
