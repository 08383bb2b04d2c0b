"""How much of what identifies a face is left in a network's features: probes (Alain and Bengio, 2016).

A regression from features to attributes is fitted on Training and scored on PublicTest: a linear one, and one of two
layers, which finds what was only bent out of a line's sight. R2 is the share of an attribute's variance the probe
explains: 0 is what knowing nothing gives, and below 0 counts as 0.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from fer_edge.csv_tables import write_cells
from fer_edge.errors import ModelError

from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.data.pixels import normalise
from train.fit import checkpoint
from train.fit.attributes import AttributeSource, standardised

_BATCH = 256
_PENALTIES = (1.0, 10.0, 100.0, 1000.0)
_FIELDS = ("model", "features", "attribute", "probe", "dataset", "split", "n", "r2")
_HIDDEN = 128
PROBES = ("linear", "two-layer")


@dataclass(frozen=True)
class ProbeRow:
    """R2 of one attribute from one kind of features of a model by one of PROBES, on n faces of PublicTest."""

    model: str
    features: str
    attribute: str
    dataset: str
    n: int
    r2: float
    probe: str = "linear"


def features_of(network: nn.Module, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Features (n, width) of grey faces (n, 48, 48): `features`, or `expression` and `identity` where they are split.

    Raises ModelError for a network without features.
    """
    if not hasattr(network, "features"):
        raise ModelError(f"{type(network).__name__} has no features to probe.")
    splits = hasattr(network, "split")
    parts: dict[str, list[torch.Tensor]] = {}
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            faces = normalise(torch.from_numpy(images[start : start + _BATCH])).unsqueeze(1)
            named = zip(("expression", "identity"), network.split(faces), strict=True) if splits else ()
            for name, values in dict(named or {"features": network.features(faces)}).items():
                parts.setdefault(name, []).append(values)
    return {name: torch.cat(values).numpy() for name, values in parts.items()}


def measure(path: Path, data: Faces, source: AttributeSource, kind: str = "linear") -> list[ProbeRow]:
    """Probe the checkpoint at `path` for every attribute of `source` by a `kind` of PROBES. Raises ModelError."""
    loaded = checkpoint.load(path)
    targets = standardised(source.values(data.images))
    training, test = (data.usage == SPLITS.index(split) for split in ("Training", "PublicTest"))
    rows = []
    for name, values in features_of(loaded.network, data.images[training | test]).items():
        known = training[training | test]
        scores = probe(values[known], targets[training], values[~known], targets[test], kind)
        rows += [
            ProbeRow(loaded.info.name, name, attribute, data.dataset, int(test.sum()), float(score), kind)
            for attribute, score in zip(source.names, scores, strict=True)
        ]
    return rows


def probe(
    features: NDArray[np.float32],
    attributes: NDArray[np.float32],
    test_features: NDArray[np.float32],
    test_attributes: NDArray[np.float32],
    kind: str = "linear",
) -> NDArray[np.float64]:
    """R2 of each attribute, (k,), by a `kind` of PROBES."""
    regression = _regression(kind)
    regression.fit(features, attributes)
    predicted = regression.predict(test_features).reshape(test_attributes.shape)
    return np.maximum(r2_score(test_attributes, predicted, multioutput="raw_values"), 0)


def _regression(kind: str) -> Pipeline:
    """A ridge regression, or a network with one hidden layer; what they choose, they choose on the training faces."""
    if kind == "linear":
        return make_pipeline(StandardScaler(), RidgeCV(alphas=_PENALTIES))
    network = MLPRegressor(
        hidden_layer_sizes=(_HIDDEN,),
        alpha=1e-3,
        batch_size=256,
        early_stopping=True,
        max_iter=100,
        n_iter_no_change=5,
        random_state=0,
    )
    return make_pipeline(StandardScaler(), network)


def write(path: Path, rows: list[ProbeRow]) -> None:
    """One line a row, atomically."""
    write_cells(path, _FIELDS, ({**vars(row), "split": "PublicTest"} for row in rows))


def table(rows: list[ProbeRow]) -> str:
    """Markdown of one kind of probe: an attribute a line, the features of models side by side, and their means."""
    kinds = list(dict.fromkeys((row.model, row.features) for row in rows))
    scores = {(row.model, row.features, row.attribute): row.r2 for row in rows}
    lines = [f"| R2 | {' | '.join(f'{model}, {kind}' for model, kind in kinds)} |", "|---|" + "---|" * len(kinds)]
    for attribute in dict.fromkeys(row.attribute for row in rows):
        lines.append(f"| {attribute} | {' | '.join(f'{scores[(*kind, attribute)]:.3f}' for kind in kinds)} |")
    means = [np.mean([row.r2 for row in rows if (row.model, row.features) == kind]) for kind in kinds]
    return "\n".join([*lines, f"| mean | {' | '.join(f'{mean:.3f}' for mean in means)} |"])
