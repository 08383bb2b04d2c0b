"""The workstation's benchmark: the runtime's own latency figures, with accuracy beside them where the data is there."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fer_edge.bench import BenchRow, bench_classifier, bench_pipeline, measured_sink
from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.errors import UsageError
from fer_edge.faces import LabelledFaces
from fer_edge.metrics import classification_metrics
from fer_edge.pipeline import Pipeline
from fer_edge.sources import open_source


@dataclass(frozen=True)
class BenchSettings:
    """How long and on what to measure. `faces` is None where no labelled data is at hand; accuracy is then empty."""

    source: str | None
    faces: LabelledFaces | None
    n: int = 300
    warmup: int = 30
    threads: int = 1


def artefacts_in(folder: Path) -> list[Path]:
    """Every model file of an artefact folder. Raises UsageError when there is none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".onnx", ".tflite"))
    if not paths:
        raise UsageError(f"no .onnx or .tflite in {folder}. Make them with `make export quantize`.")
    return paths


def bench_folder(folder: Path, settings: BenchSettings) -> list[BenchRow]:
    """Classifier rows for every artefact, with accuracy where there is data, then the whole loop by stage."""
    paths, rows = artefacts_in(folder), []
    for path in paths:
        classifier = Classifier(path, threads=settings.threads)
        row = bench_classifier(
            classifier, n=settings.n, warmup=settings.warmup, threads=settings.threads, progress=_bar(path.name)
        )
        rows.append(_with_accuracy(row, classifier, settings.faces))
    if settings.source is not None:
        for path in (path for path in paths if ".int8." in path.name):
            rows += _loop_rows(path, settings)
    return rows


def _with_accuracy(row: BenchRow, classifier: Classifier, faces: LabelledFaces | None) -> BenchRow:
    if faces is None or classifier.contract.task != "expression7":
        return row
    faces = faces.in_order_of(classifier.contract.labels)
    metrics = classification_metrics(faces.labels, probabilities_of(classifier, faces.images, f"{row.model} accuracy"))
    return dataclasses.replace(
        row,
        dataset=faces.dataset,
        split=faces.split,
        accuracy=metrics.accuracy,
        macro_f1=metrics.macro_f1,
        ece=metrics.ece,
    )


def probabilities_of(classifier: Classifier, images: np.ndarray, title: str, batch: int = 64) -> np.ndarray:
    """Probabilities (n, labels) of grey faces (n, h, w) uint8, with a progress bar named `title`."""
    starts = range(0, len(images), batch)
    return np.concatenate([classifier.classify(images[i : i + batch]) for i in _bar(title)(starts)])


def _loop_rows(path: Path, settings: BenchSettings) -> list[BenchRow]:
    assert settings.source is not None
    pipeline = Pipeline(
        open_detector("mediapipe", threads=settings.threads), Classifier(path, threads=settings.threads)
    )
    with open_source(settings.source) as source, measured_sink() as sink:
        return bench_pipeline(
            source,
            pipeline,
            sink,
            n=settings.n,
            warmup=settings.warmup,
            threads=settings.threads,
            progress=_bar(f"{path.name} loop"),
        )


def _bar(title: str) -> Any:
    def wrap(items: Iterable[Any]) -> Iterable[Any]:
        return tqdm(items, desc=title, leave=False)

    return wrap
