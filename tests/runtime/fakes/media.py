"""Small real videos and pictures for tests, written with OpenCV."""

from pathlib import Path

import cv2
import numpy as np

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


def plain(colour_bgr: tuple[int, int, int], width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), colour_bgr, dtype=np.uint8)


def numbered(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A grey picture whose level tells its index (0..24) even after lossy coding."""
    return np.full((height, width, 3), 5 + 10 * index, dtype=np.uint8)


def index_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 5) / 10)


def write_video(path: Path, images: list[np.ndarray], fps: float = 10.0) -> Path:
    """MJPG for .avi, MPEG-4 for everything else."""
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()
    return path


def read_video(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    images = []
    while True:
        found, image = capture.read()
        if not found:
            capture.release()
            return images
        images.append(image)


def write_image(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path
