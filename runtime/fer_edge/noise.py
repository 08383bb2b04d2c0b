"""The noise ladder: what a cheap camera, a dark room or a narrow network do to a face, in five steps.

Oh and Kim (2024) add noise to face crops in five steps and verify that it is random; their abstract does not say which
noise or how much. The kinds and the amounts here are this project's choice: step 1 is hardly seen, step 5 leaves a face
that people find hard to read.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError

STEPS = 5
Pixels = NDArray[np.uint8]
_Adder = Callable[[Pixels, float, np.random.Generator], NDArray[np.floating]]
# Blur is given for faces of this side, and grows with them.
_SIDE_PX = 48
# Photons a pixel of grey value 1 stands for, before the light is turned down.
_PHOTONS = 1.0
_READ_NOISE = 1.5


def add_noise(faces: Pixels, kind: str, step: int, seed: int) -> Pixels:
    """Grey faces (n, h, w) uint8 with noise of one kind, at `step` 1 to 5 of its ladder, as (n, h, w) uint8.

    Every face and pixel gets its own noise; the same seed, kind and step give the same noise again. Raises UsageError.
    """
    if kind not in NOISES or not 1 <= step <= STEPS:
        raise UsageError(f"noise {kind!r} at step {step}: expected {', '.join(NOISES)} at step 1 to {STEPS}.")
    adder, amounts = _LADDERS[kind]
    generator = np.random.default_rng([seed, NOISES.index(kind), step])
    noisy = adder(faces, amounts[step - 1], generator)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def amount(kind: str, step: int) -> float:
    """How much of `kind` there is at `step`, in the unit of its ladder."""
    return _LADDERS[kind][1][step - 1]


def _gaussian(faces: Pixels, sigma: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Sensor noise: added to every pixel, of standard deviation `sigma` grey values."""
    return faces + generator.normal(0, sigma, faces.shape)


def _salt_pepper(faces: Pixels, share: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Dead and hot pixels: a `share` of all becomes black or white, evenly."""
    drawn = generator.random(faces.shape)
    return np.where(drawn < share / 2, 0.0, np.where(drawn < share, 255.0, faces))


def _speckle(faces: Pixels, sigma: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Multiplied with every pixel: bright ones suffer more."""
    return faces * (1 + generator.normal(0, sigma, faces.shape))


def _blur(faces: Pixels, sigma_px: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Out of focus: a Gaussian of `sigma_px` on a face of 48 pixels. The one kind without chance."""
    sigma = sigma_px * faces.shape[-1] / _SIDE_PX
    return np.stack([cv2.GaussianBlur(face, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) for face in faces])


def _jpeg(faces: Pixels, quality: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Blocks of a hard-pressed stream; its grid falls differently on every face."""
    return np.stack([_pressed(face, round(quality), generator.integers(0, 8, 2)) for face in faces])


def _pressed(face: Pixels, quality: int, offset: NDArray[np.int64]) -> NDArray[np.floating]:
    top, left = int(offset[0]), int(offset[1])
    framed = cv2.copyMakeBorder(face, top, 8 - top, left, 8 - left, cv2.BORDER_REPLICATE)
    _, data = cv2.imencode(".jpg", framed, [cv2.IMWRITE_JPEG_QUALITY, quality])
    height, width = face.shape
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.float32)
    return decoded[top : top + height, left : left + width]


def _low_light(faces: Pixels, light: float, generator: np.random.Generator) -> NDArray[np.floating]:
    """Only the share `light` of the photons arrives: a dark picture with shot noise (Poisson) and read noise."""
    photons = generator.poisson(faces * (light * _PHOTONS))
    return photons / _PHOTONS + generator.normal(0, _READ_NOISE, faces.shape)


_LADDERS: dict[str, tuple[_Adder, tuple[float, ...]]] = {
    "gaussian": (_gaussian, (8.0, 16.0, 32.0, 48.0, 64.0)),
    "salt-pepper": (_salt_pepper, (0.02, 0.05, 0.1, 0.2, 0.35)),
    "speckle": (_speckle, (0.1, 0.2, 0.35, 0.5, 0.7)),
    "blur": (_blur, (0.6, 1.0, 1.6, 2.3, 3.2)),
    "jpeg": (_jpeg, (40.0, 20.0, 12.0, 7.0, 3.0)),
    "low-light": (_low_light, (0.6, 0.4, 0.25, 0.15, 0.08)),
}
NOISES = tuple(_LADDERS)
