"""Labelled faces say which way a network wants to be fed: each usual way is tried on them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError
from fer_edge.faces import LabelledFaces
from fer_edge.metrics import classification_metrics, confusion_matrix
from fer_edge.preprocess import model_input

from export.adopt.answers import Feeding, raw_input
from export.adopt.network import Network

# Faces for a first look at every way, and the share of them another way must be ahead by.
_GLANCE = 400
_FAR_HIGHER = 0.10


@dataclass(frozen=True)
class Way:
    """One way to feed the network and its scores on n faces; `named` (n,) int64 are their first classes, `right` (n,)
    where those are true.
    """

    feeding: Feeding
    accuracy: float
    macro_f1: float
    named: NDArray[np.int64]
    right: NDArray[np.bool_]


def predicted(network: Network, feeding: Feeding, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Outputs (n, classes) of the original file for raw faces, grey (n, h, w) or BGR (n, h, w, 3) of any size."""
    spec = replace(raw_input(network, feeding), dtype="float32")
    if not network.takes_raw_pixels:
        spec = replace(spec, mean=feeding.mean, std=feeding.std)
    parts = [network.run(model_input(images[start : start + 32], spec)) for start in range(0, len(images), 32)]
    return np.concatenate(parts)


def measured(network: Network, feeding: Feeding, faces: LabelledFaces) -> Way:
    """How the network does on the faces, fed that way."""
    outputs = predicted(network, feeding, faces.images)
    metrics = classification_metrics(faces.labels, outputs)
    named = outputs.argmax(axis=1)
    return Way(feeding, metrics.accuracy, metrics.macro_f1, named, named == faces.labels)


def best_way(network: Network, ways: tuple[Feeding, ...], faces: LabelledFaces) -> tuple[Way, tuple[Way, ...]]:
    """The best of the ways on all the faces, and every way on some of them, best first.

    Raises UsageError where the best two cannot be told apart, so that a person must say which it is.
    """
    some = faces.balanced(min(_GLANCE, len(faces)), 0)
    glanced = tuple(sorted((measured(network, way, some) for way in ways), key=lambda way: -way.accuracy))
    best = glanced[0]
    if len(glanced) > 1 and not _is_ahead(best.right, glanced[1].right):
        first, second = best.feeding, glanced[1].feeding
        unclear = [flag for flag, differs in _differences(first, second).items() if differs]
        raise UsageError(
            f"{network.source}: {first} scores {best.accuracy:.1%} and {second} {glanced[1].accuracy:.1%} on "
            f"{len(some)} faces, too near to tell. Say {' and '.join(unclear)}."
        )
    return measured(network, best.feeding, faces), glanced


def _differences(first: Feeding, second: Feeding) -> dict[str, bool]:
    """Which option tells the two apart. Grey faces, as a cache has them, do not tell the order of colours."""
    return {"--colour": first.colour != second.colour, "--range": first.name != second.name}


def _is_ahead(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> bool:
    """Whether `first` is right where `second` is not more often than chance would have it (McNemar's exact test)."""
    from scipy.stats import binomtest

    gains, losses = int((first & ~second).sum()), int((second & ~first).sum())
    return gains > losses and binomtest(gains, gains + losses).pvalue < 0.05


def require_right_labels(way: Way, faces: LabelledFaces, labels: tuple[str, ...]) -> None:
    """Raise UsageError where another order of the labels would score far higher (Kuhn's assignment, 1955)."""
    from scipy.optimize import linear_sum_assignment

    named = way.named
    half = np.arange(len(faces)) % 2 == 0
    rows, columns = linear_sum_assignment(-confusion_matrix(faces.labels[half], named[half], len(labels)))
    label_of = np.empty(len(labels), dtype=np.int64)
    label_of[columns] = rows
    before = way.right[~half]
    after = label_of[named[~half]] == faces.labels[~half]
    if after.mean() - before.mean() >= _FAR_HIGHER and _is_ahead(after, before):
        order = ",".join(labels[label] for label in label_of)
        raise UsageError(
            f"--labels: {before.mean():.1%} on {len(before)} faces of {faces.dataset}; with --labels {order} it would "
            f"be {after.mean():.1%}. Correct the order, or leave --faces out if it is right."
        )
