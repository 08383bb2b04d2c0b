"""Stratified k-fold cross-validation on Training: folds, out-of-fold predictions, their spread, and the ensemble.

Nasri et al. (2020) validate by k-fold. This project's: near-duplicate faces never straddle two folds; a fold's figures
are those of its last epoch, because choosing an epoch by the fold would measure the choice; PublicTest is seen by no
fold and measures the ensemble.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from fer_edge.csv_tables import write_cells
from fer_edge.errors import UsageError
from fer_edge.files import atomic_write
from fer_edge.metrics import ClassificationMetrics, classification_metrics, softmax

from train import architectures
from train.data import duplicates
from train.data.fer2013 import SPLITS, Fer2013
from train.fit import checkpoint, loop, prediction, publish, tasks
from train.fit.recipe import Recipe
from train.fit.workers import ALONE, Workers

_TRAINING, _VALIDATION = SPLITS.index("Training"), SPLITS.index("PublicTest")
_FIELDS = ("model", "row", "dataset", "split", "n", "epochs", "accuracy", "macro_f1", "spread")


@dataclass(frozen=True)
class CrossValidation:
    """Results of k folds. `folds`: metrics of each on the faces it did not see; `out_of_fold`: all of those together.

    `predictions` are probabilities (training faces, classes) of the network that did not see the face; `fold_of` (n,)
    is the fold of each face of the data, -1 outside Training. `ensemble` averages the folds on PublicTest.
    """

    recipe: Recipe
    fold_of: NDArray[np.int64]
    folds: tuple[ClassificationMetrics, ...]
    out_of_fold: ClassificationMetrics
    ensemble: ClassificationMetrics
    predictions: NDArray[np.float32]
    checkpoints: tuple[Path, ...]

    @property
    def best(self) -> int:
        """The fold with the greatest accuracy on the faces it did not see."""
        return int(np.argmax([metrics.accuracy for metrics in self.folds]))


def assign_folds(data: Fer2013, count: int, seed: int = 0) -> NDArray[np.int64]:
    """The fold of each face, (n,), -1 outside Training: equal shares of every class, near-duplicates together.

    Raises UsageError for a number of folds the data cannot give.
    """
    training = np.flatnonzero(data.usage == _TRAINING)
    rarest = int(np.bincount(data.emotions[training]).min())
    if not 2 <= count <= rarest:
        raise UsageError(f"{count} folds: expected 2 to {rarest}, the number of faces of the rarest class.")
    groups = duplicates.groups(data.images[training])
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold_of = np.full(len(data.usage), -1, dtype=np.int64)
    for fold, (_, held_out) in enumerate(splitter.split(training, data.emotions[training], groups)):
        fold_of[training[held_out]] = fold
    return fold_of


def fold_data(data: Fer2013, fold_of: NDArray[np.int64], fold: int) -> Fer2013:
    """Training alone, the faces of `fold` in the place of PublicTest; nothing else of the data is there."""
    usage = np.where(fold_of == fold, _VALIDATION, _TRAINING).astype(np.int64)
    return dataclasses.replace(data, usage=usage).rows(fold_of >= 0)


def fold_recipe(recipe: Recipe, fold: int) -> Recipe:
    """The recipe of one fold: the same under another name."""
    return dataclasses.replace(recipe, name=f"{recipe.name}-fold{fold}")


def cross_validate(recipe: Recipe, data: Fer2013, count: int, runs: Path, workers: Workers = ALONE) -> CrossValidation:
    """Train every fold, resuming where an earlier call got to, each in runs/<recipe>/fold<i>.

    Raises UsageError, also for a recipe with checkpoints of this project or their answers: they saw the faces held out.
    """
    if recipe.task != "expression7":
        raise UsageError(f"{recipe.name}: folds are drawn by FER2013's own classes; its task is {recipe.task}.")
    _refuse_what_knows(recipe)
    fold_of, folder = assign_folds(data, count, recipe.schedule.seed), runs / recipe.name
    public = data.usage == _VALIDATION
    predictions = np.zeros((len(data.usage), len(tasks.labels_of(recipe.task))), dtype=np.float32)
    ensemble = np.zeros((int(public.sum()), predictions.shape[1]), dtype=np.float32)
    paths = []
    for fold in range(count):
        network = _trained(fold_recipe(recipe, fold), fold_data(data, fold_of, fold), folder / f"fold{fold}", workers)
        held_out = fold_of == fold
        predictions[held_out] = softmax(prediction.predict(network, data.images[held_out]))
        ensemble += softmax(prediction.predict(network, data.images[public])) / count
        paths.append(folder / f"{recipe.name}-fold{fold}.safetensors")
        checkpoint.save(paths[-1], network.state_dict(), publish.info_of(fold_recipe(recipe, fold)))
    measured = [classification_metrics(data.emotions[fold_of == f], predictions[fold_of == f]) for f in range(count)]
    training = fold_of >= 0
    return CrossValidation(
        recipe,
        fold_of,
        tuple(measured),
        classification_metrics(data.emotions[training], predictions[training]),
        classification_metrics(data.emotions[public], ensemble),
        predictions[training],
        tuple(paths),
    )


def _refuse_what_knows(recipe: Recipe) -> None:
    weights = (*recipe.distillation.teachers, recipe.finetuning.weights, recipe.labels.saliency_teacher)
    known = [path for path in weights if path and checkpoint.is_one(Path(path))]
    for path in (*known, recipe.distillation.answers):
        if path:
            raise UsageError(f"{recipe.name}: {path} may know the faces a fold holds out. Leave it out of the recipe.")


def _trained(one: Recipe, data: Fer2013, run: Path, workers: Workers) -> torch.nn.Module:
    """A fold's network with the averaged weights of its last epoch."""
    trainer = loop.fit(one, data, run, workers)
    network = architectures.build(one.architecture, one.arguments)
    network.load_state_dict({key: value.cpu() for key, value in trainer.average.items()})
    return network.eval()


def write(result: CrossValidation, folder: Path) -> Path:
    """folds.csv, and out-of-fold.npz with `fold_of` and `predictions`, in `folder`; the path of the CSV."""
    with atomic_write(folder / "out-of-fold.npz") as temporary, open(temporary, "wb") as stream:
        np.savez(stream, fold_of=result.fold_of, predictions=result.predictions)
    accuracies = [metrics.accuracy for metrics in result.folds]
    rows = [_row(result, f"fold {fold}", "Training", metrics) for fold, metrics in enumerate(result.folds)]
    rows += [
        {
            **_row(result, "all folds", "Training", result.out_of_fold),
            "spread": f"{np.std(accuracies, ddof=1):.4f}",
        },
        _row(result, "ensemble", "PublicTest", result.ensemble),
    ]
    path = folder / "folds.csv"
    write_cells(path, _FIELDS, rows)
    return path


def _row(result: CrossValidation, name: str, split: str, metrics: ClassificationMetrics) -> dict[str, object]:
    return {
        **{"model": result.recipe.name, "row": name, "dataset": "FER2013", "split": split, "n": metrics.n},
        "epochs": result.recipe.schedule.epochs,
        "accuracy": f"{metrics.accuracy:.4f}",
        "macro_f1": f"{metrics.macro_f1:.4f}",
        "spread": "",
    }
