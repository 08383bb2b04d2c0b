"""A trained checkpoint: safetensors with what it takes to rebuild the network, in its own header."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fer_edge.errors import ModelError, UsageError
from fer_edge.files import atomic_write, sha256_of

from train import architectures

_HEADER_KEY = "fer_edge"


@dataclass(frozen=True)
class CheckpointInfo:
    """Header of a checkpoint. `measured` holds accuracy figures with their split and n.

    Logits are divided by `temperature` before softmax; it was fitted on PublicTest.
    """

    name: str
    architecture: str
    arguments: dict[str, Any]
    task: str
    labels: tuple[str, ...]
    trained_on: str
    measured: dict[str, Any]
    recipe: dict[str, Any]
    temperature: float = 1.0


@dataclass(frozen=True)
class Checkpoint:
    """A rebuilt network in eval mode, its header, and the SHA-256 of the file it came from."""

    network: nn.Module
    info: CheckpointInfo
    sha256: str


def save(path: Path, state: dict[str, Tensor], info: CheckpointInfo) -> None:
    """Write weights and header atomically."""
    header = {_HEADER_KEY: json.dumps(vars(info), sort_keys=True)}
    with atomic_write(path) as temporary:
        save_file({key: value.contiguous() for key, value in state.items()}, str(temporary), metadata=header)
        temporary.chmod(0o644)  # safetensors writes for the owner alone; a model is for whoever gets the checkout


def load(path: Path) -> Checkpoint:
    """Rebuild the network a checkpoint holds. Raises ModelError when the file is not such a checkpoint."""
    if not path.is_file():
        raise ModelError(f"checkpoint not found: {path}. Train one with `make train`, or name another.")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER_KEY)
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error}).") from None
    if header is None:
        raise ModelError(f"{path}: no fer_edge header; expected a checkpoint written by `make train`.")
    info = _parse_info(header, path)
    try:
        network = architectures.build(info.architecture, info.arguments)
    except UsageError as error:
        raise ModelError(f"{path}: {error}") from None
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"{path}: weights do not fit {info.architecture}: {str(error).splitlines()[1].strip()}"
        ) from None
    return Checkpoint(network.eval(), info, sha256_of(path))


def is_one(path: Path) -> bool:
    """Whether a file is a checkpoint of this project; weights of other people's are not. Reads its header alone."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return _HEADER_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def attached(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The same weights, answering with the attributes of a face attached (Kim, Kim and Song, 2024).

    What was measured of the detached network does not hold for it. Raises ModelError for a network without attributes.
    """
    if "attached" not in checkpoint.network.__dict__:
        raise ModelError(f"{path}: {checkpoint.info.architecture} has no attributes to attach.")
    checkpoint.network.attached = True
    arguments = {**checkpoint.info.arguments, "attached": True}
    info = replace(checkpoint.info, name=f"{checkpoint.info.name}-attached", arguments=arguments, measured={})
    return replace(checkpoint, info=info)


def _parse_info(header: str, path: Path) -> CheckpointInfo:
    """The header's fields. Raises ModelError when they are damaged, or when the name could not name a folder."""
    try:
        fields = json.loads(header)
        info = CheckpointInfo(**{**fields, "labels": tuple(fields["labels"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path}: its fer_edge header is damaged ({error}). Copy it again, or train it again."
        ) from None
    if not info.name or Path(info.name).name != info.name or info.name.startswith("."):
        raise ModelError(f"{path}: the name {info.name!r} cannot name a folder.")
    return info
