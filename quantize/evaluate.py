"""Measure the trials of one kind of file side by side with their float model; no file is touched."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError

from quantize.counter import InstructionCounter
from quantize.graph_facts import GraphFacts, graph_facts
from quantize.materials import Materials
from quantize.measure import Measurements, Runnable, is_correlated, paired_times_ms, score
from quantize.trial import Failure, Trial, reason_of
from quantize.work import WorkFolder


@dataclass(frozen=True)
class Evaluation:
    """The float model's measurements, and those of each trial that runs, of one run: times are comparable."""

    reference: Measurements
    measured: tuple[tuple[Trial, Measurements], ...]
    failures: tuple[Failure, ...]


def float_predictions(suffix: str, materials: Materials, work: WorkFolder) -> NDArray[np.float32]:
    """Predictions of the float model of a kind of file for the images that judge, (n, labels), kept in `work`."""
    model = materials.models.classifiers[suffix]
    digest = materials.models.digests[suffix]
    return work.array(
        f"float-{digest[:16]}-{materials.evaluation_digest}",
        lambda: Runnable.of(model).predict(materials.evaluation.images),
    )


def evaluate(
    suffix: str, trials: Sequence[Trial], materials: Materials, work: WorkFolder, counter: InstructionCounter | None
) -> Evaluation:
    """Predictions, paired latency, size and, where `counter` is given and the target has a core, instructions.

    A trial whose file the engine refuses, or whose predictions are not finite, is a failure.
    """
    reference = Runnable.of(materials.models.classifiers[suffix])
    own = float_predictions(suffix, materials, work)
    runnable: list[tuple[Trial, Runnable, NDArray[np.float32]]] = []
    failures = []
    for trial in trials:
        try:
            runnable.append((trial, *_run(trial, reference, materials, work)))
        except UsageError:
            raise
        except Exception as error:  # an engine that cannot run what its converter made
            failures.append(Failure(trial.recipe, reason_of(error)))
    times_ms = paired_times_ms([reference, *(model for _, model, _ in runnable)], materials.evaluation.images[0])
    facts = graph_facts(reference.path)
    counts = _counts({facts.graph_sha256: reference.path} | _graphs(runnable), materials, work, counter)

    def measured(
        facts: GraphFacts, precision: str, outputs: NDArray[np.float32], times_ms: NDArray[np.float64]
    ) -> Measurements:
        kind = reference.contract.task_spec.kind
        return Measurements(
            precision=precision,
            graph_sha256=facts.graph_sha256,
            size_bytes=facts.size_bytes,
            weight_bytes=facts.weight_bytes,
            convs=facts.convs,
            score=score(outputs, own, materials.evaluation.faces, kind),
            is_correlated=is_correlated(outputs, own),
            instructions=counts.get(facts.graph_sha256),
            outputs=outputs,
            times_ms=times_ms,
        )

    return Evaluation(
        measured(facts, reference.contract.precision, own, times_ms[:, 0]),
        tuple(
            (trial, measured(trial.facts, trial.recipe.precision, outputs, times_ms[:, column]))
            for column, (trial, _, outputs) in enumerate(runnable, start=1)
        ),
        tuple(failures),
    )


def _run(
    trial: Trial, reference: Runnable, materials: Materials, work: WorkFolder
) -> tuple[Runnable, NDArray[np.float32]]:
    contract = replace(
        reference.contract, input=trial.input_spec(reference.contract.input), precision=trial.recipe.precision
    )
    model = Runnable.opened(trial.path, contract)
    name = f"{trial.key}/predictions-{materials.evaluation_digest}"
    return model, work.array(name, lambda: model.predict(materials.evaluation.images))


def _graphs(runnable: Sequence[tuple[Trial, Runnable, NDArray[np.float32]]]) -> dict[str, Path]:
    return {trial.facts.graph_sha256: trial.path for trial, _, _ in runnable}


def _counts(
    graphs: dict[str, Path], materials: Materials, work: WorkFolder, counter: InstructionCounter | None
) -> dict[str, int]:
    """Instructions of one face by the digest of the graph: kept ones, and what `counter` counts of the others."""
    cpu = materials.target.cpu
    if cpu is None:
        return {}
    known = work.counts(cpu)
    fresh = {digest: path for digest, path in graphs.items() if digest not in known}
    if counter is not None and fresh:
        counted = counter(list(fresh.values()), cpu)
        found = {digest: counted[path] for digest, path in fresh.items() if path in counted}
        work.add_counts(cpu, found)
        known |= found
    return known
