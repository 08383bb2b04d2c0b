"""The parts of a model contract: input, face crop, output, what was measured, how INT8 was made."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fer_edge.tables import Range, Text

Label = Annotated[str, Text(64)]
Word = Annotated[str, Text(200)]
Line = Annotated[str, Text(2000)]
Pixels = Annotated[int, Range(1, 1024)]
Margin = Annotated[float, Range(-0.4, 2.0)]
Fraction = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 10**9)]
Mean = Annotated[float, Range(-1e3, 1e3)]
Std = Annotated[float, Range(1e-3, 1e3)]
Place = Annotated[float, Range(-0.5, 1.5)]
Position = Annotated[int, Range(0, 999)]

# Places of right eye, left eye, tip of the nose, right and left corner of the mouth (the person's own right and left)
# in a square crop, as fractions of its side. arcface-112: InsightFace's points for 112 px, which most aligned models
# use.
TEMPLATES: dict[str, tuple[tuple[float, float], ...]] = {
    "arcface-112": tuple(
        (x / 112, y / 112)
        for x, y in (
            (38.2946, 51.6963),
            (73.5318, 51.5014),
            (56.0252, 71.7366),
            (41.5493, 92.3655),
            (70.7299, 92.2041),
        )
    )
}


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The tensor a classifier takes.

    A raw pixel p in 0..255 is fed as p + `low`, so `low` is 0 or, for int8, -128. With `mean` and `std`, in units of a
    pixel and one for each channel in the order of `colour`, it is fed as (p - mean) / std: 0..1 is mean 0, std 255.
    """

    height_px: Pixels
    width_px: Pixels
    colour: Word
    layout: Word
    dtype: Word
    low: int
    high: int
    mean: tuple[Mean, ...] = ()
    std: tuple[Std, ...] = ()

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return 1 if self.colour == "grey" else 3

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width."""
        return self.height_px, self.width_px

    @property
    def tensor_shape(self) -> tuple[int, int, int]:
        """The shape of one face in the tensor: (channels, height, width) or (height, width, channels)."""
        if self.layout == "NCHW":
            return self.channels, self.height_px, self.width_px
        return self.height_px, self.width_px, self.channels

    @property
    def crop_shape(self) -> tuple[int, ...]:
        """The shape of one crop: (height, width) grey, or (height, width, 3) BGR."""
        return self.size_px if self.channels == 1 else (*self.size_px, 3)


@dataclass(frozen=True, kw_only=True)
class DetectorMargin:
    """The margin measured for one detector, whose boxes are tighter or wider than others'."""

    detector: Word
    margin: Margin


@dataclass(frozen=True, kw_only=True)
class TemplatePoint:
    """Where a part of the face lies in the crop: fractions of its width and height from the upper left corner."""

    x: Place
    y: Place


@dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """How a face is cut out of a frame: the detector's box, squared, widened by a margin of its side each way.

    `margin` holds for every detector without an entry in `detector_margins`. With `alignment` "five-point" the face is
    rotated, scaled and moved so that its keypoints fall on those of `template`, a name in TEMPLATES, or on the five
    `template_points`: right eye, left eye, nose, right and left corner of the mouth. A face whose detector gives no
    keypoints is cut out by its box.
    """

    margin: Margin
    square: bool
    alignment: Word
    detector_margins: tuple[DetectorMargin, ...] = ()
    template: Word | None = None
    template_points: tuple[TemplatePoint, ...] = ()

    def template_px(self, height_px: int, width_px: int) -> NDArray[np.float64]:
        """The template's points (5, 2), x and y in pixels of a crop. A named one is centred in a crop not square."""
        if self.template is None:
            return np.array([(point.x * width_px, point.y * height_px) for point in self.template_points], np.float64)
        side = min(height_px, width_px)
        return np.array(TEMPLATES[self.template]) * side + ((width_px - side) / 2, (height_px - side) / 2)

    def margin_for(self, detector: str) -> float:
        """The margin for boxes of `detector`, as a fraction of the box's side."""
        return next((entry.margin for entry in self.detector_margins if entry.detector == detector), self.margin)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """Meaning of the output numbers. Logits are divided by `temperature` before softmax (Guo et al., 2017) or sigmoid;
    values are the task's own, and are only kept inside its scale.

    Where the model has several outputs, `name` or `index` (from 0, in the file's order) says which one is meant.
    """

    meaning: Word
    temperature: Annotated[float, Range(1e-3, 1e3)]
    name: Word | None = None
    index: Position | None = None


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """An accuracy measured with this very file. Fractions in [0, 1]; `crops` is "single" or what was averaged."""

    dataset: Word
    split: Word
    n: Count
    crops: Word
    accuracy: Fraction
    macro_f1: Fraction


@dataclass(frozen=True, kw_only=True)
class ValueMeasurement:
    """How well one label of a task of values was estimated by this very file; see `fer_edge.metrics.ValueMetrics`."""

    dataset: Word
    split: Word
    n: Count
    crops: Word
    label: Label
    ccc: float
    pcc: float
    icc: float
    rmse: float
    mae: float
    sagr: float


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How an INT8 file was made, and the gate it passed: drops in points of accuracy and macro-F1 against float.

    A drop is None where there was no truth to measure it on; agreement is then with float on synthetic inputs. `forced`
    says that it missed a limit, named in `failed`, and was written all the same. Where `failed` is said without
    `forced`, the faces were too few to decide those limits, and it was accepted.
    """

    recipe: Word
    target: Word
    max_accuracy_drop_points: float | None
    max_macro_f1_drop_points: float | None
    min_agreement: Fraction
    forced: bool = False
    failed: Line | None = None
