"""Ranges of activations: the one thing that calibration learns, in the same way for ONNX and TFLite."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import ModelError

from export.quiet import quiet

# Of the faces' own extremes the outermost 1 % is clipped. On PublicTest that agreed with float on 0.25 to 0.5 points
# more faces than plain minimum and maximum, and on more than quantiles from 0.9 to 0.995 did.
QUANTILE = 0.99
# onnxruntime's own defaults for its two histogram methods.
_BINS, _QUANTIZED_BINS, _PERCENTILE = 128, 128, 99.999
_PERCENTILE_BINS = 2048


@dataclass(frozen=True)
class Range:
    """Lowest and highest value a tensor is quantized for; values outside are clipped."""

    low: float
    high: float


Ranges = dict[str, Range]


def collect_ranges(
    batches: Iterable[Mapping[str, NDArray[np.float32]]], methods: Sequence[str], quantile: float = QUANTILE
) -> dict[str, Ranges]:
    """Range of each tensor over batches of activations, name -> (faces, ...) float32; one set of ranges a method.

    "minmax" spans everything seen. "quantile": each face has a lowest and a highest value, and the range spans the
    `quantile` of those over all faces. "entropy" and "percentile" are onnxruntime's, over the histogram of all values.
    """
    lows: dict[str, list[NDArray[np.float32]]] = {}
    highs: dict[str, list[NDArray[np.float32]]] = {}
    histograms = {method: _collector(method) for method in methods if method in ("entropy", "percentile")}
    for batch in batches:
        for name, values in batch.items():
            rows = values.reshape(len(values), -1)
            lows.setdefault(name, []).append(rows.min(axis=1))
            highs.setdefault(name, []).append(rows.max(axis=1))
        for collector in histograms.values():
            with quiet():  # it prints a line a batch
                collector.collect(dict(batch))
    extremes = {"minmax": 1.0, "quantile": quantile}
    found = {
        method: {
            name: Range(_quantile(lows[name], 1 - extremes[method]), _quantile(highs[name], extremes[method]))
            for name in lows  # in the order of the graph
        }
        for method in methods
        if method in extremes
    }
    return found | {method: _histogram_ranges(collector) for method, collector in histograms.items()}


def _quantile(parts: list[NDArray[np.float32]], quantile: float) -> float:
    # In single precision, as the quantizers hold it: JSON then gives back the very same number.
    return float(np.float32(np.quantile(np.concatenate(parts), quantile)))


def _collector(method: str) -> Any:
    from onnxruntime.quantization.calibrate import HistogramCollector

    bins = _PERCENTILE_BINS if method == "percentile" else _BINS
    return HistogramCollector(method, False, bins, _QUANTIZED_BINS, _PERCENTILE, "same")


def _histogram_ranges(collector: Any) -> Ranges:
    with quiet():
        found = collector.compute_collection_result()
    return {name: Range(float(np.float32(part[0])), float(np.float32(part[1]))) for name, part in found.items()}


def require_ranges(ranges: Mapping[str, Range], needed: Sequence[str], where: str) -> None:
    """Raise ModelError, naming the format `where`, unless every tensor in `needed` has a range, and a finite one."""
    missing = [name for name in needed if name not in ranges]
    if missing:
        raise ModelError(
            f"the calibration knows {len(ranges)} {where} tensors but lacks {missing[0]!r}: it was made for another "
            "export. Make it again with FER2013 at hand (`make data`, then `make quantize`)."
        )
    endless = [name for name in needed if not (math.isfinite(ranges[name].low) and math.isfinite(ranges[name].high))]
    if endless:
        raise ModelError(
            f"the {where} tensor {endless[0]!r} reaches infinity, which eight bits cannot say. Let the architecture "
            "pad or mask with a finite number."
        )
