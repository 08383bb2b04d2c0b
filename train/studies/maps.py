"""How near a network's saliency is to people's gaze, or on FER2013 to the evidence that stands in for it.

Beside each model stands the mean of all true maps, the same for every picture: what knowing nothing of a picture gives.
It was made of the very maps it is measured by, which favours it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fer_edge.csv_tables import write_cells

from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.fit.prediction import predict
from train.fit.recipe import Labels
from train.fit.saliency import SaliencyTask
from train.studies import overlay

_INDICATORS = ("kl", "cc", "nss", "sim")
_FIELDS = ("model", "map", "truth", "dataset", "split", "n", *_INDICATORS)


@dataclass(frozen=True)
class MapRow:
    """Indicators of a model's maps, or of the mean map beside them, over n pictures of PublicTest."""

    model: str
    map: str
    truth: str
    dataset: str
    n: int
    indicators: dict[str, float]


def measure(path: Path, data: Faces, teacher: str = "") -> list[MapRow]:
    """The model's row and that of the mean map. Raises ModelError for a network that predicts no saliency.

    `teacher` is the checkpoint whose evidence stands in for gaze; without one, that which the model learned from.
    """
    guided, info = overlay.guided_network(path)
    shown = data.rows(data.usage == SPLITS.index("PublicTest"))
    teacher = teacher or info.recipe.get("labels", {}).get("saliency_teacher", "")
    task = SaliencyTask()
    truth = task.targets(shown, Labels(saliency_teacher=teacher)).numpy()
    scores = predict(guided.saliency, shown.images).reshape(len(truth), -1)
    mean = np.log(truth[:, :1].mean(axis=0, keepdims=True) + 1e-9)
    side = round(scores.shape[1] ** 0.5)
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(mean), side).flatten(1)
    named = f"evidence of {Path(teacher).stem}" if data.dataset == "FER2013" else "gaze"
    return [
        MapRow(info.name, kind, named, data.dataset, len(truth), _indicators(task, answers, truth))
        for kind, answers in (("its own", scores), ("the mean map", pooled.expand(len(truth), -1).numpy()))
    ]


def _indicators(task: SaliencyTask, answers: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
    figures = task.figures(np.ascontiguousarray(answers), truth)
    return {name: figures[name] for name in _INDICATORS}


def write(path: Path, rows: list[MapRow]) -> None:
    """One line a row, atomically."""
    head = ("model", "map", "truth", "dataset", "n")
    cells = [{**{name: getattr(row, name) for name in head}, "split": "PublicTest", **row.indicators} for row in rows]
    write_cells(path, _FIELDS, cells)


def table(rows: list[MapRow]) -> str:
    """Markdown: a row each, KL in nats."""
    lines = [f"| map | n | {' | '.join(name.upper() for name in _INDICATORS)} |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = " | ".join(f"{row.indicators[name]:.3f}" for name in _INDICATORS)
        lines.append(f"| `{row.model}`, {row.map} | {row.n} | {cells} |")
    return "\n".join(lines)
