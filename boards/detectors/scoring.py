"""Every detector on every scene, in turns: docs/measured/detectors.csv, and the table made of it."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fer_edge.board import board_info
from fer_edge.csv_tables import columns_of, write_csv

from boards.detectors.collect import collect, picture_sources
from boards.detectors.contenders import Answer, Contender
from boards.detectors.recall import BUCKETS_PX, Found, Habit, Recall, Truth, habit_of, recall_of
from boards.detectors.scenes import (
    CHANGES,
    BenchScene,
    Photograph,
    known_faces,
    photograph,
    scenes_with_faces,
    scenes_without_faces,
)
from boards.instructions import InstructionRow, look_name

MOST_FALSE_PER_1000 = 20.0
_THRESHOLDS = tuple(round(0.3 + 0.01 * step, 2) for step in range(70))
OWN, EQUAL = "its own threshold", "20 false boxes"


@dataclass(frozen=True)
class DetectorRow:
    """One detector at one threshold. Field order is the column order; shares are in [0, 1], empty where none counts.

    `rule` says why that threshold: the detector's own, or the least with 20 false boxes in a thousand empty scenes.
    `false_per_1000` are of empty scenes. `cpu_ms_p50` is processor time of a scene here, `a72_m` and `a76_m` million
    instructions on emulated cores.
    """

    detector: str
    side_px: int | None
    rule: str
    threshold: float
    recall_10_20: float | None
    recall_20_28: float | None
    recall_28_40: float | None
    recall_40_56: float | None
    recall_56_80: float | None
    recall_80_128: float | None
    recall_128_260: float | None
    turned_15: float | None
    turned_30: float | None
    dark: float | None
    blurred: float | None
    jpeg: float | None
    cut: float | None
    false_per_1000: float
    false_with_faces: int
    faces: int
    scenes: int
    empty_scenes: int
    cpu_ms_p50: float
    a72_m: float | None
    a76_m: float | None
    cpu: str


COLUMNS = columns_of(DetectorRow)
_SIZES = tuple(f"{low}-{high}" for low, high in pairwise(BUCKETS_PX))
HEADS = ("detector", "by", "threshold", *_SIZES, *CHANGES[1:], "false", "ms", "A72", "A76")
"""Columns of `cells_of`: shares of faces found, false boxes in 1000, and the cost of a scene."""


def all_scenes(folder: Path, repeats: int, empty: int) -> Iterable[BenchScene]:
    """The scenes, of photographs that are brought into `folder`. Raises UsageError where they cannot be had."""
    sources, known = picture_sources(), known_faces()
    paths = collect(sources, folder)
    shown: dict[str, list[Photograph]] = {"faces": [], "background": []}
    for source in sources:
        shown[source.use].append(photograph(source.name, paths[source.name], known))
    yield from scenes_with_faces(shown["faces"], shown["background"], repeats)
    yield from scenes_without_faces(shown["background"], empty)


class Run:
    """Answers of all contenders, scene by scene."""

    def __init__(self, contenders: Sequence[Contender], every: dict[str, int]) -> None:
        """`every` names contenders that are asked about each n-th scene alone."""
        self._contenders, self._every = contenders, every
        self._truths: list[list[Truth]] = [[] for _ in contenders]
        self._answers: list[list[Answer]] = [[] for _ in contenders]

    def show(self, scenes: Iterable[BenchScene]) -> None:
        """Ask everybody about every scene, in turns."""
        for number, scene in enumerate(scenes):
            for contender, truths, answers in zip(self._contenders, self._truths, self._answers, strict=True):
                if number % self._every.get(contender.name, 1) == 0:
                    truths.append(Truth.of(scene))
                    answers.append(contender.ask(scene.image_bgr))

    def rows(self, counted: Sequence[InstructionRow]) -> list[DetectorRow]:
        """Two rows for each contender, or one where both thresholds are the same."""
        found = []
        for contender, truths, answers in zip(self._contenders, self._truths, self._answers, strict=True):
            boxes = [answer.found for answer in answers]
            habit = habit_of(boxes, truths)
            equal = _threshold(boxes, truths, habit)
            cpu_ms = statistics.median(answer.cpu_ms for answer in answers)
            for rule, threshold in ((OWN, contender.min_score), (EQUAL, equal)):
                if threshold is not None and (rule == OWN or threshold != contender.min_score):
                    recall = recall_of(boxes, truths, threshold, habit)
                    found.append(_row(contender, rule, threshold, recall, len(truths), cpu_ms, counted))
        return found


def _threshold(found: Sequence[Sequence[Found]], truths: Sequence[Truth], habit: Habit) -> float | None:
    """The least threshold with few enough false boxes; None where there is none, or all scores are the same."""
    if len({one.score for boxes in found for one in boxes}) < 2:
        return None
    rates = ((threshold, recall_of(found, truths, threshold, habit).false_per_1000) for threshold in _THRESHOLDS)
    return next((threshold for threshold, rate in rates if rate <= MOST_FALSE_PER_1000), None)


def _row(
    contender: Contender,
    rule: str,
    threshold: float,
    recall: Recall,
    scenes: int,
    cpu_ms: float,
    counted: Sequence[InstructionRow],
) -> DetectorRow:
    sizes = {
        f"recall_{low}_{high}": share.value
        for low, high, share in zip(BUCKETS_PX, BUCKETS_PX[1:], recall.by_size, strict=False)
    }
    changes = {change.replace(" ", "_"): share.value for change, share in recall.by_change.items()}
    shares = (*recall.by_size, *recall.by_change.values())
    return DetectorRow(
        detector=contender.name,
        side_px=contender.side_px,
        rule=rule,
        threshold=threshold,
        false_per_1000=recall.false_per_1000,
        false_with_faces=recall.false_with_faces,
        faces=sum(share.of for share in shares),
        scenes=scenes,
        empty_scenes=recall.empty_scenes,
        cpu_ms_p50=cpu_ms,
        a72_m=_counted(counted, contender, "cortex-a72"),
        a76_m=_counted(counted, contender, "cortex-a76"),
        cpu=board_info().cpu,
        **sizes,
        **changes,
    )


def _counted(counted: Sequence[InstructionRow], contender: Contender, cpu: str) -> float | None:
    """Million instructions of a look at 640x480, where `fer-edge-lab loop-instructions` counted it."""
    name = look_name(contender.name.split()[0], None if contender.name == "mediapipe" else contender.side_px)
    return next((row.instructions / 1e6 for row in counted if (row.model, row.cpu) == (name, cpu)), None)


def write_detectors(path: Path, rows: Iterable[DetectorRow]) -> None:
    """Write the rows as CSV, atomically."""
    write_csv(path, DetectorRow, rows)


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else value


def cells_of(row: DetectorRow) -> tuple[str, ...]:
    """A row as text, in the order of HEADS."""
    shares = [getattr(row, name) for name in COLUMNS[COLUMNS.index("recall_10_20") : COLUMNS.index("cut") + 1]]
    name = row.detector if row.side_px is None else f"{row.detector} {row.side_px}"
    costs = ["" if one is None else f"{one:.1f}" for one in (row.cpu_ms_p50, row.a72_m, row.a76_m)]
    seen = ("" if one is None else f"{one:.2f}" for one in shares)
    return (name, row.rule, f"{row.threshold:.2f}", *seen, f"{row.false_per_1000:.0f}", *costs)


def table(rows: Sequence[DetectorRow]) -> str:
    """Markdown of every row."""
    lines = [HEADS, ["---"] * len(HEADS), *map(cells_of, rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
