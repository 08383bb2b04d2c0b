"""The noise ladder: what a cheap camera, a dark room or a narrow network do to a face, in five steps.

Oh and Kim (2024) add noise to face crops in five steps and verify that it is random; their abstract does not say which
noise or how much. The kinds and the levels here are this project's choice: step 1 is hardly seen, step 5 leaves a face
that is hard to read. Training, the robustness curve and the benchmark all take it from here.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError

STEPS = 5
Pixels = NDArray[np.uint8]
# In full light; a sensor's well holds more, but a small one of a cheap camera not much more.
_PHOTONS_A_GREY_VALUE = 4.0
_READ_NOISE = 2.0


@dataclass(frozen=True)
class Noise:
    """One kind: what it does to a face (h, w) uint8 at a level, its levels from weak to strong, what a level is."""

    apply: Callable[[Pixels, float, np.random.Generator], NDArray[np.floating]]
    levels: tuple[float, ...]
    unit: str


def add_noise(faces: Pixels, kind: str, step: int, seed: int = 0) -> Pixels:
    """Grey faces (n, h, w) uint8 with noise of one kind, at `step` 1 to 5 of its ladder, as (n, h, w) uint8.

    Every face and pixel gets its own noise; the same kind, step and seed give the same noise again. Raises UsageError.
    """
    if kind not in LADDER or not 1 <= step <= STEPS:
        raise UsageError(f"noise {kind!r} at step {step}: expected {', '.join(NOISES)} at step 1 to {STEPS}.")
    noise = LADDER[kind]
    generator = np.random.default_rng([zlib.crc32(kind.encode()), step, *([seed] if seed else [])])
    if len(faces) == 0:
        return faces.copy()
    noisy = np.stack([noise.apply(face, noise.levels[step - 1], generator) for face in faces])
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def level(kind: str, step: int) -> float:
    """How much of `kind` there is at `step`, in the unit of its ladder."""
    return LADDER[kind].levels[step - 1]


def _gaussian(face: Pixels, sigma: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Sensor noise, added to every pixel."""
    return face + generator.normal(0, sigma, face.shape)


def _salt_and_pepper(face: Pixels, share: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Dead and hot pixels: a share of all becomes black or white, evenly."""
    drawn = generator.random(face.shape)
    return np.where(drawn < share / 2, 0.0, np.where(drawn < share, 255.0, face))


def _speckle(face: Pixels, sigma: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Multiplied with every pixel: bright ones suffer more."""
    return face * (1 + generator.normal(0, sigma, face.shape))


def _blur(face: Pixels, sigma_px: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Out of focus. Like JPEG, a kind without chance."""
    return np.asarray(cv2.GaussianBlur(face, (0, 0), sigma_px), dtype=np.float32)


def _jpeg(face: Pixels, quality: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """The blocks of a hard-pressed stream."""
    _, data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.float32)


def _low_light(face: Pixels, light: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Fewer photons: a dark picture with shot noise (Poisson) and read noise, not brightened again."""
    photons = generator.poisson(face * (light * _PHOTONS_A_GREY_VALUE))
    return photons / _PHOTONS_A_GREY_VALUE + generator.normal(0, _READ_NOISE, face.shape)


LADDER = {
    "gaussian": Noise(_gaussian, (5, 10, 20, 30, 45), "standard deviation, grey values"),
    "salt-and-pepper": Noise(_salt_and_pepper, (0.01, 0.03, 0.06, 0.12, 0.2), "share of the pixels"),
    "speckle": Noise(_speckle, (0.05, 0.1, 0.2, 0.3, 0.45), "standard deviation, times the grey value"),
    "blur": Noise(_blur, (0.5, 1.0, 1.5, 2.0, 3.0), "standard deviation, pixels of the face crop"),
    "jpeg": Noise(_jpeg, (50, 30, 20, 10, 5), "quality"),
    "low light": Noise(_low_light, (0.6, 0.4, 0.25, 0.15, 0.08), "share of the light"),
}
NOISES = tuple(LADDER)
