"""Everything a board needs in one archive: wheels, model, detector, configuration, service and installer."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge import __version__
from fer_edge.classifier import Classifier
from fer_edge.detectors import DATA, DETECTOR_FILES, checked_file, default_detector
from fer_edge.errors import ModelError, UsageError
from fer_edge.fetch import fetch_detector
from fer_edge.files import sha256_of

from boards.bundle.archive import pack, require_key, sign, write_sums
from boards.bundle.runtime_wheel import build_runtime_wheel
from boards.profiles import PROFILES, Profile, System
from boards.wheels import check_lock, download
from quantize.deployment import Deployment, deployment_for

UNIT = "fer-edge.service"
_HERE = Path(__file__).parent
_SCRIPTS = ("smoke.py", "README.txt")
_GOLDEN_FACES = 8
# The licence of both detectors is that of this project; what is theirs stands before it.
_LICENCE = _HERE.parent.parent / "LICENSE"


@dataclass(frozen=True)
class BundleRequest:
    """Request of a bundle. `key` signs it; `detector_file` is a local copy where the detector cannot be fetched."""

    board: Profile
    model: str
    artifacts: Path = Path("artifacts")
    out: Path = Path("dist")
    key: Path | None = None
    detector_file: Path | None = None

    @property
    def profile(self) -> Profile:
        """The board, with its alternative engine where artifacts/ has the model in that engine's format alone.

        Raises UsageError where the board has no engine for it.
        """
        there = {path.suffix[1:] for path in (self.artifacts / self.model).glob(f"{self.model}.*")}
        formats = sorted(there & {"onnx", "tflite"})
        own = self.board.file_type
        return self.board if own in formats or not formats else self.board.running(formats[0])


@dataclass(frozen=True)
class _Detector:
    """The detector of a bundle and its file, relative to the bundle."""

    name: str
    file: Path


def build_bundle(request: BundleRequest) -> Path:
    """Write dist/fer-edge-<version>-<board>.tar.gz; its path. Raises UsageError or ModelError: what is missing."""
    name = f"fer-edge-{__version__}-{request.profile.name}"
    if request.key is not None:
        require_key(request.key)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        model = _add_model(request, folder)
        detector = _add_detector(request, folder)
        wheel = _add_wheels(request.profile, folder)
        for script in _SCRIPTS:
            shutil.copyfile(_HERE / script, folder / script)
        (folder / "install.sh").write_text(installer())
        shutil.copyfile(PROFILES / f"{request.profile.name}.toml", folder / "profile.toml")
        (folder / "fer-edge.toml").write_text(_configuration(request.profile, model, detector))
        (folder / "bundle.env").write_text(_facts(request.profile, model, detector, wheel))
        if (DATA / UNIT).is_file():
            shutil.copyfile(DATA / UNIT, folder / UNIT)
        sums = write_sums(folder)
        if request.key is not None:
            sign(sums, request.key)
        archive = request.out / f"{name}.tar.gz"
        pack(folder, archive)
    return archive


def model_file(request: BundleRequest) -> Path:
    """The file that `quantize` found the best for the board's target, INT8 or not (deploy.json).

    Without such an outcome the artifact the profile asks for; the package's own where artifacts/ has none. Raises
    UsageError where there is none, ModelError where it is not the file that was measured.
    """
    chosen = deployed(request)
    if chosen is not None:
        return request.artifacts / request.model / chosen.file
    filename = f"{request.model}.{request.profile.model_suffix}"
    for path in (request.artifacts / request.model / filename, DATA / filename):
        if path.is_file():
            return path
    raise UsageError(f"{filename} not found. Make it with `make export quantize MODEL={request.model}`.")


def installer() -> str:
    """Return install.sh as a bundle holds it: one file, with the functions of verify.sh inside."""
    return (_HERE / "install.sh").read_text().replace("#@verify.sh@\n", (_HERE / "verify.sh").read_text())


def deployed(request: BundleRequest) -> Deployment | None:
    """Deployment that deploy.json names for the board's target; None where `quantize` was not run for it.

    Raises ModelError where the file is missing or was changed since.
    """
    target, folder = request.profile.quantize_target, request.artifacts / request.model
    chosen = None if target is None else deployment_for(folder, target, request.profile.file_type)
    if chosen is None:
        return None
    path = folder / chosen.file
    if not path.is_file() or sha256_of(path) != chosen.sha256:
        state = "was changed since it was measured" if path.is_file() else "is not there"
        raise ModelError(f"{path}, which deploy.json names for {target}, {state}. Run `make quantize TARGET={target}`.")
    return chosen


def which_model(request: BundleRequest) -> str:
    """The model file, and whether `quantize` judged it for the board's processor. Raises as `model_file` does."""
    chosen, name, target = deployed(request), model_file(request).name, request.profile.quantize_target
    if chosen is not None:
        return f"{name}, as quantize found for {chosen.target}: {chosen.reason}"
    if target is None:
        return name
    return f"{name}, not judged for {target}; `make quantize MODEL={request.model} TARGET={target}` does it"


