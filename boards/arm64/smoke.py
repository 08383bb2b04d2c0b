"""The arm64 smoke test: same faces, same labels, same logits as on x86, and no more instructions than recorded."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import FerEdgeError, UsageError, last_line

from boards.arm64.counting import counted_rows
from boards.arm64.emulator import GUEST, run_guest
from boards.arm64.userland import Userland
from boards.instructions import InstructionRow

_FACES = 4
# LiteRT computes the very same integers; what remains is the rounding of scale x integer.
_LITERT_INT8_TOLERANCE = 1e-5
# onnxruntime's kernels for Arm and x86 round a tie differently: one step of a feature, which moves a logit by 0.03. Of
# 32 faces through fer-base 6 had one, all with the same class.
_ONNXRUNTIME_INT8_TOLERANCE = 0.1
_FLOAT_TOLERANCE = 1e-3  # logits; float kernels add in another order
_BOX_TOLERANCE_PX = 1.5
_COUNT_TOLERANCE = 0.02


class SmokeError(FerEdgeError):
    """The emulated core does not do what x86 does, or needs more instructions than it did."""


@dataclass(frozen=True)
class SmokeResult:
    """Result of a core: its counts, and the largest difference of any logit from x86, for each model."""

    rows: tuple[InstructionRow, ...]
    differences: tuple[float, ...]
    labels: tuple[str, ...]


def smoke_models(folder: Path) -> list[Path]:
    """The four artifacts of a model: float and INT8 for both engines. Raises UsageError when one is missing."""
    expected = [folder / f"{folder.name}.{kind}" for kind in ("fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx")]
    missing = [path.name for path in expected if not path.is_file()]
    if missing:
        raise UsageError(f"{folder}: {', '.join(missing)} not found. Make it with `make export quantize`.")
    return expected


def smoke(userland: Userland, models: Sequence[Path], photo: Path, recorded: Sequence[InstructionRow]) -> SmokeResult:
    """Run guest/smoke.py here and on the core, and compare. Raises SmokeError with every difference found."""
    with tempfile.TemporaryDirectory() as folder:
        faces = Path(folder) / "faces.npz"
        np.savez(faces, faces=np.random.default_rng(0).integers(0, 256, (_FACES, 48, 48), dtype=np.uint8))
        classifier = next(path for path in models if path.name.endswith("int8.tflite"))
        arguments = [str(path.absolute()) for path in (photo, classifier, faces, *models)]
        here = _parsed(_run_here(arguments))
        printed, marks = run_guest(userland, "smoke.py", arguments)
    rows = counted_rows(userland, models, printed.splitlines()[: len(models)], marks)
    there = _parsed(printed)
    differences = [float(np.abs(np.subtract(a, b)).max()) for a, b in zip(here["logits"], there["logits"], strict=True)]
    problems = _wrong_logits(models, differences) + _wrong_faces(here["faces"], there["faces"])
    problems += [problem for row in rows if (problem := _wrong_count(row, recorded))]
    if problems:
        raise SmokeError(f"{userland.core.name}: {'; '.join(problems)}")
    return SmokeResult(tuple(rows), tuple(differences), tuple(face["label"] for face in there["faces"]))


def require_counts(core: str, rows: Sequence[InstructionRow], recorded: Sequence[InstructionRow]) -> None:
    """Raise SmokeError, naming every count that is not within 2 % of the recorded one."""
    problems = [problem for row in rows if (problem := _wrong_count(row, recorded))]
    if problems:
        raise SmokeError(f"{core}: {'; '.join(problems)}")


def _run_here(arguments: Sequence[str]) -> str:
    command = [sys.executable, str(GUEST / "smoke.py"), *arguments]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        raise SmokeError(f"x86: {last_line(finished.stderr)}")
    return finished.stdout


def _parsed(printed: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return answer


def _wrong_logits(models: Sequence[Path], differences: Sequence[float]) -> list[str]:
    """INT8 must be equal but for a tie, float nearly."""
    limits = [_tolerance(path) for path in models]
    return [
        f"{path.name}: logits differ by {found:.6f} from x86, expected {limit:g} at most"
        for path, found, limit in zip(models, differences, limits, strict=True)
        if found > limit
    ]


def _tolerance(model: Path) -> float:
    if ".int8." not in model.name:
        return _FLOAT_TOLERANCE
    return _ONNXRUNTIME_INT8_TOLERANCE if model.suffix == ".onnx" else _LITERT_INT8_TOLERANCE


def _wrong_faces(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> list[str]:
    if [face["label"] for face in here] != [face["label"] for face in there]:
        return [f"faces {[face['label'] for face in there]}, x86 has {[face['label'] for face in here]}"]
    far = [
        f"box {b['box_px']}, x86 has {a['box_px']}"
        for a, b in zip(here, there, strict=True)
        if np.abs(np.subtract(a["box_px"], b["box_px"])).max() > _BOX_TOLERANCE_PX
    ]
    return far if here else ["no face in the photograph"]


def _wrong_count(row: InstructionRow, recorded: Sequence[InstructionRow]) -> str | None:
    """Against the row of the same file; of a file of the same name, where weights are newer than the record."""
    same = [old for old in recorded if (old.engine, old.cpu) == (row.engine, row.cpu)]
    known = [old for old in same if old.model_sha256 == row.model_sha256] or [
        old for old in same if old.model == row.model
    ]
    if not known:
        return f"{row.model}: no count recorded; `make count-instructions` records it"
    ratio = row.instructions / known[-1].instructions
    if abs(ratio - 1) > _COUNT_TOLERANCE:
        return f"{row.model}: {row.instructions} instructions, {ratio:.3f} of the recorded {known[-1].instructions}"
    return None
