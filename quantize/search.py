"""The search: build trials, evaluate them side by side, hold them to the gate, publish the winners."""

from collections.abc import Sequence
from dataclasses import dataclass

from fer_edge.errors import ModelError
from fer_edge.faces import LabelledFaces

from quantize.counter import InstructionCounter
from quantize.deployment import Deployment
from quantize.evaluate import Evaluation, evaluate
from quantize.gate import can_pass, judge
from quantize.materials import Materials
from quantize.measure import Measurements
from quantize.publish import Judged, Publication, is_deployable, publish
from quantize.recipes import Recipe
from quantize.report import Row, failed_row, float_row, misses_text, trial_row, verdict_text
from quantize.trial import Failure, build, missing
from quantize.work import WORK_FOLDER, WorkFolder

# Graphs of one structure differ by as much from one process to the next; agreement decides within it.
_TIE = 1.05


@dataclass(frozen=True)
class Plan:
    """Plan of a search, rung by rung until each kind of file has a winner, and how to treat what does not pass.

    `accept_too_few` writes what keeps every limit on the faces at hand though they are too few to tell; `force` writes
    the best of the first rung whatever the gate says.
    """

    rungs: tuple[tuple[Recipe, ...], ...]
    accept_too_few: bool = False
    force: bool = False


@dataclass(frozen=True)
class Outcome:
    """Outcome of a search. `refused`: for each kind of file without INT8 the best that was not written.

    `unmade`: of each kind of file that no recipe could make, why. `left_out`: recipes and what each of them needs.
    `same_as`: recipes whose graph another one makes.
    """

    rows: tuple[Row, ...]
    deployments: tuple[Deployment, ...]
    refused: tuple[Judged, ...]
    unmade: tuple[Failure, ...]
    left_out: tuple[tuple[str, str], ...]
    same_as: tuple[tuple[str, str], ...]

    @property
    def written(self) -> tuple[str, ...]:
        """Names of the files that were written."""
        return tuple(row.file for row in self.rows if row.file and row.precision != "fp32")


@dataclass(frozen=True)
class _Tried:
    """Results of the rungs so far for one kind of file."""

    suffix: str
    reference: Measurements | None = None
    rows: tuple[tuple[Row, Judged | None], ...] = ()
    judged: tuple[Judged, ...] = ()
    failures: tuple[Failure, ...] = ()
    winners: tuple[Judged, ...] = ()

    @property
    def is_done(self) -> bool:
        return any(is_deployable(winner.trial.recipe) for winner in self.winners)


def search(materials: Materials, plan: Plan, counter: InstructionCounter | None = None) -> Outcome:
    """Try the rungs of `plan`; write the winner of each kind of file with its recipe, quantize.csv and deploy.json.

    A winner is the fastest that passes the gate; of those as fast within noise the one that agrees best. Raises
    ModelError where nothing can be tried.
    """
    work = WorkFolder(materials.models.folder / WORK_FOLDER)
    everything = tuple(recipe for rung in plan.rungs for recipe in rung)
    needs = {recipe: missing(recipe, materials) for recipe in everything}
    if all(needs.values()):
        raise ModelError(f"none of the recipes can be tried: {everything[0].name} needs {needs[everything[0]]}.")
    kinds = [suffix for suffix in materials.models.classifiers if suffix in {r.suffix for r in everything}]
    tried = {suffix: _Tried(suffix) for suffix in kinds}
    asked: list[Recipe] = []
    same: list[tuple[str, str]] = []
    for rung in plan.rungs if _decides(materials) else plan.rungs[:1]:
        pending = [recipe for recipe in rung if recipe.suffix in tried and not tried[recipe.suffix].is_done]
        asked += [recipe for recipe in rung if recipe in pending or recipe.suffix not in tried]
        built = build([recipe for recipe in pending if needs[recipe] is None], materials, work)
        same += [(recipe.name, other.name) for recipe, other in built.same_as]
        for suffix in kinds:
            trials = [trial for trial in built.trials if trial.recipe.suffix == suffix]
            unmade = tuple(failure for failure in built.failures if failure.recipe.suffix == suffix)
            if trials or unmade:
                evaluation = evaluate(suffix, trials, materials, work, counter)
                tried[suffix] = _after(tried[suffix], evaluation, unmade, materials, plan)
    rows, deployments = publish(_publication(tried, plan), materials)
    work.keep_only(materials.digest, [judged.trial.key for one in tried.values() for judged in one.judged])
    refused = tuple(_best(_int8_of(one)) for one in tried.values() if _int8_of(one) and not _has_int8(one))
    work.set_refused({judged.trial.recipe.suffix: judged.trial.key for judged in refused})
    return Outcome(
        rows,
        deployments,
        refused=refused,
        unmade=tuple(failure for one in tried.values() if not _int8_of(one) for failure in one.failures),
        left_out=tuple((recipe.name, needed) for recipe in asked if (needed := needs[recipe]) is not None),
        same_as=tuple(same),
    )


