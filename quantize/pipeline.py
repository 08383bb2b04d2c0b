"""The quantization of one artefact folder: calibrate, quantize, measure, judge, and only then show."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from fer_edge.classifier import Classifier
from fer_edge.contract import Measurement, ModelContract, ValueMeasurement
from fer_edge.errors import DataError, ModelError
from fer_edge.faces import LabelledFaces, ValuedFaces, load_task_faces
from fer_edge.files import sha256_of
from fer_edge.tasks import LABELS

from export.artefacts import GOLDEN, model_path, staged, write_contract
from export.contracts import PRODUCER, build_date
from export.golden import load_golden
from export.metadata import put_in_onnx, put_in_tflite
from quantize import onnx_ptq, tflite_ptq
from quantize.calibration import Calibration, Wanted, calibrate
from quantize.errors import GateError
from quantize.gate import PASSED, REFERENCE, Limits, verdict
from quantize.measure import Latency, Score, answers_of, paired_latency, score
from quantize.report import CSV_NAME, Candidate, write_csv

_EVALUATION_SPLIT = "PublicTest"
_RECIPES = {"onnx": onnx_ptq.RECIPE, "tflite": tflite_ptq.RECIPE}
_COUNT_CONVS = {"onnx": onnx_ptq.count_convs, "tflite": tflite_ptq.count_convs}


@dataclass(frozen=True)
class FloatArtefacts:
    """The float half of an artefact folder, opened and found to be of one checkpoint."""

    folder: Path
    name: str
    onnx: Classifier
    tflite: Classifier
    golden: NDArray[np.uint8]

    @property
    def checkpoint_sha256(self) -> str:
        """SHA-256 of the checkpoint both models come from."""
        return self.onnx.contract.checkpoint_sha256


@dataclass(frozen=True)
class Evaluation:
    """The images candidates are compared on, (n, h, w) uint8; `faces` is None where they are the golden inputs."""

    images: NDArray[np.uint8]
    faces: LabelledFaces | ValuedFaces | None


def open_artefacts(folder: Path) -> FloatArtefacts:
    """Open what `export` wrote. Raises ModelError where something is missing, damaged or of different checkpoints."""
    name = folder.resolve().name
    if folder.name != name:  # such as ".", beside which nothing can be staged
        folder = folder.resolve()
    paths = [model_path(folder, name, "fp32", suffix) for suffix in ("onnx", "tflite")]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ModelError(f"{missing[0]} not found. Make it with `make export`, or name another artefact folder.")
    models = [Classifier(path) for path in paths]
    if models[0].contract.checkpoint_sha256 != models[1].contract.checkpoint_sha256:
        raise ModelError(f"{folder}: the two float models are of different checkpoints. Run `make export` again.")
    return FloatArtefacts(folder, name, models[0], models[1], load_golden(folder / GOLDEN).inputs)


def require_checkpoint(artefacts: FloatArtefacts, checkpoint: Path) -> None:
    """Raise ModelError unless the artefacts were exported from that very file."""
    if not checkpoint.is_file():
        raise ModelError(f"checkpoint not found: {checkpoint}.")
    if sha256_of(checkpoint) != artefacts.checkpoint_sha256:
        raise ModelError(
            f"{artefacts.folder} was exported from another checkpoint than {checkpoint}. Run `make export`."
        )


def calibration_for(artefacts: FloatArtefacts, wanted: Wanted) -> Calibration:
    """See `quantize.calibration.calibrate`."""
    return calibrate(
        wanted,
        onnx_ptq.float_graph(artefacts.onnx.path),
        tflite_ptq.float_model(artefacts.tflite.path),
        artefacts.checkpoint_sha256,
        PRODUCER,
    )


def evaluation_for(artefacts: FloatArtefacts, faces: Path) -> Evaluation:
    """PublicTest where the face cache is there, else the golden inputs.

    A folder of faces has no splits, so accuracy on it would be accuracy on the calibration faces: golden inputs too.
    Raises DataError where the faces do not fit the model.
    """
    if not faces.is_file():
        return Evaluation(artefacts.golden, None)
    contract = artefacts.onnx.contract
    if contract.task_spec.kind == LABELS:
        return Evaluation(artefacts.golden, None)
    loaded = load_task_faces(faces, _EVALUATION_SPLIT, contract.task, contract.labels)
    expected = (contract.input.height_px, contract.input.width_px)
    if loaded.images.shape[1:] != expected or len(loaded) == 0:
        raise DataError(f"{faces}: {len(loaded)} faces of {loaded.images.shape[1:]} px; the model takes {expected}.")
    return Evaluation(loaded.images, loaded)


def quantize(
    artefacts: FloatArtefacts, calibration: Calibration, evaluation: Evaluation, limits: Limits
) -> list[Candidate]:
    """Make both INT8 models, measure all four files and write quantize.csv.

    The models appear only when both pass the gate: otherwise quantize.csv says why (see `require_passed`).
    """
    with staged(artefacts.folder) as staging:
        rows = [
            *_candidates(artefacts.onnx, _write_onnx(artefacts, calibration, staging), evaluation, limits),
            *_candidates(artefacts.tflite, _write_tflite(artefacts, calibration, staging), evaluation, limits),
        ]
        if any(row.verdict not in (PASSED, REFERENCE) for row in rows):
            # Neither these nor those of an earlier run: what lies in the folder must be what its table says passed.
            for path in (*staging.iterdir(), *artefacts.folder.glob("*.int8.*")):
                path.unlink()
        write_csv(staging / CSV_NAME, rows)
    return rows


def require_passed(candidates: list[Candidate]) -> None:
    """Raise GateError, naming each limit that was missed."""
    failed = [row for row in candidates if row.verdict not in (PASSED, REFERENCE)]
    if failed:
        reasons = "; ".join(f"{row.file}: {row.verdict.removeprefix('fail: ')}" for row in failed)
        raise GateError(f"{reasons}. No INT8 model was written.")


def _int8_contract(base: ModelContract, calibration: Calibration) -> ModelContract:
    """The float model's contract, made true of the INT8 one. What was measured of float is not kept."""
    spec = base.input
    if spec.layout == "NHWC":
        spec = replace(spec, dtype="int8", low=-128, high=127)
    return replace(
        base,
        input=spec,
        precision="int8",
        calibrated_on=calibration.description(),
        measured=(),
        measured_values=(),
        producer=PRODUCER,
        created=build_date(),
    )


