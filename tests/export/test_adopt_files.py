"""Files given to `adopt` by mistake or in malice: it says what they are, and runs nothing that is in them."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.export.test_adopt import adopt, to_onnx

READY = ("--labels", "a,b,c", "--colour", "rgb", "--range", "0..1", "--licence", "MIT")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty.onnx": (b"", "empty"),
    "pointer.onnx": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "page.tflite": (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
    "archive.onnx": (b"PK\x03\x04rest", "Unpack it"),
    "text.onnx": (b"hello world", "not a complete ONNX model"),
    "text.tflite": (b"hello world", "not a TFLite file"),
    "text.pt2": (b"hello world", "not a file of torch.export.save"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_no_model_is_called_what_it_is(name: str, tmp_path: Path, capfd) -> None:
    content, part = CONTENTS[name]
    (tmp_path / name).write_bytes(content)
    assert adopt(tmp_path / name, *READY, "--out", tmp_path / "out") == 4
    (line,) = capfd.readouterr().err.splitlines()
    assert part in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("m.hdf5", "model.export"),
        ("m.ckpt", "a pickle runs code"),
        ("m.pkl", "a pickle runs code"),
        ("m.torchscript", "torch.export.save"),
        ("saved_model", "from_saved_model"),
        ("m.mlmodel", "give an .onnx"),
    ],
)
def test_a_format_that_cannot_be_read_is_refused_with_the_way_from_it(name: str, part: str, tmp_path, capfd) -> None:
    if name == "saved_model":
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    else:
        (tmp_path / name).touch()
    assert adopt(tmp_path / name, *READY) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert part in line


def test_suffixes_may_be_in_capitals_and_a_name_of_no_latin_letters_needs_another(tmp_path: Path, capfd) -> None:
    path = to_onnx(network(), tmp_path / "МОДЕЛЬ.ONNX", 1, 3, 16, 16)
    assert adopt(path, *READY, "--out", tmp_path / "out") == 2
    assert "say --name NAME" in capfd.readouterr().err
    assert adopt(path, *READY, "--name", "mine", "--out", tmp_path / "out") == 0


class Malice:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def saved(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save({"weight": value}, stream)
    return stream.getvalue()


Tamper = Callable[[str, bytes, Path], bytes]


def _pickled_weights(name: str, data: bytes, mark: Path) -> bytes:
    if name.endswith("weights_config.json"):
        return data.replace(b'"use_pickle": false', b'"use_pickle": true')
    return saved(Malice(mark)) if "/weight_" in name else data


def _pickled_inputs(name: str, data: bytes, mark: Path) -> bytes:
    return saved(Malice(mark)) if name.endswith("sample_inputs/model.pt") else data


def _pickled_constant(name: str, data: bytes, mark: Path) -> bytes:
    constant = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}
    return json.dumps({"config": {"c": constant}}).encode() if name.endswith("constants_config.json") else data


def _call_of_the_system(name: str, data: bytes, mark: Path) -> bytes:
    return data.replace(b"torch.ops.aten.relu.default", b"torch.os.system")


def _formula(name: str, data: bytes, mark: Path) -> bytes:
    return data.replace(b"Symbol('s", f"__import__('os').mkdir('{mark}') or Symbol('s".encode())


MALICE: dict[str, tuple[Tamper, str]] = {
    "weights": (_pickled_weights, "a pickle runs code"),
    "inputs": (_pickled_inputs, "may run code"),
    "constant": (_pickled_constant, "opaque_obj_0"),
    "call": (_call_of_the_system, "torch.os.system"),
    "formula": (_formula, "may run code"),
    "library": (lambda name, data, mark: data, "aotinductor/model/code.so"),
}


@pytest.mark.parametrize("kind", MALICE)
def test_code_in_a_program_file_is_not_run(kind: str, tmp_path: Path, capfd) -> None:
    """torch.export.load would: it unpickles weights, inputs and constants, evaluates formulas and loads libraries."""
    tamper, part = MALICE[kind]
    mark, sound, path = tmp_path / "mark", tmp_path / "sound.pt2", tmp_path / "malice.pt2"
    any_number = ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(network(), (torch.zeros(2, 3, 16, 16),), dynamic_shapes=any_number), sound)
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, tamper(name, old.read(name), mark))
        if kind == "constant":
            new.writestr("malice/data/constants/opaque_obj_0", pickle.dumps(Malice(mark)))
        if kind == "library":
            new.writestr("malice/data/aotinductor/model/code.so", b"")
    assert adopt(path, *READY, "--out", tmp_path / "out") == 4
    (line,) = capfd.readouterr().err.splitlines()
    assert part in line
    assert not mark.exists() and not (tmp_path / "out").exists()


def test_weights_with_code_are_not_read(tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine_of_files.py").write_text("from tests.export.test_adopt_files import network as make\n")
    torch.save({"0.weight": torch.zeros(1)}, "other.pt")
    torch.save([1], "list.pt")
    Path("malice.pt").write_bytes(saved(Malice(tmp_path / "mark")))
    Path("raw.pt").write_bytes(pickle.dumps(Malice(tmp_path / "mark")))
    cases = [
        ("malice.pt", 2, "network.state_dict()"),
        ("raw.pt", 2, "network.state_dict()"),
        ("list.pt", 2, "holds list, expected a state_dict"),
        ("absent.pt", 2, "no such file"),
        ("other.pt", 4, 'Missing key(s) in state_dict: "0.bias"'),
    ]
    for name, code, part in cases:
        assert adopt("mine_of_files:make", "--size", "16x16", *READY, "--weights", name) == code
        (line,) = capfd.readouterr().err.splitlines()
        assert part in line
    assert not (tmp_path / "mark").exists()


def test_a_function_that_ends_the_program_is_refused(tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ends_at_once.py").write_text("def make():\n    raise SystemExit(3)\n")
    assert adopt("ends_at_once:make", "--size", "16x16", *READY) == 4
    assert "SystemExit: 3" in capfd.readouterr().err
