"""Turn a finished run into a folder of models/: weights and temperature, recipe, log, pictures, a model card."""

import dataclasses
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_edge.errors import UsageError
from fer_edge.files import atomic_write
from fer_edge.metrics import confusion_matrix, softmax

from train import architectures
from train.data.annotated import Faces
from train.data.fer2013 import EXPRESSIONS, SPLITS
from train.fit import checkpoint, evaluate, tasks
from train.fit.answers import read_answers
from train.fit.cost import Cost, cost_of
from train.fit.evaluate import Evaluation, FigureEvaluation
from train.fit.goals import known
from train.fit.prediction import predict
from train.fit.recipe import RECIPES, Recipe
from train.fit.run_state import EpochLog, write_log

_LOWEST, _HIGHEST = 0.25, 4.0
_STEPS = 60
_GOLDEN = (5**0.5 - 1) / 2
_CARD = """# {name}

Network of fer-edge for the task `{task}`: grey 48x48 face in, {count} out ({labels}).

| | |
|---|---|
| architecture | `{architecture}` {arguments} |
| parameters | {parameters:,} |
| multiplications | {mmac:.1f} million for a face |
| trained on | {trained_on} |
| recipe | `train/recipes/{name}.toml`, kept beside this card in `recipe.json` |
| training | {epochs} epochs, {minutes:.0f} minutes, {hardware}; weights of the last epoch, watched on {validated_on} |
{figures}
| PrivateTest, and the INT8 files | rows of [{results}](../{results}) with the checkpoint below |
| checkpoint SHA-256 | `{sha256}` |
| licence | Apache-2.0 |

{note}{closing}
"""
_CLASS_FIGURES = """\
| PublicTest | **{single.accuracy:.2%}** accuracy, **{single.macro_f1:.2%}** macro-F1, ECE {single.ece:.3f} \
(n = {single.n}, single crop, float) |
| PublicTest, averaged with the mirror image | {flip.accuracy:.2%}, macro-F1 {flip.macro_f1:.2%} |
| temperature | {temperature:.3f}, fitted on PublicTest; the ECE above is after it |"""
_MEANING = {
    "FER2013": """The labels are what annotators said they saw in FER2013, a set scraped from the web in 2013 whose \
annotators agree with
each other on about 65 % of the faces. A label names the look of a face in one picture. It does not say what a person
feels, intends or is, and must not be used to judge or select people. Accuracy differs between groups of people and was
not measured by group here, because FER2013 has no such annotation.""",
}
_DERIVED = {
    "positive-negative": "happy is positive; angry, disgust, fear and sad are negative; the others are neither and "
    "do not count in the figures.",
    "valence-arousal": "nobody rated valence and arousal of these faces. The truth is the mean place of a face's FER+ "
    "votes on the circumplex (`fer_edge.tasks`).",
    "smile-intensity": "nobody rated how strongly these faces smile. The truth is the share of a face's FER+ votes "
    "that went to happiness.",
}


def checkpoint_path(models: Path, name: str) -> Path:
    """Where `publish` writes the weights of the recipe `name`."""
    return models / name / f"{name}.safetensors"


def publish(recipe: Recipe, data: Faces, run: Path, models: Path, *, validated_on: str = "PublicTest") -> Path:
    """Write models/<name>/ from the averaged weights after a run's last epoch; the path of the checkpoint.

    Not from the best epoch: the best of a hundred on a few thousand faces is partly luck, and flatters the model on
    those faces. `validated_on` is what the card calls the faces the run was watched on.
    """
    logs = _finished_logs(recipe, run)
    path = checkpoint_path(models, recipe.name)
    folder = path.parent
    state = torch.load(run / "state.pt", weights_only=True)["average"]
    network = architectures.build(recipe.architecture, recipe.arguments)
    network.load_state_dict(state)
    info = info_of(recipe, data.dataset, temperature=_fit_temperature(recipe, network, data))
    draft = evaluate.from_checkpoint(checkpoint.Checkpoint(network.eval(), info, ""), path)
    result = evaluate.evaluate(draft, data, "PublicTest")
    checkpoint.save(path, state, dataclasses.replace(info, measured=_measured(result)))
    # A file cannot say its own digest, so the result gets it once the file is written.
    result = dataclasses.replace(result, candidate=evaluate.from_checkpoint(checkpoint.load(path), path))
    results = evaluate.results_path(models, recipe.task)
    evaluate.append_result(results, result)
    write_log(folder / "log.csv", logs)
    plot_curves(logs, folder / "curves.png", recipe.name, validated_on)
    if isinstance(result, Evaluation):
        title = f"{recipe.name}, PublicTest, %"
        plot_confusion(result.truth, result.predicted, result.candidate.labels, folder / "confusion.png", title)
    _write_text(folder / "recipe.json", json.dumps(dataclasses.asdict(recipe), indent=2) + "\n")
    _write_text(folder / "README.md", _card(recipe, logs, result, cost_of(network), info.temperature, validated_on))
    return path


