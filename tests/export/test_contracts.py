"""What an exported model's contract says of its checkpoint."""

import pytest

from fer_edge.contract import FaceCrop
from fer_edge.errors import ModelError

from export.contracts import DEFAULT_FACE_CROP, float_contract, measurements
from tests.export import small

SHA = "a" * 64


def test_a_checkpoint_that_names_no_crop_gets_the_default() -> None:
    assert float_contract(small.info(), SHA, layout="NCHW").face_crop == DEFAULT_FACE_CROP


def test_the_crop_a_checkpoint_names_is_kept() -> None:
    info = small.info(recipe={"face_crop": {"margin": 0.1, "square": False, "alignment": "none"}})
    assert float_contract(info, SHA, layout="NCHW").face_crop == FaceCrop(margin=0.1, square=False, alignment="none")


def test_a_crop_that_is_none_is_refused() -> None:
    with pytest.raises(ModelError, match="face_crop"):
        float_contract(small.info(recipe={"face_crop": {"margins": 0.1}}), SHA, layout="NCHW")


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
