"""One detector of others, in a process of its own: `python peer.py NAME YUNET_FILE`.

First it writes its threshold; then it answers each frame of 640x480x3 bytes on standard input with a line of JSON.
"""

import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SHAPE = (480, 640, 3)
Rows = list[list[float]]


def haar(_: str) -> tuple[float, Callable[[Any], Rows]]:
    """fer's default: Haar cascade with its settings. It has no scores."""
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def detect(image: Any) -> Rows:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        found = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(50, 50))
        return [[*map(float, box), 1.0] for box in found]

    return 0.5, detect


def mtcnn(_: str) -> tuple[float, Callable[[Any], Rows]]:
    """fer's `mtcnn=True`: facenet-pytorch's network with its defaults."""
    import torch

    torch.set_num_threads(1)
    _stand_in_for_torchvision(torch)
    from facenet_pytorch import MTCNN

    network = MTCNN(keep_all=True)

    def detect(image: Any) -> Rows:
        boxes, scores = network.detect(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        if boxes is None:
            return []
        found = zip(boxes.tolist(), scores.tolist(), strict=True)
        return [[left, top, right - left, bottom - top, score] for (left, top, right, bottom), score in found]

    return 0.0, detect


def opencv_yunet(file: str) -> tuple[float, Callable[[Any], Rows]]:
    """The published file through OpenCV's own FaceDetectorYN, on the whole frame, with OpenCV's threshold."""
    detector = cv2.FaceDetectorYN.create(file, "", SHAPE[1::-1], 0.3, 0.3, 5000)

    def detect(image: Any) -> Rows:
        found = detector.detect(image)[1]
        return [] if found is None else [[*map(float, row[:4]), float(row[-1])] for row in found]

    return 0.9, detect


def _stand_in_for_torchvision(torch: Any) -> None:
    """PyPI's torchvision does not load beside this torch; facenet-pytorch uses one function of it to detect."""

    def batched_nms(boxes: Any, scores: Any, groups: Any, threshold: float) -> Any:
        if not len(boxes):
            return torch.zeros(0, dtype=torch.int64)
        apart = boxes + (groups.to(boxes) * (boxes.max() + 1))[:, None]
        sized = torch.cat([apart[:, :2], apart[:, 2:] - apart[:, :2]], dim=1)
        kept = cv2.dnn.NMSBoxes(sized.tolist(), scores.tolist(), 0.0, float(threshold))
        return torch.as_tensor(np.asarray(kept, dtype=np.int64).ravel())

    names = ("", ".transforms", ".transforms.functional", ".ops", ".ops.boxes", ".datasets")
    modules = {name: types.ModuleType(f"torchvision{name}") for name in names}
    modules[".ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]
    modules[".transforms"].functional = modules[".transforms.functional"]  # type: ignore[attr-defined]
    modules[""].datasets, modules[""].transforms = modules[".datasets"], modules[".transforms"]  # type: ignore[attr-defined]
    for module in modules.values():
        sys.modules[module.__name__] = module


DETECTORS = {"haar": haar, "mtcnn": mtcnn, "opencv yunet": opencv_yunet}


def main(name: str, file: str) -> None:
    """Answer frames until standard input ends."""
    cv2.setNumThreads(1)
    min_score, detect = DETECTORS[name](str(Path(file)) if file else "")
    out = sys.stdout
    print(json.dumps({"min_score": min_score}), file=out, flush=True)
    size = int(np.prod(SHAPE))
    while len(data := sys.stdin.buffer.read(size)) == size:
        image = np.frombuffer(data, np.uint8).reshape(SHAPE)
        began_s = time.process_time()
        found = detect(image)
        cpu_ms = (time.process_time() - began_s) * 1e3
        print(json.dumps({"found": found, "cpu_ms": cpu_ms}), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