def _measured(result: Evaluation | FigureEvaluation) -> dict[str, Any]:
    """Figures on PublicTest for the checkpoint's header."""
    if isinstance(result, Evaluation):
        figures: dict[str, Any] = {"accuracy": result.single.accuracy, "macro_f1": result.single.macro_f1}
    else:
        figures = {"figures": result.single}
    return {result.split: {"dataset": result.dataset, "n": result.n, **figures}}


def _note(recipe: Recipe) -> str:
    """Text of the author about the model: `train/recipes/<name>.md`, where there is one."""
    path = RECIPES / f"{recipe.name}.md"
    return path.read_text().strip() + "\n\n" if path.is_file() else ""


def _fit_temperature(recipe: Recipe, network: nn.Module, data: Faces) -> float:
    """Temperature fitted on PublicTest; 1 where there are no classes."""
    if not tasks.is_of_classes(recipe.task):
        return 1.0
    truth = data.truth(recipe.task)
    chosen = (data.usage == SPLITS.index("PublicTest")) & known(truth)
    return fit_temperature(predict(network, data.images[chosen]), truth[chosen])


def _finished_logs(recipe: Recipe, run: Path) -> list[EpochLog]:
    path = run / "state.pt"
    if not path.is_file():
        raise UsageError(f"no run of {recipe.name} in {run}. Train it with `make train RECIPE={recipe.name}`.")
    logs = [EpochLog.of_row(entry) for entry in torch.load(path, weights_only=True)["logs"]]
    if len(logs) < recipe.schedule.epochs:
        raise UsageError(f"{run}: {len(logs)} of {recipe.schedule.epochs} epochs done. Finish with `make train` first.")
    return logs


def _trained_on(recipe: Recipe, dataset: str) -> str:
    share = recipe.labels.ferplus_share
    of_votes = recipe.task in ("expression7", "positive-negative")
    blend = f", labels blended with FER+ votes ({share:.0%})" if share and of_votes and dataset == "FER2013" else ""
    votes = "" if of_votes or dataset != "FER2013" else f", {recipe.task} by its FER+ votes"
    teachers = [Path(name).stem for name in recipe.distillation.teachers] or _who_answered(recipe)
    taught = f", taught by {' and '.join(teachers)}" if teachers else ""
    noisy = (
        f", {recipe.noise.share:.0%} of the faces with noise ({recipe.noise.schedule})" if recipe.noise.share else ""
    )
    begun = f", begun from {Path(recipe.finetuning.weights).name}" if recipe.finetuning.weights else ""
    learned = {*recipe.beside, recipe.task}
    gaze = Path(recipe.labels.saliency_teacher).stem
    stand_in = f", evidence of {gaze} in place of gaze" if gaze and "saliency" in learned else ""
    apart = f", {_attributes(recipe.labels.attributes)} kept apart" if "attributes" in learned else ""
    return f"{dataset} Training{blend}{votes}{taught}{noisy}{stand_in}{apart}{begun}"


def _attributes(source: str) -> str:
    """A kind of attributes, or the file they are in."""
    return f"attributes of {Path(source).name}" if source.endswith(".npz") else f"{source} attributes"


def _who_answered(recipe: Recipe) -> list[str]:
    """The teachers whose stored answers a recipe names, without the digests of their weights."""
    path = recipe.distillation.answers
    return [name.split()[0] for name in read_answers(Path(path)).teachers] if path else []


def info_of(
    recipe: Recipe, dataset: str = "FER2013", *, temperature: float = 1.0, measured: dict[str, Any] | None = None
) -> checkpoint.CheckpointInfo:
    """The header of a checkpoint of `recipe`."""
    return checkpoint.CheckpointInfo(
        name=recipe.name,
        architecture=recipe.architecture,
        arguments=recipe.arguments,
        task=recipe.task,
        labels=tasks.labels_of(recipe.task),
        trained_on=_trained_on(recipe, dataset),
        measured=measured or {},
        recipe=dataclasses.asdict(recipe),
        temperature=temperature,
    )


def _card(
    recipe: Recipe,
    logs: list[EpochLog],
    result: Evaluation | FigureEvaluation,
    cost: Cost,
    temperature: float,
    validated_on: str,
) -> str:
    labels = result.candidate.labels
    return _CARD.format(
        name=recipe.name,
        task=recipe.task,
        note=_note(recipe),
        count=f"{len(labels)} {'classes' if tasks.is_of_classes(recipe.task) else 'numbers'}",
        labels=", ".join(labels) or "a map",
        architecture=recipe.architecture,
        arguments=json.dumps(recipe.arguments),
        parameters=cost.parameters,
        mmac=cost.mmac,
        trained_on=_trained_on(recipe, result.dataset),
        epochs=len(logs),
        minutes=sum(log.seconds for log in logs) / 60,
        hardware=f"{_hardware()}, {recipe.schedule.precision}",
        validated_on=validated_on,
        figures=_figures(result, temperature),
        results=evaluate.results_path(Path(), recipe.task).name,
        sha256=result.candidate.checkpoint_sha256,
        closing=_closing(recipe, result),
    )


