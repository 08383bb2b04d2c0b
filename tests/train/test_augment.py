"""Augmentation by geometry that can be told beforehand, its ranges, and the chance it follows."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.fit import augment as augmentation
from train.fit.augment import augment, augment_with_maps, composed, mixed, mixup, sample
from train.fit.recipe import Augmentation
from train.fit.views import ViewSettings, affine, view_places

STILL = Augmentation(
    flip=False, rotation_deg=0, shift=0, scale=0, brightness=0, contrast=0, erase_probability=0, mixup=0
)
seeds = st.integers(0, 2**16)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(n: int = 1, side: int = 16) -> torch.Tensor:
    """Faces (n, 1, side, side) that differ in every pixel."""
    return torch.linspace(-1, 1, n * side * side).view(n, 1, side, side)


def place(angle: float = 0, zoom: float = 1, x: float = 0, y: float = 0, mirror: float = 1) -> torch.Tensor:
    return affine(*(np.array([float(value)]) for value in (angle, zoom, x, y, mirror)))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (place(), lambda face: face),
        (place(mirror=-1), lambda face: face.flip(3)),
        (place(angle=math.pi), lambda face: face.flip(2, 3)),
        (place(angle=math.pi / 2), lambda face: face.rot90(1, (2, 3))),
        (place(angle=-math.pi / 2), lambda face: face.rot90(-1, (2, 3))),
    ],
    ids=["still", "mirrored", "upside down", "a quarter turn", "a quarter turn back"],
)
def test_a_place_looks_at_the_face_as_its_numbers_say(where: torch.Tensor, expected: object) -> None:
    torch.testing.assert_close(sample(ramp(), where), expected(ramp()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pixels", [1, 3])
def test_a_shift_of_a_pixel_is_two_sides_th_parts_of_the_unit(pixels: int) -> None:
    moved = sample(ramp(), place(x=2 * pixels / 16))
    torch.testing.assert_close(moved[..., : 16 - pixels], ramp()[..., pixels:], atol=1e-5, rtol=0)
    down = sample(ramp(), place(y=2 * pixels / 16))
    torch.testing.assert_close(down[:, :, : 16 - pixels], ramp()[:, :, pixels:], atol=1e-5, rtol=0)


def test_a_zoom_of_a_half_shows_the_middle_of_a_face() -> None:
    face = torch.zeros(1, 1, 16, 16)
    face[..., 4:12, 4:12] = 1
    torch.testing.assert_close(sample(face, place(zoom=0.5))[..., 1:-1, 1:-1], torch.ones(1, 1, 14, 14))


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_looking_twice_is_one_product_of_matrices(seed: int) -> None:
    first, then = torch.randn(2, 3, 2, 3, generator=seeded(seed), dtype=torch.float64)
    bottom = torch.tensor([[[0.0, 0.0, 1.0]]], dtype=torch.float64).expand(3, 1, 3)
    product = torch.cat([first, bottom], dim=1) @ torch.cat([then, bottom], dim=1)
    torch.testing.assert_close(composed(first, then), product[:, :2])


@given(seeds, st.floats(0, 45), st.floats(0, 0.3), st.floats(0, 0.3))
@settings(max_examples=15, deadline=None)
def test_no_view_turns_moves_or_zooms_further_than_its_settings(
    seed: int, rotation: float, shift: float, scale: float
) -> None:
    maps = view_places(ViewSettings(rotation, shift, scale, seed), 1, 50).double()
    linear, offset = maps[:, :, :2], maps[:, :, 2]
    zoom = linear.det().abs().sqrt()
    assert ((zoom - 1).abs() <= scale + 1e-5).all()
    assert (offset.abs() <= 2 * shift + 1e-6).all()
    angle = torch.rad2deg(torch.atan2(-linear[:, 0, 1], linear[:, 1, 1]))
    assert (angle.abs() <= rotation + 1e-3).all()


def test_the_seed_and_the_number_of_a_view_change_it() -> None:
    views = [view_places(ViewSettings(seed=seed), view, 4) for seed in (0, 1) for view in (1, 2)]
    assert all(not torch.equal(views[i], views[j]) for i in range(4) for j in range(i))


def test_half_of_the_faces_are_mirrored_and_none_where_the_recipe_says_so() -> None:
    faces = ramp(400, 4)
    flipped = augment(faces, dataclasses.replace(STILL, flip=True), seeded(0))
    mirrored = [torch.allclose(moved, face.flip(2), atol=1e-5) for moved, face in zip(flipped, faces, strict=True)]
    assert 0.4 < np.mean(mirrored) < 0.6


@pytest.mark.parametrize(("setting", "value"), [("rotation_deg", 20.0), ("shift", 0.2), ("scale", 0.3)])
def test_each_movement_moves_every_face_differently(setting: str, value: float) -> None:
    faces = ramp(1, 16).expand(5, 1, 16, 16)
    moved = augment(faces, dataclasses.replace(STILL, **{setting: value}), seeded(0))
    assert all(not torch.allclose(moved[i], moved[j]) for i in range(5) for j in range(i))


def test_a_map_moves_as_its_face_does_and_is_not_relit_or_erased() -> None:
    faces = torch.rand(6, 1, 24, 24, generator=seeded(1))
    moved, (followed,) = augment_with_maps(
        faces, [faces], dataclasses.replace(STILL, flip=True, rotation_deg=30, shift=0.1), seeded(2)
    )
    torch.testing.assert_close(moved, followed)
    lit = dataclasses.replace(STILL, brightness=0.3, contrast=0.4, erase_probability=1.0)
    moved, (followed,) = augment_with_maps(faces, [faces], lit, seeded(2))
    torch.testing.assert_close(followed, faces, atol=1e-5, rtol=0)
    assert not torch.allclose(moved, faces, atol=1e-2)


def test_a_map_keeps_its_own_size_when_faces_are_made_smaller() -> None:
    moved, (followed,) = augment_with_maps(ramp(2, 16), [ramp(2, 8)], STILL, seeded(0), side=12)
    assert moved.shape == (2, 1, 12, 12)
    assert followed.shape == (2, 1, 8, 8)


@given(seeds, st.floats(0.01, 0.2))
@settings(max_examples=15, deadline=None)
def test_brightness_shifts_a_face_by_at_most_its_part_of_four_units(seed: int, brightness: float) -> None:
    faces = torch.rand(8, 1, 8, 8, generator=seeded(seed)) - 0.5
    difference = augment(faces, dataclasses.replace(STILL, brightness=brightness), seeded(seed)) - faces
    shift = difference.mean((1, 2, 3))
    assert (shift.abs() <= 4 * brightness + 1e-5).all()
    assert (difference - shift.view(-1, 1, 1, 1)).abs().max() < 1e-4


@given(seeds, st.floats(0.05, 0.5))
@settings(max_examples=15, deadline=None)
def test_contrast_spreads_a_face_around_its_own_mean(seed: int, contrast: float) -> None:
    faces = torch.rand(8, 1, 8, 8, generator=seeded(seed)) - 0.5
    lit = augment(faces, dataclasses.replace(STILL, contrast=contrast), seeded(seed))
    torch.testing.assert_close(lit.mean((1, 2, 3)), faces.mean((1, 2, 3)), atol=1e-5, rtol=0)
    ratio = lit.std((1, 2, 3)) / faces.std((1, 2, 3))
    assert ((ratio - 1).abs() <= contrast + 1e-4).all()


def test_pixels_stay_in_the_range_of_normalised_faces() -> None:
    lit = augment(ramp(32, 8) * 2, dataclasses.replace(STILL, brightness=0.9, contrast=0.9), seeded(0))
    assert lit.min() == -2 and lit.max() == 2


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_so_many_faces_have_one_grey_rectangle(probability: float) -> None:
    settings_ = dataclasses.replace(STILL, erase_probability=probability, erase_side=0.5)
    erased = augment(torch.ones(200, 1, 20, 20), settings_, seeded(3))[:, 0] == 0
    hit = erased.flatten(1).any(dim=1)
    assert hit.float().mean() == pytest.approx(probability, abs=0.1)
    shapes = set()
    for mask in erased[hit]:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        tall, wide = (int(index.max() - index.min() + 1) for index in (rows, columns))
        shapes.add((tall, wide))
        assert mask.sum() == tall * wide  # a full rectangle
        assert 1 <= tall <= 11 and 1 <= wide <= 11  # of a tenth to a half of the side, give or take a pixel
    assert probability == 0 or any(tall > 2 * wide for tall, wide in shapes)  # both sides are drawn


@given(seeds, st.floats(0.05, 5.0), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_every_face_is_mixed_with_one_partner_and_is_the_partner_of_one(seed: int, alpha: float, count: int) -> None:
    share, partner = mixup(count, alpha, seeded(seed))
    assert ((share >= 0.5) & (share <= 1)).all()
    assert sorted(partner.tolist()) == list(range(count))


def test_a_small_alpha_hardly_mixes_and_a_great_one_mixes_halves() -> None:
    assert mixup(500, 0.05, seeded(0))[0].mean() > 0.95
    assert mixup(500, 50.0, seeded(0))[0].mean() < 0.6


@pytest.mark.parametrize("shape", [(3, 5), (3, 1, 4, 4), (3,)])
def test_mixing_is_the_weighted_sum_in_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    values, share, partner = (
        torch.randn(shape, generator=seeded(0)),
        torch.tensor([1.0, 0.5, 0.75]),
        torch.tensor([2, 0, 1]),
    )
    result = mixed(values, share, partner)
    for row, (own, other) in enumerate(zip(share, partner, strict=True)):
        torch.testing.assert_close(result[row], own * values[row] + (1 - own) * values[other])


def test_a_seed_draws_the_same_whatever_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that progressive resizing sees the faces that full size would have seen."""
    drawn = []
    whole = augmentation._places
    monkeypatch.setattr(augmentation, "_places", lambda *a: drawn.append(whole(*a)) or drawn[-1])
    for side in (8, 16):
        augment(ramp(3), Augmentation(), seeded(5), side)
    torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=0)
