"""docs/model-contract.md: its example is a contract, its table has every key, its figures are the measured ones."""

import csv
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from fer_edge.classifier import Classifier
from fer_edge.contract import METADATA_KEY, ModelContract, lowest_schema, parse_contract
from fer_edge.contract_schema import json_schema
from fer_edge.tasks import TASKS

from tests.conftest import ROOT
from tests.runtime.fakes.foreign import IMAGENET, Foreign, write_foreign

PAGE = (ROOT / "docs" / "model-contract.md").read_text(encoding="utf-8")


def example() -> ModelContract:
    found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return parse_contract(found.group(1), "docs/model-contract.md")


def keys_of(schema: dict[str, Any]) -> set[str]:
    """All keys of a JSON Schema, also of the tables inside."""
    inner = [*schema.get("anyOf", ()), *schema.get("properties", {}).values()]
    inner += [schema["items"]] if "items" in schema else []
    return set(schema.get("properties", ())).union(*map(keys_of, inner))


def test_the_example_is_a_contract_in_its_lowest_schema() -> None:
    contract = example()
    assert contract.schema_version == lowest_schema(contract) == 3
    assert parse_contract(contract.to_json(), "again") == contract


def test_the_table_has_every_key_and_task() -> None:
    table = PAGE[PAGE.index("## Keys") : PAGE.index("## What the board does")]
    said = set(re.findall(r"`([a-z0-9_-]+)`", table))
    assert keys_of(json_schema()) <= said
    assert set(TASKS) <= said


def test_the_figures_of_alignment_are_the_measured_ones() -> None:
    with open(ROOT / "docs" / "measured" / "alignment.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 2 * 3
    for detector, turn_deg in {(row["detector"], row["turn_deg"]) for row in rows}:
        same = {row["model"]: row for row in rows if (row["detector"], row["turn_deg"]) == (detector, turn_deg)}
        cells = [
            "{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * float(row[key]) for key in ("gain", "gain_low", "gain_high")))
            for row in (same[f"{name}.fp32.onnx"] for name in ("fer-base", "fer-small", "fer-nano"))
        ]
        found = {f"{row['found']} of {row['n']}" for row in same.values()}
        if turn_deg == "30":
            assert f"by {same['fer-base.fp32.onnx']['eyes_turned_deg']}°" in PAGE.replace("\n", " ")
        assert f"| {detector} | {turn_deg}° | {' '.join(found)} | {' | '.join(cells)} |" in PAGE


def test_flags_it_names_exist() -> None:
    text = (ROOT / "runtime" / "fer_edge" / "settings.py").read_text()
    flags = set(re.findall(r"`(--[a-z-]+)`", PAGE))
    assert flags and all(f'"{flag}"' in text for flag in flags)


def test_its_lines_put_a_contract_into_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    foreign = Foreign(side_px=112, embedding=True, **IMAGENET)
    model = onnx.load(write_foreign(tmp_path / "mine.onnx", foreign))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "mine.onnx")
    (tmp_path / "mine.json").write_text(example().to_json(), encoding="utf-8")
    lines = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert lines is not None
    (tmp_path / "lines.py").write_text(lines.group(1), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("lines.py")
    classifier = Classifier(tmp_path / "mine.onnx")
    assert classifier.contract == example()
    assert classifier.engine.metadata(METADATA_KEY) == json.loads(json.dumps(example().to_json()))
