"""The search: make every candidate, measure all in one way, judge them, and only then show the winners."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_edge.classifier import Classifier
from fer_edge.contract import ModelContract, Quantization
from fer_edge.errors import ModelError, UsageError
from fer_edge.faces import LabelledFaces, ValuedFaces
from fer_edge.files import sha256_of
from fer_edge.metrics import concordance

from export.artefacts import model_path, recipe_path, staged, write_contract
from quantize.candidates import Made, Materials, make, missing, put_contract
from quantize.gate import FAILED, REFERENCE, misses, passed, verdict
from quantize.instructions import counted
from quantize.measure import Latency, Score, answers_of, paired_latencies, score
from quantize.qdq_graph import ConvCount
from quantize.recipes import Recipe
from quantize.report import CSV_NAME, Candidate, write_csv
from quantize.work import WORK_FOLDER, WorkFolder

# Two medians of one run closer than this are a draw: the model that agrees better then wins.
_DRAW = 1.05
# A contract that says another accuracy than the file has on the same faces describes another model.
_MAX_CONTRACT_ERROR = 0.02
_FIRST = 64


@dataclass(frozen=True)
class Plan:
    """What to try and how to treat what fails. `instructions`: the table of counted ones, None for the committed."""

    recipes: tuple[Recipe, ...]
    force: bool = False
    instructions: Path | None = None


@dataclass(frozen=True)
class Judged:
    """A finished candidate and its row with the gate's verdict."""

    made: Made
    row: Candidate


