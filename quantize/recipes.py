"""The recipes a search tries: a small, named set, chosen for the processor the model is meant for."""

import dataclasses
from dataclasses import dataclass

from fer_edge.errors import UsageError

ONNXRUNTIME, AI_EDGE = "onnxruntime", "ai-edge-quantizer"
NNCF, NNCF_ACCURACY, NNCF_QAT = "nncf", "nncf-accuracy-control", "nncf-qat"
ONNX_QAT, TFLITE_QAT = "onnx-qat", "tflite-qat"
ONNX_FP16, TFLITE_FP16 = "onnx-fp16", "tflite-fp16"
_ONNX = (ONNXRUNTIME, NNCF, NNCF_ACCURACY, NNCF_QAT, ONNX_QAT, ONNX_FP16)
_SUFFIXES = {**dict.fromkeys(_ONNX, "onnx"), **dict.fromkeys((AI_EDGE, TFLITE_QAT, TFLITE_FP16), "tflite")}
TRAINED = (NNCF_QAT, ONNX_QAT, TFLITE_QAT)
PIXELS, FLOAT_IO, FULL_INTEGER = "pixels", "float", "full-integer"
MEASURED, CONVOLUTIONS, EVERYTHING = "measured", "convolutions", "everything"
CHOICES = {
    "backend": tuple(_SUFFIXES),
    "ranges": ("quantile", "minmax", "entropy", "percentile"),
    "activations": ("u8", "s8", "s8-symmetric"),
    "operators": (MEASURED, CONVOLUTIONS, EVERYTHING),
    "bias_correction": ("none", "fast"),
    "io": (PIXELS, FLOAT_IO, FULL_INTEGER),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to make a smaller model; a backend ignores what is not its own.

    `ranges`: how calibration makes a range of what it saw (onnxruntime and ai-edge-quantizer). `activations`: unsigned
    or signed, or signed with zero point 0. `operators`: which kinds of operators become integer: those that measuring
    finds worth it, the convolutions alone, or everything the engine has integer kernels for; `integer`, where it is
    there, names them, as a recipe beside a model does. `mixed`: layers go back to float until the outputs agree, those
    that lose most or, with `leading`, the first (`quantize.sensitivity`). `equalize`: cross-layer equalization of the
    weights first. `bias_correction`: NNCF's, or for onnxruntime the mean error of each convolution taken off its bias.
    `io`: what the .tflite takes and gives, the pixel as integer and float logits, or both float, or both integer.
    `exclude`: layers left float, by the name `inspect` gives them. `steps` and `learning_rate`: of quantization-aware
    training.
    """

    name: str
    backend: str
    ranges: str = "quantile"
    activations: str = "u8"
    per_channel: bool = True
    operators: str = MEASURED
    integer: tuple[str, ...] | None = None
    mixed: bool = False
    leading: bool = False
    equalize: bool = False
    bias_correction: str = "none"
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
        """Precision for the contract, "int8" or "fp16"."""
        return "fp16" if self.backend in (ONNX_FP16, TFLITE_FP16) else "int8"

    @property
    def variant(self) -> str:
        """The middle part of the file's name: a winner is chosen among the recipes that share it and the suffix."""
        return self.precision if self.io == PIXELS else f"{self.precision}-{self.io}"

    @property
    def needs_faces(self) -> bool:
        """Whether a calibration cache is not enough."""
        weights = self.equalize or self.mixed or (self.backend == ONNXRUNTIME and self.bias_correction != "none")
        return (
            self.backend.startswith("nncf")
            or self.backend in TRAINED
            or self.ranges in ("entropy", "percentile")
            or weights
        )


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


DEFAULT_TARGET = "x86"
# u8 on x86: with s8 only 4 of 26 convolutions of a MobileNet-like network fuse, and it runs four times slower. s8 on
# Arm: 8 % fewer instructions than u8 on Cortex-A76. TensorRT accepts zero point 0 alone.
TARGETS = {
    target.name: target
    for target in (
        Target(name=DEFAULT_TARGET, activations="u8", speed="time"),
        Target(name="armv8", activations="s8", speed="instructions", cpu="cortex-a72"),
        Target(name="armv8.2-dot", activations="s8", speed="instructions", cpu="cortex-a76"),
        Target(name="jetson-trt", activations="s8-symmetric", speed="none"),
    )
}
DEFAULT, ALL = "default", "all"


def recipes_for(target: Target, which: str) -> tuple[tuple[Recipe, ...], ...]:
    """Rungs of recipes, tried in turn until each kind of file has a winner.

    `default`: INT8 that takes seconds and needs no faces, then mixed precision, then training, then fp16. `all`: every
    INT8 recipe, then fp16. Otherwise one rung of recipes by name, with commas between. Raises UsageError for an
    unknown name.
    """
    quick, mixed, trained, half = _quick(target), _mixed(target), _trained(target), _half(target)
    further = _further(target)
    if which == DEFAULT:
        return quick, mixed, trained, half
    if which == ALL:
        return (*quick, *mixed, *trained, *further), half
    known = {recipe.name: recipe for recipe in (*quick, *mixed, *trained, *further, *half)}
    names = [name.strip() for name in which.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"recipe {unknown[0]!r} is unknown for {target.name}; there are: default, all, {', '.join(known)}."
        )
    return (tuple(known[name] for name in dict.fromkeys(names)),)


def _quick(target: Target) -> tuple[Recipe, ...]:
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


def _mixed(target: Target) -> tuple[Recipe, ...]:
    kind = target.activations
    qdq = Recipe(
        name=f"qdq-{kind}-mixed",
        backend=ONNXRUNTIME,
        activations=kind,
        mixed=True,
        equalize=True,
        bias_correction="fast",
    )
    # What is between convolutions stays float too: as integers it would round what the float layers have kept.
    leading = Recipe(
        name=f"qdq-{kind}-leading",
        backend=ONNXRUNTIME,
        activations=kind,
        operators=CONVOLUTIONS,
        mixed=True,
        leading=True,
    )
    if target.name == "jetson-trt":
        return qdq, leading
    return (
        qdq,
        leading,
        Recipe(name="tflite-mixed", backend=AI_EDGE, mixed=True),
        Recipe(name="tflite-leading", backend=AI_EDGE, operators=CONVOLUTIONS, mixed=True, leading=True),
    )


def _trained(target: Target) -> tuple[Recipe, ...]:
    kind = target.activations
    qdq = Recipe(name=f"qdq-{kind}-trained", backend=ONNX_QAT, activations=kind, learning_rate=3e-4)
    tflite = Recipe(name="tflite-trained", backend=TFLITE_QAT, learning_rate=3e-4)
    return (qdq,) if target.name == "jetson-trt" else (qdq, tflite)


def _half(target: Target) -> tuple[Recipe, ...]:
    half = Recipe(name="onnx-fp16", backend=ONNX_FP16)
    return (half,) if target.name == "jetson-trt" else (half, Recipe(name="tflite-fp16", backend=TFLITE_FP16))


def _further(target: Target) -> tuple[Recipe, ...]:
    kind = target.activations
    base = Recipe(name="", backend=ONNXRUNTIME, activations=kind)
    changed = dataclasses.replace
    qdq = (
        changed(base, name=f"qdq-{kind}-entropy", ranges="entropy"),
        changed(base, name=f"qdq-{kind}-percentile", ranges="percentile"),
        changed(base, name=f"qdq-{kind}-per-tensor", per_channel=False),
        changed(base, name=f"qdq-{kind}-convs", operators=CONVOLUTIONS),
        changed(base, name=f"qdq-{kind}-everything", operators=EVERYTHING),
        changed(base, name=f"qdq-{kind}-equalized", equalize=True),
        changed(base, name=f"qdq-{kind}-corrected", bias_correction="fast"),
    )
    if target.name == "jetson-trt":
        return qdq
    other = "s8" if kind == "u8" else "u8"
    nncf = Recipe(name="nncf", backend=NNCF, activations=kind, bias_correction="fast")
    return (
        *qdq,
        changed(base, name=f"qdq-{other}-quantile", activations=other),
        nncf,
        changed(nncf, name="nncf-uncorrected", bias_correction="none"),
        changed(nncf, name=NNCF_ACCURACY, backend=NNCF_ACCURACY),
        changed(nncf, name=NNCF_QAT, backend=NNCF_QAT),
        Recipe(name="tflite-per-tensor", backend=AI_EDGE, per_channel=False),
        Recipe(name="tflite-convs", backend=AI_EDGE, operators=CONVOLUTIONS),
        Recipe(name="tflite-everything", backend=AI_EDGE, operators=EVERYTHING),
        Recipe(name="tflite-float-io", backend=AI_EDGE, io=FLOAT_IO),
        Recipe(name="tflite-full-integer", backend=AI_EDGE, io=FULL_INTEGER),
    )
