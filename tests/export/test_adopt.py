"""Other people's networks: what is found, what is asked, what comes out, and what is refused with which reason."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from fer_edge.classifier import Classifier
from fer_edge.contract import parse_contract

from boards.lab import main
from export.adopt.tflite_reading import widen
from export.metadata import read_tflite
from quantize.tflite_ptq import half
from tests.conftest import ROOT
from tests.export import strangers
from tests.export.cntk import write_cntk

SEVEN = "angry,disgust,fear,happy,sad,surprise,neutral"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def to_onnx(network: nn.Module, path: Path, *shape: int, opset: int = 17, dynamic: bool = False) -> Path:
    axes = {"picture": {0: "n"}} if dynamic else None
    names = {"input_names": ["picture"], "output_names": ["scores"]}
    torch.onnx.export(
        network, (torch.zeros(*shape),), path, dynamo=False, opset_version=opset, dynamic_axes=axes, **names
    )
    return path


def pictures(count: int, side: int) -> np.ndarray:
    """Smooth colour pictures (n, side, side, 3) BGR uint8."""
    small = np.random.default_rng(1).integers(0, 256, (count, 6, 6, 3)).astype(np.uint8)
    return np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in small])


def adopt(*words: object) -> int:
    return main(["adopt", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNetV2 of opset 11 for any number of RGB pictures of 64 px."""
    path = tmp_path_factory.mktemp("mobilenet") / "mobilenet.onnx"
    return to_onnx(strangers.mobilenet_v2(), path, 2, 3, 64, 64, opset=11, dynamic=True)


