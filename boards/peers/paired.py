"""The comparison: every contender on every face, in turn, so that what slows the machine slows them all."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.csv_tables import columns_of, write_csv
from fer_edge.errors import DataError
from fer_edge.faces import LabelledFaces
from fer_edge.metrics import classification_metrics

from boards.peers.classifiers import CLASSES, Contender

_WARMUP = 30


@dataclass(frozen=True)
class PeerRow:
    """One contender. `p50_ratio` and `size_ratio` are over ours, the first row. Field order is the column order."""

    name: str
    model: str
    model_sha256: str
    engine: str
    engine_version: str
    threads: int
    dataset: str
    split: str
    n: int
    accuracy: float
    macro_f1: float
    p50_ms: float
    p90_ms: float
    size_kb: float
    p50_ratio: float
    size_ratio: float


PEER_COLUMNS = columns_of(PeerRow)


def compare(
    contenders: Sequence[Contender], faces: LabelledFaces, progress: Callable[[Iterable], Iterable] = iter
) -> list[PeerRow]:
    """A row for each contender, ours first. Raises DataError when the faces' classes are not CLASSES."""
    if faces.label_names != CLASSES:
        raise DataError(f"{faces.dataset}: classes {', '.join(faces.label_names)}; expected {', '.join(CLASSES)}.")
    probabilities = np.zeros((len(contenders), len(faces), len(CLASSES)), np.float32)
    times_ms = np.zeros((len(contenders), len(faces)))
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(contender) for contender in contenders]
        for index in range(min(_WARMUP, len(faces))):
            for contender in running:
                contender.classify(index)
        for index in progress(range(len(faces))):
            for place, contender in enumerate(running):
                probabilities[place, index], times_ms[place, index] = contender.classify(index)
    medians = np.median(times_ms, axis=1)
    return [
        _row(
            contender, faces, probabilities[place], times_ms[place], medians[place] / medians[0], contenders[0].size_kb
        )
        for place, contender in enumerate(contenders)
    ]


def _row(
    contender: Contender,
    faces: LabelledFaces,
    probabilities: np.ndarray,
    times_ms: np.ndarray,
    p50_ratio: float,
    our_size_kb: float,
) -> PeerRow:
    metrics = classification_metrics(faces.labels, probabilities)
    p50, p90 = np.percentile(times_ms, [50, 90])
    return PeerRow(
        name=contender.name,
        model=contender.model,
        model_sha256=contender.sha256,
        engine=contender.engine,
        engine_version=contender.engine_version,
        threads=1,
        dataset=faces.dataset,
        split=faces.split,
        n=metrics.n,
        accuracy=metrics.accuracy,
        macro_f1=metrics.macro_f1,
        p50_ms=float(p50),
        p90_ms=float(p90),
        size_kb=contender.size_kb,
        p50_ratio=p50_ratio,
        size_ratio=contender.size_kb / our_size_kb,
    )


def write_peers(path: Path, rows: Iterable[PeerRow]) -> None:
    """Write the rows as CSV, atomically."""
    write_csv(path, PeerRow, rows)
