"""Models inside the package: the default classifier and the detectors, each with its checksum and where it stands."""

from dataclasses import dataclass
from pathlib import Path

from fer_edge.detectors import DATA, DETECTOR_FILES, checked_file
from fer_edge.errors import FerEdgeError
from fer_edge.files import sha256_of

DEFAULT_MODEL = DATA / "fer-base.int8.tflite"


@dataclass(frozen=True)
class ModelStatus:
    """One file the runtime can use. `state` is "ready" or what is wrong with it."""

    kind: str
    name: str
    path: Path
    sha256: str
    state: str


def list_models() -> list[ModelStatus]:
    """Every classifier inside the package and every known detector, present or not."""
    classifiers = [_classifier_status(path) for path in sorted(DATA.glob("fer-*.tflite"))]
    return classifiers + [_detector_status(name) for name in DETECTOR_FILES]


def _classifier_status(path: Path) -> ModelStatus:
    from fer_edge.classifier import Classifier

    try:
        contract = Classifier(path).contract
        state = f"ready: {contract.task}, {contract.precision}, {', '.join(contract.labels)}"
    except FerEdgeError as error:
        state = f"refused: {error}"
    return ModelStatus("classifier", path.stem, path, sha256_of(path), state)


def _detector_status(name: str) -> ModelStatus:
    pinned = DETECTOR_FILES[name]
    path = pinned.path
    if not path.is_file():
        return ModelStatus("detector", name, path, "", f"absent: bring it with `{pinned.remedy}`")
    try:
        checked_file(pinned)
        state = "ready"
    except FerEdgeError:
        state = f"refused: not the published file; `{pinned.remedy}`"
    return ModelStatus("detector", name, path, sha256_of(path), state)
