"""Classifier and detectors: are the bytes those that were published?"""

import base64
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fer_edge.detectors import DATA, DETECTOR_FILES, default_detector
from fer_edge.doctor.finding import Finding, State
from fer_edge.models import DEFAULT_MODEL, ModelStatus, list_models


def check_files() -> Iterator[Finding]:
    """Findings about every model the package knows."""
    recorded = _recorded_sha256s()
    for model in list_models():
        yield check_model(model, recorded.get(model.path))
    yield check_default(default_detector())


def check_default(detector: str) -> Finding:
    """The detector that is used unless another is asked for: MediaPipe where YuNet could not be made."""
    if detector == "yunet":
        return Finding("default detector", State.OK, "yunet, INT8")
    text = "mediapipe, which finds fewer faces for more work: YuNet's file was not made"
    return Finding("default detector", State.WARN, text, "`make setup` in a checkout, or a bundle, brings it")


def check_model(model: ModelStatus, recorded_sha256: str | None) -> Finding:
    """One model; `recorded_sha256` is what the installed distribution says its file should be."""
    subject = f"{model.kind} {model.name}"
    if model.state.startswith("absent"):
        needed = model.name == default_detector()
        remedy = DETECTOR_FILES[model.name].remedy if model.name in DETECTOR_FILES else ""
        state = State.BAD if needed else State.OK
        return Finding(subject, state, "absent" if needed else "absent; used only when asked for", remedy, needed)
    if not model.state.startswith("ready"):
        used = model.path == DEFAULT_MODEL or model.name == default_detector()
        return Finding(subject, State.BAD if used else State.WARN, model.state, _remedy(model), used)
    if recorded_sha256 is not None and recorded_sha256 != model.sha256:
        text = f"SHA-256 is {model.sha256[:12]}..., the installed package recorded {recorded_sha256[:12]}..."
        return Finding(subject, State.BAD, text, _remedy(model), is_model=True)
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