@dataclass(frozen=True)
class Outcome:
    """Every row of quantize.csv, and for each kind of file without a winner the best that was refused.

    `unmade`: the rows of a kind of file that no recipe could make. `left_out`: recipes and what each of them needs.
    """

    rows: list[Candidate]
    refused: tuple[Judged, ...]
    unmade: tuple[Candidate, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def written(self) -> tuple[str, ...]:
        """Names of the INT8 files that were written."""
        return tuple(row.file for row in self.rows if row.file and row.precision != "fp32")


def search(materials: Materials, plan: Plan) -> Outcome:
    """Try the recipes of `plan`; write the winner of each kind of file with its recipe, and quantize.csv.

    A winner is the fastest that passes the gate; within 5 % the one that agrees best. What fails is not written unless
    `force`. INT8 files of an earlier search that this one does not replace are removed. Raises ModelError where the
    float model is not what its contract says.
    """
    folder = materials.models.folder
    work = WorkFolder(folder / WORK_FOLDER)
    recipes, left_out = _possible(plan.recipes, materials)
    kinds = tuple(dict.fromkeys(recipe.suffix for recipe in recipes))
    answers = {kind: _float_answers(kind, materials) for kind in kinds}
    made, failures = _make_all(recipes, materials, work, answers)
    rows: list[Candidate] = []
    refused: list[Judged] = []
    with staged(folder) as staging:
        for kind in kinds:
            own = [candidate for candidate in made if candidate.recipe.suffix == kind]
            reference, judged = _judge(kind, own, materials, plan, answers[kind])
            rows.append(reference)
            for precision in dict.fromkeys(entry.made.recipe.precision for entry in judged):
                group = [entry for entry in judged if entry.made.recipe.precision == precision]
                best = _best(group)
                file = model_path(folder, materials.models.name, precision, kind)
                if passed(best.row.verdict) or plan.force:
                    named = _publish(best, materials, staging / file.name)
                    rows += [named if entry is best else entry.row for entry in group]
                else:
                    refused.append(best)
                    rows += [entry.row for entry in group]
        rows += failures.values()
        kinds_made = {(candidate.recipe.precision, candidate.recipe.suffix) for candidate in made}
        lost = {r: row for r, row in failures.items() if (r.precision, r.suffix) not in kinds_made}
        write_csv(staging / CSV_NAME, rows)
        # Last, and right before the new files take their names: a search that is stopped leaves the folder as it was.
        _remove_others(folder, materials.models.name, staging)
    work.keep_only(materials.digest)
    return Outcome(rows, tuple(refused), tuple(lost.values()), left_out)


def _remove_others(folder: Path, name: str, staging: Path) -> None:
    """Older INT8 files that this search does not write anew: what lies in the folder must be what its table says."""
    for file in folder.glob(f"{name}.int8*"):
        if not (staging / file.name).exists():
            file.unlink()


def _possible(
    recipes: Sequence[Recipe], materials: Materials
) -> tuple[tuple[Recipe, ...], tuple[tuple[str, str], ...]]:
    needs = {recipe: missing(recipe, materials) for recipe in recipes}
    possible = tuple(recipe for recipe, need in needs.items() if need is None)
    if not possible:
        name, need = next((recipe.name, need) for recipe, need in needs.items())
        raise ModelError(f"none of the recipes can be tried: {name} needs {need}.")
    return possible, tuple((recipe.name, need) for recipe, need in needs.items() if need is not None)


def _float_answers(kind: str, materials: Materials) -> NDArray[np.float32]:
    """The float model's answers. Raises ModelError where they are not as good as its contract says."""
    model, faces = materials.models.classifiers[kind], materials.evaluation.faces
    answers = answers_of(model, materials.evaluation.images)
    for what, claimed, found in () if faces is None else _claims(model.contract, answers, faces):
        if not abs(found - claimed) <= _MAX_CONTRACT_ERROR:
            raise ModelError(
                f"{model.path}: its contract says {what} {claimed:.2%} on {faces.dataset} {faces.split}, measured "
                f"{found:.2%}. Labels or preprocessing are not what the contract says."
            )
    return answers


def _claims(
    contract: ModelContract, answers: NDArray[np.float32], faces: LabelledFaces | ValuedFaces
) -> Iterator[tuple[str, float, float]]:
    """What the contract claims of these very faces: name of the figure, the claim, what the answers (n, k) come to."""
    same = (faces.dataset, faces.split, len(faces), "single")
    if isinstance(faces, ValuedFaces):
        for value in contract.measured_values:
            if (value.dataset, value.split, value.n, value.crops) == same:
                column = contract.labels.index(value.label)
                yield f"CCC of {value.label}", value.ccc, concordance(faces.values[:, column], answers[:, column])
        return
    for claim in contract.measured:
        if (claim.dataset, claim.split, claim.n, claim.crops) == same:
            yield "accuracy", claim.accuracy, float((answers.argmax(axis=1) == faces.labels).mean())


def _make_all(
    recipes: Sequence[Recipe], materials: Materials, work: WorkFolder, answers: dict[str, NDArray[np.float32]]
) -> tuple[list[Made], dict[Recipe, Candidate]]:
    """What could be made, and the rows of what could not."""
    made: list[Made] = []
    failures: dict[Recipe, Candidate] = {}
    # Closed before an error is printed, which would otherwise stand behind it on one line.
    with tqdm(recipes, desc="recipes", leave=False, delay=2) as bar:
        for recipe in bar:
            bar.set_postfix_str(recipe.name, refresh=False)
            try:
                made.append(make(recipe, materials, work, answers[recipe.suffix]))
            except UsageError:
                raise
            except Exception as error:  # a library that cannot do this network; the other recipes still may
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                failures[recipe] = _failure(recipe, materials, f"{FAILED}could not be made: {reason}")
    return made, failures


def _judge(
    kind: str, made: Sequence[Made], materials: Materials, plan: Plan, answers: NDArray[np.float32]
) -> tuple[Candidate, list[Judged]]:
    """The float model's row, and each candidate with its own; latencies are of one run."""
    reference = materials.models.classifiers[kind]
    evaluation = materials.evaluation
    models = [reference, *(Classifier(candidate.path) for candidate in made)]
    latencies = paired_latencies(models, evaluation.images[0])
    counts = counted(plan.instructions, materials.target.cpu)
    own = score(answers, answers, evaluation.faces, reference.contract.task_spec.kind)
    float_row = _row(reference, "float", own, latencies[0], ConvCount(0, 0), materials)
    float_row = replace(
        float_row, file=reference.path.name, verdict=REFERENCE, convs=made[0].counted.convs if made else 0
    )
    float_row = _with_instructions(float_row, float_row, counts)
    judged = []
    for candidate, model, latency in zip(made, models[1:], latencies[1:], strict=True):
        _finish(candidate, materials)
        row = _row(model, candidate.recipe.name, candidate.score, latency, candidate.counted, materials)
        row = _with_instructions(row, float_row, counts)
        row = replace(row, verdict=verdict(row, float_row, materials.limits, materials.target))
        judged.append(Judged(candidate, row))
    return float_row, judged


def _finish(candidate: Made, materials: Materials) -> None:
    """Put the limits the gate holds it to into the candidate's contract."""
    limits, judged = materials.limits, materials.evaluation.faces is not None
    known = Classifier(candidate.path).contract
    quantization = Quantization(
        recipe=candidate.recipe.name,
        target=materials.target.name,
        max_accuracy_drop_points=limits.max_accuracy_drop_points if judged else None,
        max_macro_f1_drop_points=limits.max_macro_f1_drop_points if judged else None,
        min_agreement=limits.min_agreement if judged else limits.min_golden_agreement,
    )
    if known.quantization != quantization:
        put_contract(candidate.path, replace(known, quantization=quantization))


def _best(group: Sequence[Judged]) -> Judged:
    """The fastest of those that pass, the best-agreeing of a draw; where none passes, of those that miss least."""
    passing = [entry for entry in group if passed(entry.row.verdict)]
    fewest = min(misses(entry.row.verdict) for entry in group)
    pool = passing or [entry for entry in group if misses(entry.row.verdict) == fewest]
    speeds = [_speed(entry) for entry in pool]
    known = [speed for speed in speeds if speed is not None]
    if passing and len(known) == len(pool):
        pool = [entry for entry, speed in zip(pool, known, strict=True) if speed <= _DRAW * min(known)]
    return max(pool, key=lambda entry: entry.row.agreement)


def _speed(entry: Judged) -> float | None:
    """What candidates are compared by: the Arm core's instructions where that is the target, else time."""
    return entry.row.instruction_ratio if entry.row.target != "x86" else entry.row.latency_ratio


def _publish(entry: Judged, materials: Materials, path: Path) -> Candidate:
    """Copy the winner under its final name, with its recipe beside it; its row then names the file."""
    shutil.copyfile(entry.made.path, path)
    contract = Classifier(path).contract
    if passed(entry.row.verdict):
        write_contract(path, contract)
    else:  # of the copy alone: the candidate's SHA-256 is what its instructions are counted under
        assert contract.quantization is not None, "see _finish"
        failed = entry.row.verdict.removeprefix(FAILED)
        put_contract(path, replace(contract, quantization=replace(contract.quantization, forced=True, failed=failed)))
    calibration = materials.calibration
    table = {
        "recipe": asdict(entry.made.recipe),
        "target": materials.target.name,
        "calibration": {
            "source": calibration.source,
            "count": calibration.count,
            "seed": calibration.seed,
            "percentile": round(100 * calibration.quantile, 6),
        },
        "max_drop_points": materials.limits.max_accuracy_drop_points,
        "float_sha256": sha256_of(materials.models.classifiers[entry.made.recipe.suffix].path),
        "model_sha256": sha256_of(path),
        "names": entry.made.names,
    }
    recipe_path(path).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return replace(entry.row, file=path.name, model_sha256=sha256_of(path))


def _row(
    model: Classifier, recipe: str, scored: Score, latency: Latency, found: ConvCount, materials: Materials
) -> Candidate:
    reference = materials.models.classifiers[model.path.suffix.removeprefix(".")].path
    size = model.path.stat().st_size
    return Candidate(
        engine=model.engine.name,
        precision=model.contract.precision,
        recipe=recipe,
        target=materials.target.name,
        size_kb=size / 1024,
        size_ratio=size / reference.stat().st_size,
        agreement=scored.agreement,
        agreement_on=scored.dataset,
        agreement_n=scored.n,
        accuracy=scored.accuracy,
        macro_f1=scored.macro_f1,
        ccc=scored.ccc,
        convs=found.convs,
        int8_convs=found.int8_convs,
        float_ops=" ".join(f"{kind}:{count}" for kind, count in found.float_ops),
        p50_ms=latency.p50_ms,
        latency_ratio=latency.ratio_to_float,
        model_sha256=sha256_of(model.path),
    )


def _with_instructions(row: Candidate, reference: Candidate, counts: dict[str, int]) -> Candidate:
    own, of_float = counts.get(row.model_sha256), counts.get(reference.model_sha256)
    return replace(row, instructions=own, instruction_ratio=own / of_float if own and of_float else None)


def _failure(recipe: Recipe, materials: Materials, text: str) -> Candidate:
    engine = materials.models.classifiers[recipe.suffix].engine.name
    return Candidate(engine=engine, precision="int8", recipe=recipe.name, target=materials.target.name, verdict=text)
