"""The noise ladder: its amounts by their distributions, and that it is random - between pixels, faces and seeds."""

import math

import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.noise import NOISES, STEPS, add_noise, level

RANDOM = [kind for kind in NOISES if kind not in ("blur", "jpeg")]
GREY = np.full((40, 48, 48), 128, dtype=np.uint8)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("step", range(1, 5))
def test_gaussian_noise_is_normal(step: int) -> None:
    """Of steps that do not clip: mean, deviation, and the shares within one and two deviations."""
    noise = add_noise(GREY, "gaussian", step, 0).astype(float) - 128
    sigma = level("gaussian", step)
    assert abs(noise.mean()) < 4 * sigma / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    for deviations in (1, 2):
        # Grey values are whole: what is below n sigma was below n sigma - 1/2 before it was rounded.
        expected = math.erf((deviations * sigma - 0.5) / sigma / math.sqrt(2))
        assert (np.abs(noise) < deviations * sigma).mean() == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_salt_and_pepper_fall_evenly_and_as_often_as_said(step: int) -> None:
    noisy, share = add_noise(GREY, "salt-and-pepper", step, 0), level("salt-and-pepper", step)
    assert (noisy == 0).mean() == pytest.approx(share / 2, rel=0.1)
    assert (noisy == 255).mean() == pytest.approx(share / 2, rel=0.1)
    assert set(np.unique(noisy)) == {0, 128, 255}
    quarters = [np.mean(part != 128) for half in np.split(noisy, 2, axis=1) for part in np.split(half, 2, axis=2)]
    assert max(quarters) - min(quarters) < 0.05


def test_speckle_grows_with_the_pixel() -> None:
    dark, bright = (add_noise(np.full((20, 48, 48), v, np.uint8), "speckle", 2, 0).std() for v in (40, 120))
    assert bright / dark == pytest.approx(3, rel=0.05)
    assert bright == pytest.approx(120 * level("speckle", 2), rel=0.05)


def test_low_light_leaves_its_share_of_the_light_with_shot_noise() -> None:
    """Four photons a grey value are Poisson: their variance is a quarter of the light; read noise of 2 comes on top."""
    noisy = add_noise(GREY, "low light", 2, 0).astype(float)
    assert noisy.mean() == pytest.approx(128 * 0.4, rel=0.01)
    assert noisy.var() == pytest.approx(128 * 0.4 / 4 + 2**2, rel=0.05)


@pytest.mark.parametrize("kind", RANDOM)
def test_noise_is_independent_between_neighbours_faces_and_seeds(kind: str) -> None:
    noise = add_noise(GREY, kind, 2, 0).astype(float)
    other = add_noise(GREY, kind, 2, 1).astype(float)
    bound = 4 / np.sqrt(noise.size / 2)  # four standard errors of a correlation of nothing
    assert abs(correlation(noise[:, :, :-1], noise[:, :, 1:])) < bound
    assert abs(correlation(noise[:, :-1], noise[:, 1:])) < bound
    assert abs(correlation(noise[:-1], noise[1:])) < bound
    assert abs(correlation(noise, other)) < bound


@pytest.mark.parametrize("kind", NOISES)
def test_the_same_seed_gives_the_same_noise_again(kind: str) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    np.testing.assert_array_equal(add_noise(faces, kind, 3, 5), add_noise(faces, kind, 3, 5))


@pytest.mark.parametrize("kind", NOISES)
def test_every_step_takes_more_of_the_face(kind: str) -> None:
    rows, columns = np.mgrid[0:48, 0:48]
    face = (128 + 60 * np.sin(rows / 5) * np.cos(columns / 4) + 20 * ((rows // 3 + columns // 3) % 2)).astype(np.uint8)
    faces = np.repeat(face[None], 8, axis=0)
    likeness = [correlation(faces, add_noise(faces, kind, step, 0)) for step in range(1, STEPS + 1)]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] > max(0.8, likeness[-1] + 0.02)


@pytest.mark.parametrize(("kind", "step"), [("hail", 1), ("blur", 0), ("blur", 6)])
def test_a_step_that_is_not_on_the_ladder_is_refused(kind: str, step: int) -> None:
    with pytest.raises(UsageError, match="expected gaussian, salt-and-pepper"):
        add_noise(GREY, kind, step, 0)
