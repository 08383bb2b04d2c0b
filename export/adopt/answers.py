"""Facts that no file tells of a network: labels, colours, range of pixels, licence. All missing ones are asked."""

import unicodedata
from dataclasses import dataclass

import numpy as np

from fer_edge.contract import FaceCrop, InputSpec
from fer_edge.contract_parts import TEMPLATES, Label, Line, Margin, Mean, Std
from fer_edge.errors import ModelError, UsageError
from fer_edge.tables import checked
from fer_edge.tasks import FER_PLUS

from export.adopt.network import Network
from export.contracts import DEFAULT_FACE_CROP
from train.data.fer2013 import EXPRESSIONS

# Mean and standard deviation of a channel, in units of a pixel, red first.
RANGES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "0..255": ((0.0,), (1.0,)),
    "0..1": ((0.0,), (255.0,)),
    "-1..1": ((127.5,), (127.5,)),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
# Above this a mean or standard deviation is meant in units of a pixel, not of the range 0 to 1.
_LARGEST_FRACTION = 2.0


@dataclass(frozen=True)
class Feeding:
    """How a raw pixel is fed: order of colours, and mean and std of each channel in that order, in units of a pixel.

    `name` is a key of RANGES, or "given".
    """

    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str

    def __str__(self) -> str:
        return f"{self.colour}, {self.name}"


@dataclass(frozen=True)
class Answers:
    """Answers from the command line; None where it is silent."""

    name: str
    labels: tuple[str, ...] | None = None
    colour: str | None = None
    range: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    meaning: str | None = None
    margin: float | None = None
    align: str = "none"
    licence: str | None = None
    trained_on: str = "unknown"


def raw_input(network: Network, feeding: Feeding) -> InputSpec:
    """Input of the published ONNX: raw pixels in the network's size and layout."""
    height, width = network.size_px
    return InputSpec(
        height_px=height,
        width_px=width,
        colour=feeding.colour,
        layout=network.layout,
        dtype="uint8",
        low=0,
        high=255,
    )


def feedings(network: Network, answers: Answers) -> tuple[Feeding, ...]:
    """Every way to feed the network that the answers leave open; one where they leave none.

    Raises UsageError for answers that do not fit the network.
    """
    return tuple(
        Feeding(colour, *_in_order(mean, colour, network.channels), *_in_order(std, colour, network.channels), name)
        for colour in _colours(network, answers)
        for name, mean, std in _ranges(network, answers)
    )


def _in_order(values: tuple[float, ...], colour: str, channels: int) -> tuple[tuple[float, ...]]:
    """One value a channel, in the order of the channels."""
    if channels == 1:
        return (values[:1] if len(values) == 1 else (float(np.mean(values)),),)
    every = values * 3 if len(values) == 1 else values
    return (every[::-1] if colour == "bgr" else every,)


def _colours(network: Network, answers: Answers) -> tuple[str, ...]:
    if network.channels == 1:
        if answers.colour not in (None, "grey"):
            raise UsageError(f"--colour {answers.colour}: {network.source} takes one channel, expected grey.")
        return ("grey",)
    if answers.colour == "grey":
        raise UsageError(f"--colour grey: {network.source} takes three channels, expected rgb or bgr.")
    return ("rgb", "bgr") if answers.colour is None else (answers.colour,)


def _ranges(network: Network, answers: Answers) -> tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]:
    given = answers.mean is not None or answers.std is not None
    if network.takes_raw_pixels:
        if given or answers.range not in (None, "0..255"):
            raise UsageError(
                f"{network.source} takes uint8, which are raw pixels. Leave --range, --mean and --std out."
            )
        return (("0..255", *RANGES["0..255"]),)
    if answers.range is not None and given:
        raise UsageError("--range and --mean, --std say the same thing. Give one of them.")
    if given:
        return (("given", *_given(answers, network.channels)),)
    if answers.range is not None:
        return ((answers.range, *RANGES[answers.range]),)
    return tuple((name, mean, std) for name, (mean, std) in RANGES.items())


def _given(answers: Answers, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """--mean and --std in units of a pixel. As torchvision has them, they are of pixels from 0 to 1."""
    mean, std = answers.mean or (0.0,), answers.std or (1.0,)
    for flag, values in (("--mean", mean), ("--std", std)):
        if len(values) not in (1, channels):
            raise UsageError(f"{flag} has {len(values)} values, expected 1 or {channels}, one a channel.")
        for value in values:
            checked(Std if flag == "--std" else Mean, value, flag, UsageError)
    factor = 255.0 if max(*map(abs, mean), *std) <= _LARGEST_FRACTION else 1.0
    of_fractions = any(mean) and max(map(abs, mean)) <= 1
    if factor == 1.0 and (of_fractions or min(std) < 1):
        raise UsageError(
            f"--mean {_listed(mean)} and --std {_listed(std)}: one is of pixels from 0 to 1, the other of pixels from "
            "0 to 255, expected both of the same."
        )
    return tuple(value * factor for value in mean), tuple(value * factor for value in std)


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)


