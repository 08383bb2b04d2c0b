"""Ranges of activations: the one thing that calibration learns, for ONNX and TFLite alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import ModelError


@dataclass(frozen=True)
class Range:
    """Lowest and highest value a tensor is quantized for; the values outside are clipped."""

    low: float
    high: float


def collect(batches: Iterable[dict[str, NDArray[np.float32]]], quantile: float = 1.0) -> dict[str, Range]:
    lows: dict[str, list] = {}
    highs: dict[str, list] = {}
    for batch in batches:
        for name, values in batch.items():
            rows = values.reshape(len(values), -1)
            lows.setdefault(name, []).append(rows.min(axis=1))
            highs.setdefault(name, []).append(rows.max(axis=1))
    return {
        name: Range(
            float(np.quantile(np.concatenate(lows[name]), 1 - quantile)),
            float(np.quantile(np.concatenate(highs[name]), quantile)),
        )
        for name in lows
    }


def missing_ranges(ranges: dict[str, Range], needed: Sequence[str], where: str) -> None:
    missing = [name for name in needed if name not in ranges]
    if missing:
        raise ModelError(f"the calibration lacks {len(missing)} {where} tensors, first {missing[0]!r}.")
