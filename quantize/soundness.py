"""Float first: a float model that is no better than a guess, or is fed wrongly, is refused before it is quantized."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import ModelContract
from fer_edge.errors import ModelError
from fer_edge.faces import LabelledFaces, ValuedFaces
from fer_edge.metrics import concordance, confusion_matrix

from quantize.intervals import paired_drop, proportion
from quantize.materials import Materials
from quantize.measure import Runnable
from quantize.onnx_graph import session_of

# A contract that says another accuracy than the file has on the same faces describes another model.
_MAX_CONTRACT_ERROR = 0.02
# Another way to feed the model, or to read it, that scores so much more is what the contract should have said.
_FAR_HIGHER = 0.10
# Faces for a first look at other ways to feed the model, and for a second where one stands out.
_GLANCE, _PROOF = 128, 1024
_CROPS = (0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Remedy:
    """Another way to feed or read the model, in words, and what it would score, a fraction."""

    what: str
    accuracy: float


def require_sound(materials: Materials, predictions: dict[str, NDArray[np.float32]]) -> None:
    """Raise ModelError unless the float models are worth quantizing; `predictions` by suffix are of the evaluation.

    The message says which order of labels, range or order of colours, or crop would score far higher, if one would.
    Without labelled faces nothing can be said.
    """
    faces = materials.evaluation.faces
    if faces is None:
        return
    for suffix, own in predictions.items():
        model = materials.models.classifiers[suffix]
        if isinstance(faces, LabelledFaces):
            problem = _problem(own, faces, model.contract)
            remedy = _remedy(materials, own, faces) if suffix == "onnx" else None
            if problem is not None or remedy is not None:
                raise ModelError(f"{model.path}: {_refusal(problem, remedy, own, faces)}")
        _require_claims(str(model.path), model.contract, own, faces)


def _problem(predictions: NDArray[np.float32], faces: LabelledFaces, contract: ModelContract) -> str | None:
    """Why the predictions (n, classes) are no better than a guess, in words; None where they are."""
    named, n = predictions.argmax(axis=1), len(faces)
    if len(np.unique(named)) == 1 and len(np.unique(faces.labels)) > 1:
        return f"names the class {contract.labels[int(named[0])]!r} for every face"
    shares = np.bincount(faces.labels, minlength=len(contract.labels)) / n
    commonest = int(shares.argmax())
    guess = max(float(shares[commonest]), 1 / len(contract.labels))
    found = proportion(int((named == faces.labels).sum()), n)
    if found.low > guess:
        return None
    return (
        f"accuracy {found.measured:.2%} ({found.low:.2%} to {found.high:.2%}) on {n} faces is not clearly above "
        f"{guess:.2%}, what always naming {contract.labels[commonest]!r} scores"
    )


def _refusal(problem: str | None, remedy: Remedy | None, predictions: NDArray[np.float32], faces: LabelledFaces) -> str:
    where = f"on {faces.dataset} {faces.split}"
    if remedy is None:
        return (
            f"{problem} ({where}). No other order of labels, range of inputs or crop scores far higher: train it, or "
            "give faces it was made for."
        )
    scored = float((predictions.argmax(axis=1) == faces.labels).mean())
    first = f"{problem} {where}" if problem else f"scores {scored:.2%} {where}"
    return f"{first}; with {remedy.what} it scores {remedy.accuracy:.2%}. Correct the contract and try again."


def _remedy(materials: Materials, predictions: NDArray[np.float32], faces: LabelledFaces) -> Remedy | None:
    """The other way to read or feed the float ONNX that scores far higher, if there is one; the best of several."""
    found = [_other_labels(predictions, faces), *_other_inputs(materials, predictions, faces)]
    return max((remedy for remedy in found if remedy is not None), key=lambda remedy: remedy.accuracy, default=None)


def _other_labels(predictions: NDArray[np.float32], faces: LabelledFaces) -> Remedy | None:
    """The best assignment of labels to outputs (Kuhn, 1955): found on one half of the faces, scored on the other."""
    from scipy.optimize import linear_sum_assignment

    named, classes = predictions.argmax(axis=1), predictions.shape[1]
    half = np.arange(len(faces)) % 2 == 0
    matrix = confusion_matrix(faces.labels[half], named[half], classes)
    rows, columns = linear_sum_assignment(-matrix)
    label_of = np.empty(classes, dtype=np.int64)
    label_of[columns] = rows
    names = faces.label_names
    what = f"the label order {', '.join(names[label] for label in label_of)}"
    truth = faces.labels[~half]
    if not _is_far_higher(named[~half] == truth, label_of[named[~half]] == truth):
        return None
    return Remedy(what, float((label_of[named] == faces.labels).mean()))


def _is_far_higher(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> bool:
    """Whether `after` is right on far more faces (n,) than `before`, beyond chance."""
    gain = paired_drop(int((after & ~before).sum()), int((before & ~after).sum()), len(before))
    return gain.measured >= _FAR_HIGHER and gain.low > _FAR_HIGHER / 2


def _other_inputs(
    materials: Materials, predictions: NDArray[np.float32], faces: LabelledFaces
) -> Iterator[Remedy | None]:
    """Ranges, orders of colours and crops: a glance at some faces, and a second look where one stands out."""
    chosen = np.random.default_rng(0).permutation(len(faces))[:_PROOF]
    images, labels = faces.images[chosen], faces.labels[chosen]
    right = predictions[chosen].argmax(axis=1) == labels
    for what, run in _ways(materials):
        glance = run(images[:_GLANCE]).argmax(axis=1) == labels[:_GLANCE]
        if not _is_far_higher(right[:_GLANCE], glance):
            continue
        proof = run(images).argmax(axis=1) == labels
        yield Remedy(what, float(proof.mean())) if _is_far_higher(right, proof) else None


def _ways(materials: Materials) -> Iterator[tuple[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]]]:
    """Other ways to feed the float ONNX, in words, each with what it then gives for faces (n, h, w) uint8."""
    model = Runnable.of(materials.models.classifiers["onnx"])
    graph = materials.models.graph
    body, name = session_of(graph.body.SerializeToString()), graph.input
    batch = 1 if body.get_inputs()[0].shape[0] == 1 else None

    def scaled(low: float, high: float) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            raw = graph.pixels(images) if graph.scaling is not None else graph.contract.model_input(images)
            fed = (raw.astype(np.float32) / 255 * (high - low) + low).astype(np.float32)
            parts = [fed] if batch is None else np.split(fed, len(fed))
            return np.concatenate([body.run(None, {name: part})[0] for part in parts])

        return run

    if "float" in body.get_inputs()[0].type:  # a raw input that its scaling follows cannot be fed otherwise
        for low, high in ((0, 1), (-1, 1), (0, 255)):
            yield f"pixels scaled to {low}..{high}", scaled(low, high)
    if materials.evaluation.images.ndim == 4:
        yield "the colours in the other order", lambda images: model.predict(images[..., ::-1])
    for margin in _CROPS:
        yield (
            f"faces cropped {margin:.0%} of their side tighter on each side",
            lambda images, margin=margin: model.predict(_tighter(images, margin)),  # type: ignore[misc]
        )


def _tighter(images: NDArray[np.uint8], margin: float) -> NDArray[np.uint8]:
    height, width = images.shape[1:3]
    top, left = round(margin * height / 2), round(margin * width / 2)
    cut = images[:, top : height - top, left : width - left]
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in cut]).astype(
        np.uint8
    )


def _require_claims(
    path: str, contract: ModelContract, predictions: NDArray[np.float32], faces: LabelledFaces | ValuedFaces
) -> None:
    for what, claimed, found in _claims(contract, predictions, faces):
        if not abs(found - claimed) <= _MAX_CONTRACT_ERROR:
            raise ModelError(
                f"{path}: its contract says {what} {claimed:.2%} on {faces.dataset} {faces.split}, measured "
                f"{found:.2%}. Labels or preprocessing are not what the contract says."
            )


def _claims(
    contract: ModelContract, predictions: NDArray[np.float32], faces: LabelledFaces | ValuedFaces
) -> Iterator[tuple[str, float, float]]:
    """Yield the claims of the contract for these very faces: name of the figure, the claim, the figure measured."""
    same = (faces.dataset, faces.split, len(faces), "single")
    if isinstance(faces, ValuedFaces):
        for value in contract.measured_values:
            if (value.dataset, value.split, value.n, value.crops) == same:
                column = contract.labels.index(value.label)
                yield f"CCC of {value.label}", value.ccc, concordance(faces.values[:, column], predictions[:, column])
        return
    for claim in contract.measured:
        if (claim.dataset, claim.split, claim.n, claim.crops) == same:
            yield "accuracy", claim.accuracy, float((predictions.argmax(axis=1) == faces.labels).mean())