def _decides(materials: Materials) -> bool:
    """Whether there are faces enough to let anything pass: where not, other candidates would change nothing."""
    faces = materials.evaluation.faces
    return not isinstance(faces, LabelledFaces) or can_pass(len(faces), materials.limits)


def _after(
    before: _Tried, evaluation: Evaluation, unmade: tuple[Failure, ...], materials: Materials, plan: Plan
) -> _Tried:
    """State of a kind of file once a rung was evaluated: its rows, and the winner of each variant."""
    truth, target = materials.evaluation.faces, materials.target
    judged = tuple(
        Judged(trial, measured, judge(measured, evaluation.reference, truth, materials.limits, target))
        for trial, measured in evaluation.measured
    )
    failures = (*unmade, *evaluation.failures)
    reference = evaluation.reference
    rows: list[tuple[Row, Judged | None]] = []
    if before.reference is None:
        rows.append((float_row(before.suffix, reference, materials), None))
    rows += [(trial_row(one.trial.recipe, one.measured, reference, one.verdict, materials), one) for one in judged]
    rows += [(failed_row(failure.recipe, failure.reason, materials), None) for failure in failures]
    winners = []
    for variant in dict.fromkeys(one.trial.recipe.variant for one in judged):
        group = [one for one in judged if one.trial.recipe.variant == variant]
        winner = _winner(group, materials, plan)
        winners += [winner] if winner is not None else []
    return _Tried(
        before.suffix,
        before.reference or evaluation.reference,
        (*before.rows, *rows),
        (*before.judged, *judged),
        (*before.failures, *failures),
        (*before.winners, *winners),
    )


def _winner(group: Sequence[Judged], materials: Materials, plan: Plan) -> Judged | None:
    pool = [one for one in group if one.verdict.passed]
    if not pool and plan.accept_too_few:
        pool = [one for one in group if one.verdict.acceptable]
    if pool:
        return _fastest(pool, materials)
    return _best(group) if plan.force else None


def _fastest(pool: Sequence[Judged], materials: Materials) -> Judged:
    """The fastest; among those as fast within noise, and where speed is not known, the one that agrees best."""
    first = pool[0].measured
    for one in pool[1:]:
        speed = one.measured.speed(first, materials.target)
        first = one.measured if speed is not None and speed.measured < 1 else first
    speeds = [one.measured.speed(first, materials.target) for one in pool]
    tied = [
        one for one, speed in zip(pool, speeds, strict=True) if speed is None or min(speed.low, speed.measured) <= _TIE
    ]
    return max(tied, key=lambda one: one.measured.score.agreement)


def _best(group: Sequence[Judged]) -> Judged:
    """Of those that do not pass the one that misses least."""
    return min(group, key=lambda one: (one.verdict.failed, len(one.verdict.misses), -one.measured.score.agreement))


def _int8_of(one: _Tried) -> list[Judged]:
    return [judged for judged in one.judged if judged.measured.precision == "int8"]


def _has_int8(one: _Tried) -> bool:
    return any(winner.measured.precision == "int8" and is_deployable(winner.trial.recipe) for winner in one.winners)


def _publication(tried: dict[str, _Tried], plan: Plan) -> Publication:
    deploy: dict[str, Judged | None] = {}
    reasons = {}
    for suffix, one in tried.items():
        winner = next((winner for winner in one.winners if is_deployable(winner.trial.recipe)), None)
        deploy[suffix] = winner
        reasons[suffix] = _reason(one, winner)
    winners = tuple(winner for one in tried.values() for winner in one.winners)
    return Publication(tuple(row for one in tried.values() for row in one.rows), winners, deploy, reasons)


def _reason(one: _Tried, winner: Judged | None) -> str:
    """Why this file is the one to deploy, in words."""
    if winner is not None and winner.measured.precision == "int8":
        if winner.verdict.passed:
            return "INT8 passed the gate"
        what = "accepted, though the faces are too few to tell" if winner.verdict.acceptable else "forced past the gate"
        return f"INT8 {what}: {misses_text(winner.verdict)}"
    if not _int8_of(one):
        return "no INT8 model could be made"
    best = _best(_int8_of(one))
    return f"INT8 not passed, {best.trial.recipe.name}: {verdict_text(best.verdict)}"
