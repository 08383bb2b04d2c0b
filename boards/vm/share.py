"""Folder shared with a virtual board: the bundle, the pictures of a clip, and their labels here."""

import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.frames import Frame
from fer_edge.models import DEFAULT_MODEL
from fer_edge.pipeline import Pipeline

from boards.bundle.archive import pack, write_sums
from boards.vm.picamera import clip_pictures
from boards.vm.usb import write_camera

_CLIP_PICTURES, _USB_PICTURES = 40, 10


@contextmanager
def share_folder(archive: Path, clip: Path, cache: Path) -> Iterator[Path]:
    """A folder for the guest: the bundle, a later build of it, and the clip as raw pictures."""
    with tempfile.TemporaryDirectory(dir=cache.absolute()) as name:
        share = Path(name)
        share.chmod(0o755)
        shutil.copyfile(archive, share / "bundle.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(share, filter="data")
        (later,) = (path for path in share.iterdir() if path.is_dir())
        (later / "README.txt").write_text((later / "README.txt").read_text() + "\nA later build.\n")
        write_sums(later)
        pack(later, share / "next.tar.gz")
        shutil.rmtree(later)
        pictures = clip_pictures(clip, _CLIP_PICTURES)
        (share / "clip.bgr").write_bytes(b"".join(picture.tobytes() for picture in pictures))
        write_camera(share, pictures[:_USB_PICTURES])
        yield share


def labels_here(clip: Path) -> Counter[str]:
    """How often this machine gives which expression to the pictures the guest is shown."""
    pipeline = Pipeline(open_detector("mediapipe"), Classifier(DEFAULT_MODEL))
    pictures = clip_pictures(clip, _CLIP_PICTURES)
    results = [pipeline.process(Frame(picture, number, 0.0, "vm")) for number, picture in enumerate(pictures)]
    return Counter(face.expression for result in results for face in result.faces)
