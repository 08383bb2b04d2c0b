"""The export of one checkpoint: convert, check, and only then show."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from tqdm import tqdm

from fer_edge.contract import ModelContract

from export.artifacts import GOLDEN, contract_path, model_path, recipe_path, staged, write_checksums, write_contract
from export.contracts import float_contract
from export.golden import Golden, golden_of
from export.metadata import put_in_onnx, put_in_tflite
from export.onnx_model import onnx_of
from export.parity import check_parity
from export.tflite_model import tflite_of
from train.fit import checkpoint as checkpoints
from train.fit.checkpoint import Checkpoint


@dataclass(frozen=True)
class ExportedModel:
    """One file: its final path, its size, and the largest absolute logit difference from torch."""

    path: Path
    size_kb: float
    difference: float


@dataclass(frozen=True)
class ExportReport:
    """Files one export wrote, and those of another checkpoint that it removed."""

    models: tuple[ExportedModel, ...]
    removed: tuple[Path, ...]


def export(checkpoint_path: Path, out: Path, *, attached: bool = False) -> ExportReport:
    """Write `out`/<name>/ with both float models, their contracts, golden.npz and SHA256SUMS.

    All files appear together, after every check passed. `attached` exports NAME-attached, which leans on the identity
    as well (`checkpoints.attached`). Raises ModelError for a file that is no checkpoint, ExportError where an exported
    model differs from torch, UsageError where `out` cannot be written.
    """
    checkpoint = checkpoints.load(checkpoint_path)
    if attached:
        checkpoint = checkpoints.attached(checkpoint, checkpoint_path)
    name = checkpoint.info.name
    folder = out / name
    with staged(folder) as staging:
        golden = golden_of(checkpoint.network)
        golden.save(staging / GOLDEN)
        writers: dict[str, tuple[str, Callable[[Checkpoint, ModelContract, Path], None]]] = {
            "onnx": ("NCHW", _write_onnx),
            "tflite": ("NHWC", _write_tflite),
        }
        models = []
        for suffix, (layout, write) in tqdm(writers.items(), desc=f"export {name}", unit=" models", leave=False):
            contract = float_contract(checkpoint.info, checkpoint.sha256, layout=layout)
            path = model_path(staging, name, "fp32", suffix)
            write(checkpoint, contract, path)
            models.append(_checked(path, contract, golden, folder))
    return ExportReport(tuple(models), remove_stale(folder, checkpoint.sha256))


def _checked(path: Path, contract: ModelContract, golden: Golden, folder: Path) -> ExportedModel:
    write_contract(path, contract)
    difference = check_parity(path, golden)
    return ExportedModel(folder / path.name, path.stat().st_size / 1024, difference)


def _write_onnx(checkpoint: Checkpoint, contract: ModelContract, path: Path) -> None:
    model = onnx_of(checkpoint.network)
    put_in_onnx(model, contract)
    onnx.save(model, path)


def _write_tflite(checkpoint: Checkpoint, contract: ModelContract, path: Path) -> None:
    path.write_bytes(put_in_tflite(tflite_of(checkpoint.network), contract))


def remove_stale(folder: Path, checkpoint_sha256: str) -> tuple[Path, ...]:
    """Remove the INT8 models and the table made from another checkpoint: a folder never mixes two. Their paths."""
    stale = [
        path
        for path in sorted(folder.glob("*.int8*.*"))
        if path.suffix != ".json" and _is_stale(path, checkpoint_sha256)
    ]
    if not stale:
        return ()
    for path in stale:
        path.unlink()
        contract_path(path).unlink(missing_ok=True)
        recipe_path(path).unlink(missing_ok=True)
    for name in ("quantize.csv", "deploy.json"):
        (folder / name).unlink(missing_ok=True)
    write_checksums(folder)
    return tuple(stale)


def _is_stale(model: Path, checkpoint_sha256: str) -> bool:
    try:
        return json.loads(contract_path(model).read_text())["checkpoint_sha256"] != checkpoint_sha256
    except (OSError, ValueError, KeyError, TypeError):
        return True