def labels_for(network: Network, answers: Answers) -> tuple[str, ...]:
    """The labels that were given, or those the file holds (`require_answers`). Raises UsageError for another number."""
    labels = answers.labels or network.known_labels
    if network.classes < 2:
        raise ModelError(
            f"{network.source}: output {network.output.name!r} is one number a face, expected a score for each class. "
            "Export it with one output a class; for yes and no, with two."
        )
    if len(labels) != network.classes:
        raise UsageError(
            f"--labels: {len(labels)} names, expected {network.classes}, one for each number of the output "
            f"{network.output.name!r}."
        )
    named = tuple(unicodedata.normalize("NFC", label.strip()) for label in labels)
    for label in named:
        if not checked(Label, label, "--labels", UsageError):
            raise UsageError(f"--labels: one of the {len(named)} names is empty. Name every class.")
        if named.count(label) > 1:
            raise UsageError(f"--labels: {label!r} is there twice. Give every class a name of its own.")
    return named


def _check(answers: Answers) -> None:
    """Raise UsageError for an answer that no contract can hold."""
    bounded = (
        ("--licence", Line, answers.licence),
        ("--trained-on", Line, answers.trained_on),
        ("--margin", Margin, answers.margin),
    )
    for flag, kind, value in bounded:
        if value is not None:
            checked(kind, value, flag, UsageError)
    if answers.licence is not None and not answers.licence.strip():
        raise UsageError("--licence is empty, expected a name such as Apache-2.0.")


def require_answers(network: Network, answers: Answers, *, measured: bool) -> None:
    """Raise UsageError that names every answer the file does not hold, or one that cannot be right; `measured` finds
    colour and range by faces.
    """
    _check(answers)
    missing = []
    if not (answers.labels or network.known_labels):
        missing.append("--labels")
    if not measured and network.channels == 3 and answers.colour is None:
        missing.append("--colour")
    silent = answers.range is None and answers.mean is None and answers.std is None
    if not measured and not network.takes_raw_pixels and silent:
        missing.append("--range")
    if answers.licence is None:
        missing.append("--licence")
    if missing:
        raise UsageError(_question(network, missing))


def _question(network: Network, missing: list[str]) -> str:
    usual = {
        "--labels": f"--labels A,B,... ({network.classes} names in the output's order{_usual_labels(network.classes)})",
        "--colour": "--colour rgb (most networks from PyTorch or Keras) or bgr (OpenCV, Caffe)",
        "--range": "--range imagenet (torchvision, timm), 0..1, -1..1 or 0..255, or --mean and --std",
        "--licence": "--licence NAME (SPDX, such as Apache-2.0; of the weights)",
    }
    asked = "; ".join(usual[flag] for flag in missing)
    faces = " With --faces FOLDER colour and range are measured." if {"--colour", "--range"} & set(missing) else ""
    return f"{network.source}: {network.description()}. What it does not say: {asked}.{faces}"


def _usual_labels(classes: int) -> str:
    usual = {7: f"; FER2013 has {','.join(EXPRESSIONS)}", 8: f"; FER+ has {','.join(FER_PLUS)}"}
    return usual.get(classes, "")


def task_of(labels: tuple[str, ...]) -> str:
    """The contract's task for these labels: the known sets have one of their own."""
    known = {EXPRESSIONS: "expression7", FER_PLUS: "expression8"}
    return known.get(labels, "classes")


def face_crop_of(answers: Answers) -> FaceCrop:
    """How faces are cut out; without --margin as for our own networks, which are trained on FER2013's framing."""
    if answers.align != "none" and answers.align not in TEMPLATES:
        raise UsageError(f"--align {answers.align}: expected none or {', '.join(TEMPLATES)}.")
    alignment = {} if answers.align == "none" else {"alignment": "five-point", "template": answers.align}
    if answers.margin is None and not alignment:
        return DEFAULT_FACE_CROP
    return FaceCrop(margin=answers.margin or 0.0, square=True, **{"alignment": "none", **alignment})


def meaning_of(answers: Answers, outputs: np.ndarray) -> str:
    """ "probabilities" where every row of the outputs (n, classes) is one, else "logits"; or what was said.

    Raises UsageError where probabilities were said and the outputs are none.
    """
    rows = outputs.sum(axis=1)
    probable = bool(((outputs >= -1e-3) & (outputs <= 1 + 1e-3)).all() and np.allclose(rows, 1, atol=1e-2))
    if answers.meaning == "probabilities" and not probable:
        raise UsageError(f"--meaning probabilities: outputs sum to {rows.min():.3g} to {rows.max():.3g}, expected 1.")
    if answers.meaning is None and not probable and bool(((outputs >= 0) & (outputs <= 1)).all()):
        raise UsageError(
            f"outputs from 0 to 1 that sum to {rows.min():.3g} to {rows.max():.3g}, as a sigmoid a class gives. Export "
            "the network without it, or say --meaning logits: confidences are then softmax of these outputs."
        )
    return answers.meaning or ("probabilities" if probable else "logits")