@pytest.fixture(scope="module")
def adopted(mobilenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact folder that `adopt` makes of it."""
    out = tmp_path_factory.mktemp("artifacts")
    words = ("--labels", SEVEN, "--colour", "rgb", "--range", "imagenet", "--licence", "MIT", "--out", out)
    assert adopt(mobilenet, *words) == 0
    return out / "mobilenet"


def test_all_that_the_file_does_not_say_is_asked_for_in_one_line(mobilenet, tmp_path, capfd) -> None:
    assert adopt(mobilenet, "--out", tmp_path) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert all(flag in line for flag in ("--labels", "--colour", "--range", "--licence", "--faces"))
    assert "float32 (n, 3, 64, 64)" in line and "7 names" in line and "opset 11" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_both_files_compute_what_the_original_does_with_pixels_scaled_by_hand(mobilenet, adopted) -> None:
    faces = pictures(20, 64)
    scaled = (faces[..., ::-1] / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
    session = onnxruntime.InferenceSession(mobilenet)
    truth = session.run(None, {"picture": scaled.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    for suffix in ("onnx", "tflite"):
        model = Classifier(adopted / f"mobilenet.fp32.{suffix}")
        np.testing.assert_allclose(model.logits(faces), truth, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_the_contract_says_what_was_answered_and_the_folder_is_complete(adopted) -> None:
    names = {path.name for path in adopted.iterdir()}
    assert names == {
        "README.md",
        "SHA256SUMS",
        "golden.npz",
        *(f"mobilenet.fp32.{suffix}" for suffix in ("onnx", "onnx.json", "tflite", "tflite.json")),
    }
    contract = parse_contract((adopted / "mobilenet.fp32.tflite.json").read_text(), "contract")
    assert contract.labels == tuple(SEVEN.split(",")) and contract.task == "expression7"
    assert (contract.input.colour, contract.input.dtype, contract.input.mean) == ("rgb", "uint8", ())
    assert (contract.output.meaning, contract.licence, contract.schema_version) == ("logits", "MIT", 3)
    sums = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=adopted, check=False)
    assert sums.returncode == 0
    assert "imagenet" in (adopted / "README.md").read_text()


@pytest.mark.slow
def test_a_folder_keeps_its_model(adopted, tmp_path, capfd) -> None:
    other = to_onnx(strangers.mobilenet_v2(classes=3), tmp_path / "mobilenet.onnx", 1, 3, 64, 64)
    words = ("--labels", "a,b,c", "--colour", "rgb", "--range", "0..1", "--licence", "MIT", "--out", adopted.parent)
    before = (adopted / "mobilenet.fp32.onnx").read_bytes()
    assert adopt(other, *words) == 2
    assert "holds another model" in capfd.readouterr().err
    assert (adopted / "mobilenet.fp32.onnx").read_bytes() == before


@pytest.mark.slow
def test_a_network_may_use_the_names_of_the_scaling_for_its_own_tensors(mobilenet: Path, tmp_path: Path) -> None:
    model = onnx.load(mobilenet)
    weight, made = model.graph.node[0].input[1], model.graph.node[0].output[0]
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [{weight: "pixel_scale", made: "pixels"}.get(name, name) for name in names]
    next(tensor for tensor in model.graph.initializer if tensor.name == weight).name = "pixel_scale"
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "named.onnx")
    words = ("--labels", SEVEN, "--colour", "rgb", "--range", "imagenet", "--licence", "MIT", "--out", tmp_path)
    assert adopt(tmp_path / "named.onnx", *words) == 0
    assert adopt(mobilenet, *words) == 0
    named, plain = (Classifier(tmp_path / name / f"{name}.fp32.onnx") for name in ("named", "mobilenet"))
    np.testing.assert_allclose(named.logits(pictures(8, 64)), plain.logits(pictures(8, 64)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_weights_in_half_precision_become_float_and_are_kept_once(exported: Path) -> None:
    original = exported / "small.fp32.tflite"
    wide, count = widen(half(original.read_bytes()))
    assert count == 10, "nine convolutions and the last layer"
    stored = sum(len(buffer.data) for buffer in read_tflite(wide).buffers if buffer.data is not None)
    assert stored < 1.02 * original.stat().st_size, "no half precision beside it"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["resnet", "vit", "program", "function"])
def test_networks_of_other_shapes_and_files(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    side, classes, source, more = 64, 8, tmp_path / f"{form}.onnx", ()
    if form == "resnet":  # a batch of one, 112 px
        side = 112
        to_onnx(strangers.resnet(), source, 1, 3, side, side)
    elif form == "vit":  # today's exporter, weights beside the file
        classes = 6
        torch.onnx.export(strangers.vit(), (torch.zeros(1, 3, 64, 64),), source, dynamo=True)
    elif form == "program":
        source = tmp_path / "resnet.pt2"
        torch.export.save(torch.export.export(strangers.resnet(), (torch.zeros(1, 3, 64, 64),)), source)
    else:
        classes = 7
        (tmp_path / "mine.py").write_text(
            f"import sys\nsys.path.append({str(ROOT)!r})\nfrom tests.export.strangers import mobilenet_v2 as make\n"
        )
        torch.save({"state_dict": strangers.mobilenet_v2().state_dict()}, tmp_path / "mine.pt")
        source, more = "mine:make", ("--weights", "mine.pt", "--size", "64x64")
    labels = ",".join(f"class {number}" for number in range(classes))
    words = (
        "--labels",
        labels,
        "--colour",
        "bgr",
        "--range",
        "-1..1",
        "--licence",
        "MIT",
        "--name",
        "x",
        "--out",
        "out",
    )
    assert adopt(source, *words, *more) == 0
    faces = pictures(6, side)
    onnx_file, tflite_file = (Classifier(tmp_path / f"out/x/x.fp32.{suffix}") for suffix in ("onnx", "tflite"))
    np.testing.assert_allclose(onnx_file.logits(faces), tflite_file.logits(faces), rtol=1e-3, atol=1e-3)
    assert onnx_file.contract.task == "classes"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("opset", "rule", "stride"), [(7, "SAME_UPPER", 1), (8, "SAME_LOWER", 2), (11, "SAME_UPPER", 2)]
)
def test_cntks_files_become_both_formats(opset: int, rule: str, stride: int, tmp_path: Path) -> None:
    """Every weight an input, padding by rule, Dropout with a mask: as in the FER+ network of the ONNX model zoo."""
    write_cntk(tmp_path / "ferplus.onnx", opset, rule, stride)
    words = ("--labels", ",".join("abcdefgh"), "--colour", "grey", "--range", "0..255", "--licence", "MIT")
    assert adopt(tmp_path / "ferplus.onnx", *words, "--out", tmp_path / "out") == 0
    faces = np.random.default_rng(0).integers(0, 256, (4, 64, 64), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(tmp_path / "ferplus.onnx"))
    expected = np.concatenate([session.run(None, {"Input3": face[None, None].astype(np.float32)})[0] for face in faces])
    for suffix in ("onnx", "tflite"):
        made = Classifier(tmp_path / f"out/ferplus/ferplus.fp32.{suffix}")
        np.testing.assert_allclose(made.logits(faces), expected, rtol=1e-3, atol=1e-3)


class WarmOrCold(nn.Module):
    """Names a picture warm, cold or dark by its mean colours; made for RGB pixels from 0 to 1."""

    def forward(self, x: Tensor) -> Tensor:
        red, green, blue = x.mean(dim=(2, 3)).unbind(dim=1)
        dark = 60 * (0.25 - (red + green + blue) / 3)
        return torch.stack([red - blue, blue - red, dark], dim=1)


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    """A folder of warm, cold and dark pictures."""
    generator = np.random.default_rng(0)
    centres = {"warm": (60, 120, 200), "cold": (200, 120, 60), "dark": (20, 20, 20)}
    for name, centre in centres.items():
        (tmp_path / "faces" / name).mkdir(parents=True)
        for number in range(30):
            image = np.clip(generator.normal(centre, 12, (32, 32, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "faces" / name / f"{number}.png"), image)
    return tmp_path / "faces"


def test_labelled_faces_find_colour_and_range(coloured: Path, tmp_path: Path, capfd) -> None:
    path = to_onnx(WarmOrCold(), tmp_path / "tint.onnx", 2, 3, 32, 32, dynamic=True)
    words = ("--labels", "warm,cold,dark", "--licence", "MIT", "--faces", coloured, "--out", tmp_path / "out")
    assert adopt(path, *words) == 0
    shown = capfd.readouterr().out
    assert "100.00%  rgb, 0..1" in shown and "bgr, 0..1" in shown
    contract = parse_contract((tmp_path / "out/tint/tint.fp32.onnx.json").read_text(), "contract")
    assert contract.input.colour == "rgb"
    assert contract.measured[0].accuracy == 1.0 and contract.measured[0].n == 90
    assert Classifier(tmp_path / "out/tint/tint.fp32.onnx").logits(pictures(3, 32)).shape == (3, 3)


def test_grey_faces_do_not_tell_the_order_of_colours(coloured: Path, tmp_path: Path, capfd) -> None:
    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            light = x.mean(dim=(1, 2, 3))
            return torch.stack([light - 0.3, 0.3 - light, light * 0 - 9], dim=1)

    for path in coloured.rglob("*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    path = to_onnx(Bright(), tmp_path / "bright.onnx", 2, 3, 32, 32, dynamic=True)
    words = ("--labels", "warm,dark,cold", "--licence", "MIT", "--faces", coloured)
    assert adopt(path, *words, "--range", "0..1", "--out", tmp_path / "out") == 2
    assert capfd.readouterr().err.endswith("too near to tell. Say --colour.\n")


def test_labels_in_another_order_are_refused_with_the_right_one(coloured: Path, tmp_path: Path, capfd) -> None:
    path = to_onnx(WarmOrCold(), tmp_path / "tint.onnx", 2, 3, 32, 32, dynamic=True)
    words = ("--labels", "cold,dark,warm", "--colour", "rgb", "--range", "0..1", "--licence", "MIT")
    assert adopt(path, *words, "--faces", coloured, "--out", tmp_path / "out") == 2
    assert "--labels warm,cold,dark" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_in_the_metadata_are_the_labels(coloured: Path, tmp_path: Path) -> None:
    path = to_onnx(WarmOrCold(), tmp_path / "tint.onnx", 2, 3, 32, 32, dynamic=True)
    model = onnx.load(path)
    helper.set_model_props(model, {"names": "{0: 'warm', 1: 'cold', 2: 'dark'}"})
    onnx.save(model, path)
    words = ("--colour", "rgb", "--range", "0..1", "--licence", "MIT", "--out", tmp_path / "out")
    assert adopt(path, *words) == 0
    assert json.loads((tmp_path / "out/tint/tint.fp32.onnx.json").read_text())["labels"] == ["warm", "cold", "dark"]


class TwoHeads(nn.Module):
    """Expressions and age."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        means = x.mean(dim=(2, 3))
        return means.sum(dim=1, keepdim=True), torch.cat([means, -means], dim=1)


def test_one_output_of_several_is_chosen(tmp_path: Path, capfd) -> None:
    path = tmp_path / "heads.onnx"
    names = {"input_names": ["picture"], "output_names": ["age", "expression"]}
    torch.onnx.export(TwoHeads(), (torch.zeros(1, 3, 32, 32),), path, dynamo=False, **names)
    words = ("--colour", "rgb", "--range", "0..1", "--licence", "MIT", "--out", tmp_path / "out")
    assert adopt(path, *words) == 2
    assert "'age'" in capfd.readouterr().err
    assert adopt(path, *words, "--labels", "a,b,c,d,e,f") == 0, "the only output of six"
    assert Classifier(tmp_path / "out/heads/heads.fp32.onnx").logits(pictures(2, 32)).shape == (2, 6)


def _two_inputs(path: Path) -> Path:
    entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("a", "b")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "two", entries, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _batch_of_eight(path: Path) -> Path:
    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(8, -1)[:, :7] + x.mean()

    return to_onnx(Mixed(), path, 8, 3, 16, 16)


def test_what_cannot_be_adopted_is_refused_in_one_line_with_the_reason(mobilenet, tmp_path, capfd) -> None:
    (tmp_path / "weights.pt").write_bytes(b"0")
    (tmp_path / "model.keras").write_bytes(b"0")
    (tmp_path / "cut.onnx").write_bytes(mobilenet.read_bytes()[:5000])
    (tmp_path / "cut.tflite").write_bytes(b"TFL3" * 9)
    ready = ("--labels", SEVEN, "--licence", "MIT", "--range", "0..1", "--colour", "rgb")
    cases = [
        ((tmp_path / "weights.pt",), 2, "a pickle runs code"),
        ((tmp_path / "model.keras",), 2, "model.export"),
        ((tmp_path / "absent.onnx",), 2, "no such file"),
        ((tmp_path / "cut.onnx",), 4, "not a complete ONNX model"),
        ((tmp_path / "cut.tflite",), 4, "LiteRT refuses it"),
        ((_two_inputs(tmp_path / "two.onnx"), *ready), 4, "2 inputs"),
        ((_batch_of_eight(tmp_path / "eight.onnx"), *ready), 4, "8 faces at once"),
        ((mobilenet, *ready, "--size", "32x32"), 2, "Leave --size out"),
        ((mobilenet, *ready, "--labels", "a,b"), 2, "2 names, expected 7"),
        ((mobilenet, *ready, "--colour", "grey"), 2, "expected rgb or bgr"),
        ((mobilenet, *ready, "--mean", "0.5"), 2, "Give one of them"),
        ((mobilenet, *ready, "--meaning", "probabilities"), 2, "expected 1"),
        ((mobilenet, *ready, "--align", "dlib"), 2, "arcface-112"),
        ((mobilenet, *ready, "--output", "logit"), 2, "'scores'"),
        ((mobilenet, *ready, "--output", "²"), 2, "'scores'"),
        ((mobilenet, *ready, "--name", "../x"), 2, "letters"),
        ((mobilenet, *ready, "--name", ""), 2, "letters"),
        ((mobilenet, *ready, "--channels", "1"), 2, "Leave --channels out"),
        ((mobilenet, *ready, "--weights", "x.pt"), 2, "Leave --weights out"),
        (("nowhere:make",), 4, "nowhere"),
        ((ROOT / "runtime/fer_edge/data/fer-base.int8.tflite",), 4, "float model"),
    ]
    for words, code, part in cases:
        assert adopt(*words, "--out", tmp_path / "out") == code, words
        lines = capfd.readouterr().err.strip().splitlines()
        assert part in lines[-1] and "Traceback" not in "".join(lines), (words, lines)
    assert not (tmp_path / "out").exists()


def test_an_answer_that_cannot_be_right_is_named_as_it_was_given(mobilenet, tmp_path, capfd) -> None:
    ready = ("--labels", SEVEN, "--licence", "MIT", "--colour", "rgb")
    scaled = (*ready, "--range", "0..1")
    cases = [
        ((*ready, "--mean", "nan"), "--mean is nan, expected a finite number"),
        ((*ready, "--mean", "0.5", "--std", "inf"), "--std is inf, expected a finite number"),
        ((*ready, "--std", "0"), "--std is 0.0, expected 0.001"),
        ((*ready, "--mean", "123.7,116.3,103.5", "--std", "0.229"), "expected both of the same"),
        ((*ready, "--mean", "0.485,0.456,0.406", "--std", "58.4"), "expected both of the same"),
        ((*scaled, "--margin", "nan"), "--margin is nan"),
        ((*scaled, "--margin=-1"), "--margin is -1.0, expected -0.4 to 2"),
        ((*scaled, "--labels", "a,b,c,d,e,f,a"), "--labels: 'a' is there twice"),
        ((*scaled, "--labels", "a,b,,d,e,f,g"), "--labels: one of the 7 names is empty"),
        ((*scaled, "--labels", "a\nb,c,d,e,f,g,h"), "--labels holds the character U+000A"),
        ((*scaled, "--labels", f"{'a' * 65},b,c,d,e,f,g"), "--labels has 65 characters"),
        ((*scaled, "--licence", " "), "--licence is empty"),
        ((*scaled, "--trained-on", "a\nb"), "--trained-on holds the character U+000A"),
    ]
    for words, part in cases:
        assert adopt(mobilenet, *words, "--out", tmp_path / "out") == 2, words
        (line,) = capfd.readouterr().err.splitlines()
        assert part in line, (words, line)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "x", "0.5,,0.5"])
