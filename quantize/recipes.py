"""The recipes a search tries: a small, named set, chosen for the processor the model is meant for."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.errors import UsageError

from quantize.faces import DEFAULT_COUNT, DEFAULT_SEED
from quantize.ranges import QUANTILE

ONNXRUNTIME, AI_EDGE = "onnxruntime", "ai-edge-quantizer"
NNCF, NNCF_ACCURACY, NNCF_QAT = "nncf", "nncf-accuracy-control", "nncf-qat"
_SUFFIXES = {ONNXRUNTIME: "onnx", NNCF: "onnx", NNCF_ACCURACY: "onnx", NNCF_QAT: "onnx", AI_EDGE: "tflite"}
PIXELS, FLOAT_IO, FULL_INTEGER = "pixels", "float", "full-integer"
_CHOICES = {
    "backend": tuple(_SUFFIXES),
    "ranges": ("quantile", "minmax", "entropy", "percentile"),
    "activations": ("u8", "s8", "s8-symmetric"),
    "bias_correction": ("none", "fast"),
    "io": (PIXELS, FLOAT_IO, FULL_INTEGER),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to make an INT8 model; a backend ignores what is not its own.

    `ranges`: how calibration makes a range of what it saw (onnxruntime and ai-edge-quantizer). `activations`: unsigned
    or signed, or signed with zero point 0. `ops`: the kinds of ONNX operations that become integer; all others stay
    float. `bias_correction`: NNCF's. `io`: what the .tflite takes and gives, the pixel as integer and float logits, or
    both float, or both integer. `exclude`: layers left float, by the name `inspect` gives them. `steps` and
    `learning_rate`: of quantization-aware training.
    """

    name: str
    backend: str
    ranges: str = "quantile"
    activations: str = "u8"
    per_channel: bool = True
    ops: tuple[str, ...] = ("Conv", "Gemm", "MatMul", "Add", "Relu")
    bias_correction: str = "fast"
    io: str = PIXELS
    exclude: tuple[str, ...] = ()
    steps: int = 300
    learning_rate: float = 1e-4

    @property
    def suffix(self) -> str:
        """The model file's suffix, "onnx" or "tflite"."""
        return _SUFFIXES[self.backend]

    @property
    def precision(self) -> str:
        """The middle part of the file's name: a winner is chosen among the recipes that share it and the suffix."""
        return "int8" if self.io == PIXELS else f"int8-{self.io}"

    @property
    def needs_faces(self) -> bool:
        """Whether a calibration cache is not enough."""
        return self.backend.startswith("nncf") or self.ranges in ("entropy", "percentile")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of processor: the activations its integer kernels like, and what its speed is judged by.

    `speed` is "time" where this machine is of that kind, "instructions" where they are counted for `cpu` under
    emulation, "none" where neither can be had.
    """

    name: str
    activations: str
    speed: str
    cpu: str | None = None


# u8 on x86: with s8 only 4 of 26 convolutions of a MobileNet-like network fuse, and it runs four times slower. s8 on
# Arm: 8 % fewer instructions than u8 on Cortex-A76. TensorRT accepts zero point 0 alone.
TARGETS = {
    target.name: target
    for target in (
        Target(name="x86", activations="u8", speed="time"),
        Target(name="armv8", activations="s8", speed="instructions", cpu="cortex-a72"),
        Target(name="armv8.2-dot", activations="s8", speed="instructions", cpu="cortex-a76"),
        Target(name="jetson-trt", activations="s8-symmetric", speed="none"),
    )
}
DEFAULT, ALL = "default", "all"


def recipes_for(target: Target, which: str) -> tuple[Recipe, ...]:
    """The set `default` (what a calibration cache allows, seconds) or `all`, or recipes of `all` by name, with commas.

    Raises UsageError for an unknown name.
    """
    everything = (*_default(target), *_further(target))
    if which == DEFAULT:
        return _default(target)
    if which == ALL:
        return everything
    known = {recipe.name: recipe for recipe in everything}
    names = [name.strip() for name in which.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"recipe {unknown[0]!r} is unknown for {target.name}; there are: default, all, {', '.join(known)}."
        )
    return tuple(known[name] for name in names)


def _default(target: Target) -> tuple[Recipe, ...]:
    kind = target.activations
    qdq = tuple(
        Recipe(name=f"qdq-{kind}-{ranges}", backend=ONNXRUNTIME, activations=kind, ranges=ranges)
        for ranges in ("quantile", "minmax")
    )
    if target.name == "jetson-trt":  # a .tflite does not run in TensorRT
        return qdq
    return (
        *qdq,
        Recipe(name="tflite-quantile", backend=AI_EDGE),
        Recipe(name="tflite-minmax", backend=AI_EDGE, ranges="minmax"),
    )


def _further(target: Target) -> tuple[Recipe, ...]:
    kind = target.activations
    base = Recipe(name="", backend=ONNXRUNTIME, activations=kind)
    qdq = (
        dataclasses.replace(base, name=f"qdq-{kind}-entropy", ranges="entropy"),
        dataclasses.replace(base, name=f"qdq-{kind}-percentile", ranges="percentile"),
        dataclasses.replace(base, name=f"qdq-{kind}-per-tensor", per_channel=False),
        dataclasses.replace(base, name=f"qdq-{kind}-convs", ops=("Conv", "Gemm", "MatMul")),
    )
    if target.name == "jetson-trt":
        return qdq
    other = "s8" if kind == "u8" else "u8"
    nncf = Recipe(name="nncf", backend=NNCF, activations=kind)
    return (
        *qdq,
        dataclasses.replace(base, name=f"qdq-{other}-quantile", activations=other),
        nncf,
        dataclasses.replace(nncf, name="nncf-uncorrected", bias_correction="none"),
        dataclasses.replace(nncf, name=NNCF_ACCURACY, backend=NNCF_ACCURACY),
        dataclasses.replace(nncf, name=NNCF_QAT, backend=NNCF_QAT),
        Recipe(name="tflite-per-tensor", backend=AI_EDGE, per_channel=False),
        Recipe(name="tflite-float-io", backend=AI_EDGE, io=FLOAT_IO),
        Recipe(name="tflite-full-integer", backend=AI_EDGE, io=FULL_INTEGER),
    )


@dataclass(frozen=True)
class Replay:
    """What a file beside an INT8 model says of how it was made; `names`: what shortened tensor names stand for.

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
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        made_on, drop = table.get("calibration", {}), table.get("max_drop_points")
        return Replay(
            recipe_from(table["recipe"]),
            str(table.get("target", "x86")),
            int(made_on.get("count", DEFAULT_COUNT)),
            int(made_on.get("seed", DEFAULT_SEED)),
            float(made_on.get("percentile", 100 * QUANTILE)),
            None if drop is None else float(drop),
            dict(table.get("names", {})),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: not a recipe ({error}). Name a .recipe.json that quantize wrote beside a model."
        ) from None


def recipe_from(table: dict[str, Any]) -> Recipe:
    """A recipe from its JSON form. Raises TypeError for an unknown key, ValueError for a value no backend knows."""
    lists = {key: tuple(table[key]) for key in ("ops", "exclude") if key in table}
    recipe = Recipe(**{**table, **lists})
    for key, choices in _CHOICES.items():
        if getattr(recipe, key) not in choices:
            raise ValueError(f"{key} is {getattr(recipe, key)!r}, expected one of {', '.join(choices)}")
    return recipe