def _hardware() -> str:
    """Name of the processor or GPU this process computes on."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    cores = torch.get_num_threads()
    return f"{cores} {'core' if cores == 1 else 'cores'} of a {platform.machine()} machine"


def _figures(result: Evaluation | FigureEvaluation, temperature: float) -> str:
    """The rows of the card that say how good the model is."""
    if isinstance(result, Evaluation):
        return _CLASS_FIGURES.format(single=result.single, flip=result.flip, temperature=temperature)
    rows = [("PublicTest", result.single), ("PublicTest, averaged with the mirror image", result.flip)]
    return "\n".join(
        f"| {title} | {', '.join(f'{name} {value:.3f}' for name, value in figures.items())} (n = {result.n}) |"
        for title, figures in rows
    )


def _closing(recipe: Recipe, result: Evaluation | FigureEvaluation) -> str:
    """The end of the card: recall and pictures, and what the labels mean."""
    recall, pictures = "", "![training curves](curves.png)"
    if isinstance(result, Evaluation):
        labels = zip(result.candidate.labels, result.single.recall, strict=True)
        recall = f"Recall by class on PublicTest: {', '.join(f'{label} {value:.0%}' for label, value in labels)}.\n\n"
        pictures += "\n![confusion matrix](confusion.png)"
    meaning = [_MEANING[result.dataset]] if result.dataset in _MEANING else []
    if recipe.task == "expression7" and meaning and isinstance(result, Evaluation):
        rare = int((result.truth == EXPRESSIONS.index("disgust")).sum())
        meaning.append(f"Disgust is rare in the data (1.5 %) and its recall\nis measured on {rare} faces only.")
    if recipe.task in _DERIVED and meaning:
        meaning.append(f"\nWhat counts as true here is derived: {_DERIVED[recipe.task]}")
    if not meaning:
        return f"{recall}{pictures}"
    return f"{recall}{pictures}\n\n## What the labels mean, and what they do not\n" + " ".join(meaning)


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature in 0.25..4 of least negative log likelihood: logits (n, classes), labels (n,).

    Golden-section search; the likelihood of a scaled softmax has one minimum in the logarithm of the temperature.
    """
    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    for _ in range(_STEPS):
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if negative_log_likelihood(logits / np.exp(first), labels) < negative_log_likelihood(
            logits / np.exp(second), labels
        ):
            high = second
        else:
            low = first
    return round(float(np.exp((low + high) / 2)), 4)


def negative_log_likelihood(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean over the faces, in nats."""
    chosen = softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


matplotlib.use("Agg")


def plot_curves(logs: list[EpochLog], path: Path, title: str, validated_on: str = "PublicTest") -> None:
    """Loss and the first two figures on the validation faces over the epochs, as a PNG."""
    epochs = [log.epoch for log in logs]
    figure, (losses, figures) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    losses.plot(epochs, [log.train_loss for log in logs], label="Training (soft labels, augmented)")
    losses.plot(epochs, [log.val_loss for log in logs], label=f"{validated_on} (averaged weights)")
    losses.set(xlabel="epoch", ylabel="loss", title=title)
    losses.legend(frameon=False)
    names = list(logs[0].figures)[:2]
    percent = names[0] == "accuracy"
    factor, unit = (100, "% ") if percent else (1, "")
    for name in names:
        figures.plot(epochs, [factor * log.figures[name] for log in logs], label=name.replace("_", "-"))
    last = logs[-1].score
    figures.axhline(factor * last, color="grey", linewidth=0.8, linestyle=":")
    said = f"{last:.2%}" if percent else f"{last:.3f}"
    figures.set(xlabel="epoch", ylabel=f"{unit}on {validated_on}, single crop", title=f"after the last epoch {said}")
    figures.legend(frameon=False, loc="lower right")
    _save(figure, path)


def plot_confusion(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str], path: Path, title: str) -> None:
    """Confusion matrix in per cent of each true class, as a PNG; classes (n,) are indices into `labels`."""
    counts = confusion_matrix(truth, predicted, len(labels))
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(5.4, 4.8), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(shares.shape):
        shade = "white" if shares[row, column] > 55 else "black"
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=shade, fontsize=9)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), [f"{name} ({n})" for name, n in zip(labels, counts.sum(1), strict=True)])
    axes.set(xlabel="predicted", ylabel="true (faces)", title=title)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
