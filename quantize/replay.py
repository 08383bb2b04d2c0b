"""The recipe beside an INT8 model: what it was made by and calibrated with, to make it again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.errors import UsageError
from fer_edge.tables import read_json

from quantize.faces import DEFAULT_COUNT, DEFAULT_SEED
from quantize.ranges import QUANTILE
from quantize.recipes import CHOICES, DEFAULT_TARGET, Recipe


@dataclass(frozen=True)
class Replay:
    """Record beside an INT8 model of how it was made; `names`: what shortened tensor names stand for.

    `percentile` and `max_drop_points` are as on the command line, the latter None where the file does not say it.
    """

    recipe: Recipe
    target: str
    count: int
    seed: int
    percentile: float
    max_drop_points: float | None
    names: dict[str, str]


def load_replay(path: Path) -> Replay:
    """The recipe a search wrote beside its model, and what it was carried out with. Raises UsageError for another file.

    Anything but the recipe itself is at its default where an older file lacks it.
    """
    table = read_json(path, UsageError)
    try:
        made_on, drop = table.get("calibration", {}), table.get("max_drop_points")
        return Replay(
            recipe_from(table["recipe"]),
            str(table.get("target", DEFAULT_TARGET)),
            int(made_on.get("count", DEFAULT_COUNT)),
            int(made_on.get("seed", DEFAULT_SEED)),
            float(made_on.get("percentile", 100 * QUANTILE)),
            None if drop is None else float(drop),
            dict(table.get("names", {})),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UsageError(
            f"{path}: not a recipe ({error}). Name a .recipe.json that quantize wrote beside a model."
        ) from None


def recipe_from(table: dict[str, Any]) -> Recipe:
    """A recipe from its JSON form. Raises TypeError for an unknown key, ValueError for a value no backend knows."""
    lists = {key: tuple(table[key]) for key in ("integer", "exclude") if table.get(key) is not None}
    recipe = Recipe(**{**table, **lists})
    for key, choices in CHOICES.items():
        if getattr(recipe, key) not in choices:
            raise ValueError(f"{key} is {getattr(recipe, key)!r}, expected one of {', '.join(choices)}")
    return recipe
