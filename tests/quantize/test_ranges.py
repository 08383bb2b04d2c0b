"""Ranges: what calibration learns from faces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fer_edge.errors import ModelError

from quantize.ranges import Range, collect_ranges, require_ranges

BOTH = ("quantile", "minmax")
VALUES = arrays.arrays(np.float32, (12, 5), elements=st.floats(-100, 100, width=32))


@given(VALUES, st.integers(1, 12))
def test_batches_of_any_size_give_the_same_range(values: np.ndarray, size: int) -> None:
    batches = [{"a": values[start : start + size]} for start in range(0, len(values), size)]
    assert collect_ranges(batches, BOTH) == collect_ranges([{"a": values}], BOTH)


@given(VALUES)
def test_minmax_is_lowest_and_highest_and_so_is_the_full_quantile(values: np.ndarray) -> None:
    found = collect_ranges([{"a": values}], BOTH, 1.0)
    assert found["minmax"] == found["quantile"] == {"a": Range(float(values.min()), float(values.max()))}


def test_one_face_in_a_thousand_does_not_stretch_the_range() -> None:
    values = np.tile(np.array([-1, 1], np.float32), (1000, 1))
    values[0] = (-50, 50)
    assert collect_ranges([{"a": values}], BOTH)["quantile"] == {"a": Range(-1.0, 1.0)}


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_histogram_methods_stay_inside_what_was_seen(method: str) -> None:
    values = np.random.default_rng(0).normal(size=(64, 100)).astype(np.float32)
    (found,) = collect_ranges([{"a": values[:32]}, {"a": values[32:]}], (method,)).values()
    assert values.min() <= found["a"].low < -1
    assert 1 < found["a"].high <= values.max()


def test_a_tensor_without_range_is_named() -> None:
    with pytest.raises(ModelError, match="lacks 'b'"):
        require_ranges({"a": Range(0, 1)}, ["a", "b"], "ONNX")


def test_a_range_without_end_is_refused() -> None:
    with pytest.raises(ModelError, match="tensor 'padded' reaches infinity"):
        require_ranges({"padded": Range(float("-inf"), 1.0)}, ("padded",), "TFLite")