def _write_onnx(artefacts: FloatArtefacts, calibration: Calibration, staging: Path) -> Path:
    model = onnx_ptq.quantized(onnx_ptq.float_graph(artefacts.onnx.path), calibration.onnx)
    path = model_path(staging, artefacts.name, "int8", "onnx")
    onnx.save(model, path)
    _put_contract(path, _int8_contract(artefacts.onnx.contract, calibration))
    return path


def _write_tflite(artefacts: FloatArtefacts, calibration: Calibration, staging: Path) -> Path:
    path = model_path(staging, artefacts.name, "int8", "tflite")
    path.write_bytes(tflite_ptq.quantized(tflite_ptq.float_model(artefacts.tflite.path), calibration.tflite))
    _put_contract(path, _int8_contract(artefacts.tflite.contract, calibration))
    return path


def _put_contract(path: Path, contract: ModelContract) -> None:
    """Store the contract inside the model file and beside it."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        put_in_onnx(model, contract)
        onnx.save(model, path)
    else:
        path.write_bytes(put_in_tflite(path.read_bytes(), contract))
    write_contract(path, contract)


def _candidates(reference: Classifier, path: Path, evaluation: Evaluation, limits: Limits) -> list[Candidate]:
    """The rows of the float model `reference` and of the INT8 model at `path`, which gets its figures put in."""
    model = Classifier(path)
    float_answers, answers = (answers_of(m, evaluation.images) for m in (reference, model))
    kind = reference.contract.task_spec.kind
    scores = [score(one, float_answers, evaluation.faces, kind) for one in (float_answers, answers)]
    latencies = paired_latency(reference, model, evaluation.images[0])
    if evaluation.faces is not None:
        _put_contract(path, _with_figures(model.contract, scores[1], evaluation.faces))
    first, second = (
        _candidate(m, s, latency, reference.path)
        for m, s, latency in zip((reference, model), scores, latencies, strict=True)
    )
    return [replace(first, verdict=REFERENCE), replace(second, verdict=verdict(second, first, limits))]


def _with_figures(contract: ModelContract, scored: Score, faces: LabelledFaces | ValuedFaces) -> ModelContract:
    """The contract with what was measured of the INT8 file."""
    where = {"dataset": faces.dataset, "split": faces.split, "crops": "single"}
    if scored.accuracy is None or scored.macro_f1 is None:
        pairs = zip(contract.labels, scored.values, strict=True)
        values = (ValueMeasurement(label=label, **vars(metrics), **where) for label, metrics in pairs)
        return replace(contract, measured_values=tuple(values))
    one = Measurement(n=scored.n, accuracy=scored.accuracy, macro_f1=scored.macro_f1, **where)
    return replace(contract, measured=(one,))


def _candidate(model: Classifier, scored: Score, latency: Latency, reference: Path) -> Candidate:
    suffix, size = model.path.suffix.removeprefix("."), model.path.stat().st_size
    counted = _COUNT_CONVS[suffix](model.path)
    return Candidate(
        file=model.path.name,
        engine=model.engine.name,
        precision=model.contract.precision,
        recipe=_RECIPES[suffix] if model.contract.precision == "int8" else "float",
        size_kb=size / 1024,
        size_ratio=size / reference.stat().st_size,
        agreement=scored.agreement,
        agreement_on=scored.dataset,
        agreement_n=scored.n,
        accuracy=scored.accuracy,
        macro_f1=scored.macro_f1,
        ccc=scored.ccc,
        convs=counted.convs,
        int8_convs=counted.int8_convs,
        p50_ms=latency.p50_ms,
        latency_ratio=latency.ratio_to_float,
        verdict="",
    )
