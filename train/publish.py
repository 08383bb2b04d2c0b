"""Turn a finished run into a folder of models/: weights, recipe, log, pictures and a model card."""

import dataclasses
import json
import os
import platform
from pathlib import Path

import torch
from torch import Tensor

from fer_edge.errors import UsageError
from fer_edge.files import atomic_write
from fer_edge.metrics import classification_metrics, softmax

from train import architectures, checkpoint, evaluate, plots
from train.cost import Cost, cost_of
from train.fer2013 import EXPRESSIONS, SPLITS, Fer2013
from train.loop import EpochLog, predict, write_log
from train.recipe import RECIPES, Recipe
from train.temperature import fit_temperature

_CARD = """# {name}

Facial expression classifier of fer-edge: grey 48x48 face in, seven FER2013 classes out ({labels}).

| | |
|---|---|
| architecture | `{architecture}` {arguments} |
| parameters | {parameters:,} |
| multiplications | {mmac:.1f} million for a face |
| trained on | {trained_on} |
| recipe | `train/recipes/{name}.toml`, kept beside this card in `recipe.json` |
| training | {epochs} epochs, {minutes:.0f} minutes, {hardware}; selected by PublicTest |
| PublicTest | **{accuracy:.2%}** accuracy, **{macro_f1:.2%}** macro-F1, ECE {ece:.3f} (n = {n}, single crop, float) |
| PublicTest, averaged with the mirror image | {flip_accuracy:.2%}, macro-F1 {flip_macro_f1:.2%} |
| temperature | {temperature:.3f}, fitted on PublicTest; the ECE above is after it |
| PrivateTest, and the INT8 files | rows of [results.csv](../results.csv) with the checkpoint below |
| checkpoint SHA-256 | `{sha256}` |
| licence | Apache-2.0 |

{note}Recall by class on PublicTest: {recall}.

![training curves](curves.png)
![confusion matrix](confusion.png)

## What the labels mean, and what they do not
The labels are what annotators said they saw in FER2013, a set scraped from the web in 2013 whose annotators agree with
each other on about 65 % of the faces. A label names the look of a face in one picture. It does not say what a person
feels, intends or is, and must not be used to judge or select people. Accuracy differs between groups of people and was
not measured by group here, because FER2013 has no such annotation. Disgust is rare in the data (1.5 %) and its recall
is measured on {disgust} faces only.
"""


def checkpoint_path(models: Path, name: str) -> Path:
    """Where `publish` writes the weights of the recipe `name`."""
    return models / name / f"{name}.safetensors"


def publish(recipe: Recipe, data: Fer2013, run: Path, models: Path) -> Path:
    """Write models/<name>/ from the best weights of a finished run; the path of the checkpoint."""
    logs = _finished_logs(recipe, run)
    path = checkpoint_path(models, recipe.name)
    folder = path.parent
    state = torch.load(run / "best.pt", weights_only=True)
    temperature, figures = _fit_and_measure(recipe, state, data)
    info = _info(recipe, temperature=temperature, measured={"PublicTest": figures})
    checkpoint.save(path, state, info)
    loaded = checkpoint.load(path)
    result = evaluate.evaluate(evaluate.from_checkpoint(loaded, path), data, "PublicTest")
    evaluate.append_result(models / "results.csv", result)
    write_log(folder / "log.csv", logs)
    plots.plot_curves(logs, folder / "curves.png", recipe.name)
    plots.plot_confusion(result.truth, result.predicted, folder / "confusion.png", f"{recipe.name}, PublicTest, %")
    _write_text(folder / "recipe.json", json.dumps(dataclasses.asdict(recipe), indent=2) + "\n")
    _write_text(folder / "README.md", _card(recipe, logs, result, cost_of(loaded.network), temperature))
    return path


def _note(recipe: Recipe) -> str:
    """What the author says of the model: `train/recipes/<name>.md`, where there is one."""
    path = RECIPES / f"{recipe.name}.md"
    return path.read_text().strip() + "\n\n" if path.is_file() else ""


def _fit_and_measure(recipe: Recipe, state: dict[str, Tensor], data: Fer2013) -> tuple[float, dict[str, float]]:
    """Temperature and accuracy figures on PublicTest, of weights that have no file yet."""
    network = architectures.build(recipe.architecture, recipe.arguments)
    network.load_state_dict(state)
    chosen = data.usage == SPLITS.index("PublicTest")
    logits, labels = predict(network, data.images[chosen]), data.emotions[chosen]
    temperature = fit_temperature(logits, labels)
    metrics = classification_metrics(labels, softmax(logits / temperature))
    return temperature, {"n": metrics.n, "accuracy": metrics.accuracy, "macro_f1": metrics.macro_f1}


def _finished_logs(recipe: Recipe, run: Path) -> list[EpochLog]:
    path = run / "state.pt"
    if not path.is_file():
        raise UsageError(f"no run of {recipe.name} in {run}. Train it with `make train RECIPE={recipe.name}`.")
    logs = [EpochLog(**entry) for entry in torch.load(path, weights_only=True)["logs"]]
    if len(logs) < recipe.schedule.epochs:
        raise UsageError(f"{run}: {len(logs)} of {recipe.schedule.epochs} epochs done. Finish with `make train` first.")
    return logs


def _trained_on(recipe: Recipe) -> str:
    share = recipe.labels.ferplus_share
    blend = f", labels blended with FER+ votes ({share:.0%})" if share else ""
    teachers = [Path(name).stem for name in recipe.distillation.teachers]
    taught = f", taught by {' and '.join(teachers)}" if teachers else ""
    return f"FER2013 Training{blend}{taught}"


def _info(
    recipe: Recipe, *, temperature: float = 1.0, measured: dict[str, dict[str, float]] | None = None
) -> checkpoint.CheckpointInfo:
    return checkpoint.CheckpointInfo(
        name=recipe.name,
        architecture=recipe.architecture,
        arguments=recipe.arguments,
        task="expression7",
        labels=EXPRESSIONS,
        trained_on=_trained_on(recipe),
        measured=measured or {},
        recipe=dataclasses.asdict(recipe),
        temperature=temperature,
    )


def _card(recipe: Recipe, logs: list[EpochLog], result: evaluate.Evaluation, cost: Cost, temperature: float) -> str:
    single, flip = result.single, result.flip
    recall = ", ".join(f"{label} {value:.0%}" for label, value in zip(EXPRESSIONS, single.recall, strict=True))
    return _CARD.format(
        name=recipe.name,
        note=_note(recipe),
        labels=", ".join(EXPRESSIONS),
        architecture=recipe.architecture,
        arguments=json.dumps(recipe.arguments),
        parameters=cost.parameters,
        mmac=cost.mmac,
        trained_on=_trained_on(recipe),
        epochs=len(logs),
        minutes=sum(log.seconds for log in logs) / 60,
        hardware=f"{os.cpu_count()} cores of a shared {platform.machine()} machine, {recipe.schedule.precision}",
        accuracy=single.accuracy,
        macro_f1=single.macro_f1,
        ece=single.ece,
        n=single.n,
        flip_accuracy=flip.accuracy,
        flip_macro_f1=flip.macro_f1,
        temperature=temperature,
        sha256=result.checkpoint_sha256,
        recall=recall,
        disgust=int((result.truth == EXPRESSIONS.index("disgust")).sum()),
    )


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)
