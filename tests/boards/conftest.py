"""Fixtures of the tests of bundle and fleet: one bundle for this machine, built once because its wheels are large."""

import platform
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from fer_edge.errors import UsageError

from boards.bundle import BundleRequest, build_bundle
from boards.profiles import load_profile


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, default_model: Path, mediapipe_file: Path) -> Path:
    """The x86-64 bundle of the packaged model for this Python alone."""
    return bundle_for_this_machine("fer-base", Path("nowhere"), tmp_path_factory.mktemp("bundle"))


def bundle_for_this_machine(model: str, artifacts: Path, folder: Path, detector_file: Path | None = None) -> Path:
    """Build the x86-64 bundle for this Python alone into `folder`. Skips where its wheels cannot be had."""
    if platform.machine() != "x86_64":
        pytest.skip("the installer is tried with the x86-64 bundle")
    profile = load_profile("x86-64")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    here = replace(profile, system=tuple(system for system in profile.system if system.python == python))
    try:
        return build_bundle(BundleRequest(here, model, artifacts, folder, detector_file=detector_file))
    except UsageError as error:
        pytest.skip(f"no wheels to bundle: {error}")


@pytest.fixture(scope="session")
def bundle(archive: Path) -> Path:
    """The bundle, unpacked."""
    with tarfile.open(archive) as tar:
        tar.extractall(archive.parent, filter="data")
    return archive.with_name(archive.name.removesuffix(".tar.gz"))
