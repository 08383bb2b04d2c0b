"""The release that install.sh made of a bundle, where this program runs from one: it has a model and a detector."""

import sys
from pathlib import Path

SECTIONS = ("camera", "model", "detection")
"""Sections that its configuration sets where no other is named; which camera is read is not its to say."""
_MARK = "bundle.env"


def release_configuration() -> Path | None:
    """fer-edge.toml of the release whose environment this Python is; None in a checkout or after `pip install`."""
    release = Path(sys.prefix).parent
    path = release / "fer-edge.toml"
    return path if (release / _MARK).is_file() and path.is_file() else None
