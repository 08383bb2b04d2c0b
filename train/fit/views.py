"""Views: augmented faces that can be had again, so that a teacher answers once for what a student sees for months.

A view moves a face by the geometry of the augmentation alone. The numbers come from Philox's raw stream, which NumPy
promises not to change, and from the view's number: the same settings give the same views on every machine.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NUMBERS_PER_VIEW = 5


@dataclass(frozen=True)
class ViewSettings:
    """The largest rotation, shift (as a fraction of the side) and zoom of a view, and the seed of them all."""

    rotation_deg: float = 10.0
    shift: float = 0.08
    scale: float = 0.1
    seed: int = 0


def view_places(settings: ViewSettings, view: int, count: int) -> Tensor:
    """Where `view` looks at each of `count` faces, as affine maps from output to input, (count, 2, 3) float32.

    View 0 is the face itself; half of the faces of every other view are mirrored. `affine_grid` takes the maps.
    """
    if view == 0:
        return torch.eye(2, 3).expand(count, 2, 3).clone()
    drawn = _uniform(settings.seed, view, count)
    angle = drawn[0] * math.radians(settings.rotation_deg)
    zoom = 1 + drawn[1] * settings.scale
    shift_x, shift_y = drawn[2] * 2 * settings.shift, drawn[3] * 2 * settings.shift
    mirror = np.where(drawn[4] < 0, -1.0, 1.0)
    return affine(angle, zoom, shift_x, shift_y, mirror)


def affine(angle: NDArray, zoom: NDArray, shift_x: NDArray, shift_y: NDArray, mirror: NDArray) -> Tensor:
    """Affine maps (n, 2, 3) from output to input, in units of half a side; each argument (n,), the angle in radians."""
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    rows = np.stack([cos * mirror, -sin, shift_x, sin * mirror, cos, shift_y], axis=1)
    return torch.from_numpy(rows.astype(np.float32)).view(-1, 2, 3)


def _uniform(seed: int, view: int, count: int) -> NDArray[np.float64]:
    """Numbers in [-1, 1), (5, count): all that a view needs of each face."""
    raw = np.random.Philox(key=[seed, view]).random_raw(_NUMBERS_PER_VIEW * count)
    return ((raw >> np.uint64(11)) * 2.0**-52 - 1).reshape(_NUMBERS_PER_VIEW, count)
