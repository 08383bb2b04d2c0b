import shutil
from pathlib import Path

import pytest

from tests.export import small


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder of the small network, also for the tests of quantize."""
    folder = tmp_path_factory.getbasetemp() / "small-network"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def exported(shared_folder: Path) -> Path:
    """The exported artifacts of a small trained network; to be read only."""
    return small.exported(shared_folder)


@pytest.fixture(scope="session")
def checkpoint_path(exported: Path) -> Path:
    return exported.parent.parent / "small.safetensors"


@pytest.fixture
def artifacts(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported artifacts that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "artifacts" / exported.name))
