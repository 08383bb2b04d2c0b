"""The folder of a model's artifacts: its names, its checksums, and files that appear only when all are good."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge.contract import ModelContract
from fer_edge.errors import UsageError
from fer_edge.files import atomic_write, sha256_of

CHECKSUMS = "SHA256SUMS"
GOLDEN = "golden.npz"


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; its files move into `folder` when the block succeeds, and vanish if not.

    File names stay as they are, because engines choose by suffix. Raises UsageError where nothing can be written.
    """
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    for left in folder.parent.glob(f".{folder.name}.*.part"):
        # Of a run that was killed. In a container the next process gets the same number.
        if left == staging or not _runs(left.name.split(".")[-2]):
            shutil.rmtree(left, ignore_errors=True)
    with _unwritable(folder):
        staging.mkdir(parents=True)
    try:
        yield staging
        with _unwritable(folder):
            publish(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _runs(number: str) -> bool:
    """Whether a process of this number is there."""
    try:
        os.kill(int(number), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _unwritable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}. Choose a folder you may write to.") from None


def publish(staging: Path, folder: Path) -> None:
    """Rename every file of `staging` into `folder` and renew the checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(staging.iterdir()):
        path.replace(folder / path.name)
    write_checksums(folder)


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS over every visible file of the folder, as `sha256sum -c` reads it."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != CHECKSUMS and not p.name.startswith("."))
    with atomic_write(folder / CHECKSUMS) as temporary:
        temporary.write_text("".join(f"{sha256_of(path)}  {path.name}\n" for path in files))


def write_contract(model: Path, contract: ModelContract) -> None:
    """Write `contract` beside the model file, as <file>.json, atomically."""
    with atomic_write(contract_path(model)) as temporary:
        temporary.write_text(contract.to_json(), encoding="utf-8")


def contract_path(model: Path) -> Path:
    """Where the contract beside a model file lies."""
    return model.with_name(model.name + ".json")


def recipe_path(model: Path) -> Path:
    """Where the quantization recipe beside a model file lies."""
    return model.with_name(model.name + ".recipe.json")


def model_path(folder: Path, name: str, precision: str, suffix: str) -> Path:
    """Path of one artifact, such as folder/fer-base.int8.onnx; `suffix` is "onnx" or "tflite"."""
    return folder / f"{name}.{precision}.{suffix}"
