"""Calibration: activation ranges from FER2013 faces, or from the cache a checkpoint is committed with."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from fer_edge.errors import ModelError, UsageError
from fer_edge.faces import LabelledFaces, load_faces
from fer_edge.files import atomic_write

from quantize import onnx_ptq, tflite_ptq
from quantize.ranges import QUANTILE, Range, Ranges, collect_ranges

SCHEMA_VERSION = 1
DEFAULT_COUNT, DEFAULT_SEED = 512, 0
SPLIT = "Training"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Activation ranges of one checkpoint's float models, and the faces they were measured on."""

    schema_version: int = SCHEMA_VERSION
    checkpoint_sha256: str
    source: str
    count: int
    seed: int
    quantile: float
    producer: str
    onnx: Ranges
    tflite: Ranges

    def description(self) -> str:
        """What the contract says the model was calibrated on."""
        return f"{self.source}, {self.count} faces, class-balanced, seed {self.seed}"

    def save(self, path: Path) -> None:
        """Write as JSON, atomically. Raises UsageError where that cannot be."""
        table = dataclasses.asdict(self)
        for part in ("onnx", "tflite"):
            table[part] = {name: [value["low"], value["high"]] for name, value in table[part].items()}
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Wanted:
    """What the caller asks of the calibration; a count or seed of None takes the default, or the cache's own."""

    faces: Path
    cache: Path
    count: int | None = None
    seed: int | None = None


def calibrate(
    wanted: Wanted, graph: onnx_ptq.FloatGraph, model: tflite_ptq.FloatModel, sha256: str, producer: str
) -> Calibration:
    """Ranges for the checkpoint `sha256`: from the faces where they are, else from the cache.

    Raises UsageError with instructions where there is neither, or where the cache was made with another count or seed;
    ModelError where it is damaged or another checkpoint's; DataError where the faces cannot be read.
    """
    if wanted.faces.exists():
        return _from_faces(wanted, graph, model, sha256, producer)
    if not wanted.cache.exists():
        raise UsageError(
            f"nothing to calibrate with: no faces at {wanted.faces}, no calibration cache at {wanted.cache}. "
            "Run `make data FER2013=fer2013.csv` with your copy of FER2013, or restore the cache that belongs to the "
            "checkpoint."
        )
    cached = load_cache(wanted.cache, sha256)
    for name in ("count", "seed"):
        asked, found = getattr(wanted, name), getattr(cached, name)
        if asked not in (None, found):
            raise UsageError(
                f"{wanted.cache} was made with {name} {found}, not {asked}, and there are no faces at {wanted.faces} "
                f"to calibrate anew. Leave out --{name}, or run `make data FER2013=fer2013.csv` first."
            )
    return cached


def _from_faces(
    wanted: Wanted, graph: onnx_ptq.FloatGraph, model: tflite_ptq.FloatModel, sha256: str, producer: str
) -> Calibration:
    count = DEFAULT_COUNT if wanted.count is None else wanted.count
    seed = DEFAULT_SEED if wanted.seed is None else wanted.seed
    if count < 1 or seed < 0:
        raise UsageError(f"--count {count} --seed {seed}: expected a count above 0 and a seed of 0 or more.")
    faces = load_faces(wanted.faces, SPLIT).balanced(count, seed)
    return Calibration(
        checkpoint_sha256=sha256,
        source=f"{faces.dataset} {faces.split}",
        count=count,
        seed=seed,
        quantile=QUANTILE,
        producer=producer,
        onnx=collect_ranges(_progress(onnx_ptq.activations(graph, faces.images), faces, "ONNX")),
        tflite=collect_ranges(_progress(tflite_ptq.activations(model, faces.images), faces, "TFLite")),
    )


_Item = TypeVar("_Item", bound=dict[str, Any])


def _progress(batches: Iterable[_Item], faces: LabelledFaces, kind: str) -> Iterator[_Item]:
    """The batches, with a bar that counts faces."""
    with tqdm(total=len(faces), desc=f"calibrate {kind}", unit=" faces", leave=False, delay=2) as bar:
        for batch in batches:
            yield batch
            bar.update(len(next(iter(batch.values()))))


def load_cache(path: Path, sha256: str) -> Calibration:
    """Read a cache and see that it is the checkpoint's own. Raises ModelError."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        for part in ("onnx", "tflite"):
            table[part] = {name: Range(float(low), float(high)) for name, (low, high) in table[part].items()}
        cached = Calibration(**table)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a calibration cache ({error}). Restore it, or run `make data` first.") from None
    if cached.schema_version != SCHEMA_VERSION:
        raise ModelError(
            f"{path}: schema {cached.schema_version}, expected {SCHEMA_VERSION}. Make it again with FER2013 at hand."
        )
    if cached.checkpoint_sha256 != sha256:
        raise ModelError(
            f"{path}: made for the checkpoint {cached.checkpoint_sha256[:12]}, but the artefacts come from "
            f"{sha256[:12]}. Run `make data FER2013=fer2013.csv` and `make quantize` to calibrate this one."
        )
    return cached
