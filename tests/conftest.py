"""Fixtures that all tests share: sample media, the dataset where it is at hand, the model inside the package."""

import contextlib
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract import DetectorMargin, FaceCrop, InputSpec, ModelContract, OutputSpec
from fer_edge.detectors import DATA, DETECTOR_FILES
from fer_edge.faces import LabelledFaces, load_faces
from fer_edge.models import DEFAULT_MODEL

with contextlib.suppress(ImportError):  # the environment of tflite-runtime has none
    import hypothesis

    # How long an example takes says something of the machine's load, not of the code.
    hypothesis.settings.register_profile("no deadline", deadline=None)
    # For mutation testing, where thousands of runs take turns; each the same, or a mutant would die by luck.
    hypothesis.settings.register_profile("mutants", deadline=None, max_examples=8, derandomize=True, database=None)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "no deadline"))

ROOT = Path(__file__).parent.parent
# Fixtures that take long to make and that several files share: with `pytest -n` one worker makes each.
_SHARED = ("archive", "quantized", "exported")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep on one worker what shares a fixture of `_SHARED`, and else what stands in one file."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        shared = [name for name in _SHARED if name in item.fixturenames]
        item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.path.name))


def sample(name: str) -> Path:
    """A file `make test` fetches into media/; the test is skipped where it could not be had."""
    path = ROOT / "media" / name
    if not path.is_file():
        pytest.skip(f"{path.relative_to(ROOT)} is absent; `make setup` and `fer-edge-lab media` bring it")
    return path


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A photograph with one smiling face, (512, 512, 3) BGR."""
    return cv2.imread(str(sample("astronaut.png")))


@pytest.fixture(scope="session")
def clip() -> Path:
    """472 frames of one woman."""
    return sample("WolfgangLanger_Pexels.mp4")


@pytest.fixture(scope="session")
def mediapipe_file() -> Path:
    path = DATA / DETECTOR_FILES["mediapipe"].filename
    if not path.is_file():
        pytest.skip("the MediaPipe detector is absent; `fer-edge models --fetch mediapipe` brings it")
    return path


@pytest.fixture(scope="session")
def yunet_file() -> Path:
    """The published YuNet-n, from the package, from FER_EDGE_DETECTORS or from media/."""
    name = DETECTOR_FILES["yunet"].filename
    for folder in (DATA, Path(os.environ.get("FER_EDGE_DETECTORS", ROOT / "media"))):
        if (folder / name).is_file():
            return folder / name
    pytest.skip("YuNet is absent; `fer-edge models --fetch yunet` brings it")


@pytest.fixture(scope="session")
def made_yunet_file() -> Path:
    """YuNet INT8 as the runtime uses it by default."""
    path = DETECTOR_FILES["yunet"].path
    if path.suffix != ".tflite":
        pytest.skip("YuNet's .tflite is absent; `make setup` makes it where the published file can be had")
    return path


@pytest.fixture(scope="session")
def default_model() -> Path:
    assert DEFAULT_MODEL.is_file(), "the package must carry its default model"
    return DEFAULT_MODEL


@pytest.fixture(scope="session")
def public_test() -> LabelledFaces:
    """FER2013 PublicTest, from the cache `make data` writes or FER2013_CACHE names."""
    path = Path(os.environ.get("FER2013_CACHE", ROOT / "data" / "fer2013.npz"))
    if not path.is_file():
        pytest.skip("FER2013 is absent; `make data FER2013=fer2013.csv` brings it")
    return load_faces(path, "PublicTest")


@pytest.fixture
def contract() -> ModelContract:
    return ModelContract(
        name="example",
        task="expression7",
        labels=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
        input=InputSpec(height_px=48, width_px=48, colour="grey", layout="NCHW", dtype="uint8", low=0, high=255),
        face_crop=FaceCrop(
            margin=0.05,
            square=True,
            alignment="none",
            detector_margins=(DetectorMargin(detector="yunet", margin=-0.02),),
        ),
        output=OutputSpec(meaning="logits", temperature=1.0),
        precision="int8",
        checkpoint_sha256="0" * 64,
        trained_on="FER2013 Training",
        licence="Apache-2.0",
        producer="fer-edge 0.1.0",
        created="2026-11-22",
    )


def tracked_files() -> list[Path]:
    """Every file git knows of; the test skips where this is no checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]
