"""Classifier and detectors: do those in use open, are the package's bytes those that were published?"""

import base64
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fer_edge.classifier import Classifier
from fer_edge.detectors import AUTO, DATA, DETECTOR_FILES, NONE, default_detector, open_detector
from fer_edge.doctor.finding import Finding, State
from fer_edge.engines import has_engine
from fer_edge.errors import FerEdgeError
from fer_edge.files import sha256_of
from fer_edge.models import ModelStatus, list_models
from fer_edge.settings import Settings


def check_files(settings: Settings) -> Iterator[Finding]:
    """Findings about the model and the detector in use, and about every model the package knows."""
    recorded, used = _recorded_sha256s(), _files_in_use(settings)
    models = list_models()
    for model in models:
        yield check_model(model, recorded.get(model.path), used=model.path in used)
    for path in used - {model.path for model in models}:
        yield check_file(path, settings)
    if settings.detection.file is None and settings.detection.detector == AUTO:
        yield check_default(default_detector())


def _files_in_use(settings: Settings) -> set[Path]:
    model, detection = settings.model.file, settings.detection
    name = default_detector() if detection.detector == AUTO else detection.detector
    if detection.file is None and name == NONE:
        return {model}
    return {model, detection.file or DETECTOR_FILES[name].path}


def check_file(path: Path, settings: Settings) -> Finding:
    """A model or detector of the configuration, outside the package: does it open?"""
    is_detector = path == settings.detection.file
    subject = "detector in use" if is_detector else "model in use"
    try:
        if is_detector:
            open_detector(settings.detection.detector, path)
        else:
            Classifier(path)
    except FerEdgeError as error:
        return Finding(subject, State.BAD, str(error), "install the bundle again, or name another file", is_model=True)
    return Finding(subject, State.OK, f"{path.name}, SHA-256 {sha256_of(path)[:12]}...")


def check_default(detector: str) -> Finding:
    """The detector that is used unless another is asked for: MediaPipe where YuNet could not be made."""
    if detector == "yunet":
        return Finding("default detector", State.OK, "yunet, INT8")
    text = "mediapipe, which finds fewer faces for more work: YuNet's file was not made"
    return Finding("default detector", State.WARN, text, "`make setup` in a checkout, or a bundle, brings it")


def check_model(model: ModelStatus, recorded_sha256: str | None, *, used: bool) -> Finding:
    """One model; `recorded_sha256` is what the installed distribution says its file should be."""
    subject = f"{model.kind} {model.name}"
    if model.state.startswith("absent"):
        remedy = DETECTOR_FILES[model.name].remedy if model.name in DETECTOR_FILES else ""
        state = State.BAD if used else State.OK
        return Finding(subject, state, "absent" if used else "absent; used only when asked for", remedy, used)
    if recorded_sha256 is not None and recorded_sha256 != model.sha256:
        text = f"SHA-256 is {model.sha256[:12]}..., the installed package recorded {recorded_sha256[:12]}..."
        return Finding(subject, State.BAD, text, _remedy(model), is_model=True)
    if not used and not has_engine(model.path.suffix):
        return Finding(subject, State.OK, f"no engine for {model.path.suffix} here; used only when asked for")
    if not model.state.startswith("ready"):
        return Finding(subject, State.BAD if used else State.WARN, model.state, _remedy(model), used)
    return Finding(subject, State.OK, f"SHA-256 {model.sha256[:12]}...")


def _remedy(model: ModelStatus) -> str:
    pinned = DETECTOR_FILES.get(model.name)
    return pinned.remedy if pinned else "install fer-edge again: pip install --force-reinstall --no-deps"


def _recorded_sha256s() -> dict[Path, str]:
    """SHA-256 by path of the data files, as the wheel's RECORD has them; empty for a checkout."""
    try:
        files = distribution("fer-edge").files or []
    except PackageNotFoundError:
        return {}
    found = {}
    for file in files:
        path = Path(str(file.locate()))
        if path.parent == DATA and file.hash is not None and file.hash.mode == "sha256":
            padded = file.hash.value + "=" * (-len(file.hash.value) % 4)
            found[path] = base64.urlsafe_b64decode(padded).hex()
    return found
