"""On the emulated core: run each model a few times and mark every inference. Prints one JSON object a model."""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

from fer_edge.engines import Engine, open_engine

_MARK = 0x46455245
_WARMUP, _MEASURED = 3, 5


def mark(number: int) -> None:
    """Ask counter.c to note its counters; the call itself is refused by the kernel."""
    ctypes.CDLL(None).prctl(_MARK, ctypes.c_ulong(number))


def example_input(engine: Engine) -> np.ndarray:
    """Random pixels in the model's shape and dtype, one face."""
    shape = [size if size > 0 else 1 for size in engine.input.shape]
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if engine.input.dtype == "int8":
        return (pixels.astype(np.int16) - 128).astype(np.int8)
    return pixels.astype(engine.input.dtype)


def main(paths: list[str]) -> None:
    """Marks 0.._MEASURED enclose the measured inferences of each model."""
    for path in paths:
        engine = open_engine(Path(path))
        pixels = example_input(engine)
        for _ in range(_WARMUP):
            engine.run(pixels)
        for number in range(_MEASURED):
            mark(number)
            engine.run(pixels)
        mark(_MEASURED)
        print(json.dumps({"path": path, "engine": engine.name, "version": engine.version}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
