"""Publishing: the contract goes into the winners, once; with them their recipes, the table and deploy.json."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx

from fer_edge.contract import Measurement, ModelContract, Quantization, ValueMeasurement
from fer_edge.faces import LabelledFaces, ValuedFaces
from fer_edge.files import sha256_of

from export.artifacts import model_path, recipe_path, staged, write_contract
from export.contracts import PRODUCER, build_date
from export.metadata import put_in_onnx, put_in_tflite
from quantize.deployment import DEPLOY_NAME, Deployment, read_deployments, write_deployments
from quantize.gate import Verdict
from quantize.graph_facts import graph_digest
from quantize.materials import Materials
from quantize.measure import Measurements, Score
from quantize.recipes import DEFAULT_TARGET, PIXELS, Recipe
from quantize.report import CSV_NAME, Row, misses_text, read_cells, write_csv
from quantize.trial import Trial, resolved


@dataclass(frozen=True)
class Judged:
    """A trial, what was measured of it, and what the gate says."""

    trial: Trial
    measured: Measurements
    verdict: Verdict


@dataclass(frozen=True)
class Publication:
    """Publication: rows by trial or float file, winners, and of each kind of file the one to deploy.

    `deploy`: suffix -> the winner, or None for the float model; `reasons`: suffix -> why that one.
    """

    rows: tuple[tuple[Row, Judged | None], ...]
    winners: tuple[Judged, ...]
    deploy: dict[str, Judged | None]
    reasons: dict[str, str]


def publish(publication: Publication, materials: Materials) -> tuple[tuple[Row, ...], tuple[Deployment, ...]]:
    """Write winners, recipes, quantize.csv and deploy.json; all appear together. The rows and deployments of this run.

    Nothing else is removed: files and rows of other targets stay, and so does a file of this target that passed
    earlier and was not judged now. Raises UsageError where the folder cannot be written.
    """
    folder = materials.models.folder
    written: dict[str, Path] = {}
    with staged(folder) as staging:
        for winner in publication.winners:
            path = staging / file_name(winner.trial.recipe, materials)
            _write_winner(winner, materials, path)
            written[winner.trial.key] = path
        deployments = _deployments(publication, materials, written)
        rows = tuple(
            _with_file(row, judged, written, {entry.file for entry in deployments}) for row, judged in publication.rows
        )
        write_csv(staging / CSV_NAME, rows, _kept_rows(rows, materials))
        others = [e for e in read_deployments(folder) if (e.target, e.suffix) not in _places(deployments)]
        write_deployments(staging / DEPLOY_NAME, (*others, *deployments))
    return rows, deployments


def file_name(recipe: Recipe, materials: Materials) -> str:
    """The final name of a recipe's file: targets lie side by side, the default one without its name in it."""
    target = materials.target.name
    named = target != DEFAULT_TARGET and recipe.precision == "int8"
    variant = f"{recipe.variant}.{target}" if named else recipe.variant
    return model_path(Path(), materials.models.name, variant, recipe.suffix).name


def _write_winner(winner: Judged, materials: Materials, path: Path) -> None:
    contract = contract_of(winner, materials)
    if path.suffix == ".onnx":
        model = onnx.load(winner.trial.path)
        put_in_onnx(model, contract)
        onnx.save(model, path)
    else:
        path.write_bytes(put_in_tflite(winner.trial.path.read_bytes(), contract))
    shutil.copymode(materials.models.classifiers[winner.trial.recipe.suffix].path, path)
    write_contract(path, contract)
    calibration = materials.calibration
    table = {
        "recipe": asdict(resolved(winner.trial)),
        "target": materials.target.name,
        "calibration": {
            "source": calibration.source,
            "count": calibration.count,
            "seed": calibration.seed,
            "percentile": round(100 * calibration.quantile, 6),
        },
        "max_drop_points": materials.limits.max_accuracy_drop_points,
        "float_sha256": winner.trial.float_sha256,
        "model_sha256": sha256_of(path),
        "names": winner.trial.names,
    }
    recipe_path(path).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def contract_of(winner: Judged, materials: Materials) -> ModelContract:
    """The float model's contract, made true of the winner; what was measured of float is not kept."""
    trial, limits = winner.trial, materials.limits
    base = materials.models.classifiers[trial.recipe.suffix].contract
    faces = materials.evaluation.faces
    judged = faces is not None
    quantization = Quantization(
        recipe=trial.recipe.name,
        target=materials.target.name,
        max_accuracy_drop_points=limits.max_accuracy_drop_points if judged else None,
        max_macro_f1_drop_points=limits.max_macro_f1_drop_points if judged else None,
        min_agreement=limits.min_agreement if judged else limits.min_golden_agreement,
        forced=not (winner.verdict.passed or winner.verdict.acceptable),
        failed=None if winner.verdict.passed else misses_text(winner.verdict),
    )
    contract = replace(
        base,
        input=trial.input_spec(base.input),
        precision=trial.recipe.precision,
        calibrated_on=None if trial.recipe.precision == "fp16" else materials.calibration.description(),
        quantization=quantization,
        measured=(),
        measured_values=(),
        producer=PRODUCER,
        created=build_date(),
    )
    return contract if faces is None else with_figures(contract, winner.measured.score, faces)


