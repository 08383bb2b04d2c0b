"""A training recipe: a TOML file, read into frozen dataclasses that know every key."""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import tomllib

from fer_edge.errors import UsageError

from train.fer2013 import SIDE_PX

RECIPES = Path(__file__).parent / "recipes"
_LIST_OF = {str: "checkpoint files", int: "whole numbers"}


@dataclass(frozen=True)
class Labels:
    """What the network is asked to say.

    `ferplus_share` blends FER+ vote distributions into FER2013's own labels. `second_head` weighs a second task, the
    eight classes of FER+ with contempt, which the network learns beside its own and which no export holds.
    """

    ferplus_share: float = 0.5
    smoothing: float = 0.0
    second_head: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """Random changes drawn for a whole batch at once; angles in degrees, shifts as fractions of the side.

    `mixup` is alpha of the Beta distribution two faces are mixed by (Zhang et al., 2018); 0 mixes none.
    """

    flip: bool = True
    rotation_deg: float = 10.0
    shift: float = 0.08
    scale: float = 0.1
    brightness: float = 0.2
    contrast: float = 0.2
    erase_probability: float = 0.25
    erase_side: float = 0.35
    mixup: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """SGD with Nesterov momentum, linear warm-up, cosine decay, weights averaged by EMA.

    With a `muon_learning_rate` above 0, Muon moves the convolutions, on the same curve, and SGD the rest.
    `ema_warmup` averages over a shorter past in the first thousands of steps, so that early epochs mean something.
    `sizes` are the sides in pixels the faces are trained at, each for an equal share of the epochs: small faces first
    cost less (progressive resizing). Validation is always at the full 48.
    """

    epochs: int = 60
    batch: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    warmup_epochs: float = 2.0
    ema_decay: float = 0.999
    ema_warmup: bool = False
    muon_learning_rate: float = 0.0
    muon_weight_decay: float = 0.1
    precision: str = "fp32"
    seed: int = 0
    sizes: tuple[int, ...] = (SIDE_PX,)

    def size(self, epoch: int) -> int:
        """Side in pixels of the faces in `epoch`, counted from 0."""
        return self.sizes[min(epoch * len(self.sizes) // self.epochs, len(self.sizes) - 1)]


@dataclass(frozen=True)
class Distillation:
    """Learning from teachers as well (Hinton et al., 2015): checkpoints whose mean probabilities are the second target.

    `share` weighs the teachers against the labels; `temperature` softens both sides before they are compared.
    `live` teachers see each augmented face; otherwise they answer once, on the plain face and its mirror image, which
    costs nothing in a step.
    """

    teachers: tuple[str, ...] = ()
    share: float = 0.5
    temperature: float = 2.0
    live: bool = True


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
    return from_table(*read_table(name_or_path))


def read_table(name_or_path: str) -> tuple[dict[str, Any], str]:
    """The parsed TOML of a recipe, unchecked, and the path it came from. Raises UsageError."""
    path = Path(name_or_path) if name_or_path.endswith(".toml") else RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UsageError(f"recipe {name_or_path!r} not found; there are: {known}. A path must end in .toml.")
    try:
        return tomllib.loads(path.read_text()), str(path)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}.") from None


def seeded(recipe: Recipe, seed: int) -> Recipe:
    """The same recipe with another seed, under a name that tells it."""
    return dataclasses.replace(
        recipe, name=f"{recipe.name}-seed{seed}", schedule=dataclasses.replace(recipe.schedule, seed=seed)
    )


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
    if not recipe.schedule.sizes or min(recipe.schedule.sizes) < 8 or max(recipe.schedule.sizes) > SIDE_PX:
        raise UsageError(f"{where}: sizes is {list(recipe.schedule.sizes)}, expected sides of 8 to {SIDE_PX} pixels.")
    return recipe


def _section(section: type, values: dict[str, Any], where: str) -> Any:
    if not isinstance(values, dict):
        raise UsageError(f"{where}: found {values!r}, expected a table.")
    _refuse_unknown(values, section, where)
    fields = {field.name: field for field in dataclasses.fields(section)}
    return section(**{key: _typed(value, fields[key].type, f"{where}: {key}") for key, value in values.items()})


def _typed(value: Any, kind: Any, what: str) -> Any:
    """`value` as the field wants it. A whole number may stand for a fraction; a list becomes a tuple."""
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if not isinstance(value, list) or not all(type(entry) is item for entry in value):
            raise UsageError(f"{what} is {value!r}, expected a list of {_LIST_OF[item]}.")
        return tuple(value)
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise UsageError(f"{what} is {value!r}, expected a {kind.__name__}.")
    return value


def _refuse_unknown(values: dict[str, Any], section: type, where: str) -> None:
    known = [field.name for field in dataclasses.fields(section)]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}."
            raise UsageError(f"{where}: unknown key {key!r}; {hint}")
