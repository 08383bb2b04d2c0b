"""The distribution a board installs: the wheel carries models, licence and command, and asks for no torch."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from fer_edge.detectors import DETECTOR_FILES

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, mediapipe_file: Path) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: setuptools writes beside the sources, and other tests read and write there at the same time.
    sources = shutil.copytree(ROOT / "runtime", folder / "sources", ignore=shutil.ignore_patterns("build", "*.part"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    built = subprocess.run([*command, str(sources)], capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("fer_edge-*-py3-none-any.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_carries_classifier_and_detector(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "fer_edge/data/fer-base.int8.tflite" in names
    assert f"fer_edge/data/{DETECTOR_FILES['mediapipe'].filename}" in names
    assert "fer_edge/py.typed" in names
    assert {"fer_edge/data/page/index.html", "fer_edge/data/page/page.js", "fer_edge/data/fer-edge.service"} <= set(
        names
    )
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_wheel_asks_for_one_engine_and_no_torch(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    needs = metadata.get_all("Requires-Dist") or []
    always = {need.split(">")[0].split("<")[0] for need in needs if ";" not in need}
    assert always == {"numpy", "opencv-python-headless", "ai-edge-litert"}
    assert [need for need in needs if ";" in need and "extra ==" not in need] == ['tomli>=1.1; python_version < "3.11"']
    assert not any("torch" in need for need in needs)
    assert metadata.get_all("Provides-Extra") == ["onnx", "tflite-runtime", "web", "metrics", "mqtt"]


def test_the_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "fer-edge = fer_edge.cli:entry_point" in wheel.read(name).decode()
