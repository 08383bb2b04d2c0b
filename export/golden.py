"""Golden vectors: inputs and float outputs by which any engine on any board can be checked.

The inputs are synthetic, so that they may be shipped: no face of a dataset is in them.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_edge.arrays import read_arrays
from fer_edge.errors import ModelError

from train.data.fer2013 import SIDE_PX
from train.data.pixels import normalise

GOLDEN_COUNT = 64
_SEED = 20130
_REMEDY = "Export the model again with `make export`."


@dataclass(frozen=True)
class Golden:
    """inputs: raw faces (n, h, w) grey or (n, h, w, 3) BGR uint8; logits: its outputs, (n, labels) float32."""

    inputs: NDArray[np.uint8]
    logits: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write as .npz with the arrays `inputs` and `logits`."""
        np.savez(path, inputs=self.inputs, logits=self.logits)


def golden_of(network: nn.Module) -> Golden:
    """Golden vectors of a network in eval mode that takes (n, 1, 48, 48) float, normalised."""
    inputs = synthetic_faces(GOLDEN_COUNT)
    with torch.inference_mode():
        logits = network(normalise(torch.from_numpy(inputs)).unsqueeze(1))
    return Golden(inputs, logits.numpy().astype(np.float32))


def load_golden(path: Path) -> Golden:
    """Read what `Golden.save` wrote. Raises ModelError where the file is missing or damaged."""
    arrays = read_arrays(path, ModelError, what="golden vectors", remedy=_REMEDY)
    inputs, logits = arrays.get("inputs"), arrays.get("logits")
    if inputs is None or logits is None or inputs.ndim not in (3, 4) or logits.ndim != 2 or len(inputs) != len(logits):
        raise ModelError(f"{path}: not golden vectors (no inputs with as many logits). {_REMEDY}")
    return Golden(inputs, logits)


def sized_faces(size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """The inputs of golden vectors in the size of a model, (GOLDEN_COUNT, height, width) uint8."""
    faces = synthetic_faces(GOLDEN_COUNT)
    return np.stack([cv2.resize(face, size_px[::-1], interpolation=cv2.INTER_AREA) for face in faces]).astype(np.uint8)


def synthetic_faces(count: int) -> NDArray[np.uint8]:
    """`count` grey images (count, 48, 48) uint8 from a fixed seed: an oval with eyes, brows and a mouth on a slope.

    The first three are the extremes black, white and the middle grey, where scaling mistakes show at once.
    """
    generator = np.random.default_rng(_SEED)
    faces = np.stack([_synthetic_face(generator) for _ in range(count)])
    faces[:3] = np.array([0, 255, 128], dtype=np.uint8)[: min(count, 3), None, None]
    return faces


def _synthetic_face(generator: np.random.Generator) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / (SIDE_PX - 1) - 0.5
    slope = generator.normal(0, 80, 2)
    image = generator.uniform(30, 180) + slope[0] * rows + slope[1] * columns
    tone, middle = generator.uniform(60, 230), generator.normal(0, 0.04, 2)
    image = _blend(image, tone, rows, columns, middle, (0.45, 0.36))
    eye_y, eye_x = generator.uniform(-0.2, -0.08), generator.uniform(0.12, 0.2)
    openness, mouth = generator.uniform(0.01, 0.07, 2), generator.uniform(0.05, 0.22)
    for side in (-1, 1):
        at = middle + np.array([eye_y, side * eye_x])
        image = _blend(image, tone * 0.3, rows, columns, at, (openness[0], 0.07))
        image = _blend(
            image, tone * 0.4, rows, columns, at - np.array([generator.uniform(0.06, 0.12), 0]), (0.015, 0.1)
        )
    curve = generator.normal(0, 2) * (columns - middle[1]) ** 2
    image = _blend(image, tone * 0.5, rows + curve, columns, middle + np.array([0.22, 0]), (openness[1], mouth))
    return np.clip(image + generator.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def _blend(
    image: NDArray[np.float64],
    tone: float,
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    middle: NDArray[np.float64],
    radii: tuple[float, float],
) -> NDArray[np.float64]:
    """Paint a soft-edged ellipse of grey value `tone`; positions and radii are fractions of the side."""
    distance = np.hypot((rows - middle[0]) / radii[0], (columns - middle[1]) / radii[1])
    opacity = 1 / (1 + np.exp(np.clip(8 * (distance - 1), -50, 50)))
    return image * (1 - opacity) + tone * opacity
