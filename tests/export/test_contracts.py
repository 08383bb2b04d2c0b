"""The contract of an exported model describes its checkpoint."""

import pytest

from export.contracts import DEFAULT_FACE_CROP, float_contract, measurements
from tests.export import small

SHA = "a" * 64


def test_every_model_gets_the_crop_that_was_measured() -> None:
    assert float_contract(small.info(), SHA, layout="NCHW").face_crop == DEFAULT_FACE_CROP


@pytest.mark.parametrize("measured", [{}, {"PublicTest": {"accuracy": 0.7}}, {"PublicTest": 0.7}, {"n": None}])
def test_figures_without_n_or_macro_f1_are_left_out(measured: dict) -> None:
    assert measurements(measured) == ()


def test_figures_keep_their_split_and_count() -> None:
    figures = {"n": 3589, "accuracy": 0.7, "macro_f1": 0.6}
    (measurement,) = measurements({"PublicTest": figures})
    assert (measurement.dataset, measurement.split, measurement.n, measurement.crops) == (
        "FER2013",
        "PublicTest",
        3589,
        "single",
    )
