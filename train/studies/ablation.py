"""Ablation: variants of one recipe, trained by one protocol, compared on PublicTest."""

import contextlib
import csv
import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from tqdm import tqdm

from fer_edge.csv_tables import write_cells
from fer_edge.errors import UsageError
from fer_edge.tables import Range, build, read_toml

from train import architectures
from train.data import cache
from train.data.fer2013 import SPLITS
from train.fit import checkpoint, loop, publish, recipe
from train.fit.cost import cost_of
from train.fit.recipe import Recipe
from train.fit.workers import joined

_FIELDS = (
    *("row", "model", "parameters", "mmac", "epochs", "seeds", "split", "n"),
    *("accuracy", "accuracy_lowest", "accuracy_highest", "macro_f1", "target_accuracy", "epochs_to_target"),
)


@dataclass(frozen=True)
class Row:
    """One variant: its name in the table and its recipe, whose seed is set for each run."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """Variants of one recipe and the seeds each is trained with.

    `target_accuracy` is what the table counts the epochs to; None counts none.
    """

    name: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    target_accuracy: float | None = None


@dataclass(frozen=True)
class _PlanFile:
    """A plan as its TOML file has it."""

    recipe: str
    seeds: tuple[Annotated[int, Range(0, 2**31)], ...]
    rows: tuple[dict[str, Any], ...]
    common: dict[str, Any] = field(default_factory=dict)
    target_accuracy: float | None = None


@dataclass(frozen=True)
class RowResult:
    """A variant's figures, of the averaged weights after the last epoch on PublicTest (n faces); one value a seed.

    `epochs_to_target` is the first epoch after which the plan's accuracy was reached, None where it never was. `model`
    names the checkpoint that was kept, of the first seed: export and quantization go by it.
    """

    row: Row
    model: str
    n: int
    accuracies: tuple[float, ...]
    macro_f1s: tuple[float, ...]
    target_accuracy: float | None = None
    epochs_to_target: tuple[int | None, ...] = ()


def load_plan(path: Path) -> Plan:
    """Read a plan: `recipe`, `seeds`, tables that override it in all rows (`common`) and row by row. UsageError.

    `target_accuracy`, a fraction, adds how many epochs a row needs to get there.
    """
    if not path.is_file():
        raise UsageError(f"{path}: not found; expected a TOML file like train/ablations/fer-nano.toml.")
    plan = build(_PlanFile, read_toml(path), str(path), UsageError)
    table, _ = recipe.read_table(plan.recipe)
    if plan.target_accuracy is not None and not 0 < plan.target_accuracy < 1:
        raise UsageError(
            f"{path}: target_accuracy is {plan.target_accuracy:g}, expected a fraction between 0 and 1, not per cent."
        )
    common = _merged(table, plan.common)
    rows = []
    for row in plan.rows:
        if not isinstance(row.get("name"), str):
            raise UsageError(f"{path}: a row without a name.")
        own = {key: value for key, value in row.items() if key != "name"}
        name = f"{path.stem}-{_slug(row['name'])}"
        rows.append(Row(row["name"], recipe.from_table({**_merged(common, own), "name": name}, f"{path}, {name}")))
    return Plan(path.stem, tuple(rows), plan.seeds, plan.target_accuracy)


def _merged(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for key, value in changes.items():
        old = table.get(key)
        merged[key] = _merged(old if isinstance(old, dict) else {}, value) if isinstance(value, dict) else value
    return merged


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def run_plan(plan: Plan, cache_path: Path, runs: Path, *, jobs: int = 1) -> list[RowResult]:
    """Train every row with every seed, `jobs` at a time, resuming runs an earlier call left; the rows' figures.

    The weights of each row's first seed lie in the folder of the runs, as checkpoints.
    """
    folder = runs / f"ablation-{plan.name}"
    targets = [recipe.seeded(row.recipe, seed) for row in plan.rows for seed in plan.seeds]
    context = multiprocessing.get_context("spawn")
    threads = max(torch.get_num_threads() // jobs, 1)
    ended: dict[str, list[loop.EpochLog]] = {}
    with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        running = {pool.submit(_run, one, cache_path, folder / one.name): one.name for one in targets}
        for done in tqdm(as_completed(running), total=len(running), desc=f"ablation {plan.name}", unit=" runs"):
            ended[running[done]] = done.result()
    for row in plan.rows:
        _keep(recipe.seeded(row.recipe, plan.seeds[0]), folder)
    n = int((cache.load(cache_path).usage == SPLITS.index("PublicTest")).sum())
    return [_result(row, plan, ended, n) for row in plan.rows]


def _run(one: Recipe, cache_path: Path, run: Path) -> list[loop.EpochLog]:
    """Train one recipe to its end, what it prints going to its own folder; the figures of its epochs."""
    run.mkdir(parents=True, exist_ok=True)
    with open(run / "output.txt", "a") as output, _printing_to(output), joined() as workers:
        return loop.fit(one, cache.load(cache_path), run, workers).logs


def _keep(one: Recipe, folder: Path) -> None:
    """Write the averaged weights of a finished run as folder/<name>.safetensors, for export and quantization."""
    average = torch.load(folder / one.name / "state.pt", weights_only=True)["average"]
    checkpoint.save(folder / f"{one.name}.safetensors", average, publish.info_of(one))


@contextlib.contextmanager
def _printing_to(stream: Any) -> Iterator[None]:
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        yield


def _result(row: Row, plan: Plan, ended: dict[str, list[loop.EpochLog]], n: int) -> RowResult:
    runs = [ended[recipe.seeded(row.recipe, seed).name] for seed in plan.seeds]
    accuracies, macro_f1s = (tuple(logs[-1].figures[name] for logs in runs) for name in ("accuracy", "macro_f1"))
    target = plan.target_accuracy
    reached = tuple(_epochs_to(logs, target) for logs in runs) if target is not None else ()
    return RowResult(row, recipe.seeded(row.recipe, plan.seeds[0]).name, n, accuracies, macro_f1s, target, reached)


def _epochs_to(logs: list[loop.EpochLog], accuracy: float) -> int | None:
    return next((log.epoch for log in logs if log.figures["accuracy"] >= accuracy), None)


def write(path: Path, results: list[RowResult]) -> None:
    """The figures as CSV, one line a row; accuracy, macro-F1 (in [0, 1]) and epochs are means over the seeds."""
    write_cells(path, _FIELDS, (_fields(result) for result in results))


def _fields(result: RowResult) -> dict[str, Any]:
    chosen = result.row.recipe
    cost = cost_of(architectures.build(chosen.architecture, chosen.arguments))
    return {
        "row": result.row.name,
        "model": result.model,
        "parameters": cost.parameters,
        "mmac": f"{cost.mmac:.1f}",
        "epochs": chosen.schedule.epochs,
        "seeds": len(result.accuracies),
        "split": "PublicTest",
        "n": result.n,
        "accuracy": f"{np.mean(result.accuracies):.4f}",
        "accuracy_lowest": f"{min(result.accuracies):.4f}",
        "accuracy_highest": f"{max(result.accuracies):.4f}",
        "macro_f1": f"{np.mean(result.macro_f1s):.4f}",
        "target_accuracy": "" if result.target_accuracy is None else result.target_accuracy,
        "epochs_to_target": _mean_epochs(result.epochs_to_target),
    }


def _mean_epochs(epochs: tuple[int | None, ...]) -> str:
    """Mean over the seeds; "never" where one of them did not get there."""
    if None in epochs:
        return "never"
    return f"{np.mean(epochs):.1f}" if epochs else ""


def table(path: Path) -> str:
    """The CSV `write_csv` wrote as a Markdown table."""
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    target = next((row["target_accuracy"] for row in rows if row["target_accuracy"]), "")
    head, rule = "| | MMAC | accuracy | lowest, highest | macro-F1 |", "|---|---|---|---|---|"
    lines = [f"{head} epochs to {float(target):.0%} |", f"{rule}---|"] if target else [head, rule]
    for row in rows:
        accuracy, low, high, f1 = (
            f"{float(row[key]):.2%}" for key in ("accuracy", "accuracy_lowest", "accuracy_highest", "macro_f1")
        )
        epochs = f" {row['epochs_to_target']} |" if target else ""
        lines.append(f"| {row['row']} | {row['mmac']} | {accuracy} | {low}, {high} | {f1} |{epochs}")
    return "\n".join(lines)
