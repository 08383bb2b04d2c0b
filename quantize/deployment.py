"""deploy.json of an artifact folder: for every target and kind of file, the one to put on a board, and why."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fer_edge.errors import ModelError
from fer_edge.files import atomic_write
from fer_edge.tables import build, read_json

DEPLOY_NAME = "deploy.json"
_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """`file` lies beside deploy.json. `precision` is "int8", "fp16" or "fp32"; `suffix` "onnx" or "tflite"."""

    target: str
    suffix: str
    file: str
    precision: str
    sha256: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class _DeployFile:
    """deploy.json as it is."""

    schema_version: int
    deploy: tuple[Deployment, ...]


def read_deployments(folder: Path) -> tuple[Deployment, ...]:
    """Read deploy.json in `folder`; empty where there is none. Raises ModelError for a damaged one."""
    path = folder / DEPLOY_NAME
    if not path.is_file():
        return ()
    remedy = "Run `make quantize` again."
    stored = build(_DeployFile, read_json(path, ModelError), f"{path}: not what quantize writes", ModelError, remedy)
    if stored.schema_version != _SCHEMA_VERSION:
        raise ModelError(f"{path}: schema_version {stored.schema_version}, expected {_SCHEMA_VERSION}. {remedy}")
    return stored.deploy


def deployment_for(folder: Path, target: str, suffix: str) -> Deployment | None:
    """The entry for a target and kind of file; None where none was made. Raises ModelError as `read_deployments`."""
    entries = read_deployments(folder)
    return next((entry for entry in entries if (entry.target, entry.suffix) == (target, suffix)), None)


def write_deployments(path: Path, deployments: tuple[Deployment, ...]) -> None:
    """Write deploy.json, atomically, ordered by target and kind of file."""
    ordered = sorted(deployments, key=lambda entry: (entry.target, entry.suffix))
    table = {"schema_version": _SCHEMA_VERSION, "deploy": [asdict(entry) for entry in ordered]}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
