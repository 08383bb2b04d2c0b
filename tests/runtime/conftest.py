"""What several tests of the runtime share."""

import os
from pathlib import Path

import pytest

from fer_edge.detectors import DATA, DETECTOR_FILES, Detector, open_detector

from tests.conftest import ROOT


@pytest.fixture(scope="module", params=["mediapipe", "yunet"])
def detector(request: pytest.FixtureRequest) -> Detector:
    """Each detector, from the package, from FER_EDGE_DETECTORS or from media/."""
    pinned = DETECTOR_FILES[request.param]
    places = [DATA / pinned.filename, Path(os.environ.get("FER_EDGE_DETECTORS", ROOT / "media")) / pinned.filename]
    for path in places:
        if path.is_file():
            return open_detector(request.param, path)
    pytest.skip(f"{pinned.filename} is absent; `{pinned.remedy}` brings it")
