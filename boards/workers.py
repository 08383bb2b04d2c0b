"""One contestant of `boards.compare`, in a process of its own: `python workers.py NAME FRAMES [ONNX_MODEL YUNET]`.

It answers each frame number on standard input with a line of JSON. The peer's interpreter runs this file as well, so
everything is imported by the contestant that needs it.
"""

import json
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEGIN_S = time.perf_counter()

PEER = "fer"
SHAPE = (480, 640, 3)
FRAME_BYTES = 480 * 640 * 3
DEFAULT, FAR, MEDIAPIPE, ONNX = "as it runs", "yunet far each frame", "mediapipe each frame", "onnxruntime alone"
OURS = (DEFAULT, FAR, MEDIAPIPE, ONNX)

Process = Callable[[Any, int], int]


def main() -> None:
    """Prepare the contestant, then process frames as they are asked for."""
    name, frames_path, *files = sys.argv[1:]
    process = _peer() if name == PEER else _ours(name, [Path(file) for file in files])
    import numpy as np

    def frame(index: int) -> Any:
        # Read one by one: mapped into memory, the clip would count as the contestant's own.
        return np.fromfile(frames_path, np.uint8, count=FRAME_BYTES, offset=index * FRAME_BYTES).reshape(SHAPE)

    faces = process(frame(0), 0)
    start = {"start_s": time.perf_counter() - BEGIN_S, "start_cpu_s": time.process_time(), "faces": faces}
    print(json.dumps(start), flush=True)
    for line in sys.stdin:
        image = frame(int(line))
        before, cpu_before = time.perf_counter(), time.process_time()
        faces = process(image, int(line))
        ms, cpu_ms = (time.perf_counter() - before) * 1e3, (time.process_time() - cpu_before) * 1e3
        print(json.dumps({"ms": ms, "cpu_ms": cpu_ms, "faces": faces, "rss_mb": _rss_mb()}), flush=True)


def _ours(name: str, files: list[Path]) -> Process:
    """The whole loop of the runtime: detect, track, crop, classify, smooth, one line of JSON written and flushed.

    DEFAULT is what `fer-edge` does without a flag: YuNet INT8 where it was made, faces followed, the range of `auto`.
    """
    import cv2

    from fer_edge.frames import Frame
    from fer_edge.models import DEFAULT_MODEL
    from fer_edge.program.parts import make_pipeline
    from fer_edge.settings import DetectionSettings, ModelSettings, Settings
    from fer_edge.sinks.jsonl import JsonlSink

    cv2.setNumThreads(1)
    model_file, yunet_file = files if name == ONNX else (DEFAULT_MODEL, None)
    detection = {
        DEFAULT: DetectionSettings(),
        FAR: DetectionSettings(detector="yunet", when=1, range="far"),
        MEDIAPIPE: DetectionSettings(detector="mediapipe", when=1),
        ONNX: DetectionSettings(detector="yunet", file=yunet_file, when=1),
    }[name]
    pipeline = make_pipeline(Settings(model=ModelSettings(file=model_file), detection=detection))
    sink = JsonlSink(Path(tempfile.mkdtemp()) / "results.jsonl").__enter__()

    def process(image: Any, index: int) -> int:
        frame = Frame(image, index, index / 25, "comparison")
        result = pipeline.process(frame)
        sink.write(frame, result)
        return len(result.faces)

    return process


def _peer() -> Process:
    """fer's own `detect_emotions` with its defaults: Haar cascade and the quantised TFLite model.

    Where TensorFlow is not installed, its interpreter is LiteRT's, which is the same code in a smaller package.
    """
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        from ai_edge_litert.interpreter import Interpreter

        stand_in, keras, models = (types.ModuleType(f"tensorflow{end}") for end in ("", ".keras", ".keras.models"))
        stand_in.lite = types.SimpleNamespace(Interpreter=Interpreter)  # type: ignore[attr-defined]
        models.load_model = None  # type: ignore[attr-defined]
        for module in (stand_in, keras, models):
            sys.modules[module.__name__] = module
    import cv2
    from fer.fer import FER

    cv2.setNumThreads(1)
    detector = FER()
    return lambda image, index: len(detector.detect_emotions(image))


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
