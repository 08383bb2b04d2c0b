"""Ranges: what calibration learns from faces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fer_edge.errors import ModelError

from quantize.ranges import Range, collect_ranges, require_ranges

VALUES = arrays.arrays(np.float32, (12, 5), elements=st.floats(-100, 100, width=32))


@given(VALUES, st.integers(1, 12))
def test_batches_of_any_size_give_the_same_range(values: np.ndarray, size: int) -> None:
    batches = [{"a": values[start : start + size]} for start in range(0, len(values), size)]
    assert collect_ranges(batches) == collect_ranges([{"a": values}])


@given(VALUES)
def test_the_full_quantile_is_lowest_and_highest(values: np.ndarray) -> None:
    assert collect_ranges([{"a": values}], 1.0) == {"a": Range(float(values.min()), float(values.max()))}


def test_one_face_in_a_thousand_does_not_stretch_the_range() -> None:
    values = np.tile(np.array([-1, 1], np.float32), (1000, 1))
    values[0] = (-50, 50)
    assert collect_ranges([{"a": values}]) == {"a": Range(-1.0, 1.0)}


def test_a_tensor_without_range_is_named() -> None:
    with pytest.raises(ModelError, match="lacks 'b'"):
        require_ranges({"a": Range(0, 1)}, ["a", "b"], "ONNX")


def test_a_range_without_end_is_refused() -> None:
    with pytest.raises(ModelError, match="tensor 'padded' reaches infinity"):
        require_ranges({"padded": Range(float("-inf"), 1.0)}, ("padded",), "TFLite")
