"""`make test-tflite-runtime`: INT8 .tflite files of every input and output type, in an environment with tflite-runtime.

tflite-runtime ended with Python 3.11 and numpy 1, so it gets an environment of its own. The model is a copy: what is
forced past the gate for this test must not be what is deployed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from boards.commands.jobs import lab
from train.command_line import artifact_path

_VENV = Path(".venv-tflite-runtime")
_PACKAGES = ("tflite-runtime==2.14.0", "numpy<2", "opencv-python-headless<4.12", "pytest", "pytest-timeout")
_RECIPES = "tflite-quantile,tflite-float-io,tflite-full-integer"


def main() -> int:
    """Quantize a copy of the model named on the command line and run its test; the test's exit code."""
    folder = artifact_path(sys.argv[1])
    copy = Path("build/tflite-runtime") / folder.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    lab("quantize", copy, "--recipes", _RECIPES, "--force")
    environment = {**os.environ, "PYTHONPATH": "runtime", "TFLITE_MODELS": str(copy)}
    command = [_python(), "-m", "pytest", "-q", "tests/runtime/test_tflite_runtime.py"]
    return subprocess.run(command, env=environment).returncode


def _python() -> Path:
    """The interpreter of the environment, made where it is not there."""
    python = _VENV / "bin/python"
    asked = [python, "-c", "import tflite_runtime"]
    if not python.exists() or subprocess.run(asked, capture_output=True).returncode:
        subprocess.run([sys.executable, "-m", "venv", "--clear", _VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
