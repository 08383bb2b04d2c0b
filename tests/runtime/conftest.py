"""Fixtures that several tests of the runtime share."""

import os
from pathlib import Path

import pytest

from fer_edge.detectors import DETECTOR_FILES, Detector, open_detector

from tests.conftest import ROOT


def detector_at_hand(name: str) -> Detector:
    """The detector, from the package, FER_EDGE_DETECTORS or media/; the test is skipped where it is absent."""
    pinned = DETECTOR_FILES[name]
    places = [pinned.path, Path(os.environ.get("FER_EDGE_DETECTORS", ROOT / "media")) / pinned.filename]
    for path in places:
        if path.is_file():
            return open_detector(name, path)
    pytest.skip(f"{pinned.filename} is absent; `{pinned.remedy}` brings it")


@pytest.fixture(scope="module", params=["mediapipe", "yunet"])
def detector(request: pytest.FixtureRequest) -> Detector:
    """Each detector in turn."""
    return detector_at_hand(request.param)