def test_means_that_are_no_numbers_are_a_usage_error_with_an_example(text: str, capfd) -> None:
    assert adopt("m.onnx", "--mean", text) == 2
    assert f"{text!r}, expected numbers such as 0.485" in capfd.readouterr().err


def test_labelled_faces_that_tell_nothing_are_refused(coloured: Path, tmp_path: Path, capfd) -> None:
    path = to_onnx(WarmOrCold(), tmp_path / "tint.onnx", 2, 3, 32, 32, dynamic=True)
    words = ("--labels", "warm,cold,dark", "--colour", "rgb", "--range", "0..1", "--licence", "MIT")
    (tmp_path / "one").mkdir()
    (coloured / "warm").rename(tmp_path / "one" / "warm")
    for faces, part in ((tmp_path / "nowhere", "not found"), (tmp_path / "one", "fewer than two")):
        assert adopt(path, *words, "--faces", faces, "--out", tmp_path / "out") == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert part in line
    assert not (tmp_path / "out").exists()


def test_faces_of_a_class_the_model_lacks_are_left_out(coloured: Path, tmp_path: Path) -> None:
    path = to_onnx(WarmOrCold(), tmp_path / "tint.onnx", 2, 3, 32, 32, dynamic=True)
    (coloured / "pale").mkdir()
    cv2.imwrite(str(coloured / "pale" / "1.png"), np.full((32, 32, 3), 255, np.uint8))
    words = ("--labels", "warm,cold,dark", "--colour", "rgb", "--range", "0..1", "--licence", "MIT")
    assert adopt(path, *words, "--faces", coloured, "--out", tmp_path / "out") == 0
    contract = parse_contract((tmp_path / "out/tint/tint.fp32.onnx.json").read_text(), "contract")
    assert contract.measured[0].n == 90 and contract.measured[0].dataset.endswith("without pale")


