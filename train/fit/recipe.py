"""A training recipe: a TOML file, read into frozen dataclasses that know every key."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fer_edge.errors import UsageError
from fer_edge.noise import NOISES, STEPS
from fer_edge.tables import Range, build, read_toml, shown

from train.data.fer2013 import SIDE_PX

RECIPES = Path(__file__).parents[1] / "recipes"
_LONGEST_NAME = 255
Count = Annotated[int, Range(1, 10**6)]


@dataclass(frozen=True)
class Labels:
    """Labels the network is trained on.

    `ferplus_share` blends FER+ vote distributions into FER2013's own labels. `balance`, 0 to 1, makes up for rare
    classes: in the loss alone, so much of the logarithm of a class's share in Training is added to its logit (Menon et
    al., 2021, https://arxiv.org/abs/2007.07314), so that the network itself need not learn the shares. `second_head`
    weighs a second task, the eight classes of FER+ with contempt, which the network learns beside its own and which no
    export holds. `saliency_teacher` is the checkpoint whose evidence stands in for people's gaze,
    `saliency_indicators` are what the loss of a map is made of (`train.fit.saliency`), `attributes` is the source of
    what identifies a face (`train.fit.attributes`).
    """

    ferplus_share: float = 0.5
    balance: float = 0.0
    smoothing: float = 0.0
    second_head: float = 0.0
    saliency_teacher: str = ""
    saliency_indicators: tuple[str, ...] = ("kl", "cc", "nss")
    attributes: str = "photometric"


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
    With a `sharpness_radius` above 0 each step follows the gradient of a place that far uphill, at twice the cost
    (sharpness-aware minimisation, Foret et al., 2021): for networks large enough to learn Training by heart.
    """

    epochs: Count = 60
    batch: Count = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    warmup_epochs: float = 2.0
    ema_decay: float = 0.999
    ema_warmup: bool = False
    muon_learning_rate: float = 0.0
    muon_weight_decay: float = 0.1
    sharpness_radius: float = 0.0
    precision: str = "fp32"
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    sizes: tuple[int, ...] = (SIDE_PX,)

    def size(self, epoch: int) -> int:
        """Side in pixels of the faces in `epoch`, counted from 0."""
        return self.sizes[min(epoch * len(self.sizes) // self.epochs, len(self.sizes) - 1)]


@dataclass(frozen=True)
class Distillation:
    """Learning from teachers as well (Hinton et al., 2015): checkpoints whose mean probabilities are the second target.

    `share` weighs the teachers against the labels; `temperature` softens both sides before they are compared.
    `live` teachers see each augmented face; otherwise they answer once, on the plain face and its mirror image, which
    costs nothing in a step. `answers`: a file of stored answers instead of teachers (`train.fit.answers`); the student
    sees the views they were given for, moved on by the recipe's own augmentation, which should then move them little.
    `consensus` is how far the answer for a view moves to the mean over all views of its face.
    """

    teachers: tuple[str, ...] = ()
    answers: str = ""
    consensus: float = 0.5
    share: float = 0.5
    temperature: float = 2.0
    live: bool = True


@dataclass(frozen=True)
class Noise:
    """Noise added while training (`fer_edge.noise`), to a share of the faces of every batch, each with its own kind.

    `schedule` is "mixed": every step of the ladder up to `steps` from the start; or "curriculum": the first step first,
    one more for each equal part of the epochs. A `share` of 0 adds none.
    """

    share: float = 0.0
    kinds: tuple[str, ...] = ()
    schedule: str = "mixed"
    steps: int = 5


@dataclass(frozen=True)
class Finetuning:
    """Starting from weights that exist: a local file, whose tensors go where name and shape agree.

    For `head_epochs` only the new head learns and the rest stays as it was, statistics of its normalisation included;
    after that everything learns, the rest at `body_rate` times the learning rate of the head.
    """

    weights: str = ""
    head_epochs: int = 0
    body_rate: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """All that determines a training run, beside the data.

    `task` is what the exported network predicts (`train.fit.tasks`); `beside` maps other things it learns at the same
    time, and no export holds, to the weight of their loss.
    """

    name: str
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    task: str = "expression7"
    beside: dict[str, float] = field(default_factory=dict)
    labels: Labels = Labels()
    augmentation: Augmentation = Augmentation()
    schedule: Schedule = Schedule()
    distillation: Distillation = Distillation()
    noise: Noise = Noise()
    finetuning: Finetuning = Finetuning()


def load(name_or_path: str) -> Recipe:
    """Read `train/recipes/<name>.toml`, or a TOML file by its path. Raises UsageError on anything unknown."""
    return from_table(*read_table(name_or_path))


def read_table(name_or_path: str) -> tuple[dict[str, Any], str]:
    """The parsed TOML of a recipe, unchecked, and the path it came from. Raises UsageError."""
    path = Path(name_or_path) if name_or_path.endswith(".toml") else RECIPES / f"{name_or_path}.toml"
    if len(path.name) > _LONGEST_NAME or not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UsageError(f"recipe {shown(name_or_path)} not found; there are: {known}. A path must end in .toml.")
    return read_toml(path), str(path)


def seeded(recipe: Recipe, seed: int) -> Recipe:
    """The same recipe with another seed, under a name that tells it."""
    return dataclasses.replace(
        recipe, name=f"{recipe.name}-seed{seed}", schedule=dataclasses.replace(recipe.schedule, seed=seed)
    )


def from_table(table: dict[str, Any], where: str) -> Recipe:
    """Build a Recipe from parsed TOML; `where` names it in errors."""
    recipe = build(Recipe, table, where, UsageError)
    if min(recipe.beside.values(), default=1.0) <= 0:
        raise UsageError(f"{where}, beside: weights are {list(recipe.beside.values())}, expected numbers above 0.")
    if recipe.schedule.precision not in ("fp32", "bf16"):
        raise UsageError(f"{where}: precision is {recipe.schedule.precision!r}, expected fp32 or bf16.")
    _check_noise(recipe.noise, where)
    _check_sizes(recipe, where)
    _check_balance(recipe, where)
    _check_distillation(recipe.distillation, where)
    return recipe


def _check_balance(recipe: Recipe, where: str) -> None:
    balance = recipe.labels.balance
    if not 0 <= balance <= 1:
        raise UsageError(f"{where}, [labels]: balance is {balance}, expected 0 to 1.")
    if balance and recipe.task not in ("expression7", "expression8", "positive-negative"):
        raise UsageError(f"{where}, [labels]: balance is for classes, and the task is {recipe.task}. Leave it out.")


def _check_distillation(distillation: Distillation, where: str) -> None:
    if distillation.answers and distillation.teachers:
        raise UsageError(f"{where}, [distillation]: found teachers and answers, expected one of them.")
    if not 0 <= distillation.consensus <= 1:
        raise UsageError(f"{where}, [distillation]: consensus is {distillation.consensus}, expected 0 to 1.")


def _check_sizes(recipe: Recipe, where: str) -> None:
    """Teachers whose argument `side` scales the faces up are trained at that side, all others at the data's own."""
    sizes, side = recipe.schedule.sizes, recipe.arguments.get("side", SIDE_PX)
    if not sizes or min(sizes) < 8 or max(sizes) > side:
        raise UsageError(f"{where}: sizes is {list(sizes)}, expected sides of 8 to {side} pixels.")
    if sizes[-1] != side:
        # Statistics of small faces are not those of whole ones, GroupNorm's least of all.
        raise UsageError(
            f"{where}: sizes is {list(sizes)}, expected {side} at its end: faces of that side are "
            "what is validated, exported and met on a board."
        )


def _check_noise(noise: Noise, where: str) -> None:
    unknown = sorted(set(noise.kinds) - set(NOISES))
    if unknown or noise.schedule not in ("mixed", "curriculum") or not 1 <= noise.steps <= STEPS:
        raise UsageError(
            f"{where}, [noise]: expected kinds among {', '.join(NOISES)}, a schedule mixed or curriculum, steps 1 to "
            f"{STEPS}."
        )
    if not 0 <= noise.share <= 1 or (noise.share > 0 and not noise.kinds):
        raise UsageError(f"{where}, [noise]: share is {noise.share} of kinds {list(noise.kinds)}; expected 0 to 1.")
