"""A float model that takes a fixed number of faces at once."""

import dataclasses

import pytest

from fer_edge.errors import ModelError

from quantize.source import adopt
from tests.runtime.fakes.models import write_onnx


def test_a_fixed_batch_is_refused_before_anything_is_made(tmp_path, contract):
    model = write_onnx(tmp_path / "batch4.onnx", dataclasses.replace(contract, precision="fp32"), batch=4)
    with pytest.raises(ModelError, match=r"batch4\.onnx: takes exactly 4 faces at once, expected 1 or any number"):
        adopt(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
