"""A training recipe: a TOML file, read into frozen dataclasses that know every key."""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib

from fer_edge.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Labels:
    """What the network is asked to say. `ferplus_share` blends FER+ vote distributions into FER2013's own labels."""

    ferplus_share: float = 0.5
    smoothing: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """Random changes drawn for a whole batch at once; angles in degrees, shifts as fractions of the side."""

    flip: bool = True
    rotation_deg: float = 10.0
    shift: float = 0.08
    scale: float = 0.1
    brightness: float = 0.2
    contrast: float = 0.2
    erase_probability: float = 0.25
    erase_side: float = 0.35


@dataclass(frozen=True)
class Schedule:
    """SGD with Nesterov momentum, linear warm-up, cosine decay, weights averaged by EMA.

    `ema_warmup` averages over a shorter past in the first thousands of steps, so that early epochs mean something.
    """

    epochs: int = 60
    batch: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    warmup_epochs: float = 2.0
    ema_decay: float = 0.999
    ema_warmup: bool = False
    precision: str = "fp32"
    seed: int = 0


@dataclass(frozen=True)
class Distillation:
    """Learning from teachers as well (Hinton et al., 2015): checkpoints whose mean probabilities are the second target.

    `share` weighs the teachers against the labels; `temperature` softens both sides before they are compared.
    """

    teachers: tuple[str, ...] = ()
    share: float = 0.5
    temperature: float = 2.0


@dataclass(frozen=True)
class Recipe:
    """All that determines a training run, beside the data."""

    name: str
    architecture: str
    arguments: dict[str, Any]
    labels: Labels = Labels()
    augmentation: Augmentation = Augmentation()
    schedule: Schedule = Schedule()
    distillation: Distillation = Distillation()


def load(name_or_path: str) -> Recipe:
    """Read `train/recipes/<name>.toml`, or a TOML file by its path. Raises UsageError on anything unknown."""
    path = Path(name_or_path) if name_or_path.endswith(".toml") else RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UsageError(f"recipe {name_or_path!r} not found; there are: {known}. A path must end in .toml.")
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}.") from None
    return from_table(table, str(path))


def from_table(table: dict[str, Any], where: str) -> Recipe:
    """Build a Recipe from parsed TOML; `where` names it in errors."""
    sections = {
        "labels": Labels,
        "augmentation": Augmentation,
        "schedule": Schedule,
        "distillation": Distillation,
    }
    values: dict[str, Any] = {"arguments": {}, **table}
    for key in ("name", "architecture"):
        if not isinstance(values.get(key), str):
            raise UsageError(f"{where}: expected a string {key!r}.")
    for key, section in sections.items():
        if key in values:
            values[key] = _section(section, values[key], f"{where}, [{key}]")
    _refuse_unknown(values, Recipe, where)
    recipe = Recipe(**values)
    if min(recipe.schedule.epochs, recipe.schedule.batch) < 1 or not isinstance(recipe.arguments, dict):
        raise UsageError(f"{where}: epochs and batch must be 1 or more, arguments a table.")
    if recipe.schedule.precision not in ("fp32", "bf16"):
        raise UsageError(f"{where}: precision is {recipe.schedule.precision!r}, expected fp32 or bf16.")
    return recipe


def _section(section: type, values: dict[str, Any], where: str) -> Any:
    if not isinstance(values, dict):
        raise UsageError(f"{where}: found {values!r}, expected a table.")
    _refuse_unknown(values, section, where)
    if "teachers" in values:
        values = {**values, "teachers": _teachers(values["teachers"], where)}
    for field in dataclasses.fields(section):
        if field.type == tuple[str, ...]:
            continue
        if field.name in values and not isinstance(values[field.name], (field.type, int)):
            raise UsageError(f"{where}: {field.name} is {values[field.name]!r}, expected a {field.type.__name__}.")
    return section(**values)


def _teachers(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{where}: teachers is {value!r}, expected a list of checkpoint files.")
    return tuple(value)


def _refuse_unknown(values: dict[str, Any], section: type, where: str) -> None:
    known = [field.name for field in dataclasses.fields(section)]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}."
            raise UsageError(f"{where}: unknown key {key!r}; {hint}")
