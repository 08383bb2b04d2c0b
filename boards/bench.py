"""The workstation's benchmark: the runtime's own latency figures, with accuracy beside them where the data is there."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fer_edge.bench import BenchRow, bench_classifier, bench_pipeline, measured_sink
from fer_edge.bench.accuracy import probabilities_of, scored
from fer_edge.classifier import Classifier
from fer_edge.contract import ModelContract
from fer_edge.errors import UsageError
from fer_edge.faces import LabelledFaces, load_task_faces
from fer_edge.program.parts import make_pipeline
from fer_edge.settings import ModelSettings, Settings
from fer_edge.sources import open_source
from fer_edge.tasks import CLASSES

from boards.confusion import ConfusionRow, confusion_rows


@dataclass(frozen=True)
class BenchSettings:
    """How long and on what to measure. `faces` is a cache, of which `split` is taken, or a folder.

    It is None where no labelled data is at hand; accuracy is then empty, as it is for tasks without classes.
    """

    source: str | None
    faces: Path | None
    n: int = 300
    warmup: int = 30
    threads: int = 1
    split: str = "PublicTest"


def artifacts_in(folder: Path) -> list[Path]:
    """Every model file of an artifact folder. Raises UsageError when there is none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".onnx", ".tflite"))
    if not paths:
        raise UsageError(f"no .onnx or .tflite in {folder}. Make them with `make export quantize`.")
    return paths


@dataclass(frozen=True)
class FolderBench:
    """Measurements of a folder: the benchmark's rows, and where there are labels, the confusion matrix."""

    rows: list[BenchRow]
    confusions: list[ConfusionRow]


def bench_folder(folder: Path, settings: BenchSettings) -> FolderBench:
    """Classifier rows for every artifact, with accuracy where there is data, then the whole loop by stage."""
    paths, rows, confusions = artifacts_in(folder), [], []
    if settings.source is not None:
        with open_source(settings.source):  # refused now, not after minutes
            pass
    for path in paths:
        classifier = Classifier(path, threads=settings.threads)
        row = bench_classifier(
            classifier, n=settings.n, warmup=settings.warmup, threads=settings.threads, progress=_bar(path.name)
        )
        faces = _faces(settings, classifier.contract)
        if faces is not None:
            probabilities = probabilities_of(classifier, faces.images, _bar(f"{path.name} accuracy"))
            row = scored(row, faces, probabilities)
            confusions += confusion_rows(row, faces, probabilities)
        rows.append(row)
    if settings.source is not None:
        for path in (path for path in paths if ".int8." in path.name):
            rows += _loop_rows(path, settings)
    return FolderBench(rows, confusions)


def _faces(settings: BenchSettings, contract: ModelContract) -> LabelledFaces | None:
    """The faces with a truth for the model's task; None where they are not at hand or have no classes."""
    if settings.faces is None or contract.task_spec.kind != CLASSES:
        return None
    faces = load_task_faces(
        *(settings.faces, settings.split, contract.task, contract.labels, contract.input.size_px),
        colour=contract.input.channels == 3,
    )
    return faces if isinstance(faces, LabelledFaces) else None


def _loop_rows(path: Path, settings: BenchSettings) -> list[BenchRow]:
    """The whole loop as the program runs it where nothing else is asked for."""
    assert settings.source is not None
    pipeline = make_pipeline(Settings(model=ModelSettings(file=path, threads=settings.threads)))
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