def forced_past(request: BundleRequest) -> str | None:
    """The limits of the gate that the model to bundle misses, where `quantize --force` wrote it; else None."""
    made = Classifier(model_file(request)).contract.quantization
    return made.failed if made is not None and made.forced else None


def _add_model(request: BundleRequest, folder: Path) -> Path:
    """Copy model and contract, and what the model says of a few made-up faces, for the smoke run on the board."""
    source = model_file(request)
    classifier = Classifier(source)
    target = folder / "model" / source.name
    target.parent.mkdir()
    shutil.copyfile(source, target)
    target.with_name(f"{source.name}.json").write_text(classifier.contract.to_json())
    size = (classifier.contract.input.height_px, classifier.contract.input.width_px)
    faces = np.random.default_rng(0).integers(0, 256, (_GOLDEN_FACES, *size), dtype=np.uint8)
    np.savez(folder / "smoke.npz", faces=faces, logits=classifier.logits(faces))
    return target.relative_to(folder)


def _add_detector(request: BundleRequest, folder: Path) -> _Detector:
    """Copy the detector with its licence; MediaPipe's where the profile asks for YuNet and that was not made."""
    name, file = request.profile.detector.name, request.detector_file
    engine_takes_both = request.profile.file_type == "tflite"
    if file is None and name == "yunet" and engine_takes_both and default_detector() != "yunet":
        print(
            "the bundle's detector is mediapipe: YuNet was not made here (`make setup` does, where it can be fetched)"
        )
        name = "mediapipe"
    if file is None and not (name == "yunet" and engine_takes_both):
        file = fetch_detector(name)
    pinned = DETECTOR_FILES[name]
    source = checked_file(pinned, file)
    suffix = f".{request.profile.file_type}"
    if source.suffix != suffix:
        raise UsageError(
            f"detector file {source}: expected a {suffix}, which {request.profile.engine.name} runs. "
            "Make YuNet's with `make setup`, or name another with --detector-file."
        )
    target = folder / "detector" / source.name
    target.parent.mkdir()
    shutil.copyfile(source, target)
    (target.parent / "LICENSE.txt").write_text(f"{pinned.notice}\n\n{_LICENCE.read_text()}")
    return _Detector(name, target.relative_to(folder))


def _add_wheels(profile: Profile, folder: Path) -> Path:
    """Download the wheels of every system and write its requirements, each line with the hash of its one wheel."""
    wheels = folder / "wheels"
    wheels.mkdir()
    own = build_runtime_wheel(wheels)
    for system in profile.system:
        lock = profile.lock(system)
        check_lock(lock, system.wheels)
        download(lock, profile.target(system), wheels)
        (folder / f"requirements-{system.python}.txt").write_text(_requirements(lock, own))
    return own


def _requirements(lock: Path, own: Path) -> str:
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    return "\n".join([*lines, f"fer-edge=={__version__} --hash=sha256:{sha256_of(own)}"]) + "\n"


def _configuration(profile: Profile, model: Path, detector: _Detector) -> str:
    """Render the configuration from the profile; install.sh replaces @RELEASE@ by the folder of the release in use."""
    camera = profile.camera
    buffers = f"buffer_count = {camera.buffer_count}\n" if camera.stack == "picamera2" else ""
    return f"""\
# fer-edge on {profile.title}. Flags on the command line override what stands here.
[source]
camera = 0

[camera]
width_px = {camera.width_px}
height_px = {camera.height_px}
{buffers}
[model]
file = "@RELEASE@/{model.as_posix()}"
threads = {profile.engine.threads}

[detection]
detector = "{detector.name}"
file = "@RELEASE@/{detector.file.as_posix()}"
range = "{profile.detector.range}"
"""


def _facts(profile: Profile, model: Path, detector: _Detector, wheel: Path) -> str:
    """The profile as far as install.sh needs it, in the shell's own syntax; no value holds a quote."""
    facts = {
        "VERSION": __version__,
        "BOARD": profile.name,
        "ARCH": profile.arch,
        "PYTHONS": " ".join(_python_and_glibc(system) for system in profile.system),
        "SYSTEM_SITE_PACKAGES": "yes" if profile.system_site_packages else "no",
        "MODEL": model.as_posix(),
        "DETECTOR": detector.name,
        "DETECTOR_FILE": detector.file.as_posix(),
        "ENGINE": profile.engine.name,
        "WHEEL": f"wheels/{wheel.name}",
    }
    return "".join(f'{key}="{value}"\n' for key, value in facts.items())


def _python_and_glibc(system: System) -> str:
    return f"{system.python}:{system.glibc}"