def test_a_folder_whose_contract_is_none_belongs_to_another_model(mobilenet: Path, tmp_path: Path, capfd) -> None:
    (tmp_path / "mobilenet").mkdir()
    (tmp_path / "mobilenet" / "mobilenet.fp32.onnx.json").write_text("[]")
    words = ("--labels", SEVEN, "--licence", "MIT", "--range", "0..1", "--colour", "rgb")
    assert adopt(mobilenet, *words, "--out", tmp_path) == 2
    assert "holds another model" in capfd.readouterr().err


@pytest.mark.slow
def test_int8_made_with_other_answers_is_not_left_beside_new_float_files(adopted: Path, mobilenet, capfd) -> None:
    """A bundle would take it: the answers are in the graph, and the file is the same."""
    words = ("--labels", SEVEN, "--licence", "MIT", "--range", "imagenet", "--out", adopted.parent)
    before = (adopted / "mobilenet.fp32.onnx").read_bytes()
    quantized = adopted / "mobilenet.int8.tflite"
    quantized.write_bytes(b"made by quantize")
    try:
        assert adopt(mobilenet, *words, "--colour", "bgr") == 2
        assert "mobilenet.int8.tflite, made with other answers" in capfd.readouterr().err
        assert (adopted / "mobilenet.fp32.onnx").read_bytes() == before
        assert adopt(mobilenet, *words, "--colour", "rgb", "--range", "-1..1") == 2
        assert adopt(mobilenet, *words, "--colour", "rgb") == 0
    finally:
        quantized.unlink()


def test_adopting_from_the_command_line(mobilenet, tmp_path) -> None:
    command = [sys.executable, "-m", "boards.lab", "adopt", str(mobilenet), "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
