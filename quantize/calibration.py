"""Calibration: activation ranges from faces, or from the cache a checkpoint is committed with."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from fer_edge.errors import ModelError, UsageError
from fer_edge.faces import LabelledFaces
from fer_edge.files import atomic_write
from fer_edge.tables import build, read_json, shown

from export.contracts import PRODUCER
from quantize import onnx_graph, onnx_ptq, tflite_graph
from quantize.faces import DEFAULT_SEED
from quantize.ranges import QUANTILE, Range, Ranges, collect_ranges
from quantize.source import FloatModels

SCHEMA_VERSION = 2
# The methods a cache holds: both follow from the same two numbers a face.
CACHED_METHODS = ("quantile", "minmax")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Activation ranges of one checkpoint's float models, and the faces they were measured on.

    `ranges`: format ("onnx", "tflite") -> method -> tensor -> range.
    """

    schema_version: int = SCHEMA_VERSION
    checkpoint_sha256: str
    source: str
    count: int
    seed: int
    quantile: float
    producer: str
    ranges: dict[str, dict[str, Ranges]]

    def description(self) -> str:
        """Text for the contract: what the model was calibrated on."""
        return f"{self.source}, {self.count} faces, class-balanced, seed {self.seed}"

    def save(self, path: Path) -> None:
        """Write as JSON what every later search needs, atomically. Raises UsageError where that cannot be."""
        table = dataclasses.asdict(self)
        table["ranges"] = {
            kind: {
                method: {name: [r.low, r.high] for name, r in ranges.items()}
                for method, ranges in methods.items()
                if method in CACHED_METHODS
            }
            for kind, methods in self.ranges.items()
        }
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class _CalibrationFile:
    """A cache as its file has it, each range a list of two numbers."""

    schema_version: int
    checkpoint_sha256: str
    source: str
    count: int
    seed: int
    quantile: float
    producer: str
    ranges: dict[str, dict[str, dict[str, tuple[float, ...]]]]


@dataclass(frozen=True)
class CalibrationOptions:
    """Calibration options; None takes the default, or the cache's own."""

    faces: Path
    cache: Path
    count: int | None = None
    seed: int | None = None
    quantile: float | None = None


def calibrate(
    models: FloatModels, faces: LabelledFaces | None, options: CalibrationOptions, methods: Sequence[str]
) -> Calibration:
    """Ranges for the float models, by each of `methods`: from the faces where they are, else from the cache.

    Raises UsageError with instructions where there is neither, or where the cache was made with another count, seed
    or quantile; ModelError where it is damaged or another checkpoint's.
    """
    if options.quantile is not None and not 0.5 < options.quantile <= 1:
        raise UsageError(f"--percentile {100 * options.quantile:g}: expected above 50, at most 100.")
    if faces is not None:
        return _from_faces(models, faces, options, methods)
    if not options.cache.exists():
        raise UsageError(
            f"nothing to calibrate with: no faces at {options.faces}, no calibration cache at {options.cache}. "
            "Run `make data FER2013=fer2013.csv` with your copy of FER2013, give a folder of labelled faces with "
            "--faces, or restore the cache that belongs to the checkpoint."
        )
    cached = load_cache(options.cache, models.checkpoint_sha256)
    for kind in models.classifiers:
        for method in CACHED_METHODS:
            if not cached.ranges.get(kind, {}).get(method):
                raise ModelError(f"{options.cache}: no {method} ranges of a .{kind}. Make it again with faces at hand.")
    for name, option in (("count", "count"), ("seed", "seed"), ("quantile", "percentile")):
        asked, found = getattr(options, name), getattr(cached, name)
        if asked not in (None, found):
            raise UsageError(
                f"{options.cache} was made with {name} {found}, not {asked}, and there are no faces at {options.faces} "
                f"to calibrate again. Leave out --{option}, or run `make data FER2013=fer2013.csv` first."
            )
    return cached


def _from_faces(
    models: FloatModels, faces: LabelledFaces, options: CalibrationOptions, methods: Sequence[str]
) -> Calibration:
    quantile = QUANTILE if options.quantile is None else options.quantile
    all_methods = dict.fromkeys((*CACHED_METHODS, *methods))
    ranges = {}
    for kind in models.classifiers:
        # The histogram methods are onnxruntime's: a .tflite is calibrated by its faces' extremes.
        own = [method for method in all_methods if kind == "onnx" or method in CACHED_METHODS]
        batches = _progress(observed(models, kind, faces), faces, kind)
        ranges[kind] = collect_ranges(batches, own, quantile)
    return Calibration(
        checkpoint_sha256=models.checkpoint_sha256,
        source=f"{faces.dataset} {faces.split}",
        count=len(faces),
        seed=DEFAULT_SEED if options.seed is None else options.seed,
        quantile=quantile,
        producer=PRODUCER,
        ranges=ranges,
    )


def observed(models: FloatModels, kind: str, faces: LabelledFaces) -> Iterable[dict[str, Any]]:
    """Batches of every tensor that quantizing the float model of this kind needs a range of."""
    if kind == "onnx":
        graph = models.graph
        return onnx_graph.activations(graph, graph.body, onnx_ptq.observed_tensors(graph), faces.images)
    return tflite_graph.activations(models.tflite, faces.images)


_Item = TypeVar("_Item", bound=dict[str, Any])


def _progress(batches: Iterable[_Item], faces: LabelledFaces, kind: str) -> Iterator[_Item]:
    """The batches, with a bar that counts faces."""
    with tqdm(total=len(faces), desc=f"calibrate {kind}", unit=" faces", leave=False, delay=2) as bar:
        for batch in batches:
            yield batch
            bar.update(len(next(iter(batch.values()))))


def load_cache(path: Path, sha256: str) -> Calibration:
    """Read a cache and see that it is the checkpoint's own. Raises ModelError."""
    table = read_json(path, ModelError)
    version = table.get("schema_version") if isinstance(table, dict) else None
    if version != SCHEMA_VERSION:
        raise ModelError(
            f"{path}: schema {shown(version)}, expected {SCHEMA_VERSION}. Make it again with FER2013 at hand."
        )
    remedy = "Restore it, or run `make data` first."
    stored = build(_CalibrationFile, table, f"{path}: not a calibration cache", ModelError, remedy)
    ranges = {
        kind: {method: _ranges(pairs, path) for method, pairs in of.items()} for kind, of in stored.ranges.items()
    }
    cached = Calibration(**{**vars(stored), "ranges": ranges})
    if cached.checkpoint_sha256 != sha256:
        raise ModelError(
            f"{path}: made for the checkpoint {cached.checkpoint_sha256[:12]}, but the artifacts come from "
            f"{sha256[:12]}. Run `make data FER2013=fer2013.csv` and `make quantize` to calibrate this one."
        )
    return cached


def _ranges(pairs: dict[str, tuple[float, ...]], path: Path) -> Ranges:
    wrong = next((name for name, pair in pairs.items() if len(pair) != 2 or pair[0] > pair[1]), None)
    if wrong is not None:
        raise ModelError(
            f"{path}: not a calibration cache: the range of {shown(wrong)} is no lowest and highest value."
        )
    return {name: Range(*pair) for name, pair in pairs.items()}