def with_figures(contract: ModelContract, scored: Score, faces: LabelledFaces | ValuedFaces) -> ModelContract:
    """The contract with a score on `faces` in the form a contract keeps it."""
    where = {"dataset": faces.dataset, "split": faces.split, "crops": "single"}
    if scored.accuracy is None or scored.macro_f1 is None:
        pairs = zip(contract.labels, scored.values, strict=True)
        values = (ValueMeasurement(label=label, **vars(metrics), **where) for label, metrics in pairs)
        return replace(contract, measured_values=tuple(values))
    one = Measurement(n=scored.n, accuracy=scored.accuracy, macro_f1=scored.macro_f1, **where)
    return replace(contract, measured=(one,))


def _deployments(publication: Publication, materials: Materials, written: dict[str, Path]) -> tuple[Deployment, ...]:
    found = []
    failed = {
        judged.measured.graph_sha256 for _, judged in publication.rows if judged is not None and judged.verdict.failed
    }
    for suffix, winner in publication.deploy.items():
        kept = (
            None if winner is not None and winner.measured.precision == "int8" else _earlier(suffix, materials, failed)
        )
        if kept is not None:
            found.append(kept)
            continue
        path = materials.models.classifiers[suffix].path if winner is None else written[winner.trial.key]
        precision = (
            materials.models.classifiers[suffix].contract.precision if winner is None else (winner.measured.precision)
        )
        found.append(
            Deployment(
                target=materials.target.name,
                suffix=suffix,
                file=path.name,
                precision=precision,
                sha256=sha256_of(path),
                reason=publication.reasons[suffix],
            )
        )
    return tuple(found)


def _earlier(suffix: str, materials: Materials, failed: set[str]) -> Deployment | None:
    """The INT8 file an earlier search chose for this target, unless it was judged again now and failed."""
    folder = materials.models.folder
    for entry in read_deployments(folder):
        path = folder / entry.file
        own = (entry.target, entry.suffix, entry.precision) == (materials.target.name, suffix, "int8")
        if own and path.is_file() and sha256_of(path) == entry.sha256 and graph_digest(path) not in failed:
            return entry
    return None


def _places(deployments: Sequence[Deployment]) -> set[tuple[str, str]]:
    return {(entry.target, entry.suffix) for entry in deployments}


def _with_file(row: Row, judged: Judged | None, written: dict[str, Path], deployed: set[str]) -> Row:
    """A winner's row with its final name, size and digest, and the mark of the file to deploy."""
    path = None if judged is None else written.get(judged.trial.key)
    if path is not None:
        row = replace(row, file=path.name, model_sha256=sha256_of(path), size_kb=path.stat().st_size / 1024)
    return replace(row, deploy="yes") if row.file and row.file in deployed else row


def _kept_rows(rows: Sequence[Row], materials: Materials) -> list[dict[str, str]]:
    """Rows of earlier searches of the same float models: of other targets, and of files that are still there."""
    folder = materials.models.folder
    new, floats = {row.file for row in rows if row.file}, {row.model_sha256 for row in rows if row.precision == "fp32"}
    cells = read_cells(folder / CSV_NAME)
    if not floats <= {row["model_sha256"] for row in cells if row["precision"] == "fp32"}:
        return []
    target = materials.target.name
    return [
        row
        for row in cells
        if row["target"] != target
        or (row["file"] and row["file"] not in new and row["precision"] != "fp32" and (folder / row["file"]).is_file())
    ]


def is_deployable(recipe: Recipe) -> bool:
    """Whether a recipe's file takes raw pixels, which the boards' bundles expect."""
    return recipe.io == PIXELS
