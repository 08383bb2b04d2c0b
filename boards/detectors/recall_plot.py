"""Recall against the size of a face, for each detector at the same rate of false boxes."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fer_edge.files import atomic_write

from boards.detectors.recall import BUCKETS_PX
from boards.detectors.scoring import COLUMNS, OWN, DetectorRow

_SIZES = COLUMNS[COLUMNS.index("recall_10_20") : COLUMNS.index("turned_15")]
_OUR_SIDES_PX = (192, 256, 320)
_COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb")


def plot_recall(rows: Sequence[DetectorRow], path: Path) -> None:
    """Write a PNG with a line for each detector: ours at its own threshold, others at 20 false boxes where they can."""
    rows = _drawn(rows)
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    names = [f"{low}-{high}" for low, high in pairwise(BUCKETS_PX)]
    for number, row in enumerate(rows):
        shares = [getattr(row, name) for name in _SIZES]
        canvas = "" if row.side_px is None else f" {row.side_px} px"
        label = f"{row.detector}{canvas}: {row.cpu_ms_p50:.1f} ms, {row.false_per_1000:.0f} false in 1000"
        style = "-" if row.detector.startswith("yunet") else "--"
        axes.plot(names, shares, style, marker="o", color=_COLOURS[number % len(_COLOURS)], label=label)
    axes.set(xlabel="size of the face, pixels in a frame of 640x480", ylabel="recall", ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)


def _drawn(rows: Sequence[DetectorRow]) -> list[DetectorRow]:
    ours = [
        row for row in rows if row.rule == OWN and row.side_px in _OUR_SIDES_PX and row.detector.startswith("yunet")
    ]
    others = {row.detector: row for row in rows if not row.detector.startswith("yunet")}
    return [*ours, *others.values()]
