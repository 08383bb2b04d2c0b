"""The recipe beside a model: read back as it was, with defaults for what an older file lacks, refused in one line."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import UsageError

from quantize.ranges import QUANTILE
from quantize.recipes import TARGETS, Recipe, recipes_for
from quantize.replay import load_replay, recipe_from

((RECIPE,),) = recipes_for(TARGETS["x86"], "qdq-u8-quantile")
EVERY = {
    f"{target.name} {recipe.name}": recipe
    for target in TARGETS.values()
    for rung in recipes_for(target, "all")
    for recipe in rung
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "small.int8.onnx.recipe.json"
    table = {"recipe": asdict(RECIPE), **changes}
    path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))
    return path


def test_a_recipe_comes_back_with_what_it_was_carried_out_with(tmp_path: Path) -> None:
    made = {"count": 70, "seed": 3, "percentile": 99.5}
    path = written(tmp_path, target="armv8.2-dot", calibration=made, max_drop_points=0.7, names={"a": "/conv/kernel"})
    replay = load_replay(path)
    assert replay.recipe == RECIPE
    assert (replay.target, replay.count, replay.seed, replay.percentile) == ("armv8.2-dot", 70, 3, 99.5)
    assert (replay.max_drop_points, replay.names) == (0.7, {"a": "/conv/kernel"})


def test_what_an_older_file_lacks_is_at_its_default(tmp_path: Path) -> None:
    replay = load_replay(written(tmp_path))
    assert (replay.target, replay.count, replay.seed) == ("x86", 512, 0)
    assert (replay.max_drop_points, replay.names) == (None, {})
    assert replay.percentile == 100 * QUANTILE


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": None},
        {"recipe": []},
        {"recipe": {"name": "x", "colour": "blue"}},
        {"recipe": {**asdict(RECIPE), "backend": "magic"}},
        {"calibration": 7},
        {"calibration": {"count": "many"}},
        {"calibration": {"count": 1e999}},
        {"max_drop_points": "little"},
        {"names": 3},
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"small\.int8\.onnx\.recipe\.json: .*not") as refused:
        load_replay(written(tmp_path, **changes))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_absent_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.json"):
        load_replay(tmp_path / "absent.json")


@pytest.mark.parametrize("recipe", EVERY.values(), ids=EVERY)
def test_every_recipe_survives_json(recipe: Recipe) -> None:
    assert recipe_from(json.loads(json.dumps(asdict(recipe)))) == recipe


def test_a_value_no_backend_knows_is_named_with_those_known() -> None:
    with pytest.raises(ValueError, match="backend is 'magic', expected one of "):
        recipe_from({**asdict(RECIPE), "backend": "magic"})
