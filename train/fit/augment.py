"""Augmentation of a whole batch at once: a Python loop per face would cost a third of an epoch."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from train.fit.recipe import Augmentation


def augment(faces: Tensor, settings: Augmentation, generator: Generator, side: int | None = None) -> Tensor:
    """Flip, rotate, shift, scale, relight and erase at random: (n, 1, h, w) float, normalised -> the same shape.

    With `side`, the warp samples (n, 1, side, side) at once.
    """
    return augment_with_maps(faces, [], settings, generator, side)[0]


def augment_with_maps(
    faces: Tensor,
    maps: list[Tensor],
    settings: Augmentation,
    generator: Generator,
    side: int | None = None,
    places: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """As `augment`, and `maps` over the faces, (n, c, any, any) float, moved as the faces are; each keeps its size.

    `places`, (n, 2, 3), are views of the faces (`train.fit.views`) that `settings` move on from. Numbers are drawn on
    the CPU, pixels are made on the device of `faces`: a seed gives the same faces on both.
    """
    own = _places(len(faces), settings, generator).to(faces.device)
    places = own if places is None else composed(places, own)
    faces = sample(faces, places, side)
    moved = [sample(over.float(), places) for over in maps]
    faces = _relight(faces, settings, generator)
    return _erase(faces, settings, generator), moved


def mixup(count: int, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """How to mix a batch: for each of `count` faces its own share, (n,) in [0.5, 1], and the index of its partner.

    The shares follow Beta(alpha, alpha) folded at one half, so that a face stays the greater part of its own mixture.
    (Zhang et al., 2018.)
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    share = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count).astype(np.float32))
    return torch.maximum(share, 1 - share), torch.randperm(count, generator=generator)


def mixed(values: Tensor, share: Tensor, partner: Tensor) -> Tensor:
    """Rows of `values`, (n, ...), mixed with their partners' rows."""
    share = share.to(values.device).view(-1, *[1] * (values.ndim - 1))
    return torch.lerp(values[partner.to(values.device)], values, share)


def _uniform(count: int, half_range: float, generator: Generator) -> Tensor:
    return (torch.rand(count, generator=generator) * 2 - 1) * half_range


def _places(n: int, settings: Augmentation, generator: Generator) -> Tensor:
    """Where each face is looked at, as the rows of n affine maps from output to input, (n, 2, 3)."""
    angle = _uniform(n, math.radians(settings.rotation_deg), generator)
    zoom = 1 + _uniform(n, settings.scale, generator)
    mirror = torch.ones(n)
    if settings.flip:
        mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    # affine_grid maps output to input, in units of half a side.
    shift_x, shift_y = _uniform(n, 2 * settings.shift, generator), _uniform(n, 2 * settings.shift, generator)
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    return torch.stack([cos * mirror, -sin, shift_x, sin * mirror, cos, shift_y], dim=1).view(n, 2, 3)


def composed(first: Tensor, then: Tensor) -> Tensor:
    """Affine maps (n, 2, 3) from output to input of images looked at by `first`, and the result of that by `then`."""
    linear, offset = first[:, :, :2], first[:, :, 2:]
    return torch.cat([linear @ then[:, :, :2], linear @ then[:, :, 2:] + offset], dim=2)


def sample(images: Tensor, places: Tensor, side: int | None = None) -> Tensor:
    """Images (n, c, h, w) float, looked at by affine maps (n, 2, 3): the same shape, or (n, c, side, side)."""
    shape = [*images.shape[:2], side or images.shape[2], side or images.shape[3]]
    grid = F.affine_grid(places, shape, align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _relight(faces: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    n = len(faces)
    contrast = (1 + _uniform(n, settings.contrast, generator)).to(faces.device).view(n, 1, 1, 1)
    # Normalised pixels span about four units, so brightness is a fraction of that.
    brightness = 4 * _uniform(n, settings.brightness, generator).to(faces.device).view(n, 1, 1, 1)
    mean = faces.mean((1, 2, 3), keepdim=True)
    return ((faces - mean) * contrast + mean + brightness).clamp(-2.0, 2.0)


def _erase(faces: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Paint one random rectangle grey on some faces (random erasing, Zhong et al., 2017)."""
    n, _, height, width = faces.shape
    sides = 0.1 + (settings.erase_side - 0.1) * torch.rand(n, 2, generator=generator)
    corner = torch.rand(n, 2, generator=generator) * (1 - sides)
    chosen = torch.rand(n, generator=generator) < settings.erase_probability
    y = (torch.arange(height) + 0.5).div(height).view(1, height, 1)
    x = (torch.arange(width) + 0.5).div(width).view(1, 1, width)
    top, left = corner[:, 0].view(n, 1, 1), corner[:, 1].view(n, 1, 1)
    tall, wide = sides[:, 0].view(n, 1, 1), sides[:, 1].view(n, 1, 1)
    inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide) & chosen.view(n, 1, 1)
    return faces.masked_fill(inside.unsqueeze(1).to(faces.device), 0.0)
