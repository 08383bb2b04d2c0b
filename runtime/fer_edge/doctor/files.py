"""Classifier and detectors: are the bytes those that were published?"""

import base64
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fer_edge.detectors import DATA, DETECTOR_FILES
from fer_edge.doctor.finding import Finding, State
from fer_edge.models import DEFAULT_MODEL, ModelStatus, list_models

# The detector that is used unless another is asked for.
_DEFAULT_DETECTOR = "mediapipe"


def check_files() -> Iterator[Finding]:
    """Findings about every model the package knows."""
    recorded = _recorded_sha256s()
    for model in list_models():
        yield check_model(model, recorded.get(model.path))


def check_model(model: ModelStatus, recorded_sha256: str | None) -> Finding:
    """One model; `recorded_sha256` is what the installed distribution says its file should be."""
    subject = f"{model.kind} {model.name}"
    if model.state.startswith("absent"):
        needed = model.name == _DEFAULT_DETECTOR
        remedy = DETECTOR_FILES[model.name].remedy if model.name in DETECTOR_FILES else ""
        state = State.BAD if needed else State.OK
        return Finding(subject, state, "absent" if needed else "absent; used only when asked for", remedy, needed)
    if not model.state.startswith("ready"):
        used = model.path == DEFAULT_MODEL or model.name == _DEFAULT_DETECTOR
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
