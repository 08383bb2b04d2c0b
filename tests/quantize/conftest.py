import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from boards import lab as command
from quantize import evaluate
from quantize.measure import Runnable
from tests.export import small
from tests.export.conftest import artifacts, checkpoint_path, exported, shared_folder

__all__ = ["artifacts", "checkpoint_path", "exported", "shared_folder"]

COUNT = 105


@pytest.fixture(scope="session", autouse=True)
def steady_times() -> Iterator[None]:
    """The gate sees times that go by size, so that no other work of the machine decides which files a test gets.

    That real times are measured in turns: test_measure.py. What the gate makes of times: test_gate.py.
    """

    def times_by_size(models: Sequence[Runnable], face: np.ndarray) -> np.ndarray:
        return np.tile([model.path.stat().st_size / 1e6 for model in models], (150, 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "paired_times_ms", times_by_size)
        yield


@pytest.fixture(scope="session")
def faces(shared_folder: Path) -> Path:
    """A face cache of drawn faces: Training and PublicTest."""
    return small.write_faces(shared_folder / "faces.npz")


@pytest.fixture(scope="session")
def quantized(exported: Path, faces: Path, shared_folder: Path) -> Path:
    """The artifact folder after quantizing with the faces; to be read only."""
    folder = Path(shutil.copytree(exported, shared_folder / "quantized" / exported.name))
    arguments = [folder, "--faces", faces, "--count", COUNT, "--save-calibration", shared_folder / "calibration.json"]
    # 140 drawn faces prove nothing: see test_gate.py.
    arguments.append("--accept-too-few")
    assert command.main(["quantize", *(str(argument) for argument in arguments)]) == 0
    return folder


@pytest.fixture(scope="session")
def cache(quantized: Path, shared_folder: Path) -> Path:
    """The calibration cache that quantizing with the faces saved."""
    return shared_folder / "calibration.json"
