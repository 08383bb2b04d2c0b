"""Check what is configured: is the file valid, who may read its secrets, do its model, detector and addresses work?"""

import argparse
import base64
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fer_edge.broker import Session, broker_at, tls_files
from fer_edge.classifier import Classifier
from fer_edge.credentials import EXPOSED, closing
from fer_edge.detectors import AUTO, DATA, DETECTOR_FILES, NONE, default_detector, open_detector
from fer_edge.doctor.finding import Finding, State
from fer_edge.engines import has_engine
from fer_edge.errors import FerEdgeError
from fer_edge.files import sha256_of
from fer_edge.models import ModelStatus, list_models
from fer_edge.options import load
from fer_edge.redaction import redacted
from fer_edge.serving.access import access_for
from fer_edge.serving.listening import listen_address
from fer_edge.settings import MqttSettings, Settings

_SOON_S = 14 * 86_400


def check_configuration(config: Path) -> Iterator[Finding]:
    """Findings about a configuration file and what it leads to."""
    try:
        loaded = load(argparse.Namespace(config=config))
    except FerEdgeError as error:
        yield Finding("configuration", State.BAD, str(error))
        return
    yield Finding("configuration", State.OK, redacted(str(config)))
    for path in loaded.exposed:
        yield Finding("secrets", State.WARN, f"{path} {EXPOSED}", closing(path))
    web, metrics = loaded.settings.web, loaded.settings.metrics
    for flag, address in (("--web", web.address), ("--metrics", metrics.address)):
        if address is not None:
            yield check_listening(flag, address, web.token)
    if loaded.settings.mqtt.address is not None:
        yield from check_broker(loaded.settings.mqtt)


def settings_in_use(config: Path | None) -> Settings:
    """The settings fer-edge would run with; the defaults where the file is wrong, which is a finding of its own."""
    try:
        return load(argparse.Namespace(config=config)).settings
    except FerEdgeError:
        return Settings()


def check_listening(flag: str, address: str, token: str | None) -> Finding:
    """May a server be had here? Where fer-edge runs already it has the port itself, so that is no fault."""
    subject = flag.removeprefix("--")
    try:
        where = listen_address(address, flag)
        access_for(where, token)
    except FerEdgeError as error:
        return Finding(subject, State.BAD, str(error))
    try:
        for one in where.listen():
            one.close()
    except FerEdgeError as error:
        return Finding(subject, State.WARN, str(error), "nothing, where it is fer-edge itself that has it")
    reach = "this machine only" if where.is_loopback else "the network, with a token"
    return Finding(subject, State.OK, f"{where.url(where.port)} ({reach})")


def check_broker(settings: MqttSettings) -> Iterator[Finding]:
    """Does the broker answer, is its certificate in order, does it let us in?"""
    assert settings.address is not None
    try:
        broker = broker_at(settings.address, tls_files(settings))
        with Session(broker) as session:
            ends_at_s = session.certificate_ends_at_s()
    except FerEdgeError as error:
        yield Finding("mqtt", State.BAD, str(error))
        return
    yield Finding("mqtt", State.OK, f"{broker.shown} answers")
    if ends_at_s is not None and ends_at_s - time.time() < _SOON_S:
        days = max(int((ends_at_s - time.time()) / 86_400), 0)
        text = f"the broker's certificate expires in {days} days"
        yield Finding("mqtt certificate", State.WARN, text, "renew it; afterwards nothing is sent to this broker")


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
