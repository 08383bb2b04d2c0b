"""A float network from elsewhere, as its file gives it: before anything is known of colours, ranges and labels."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from fer_edge.errors import ModelError, UsageError


@dataclass(frozen=True)
class TensorFacts:
    """Name, element type and shape of an input or output; -1 is any number."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name!r} {self.dtype} ({', '.join('n' if size < 0 else str(size) for size in self.shape)})"


@dataclass(frozen=True)
class Network:
    """One input of faces, one output of classes. At least one of `graph` and `tflite` is there.

    `graph` takes the original's input, float32 or uint8; `module` computes the same in torch, NCHW. `run` is the
    original file in its own engine: what it takes (n, ...) -> its chosen output (n, classes) float32.
    """

    source: str
    sha256: str
    input: TensorFacts
    output: TensorFacts
    outputs: tuple[TensorFacts, ...]
    layout: str
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]] = field(repr=False)
    graph: onnx.ModelProto | None = field(default=None, repr=False)
    module: nn.Module | None = field(default=None, repr=False)
    tflite: bytes | None = field(default=None, repr=False)
    facts: str = ""
    known_labels: tuple[str, ...] = ()

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of a face."""
        height, width = self.input.shape[2:4] if self.layout == "NCHW" else self.input.shape[1:3]
        return height, width

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.input.shape[1] if self.layout == "NCHW" else self.input.shape[3]

    @property
    def classes(self) -> int:
        """How many numbers the output has a face."""
        return max((size for size in self.output.shape[1:] if size > 0), default=0)

    @property
    def takes_raw_pixels(self) -> bool:
        """Whether the input is of whole numbers, so that no range has to be known."""
        return self.input.dtype == "uint8"

    def description(self) -> str:
        """Describe the network for people: input, outputs, operators."""
        others = f"; outputs {', '.join(map(str, self.outputs))}" if len(self.outputs) > 1 else ""
        return f"input {self.input}, {self.layout}; output {self.output}{others}; {self.facts}"


@dataclass(frozen=True)
class Hints:
    """Hints from the command line: output, size of a face (height, width), number of labels, weights."""

    output: str | None = None
    size_px: tuple[int, int] | None = None
    classes: int | None = None
    weights: Path | None = None
    channels: int | None = None


def with_classes(
    output: TensorFacts, run: Callable[[NDArray[np.float32]], NDArray[np.float32]], entry: TensorFacts
) -> TensorFacts:
    """The output with the number of classes that a run gives."""
    classes = run(np.zeros((1, *entry.shape[1:]), dtype=np.float32)).shape[1]
    return replace(output, shape=(-1, classes))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for a message of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def layout_of(shape: tuple[int, ...], where: str) -> str:
    """ "NCHW" or "NHWC": which dimension of an input of four is the channels. Raises ModelError where none is."""
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        return "NCHW"
    if len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3):
        return "NHWC"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "NCHW"
    raise ModelError(
        f"{where}: takes {shape}, expected pictures of 1 or 3 channels, (n, c, h, w) or (n, h, w, c). "
        "Give a network that classifies pictures of faces."
    )


def counted(operators: Counter[str]) -> str:
    """Operators by kind, the most frequent first."""
    total = sum(operators.values())
    return f"{total} operators ({', '.join(f'{kind} {number}' for kind, number in operators.most_common(8))})"


def chosen_output(
    outputs: tuple[TensorFacts, ...], asked: str | None, where: str, *, classes: int | None = None
) -> TensorFacts:
    """The output `asked` names, by name or number; the only one, or the only one of so many `classes`.

    Raises UsageError where that is none or several.
    """
    if asked is not None:
        named = [output for output in outputs if output.name == asked]
        if not named and asked.isdecimal() and int(asked) < len(outputs):
            named = [outputs[int(asked)]]
        if len(named) == 1:
            return named[0]
        raise UsageError(f"--output {asked}: {where} has {', '.join(map(str, outputs))}. Name one of them.")
    fitting = [output for output in outputs if classes is None or classes in output.shape[1:]]
    if len(outputs) == 1:
        return outputs[0]
    if classes is not None and len(fitting) == 1:
        return fitting[0]
    raise UsageError(f"{where}: {len(outputs)} outputs, expected --output NAME: {', '.join(map(str, outputs))}.")


def require_scores(output: TensorFacts, where: str) -> None:
    """Raise ModelError for an output of whole numbers, which are classes already and no scores of them."""
    if output.dtype not in ("float32", "float16", "float64"):
        raise ModelError(
            f"{where}: output {output}, expected float scores. Name another with --output, or export the network "
            "without what comes after its scores, such as argmax."
        )
