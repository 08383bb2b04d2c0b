"""Float artifacts become INT8 ones that agree with them, with faces at hand or with the committed cache."""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fer_edge.classifier import Classifier
from fer_edge.contract import parse_contract
from fer_edge.faces import load_faces
from fer_edge.files import sha256_of
from fer_edge.metrics import agreement

from boards import lab as command
from export.metadata import read_tflite
from quantize import qdq_graph, tflite_graph
from quantize.calibration import load_cache
from quantize.report import COLUMNS

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
INT8 = ("small.int8.onnx", "small.int8.tflite")


def run(*arguments: object) -> int:
    """`fer-edge-lab quantize`, taking what keeps every limit on drawn faces that are too few to prove it."""
    return command.main(["quantize", *(str(argument) for argument in arguments), "--accept-too-few"])


def run_with_cache(artifacts: Path, cache: Path, *more: object) -> int:
    return run(artifacts, "--faces", artifacts / "no-faces.npz", "--calibration", cache, *more)


def written(artifacts: Path) -> list[str]:
    """INT8 and temporary files in and beside the artifact folder."""
    return sorted(p.name for p in artifacts.parent.rglob("*") if "int8" in p.name or p.name.endswith(".part"))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "quantize.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_onnx_input_is_the_first_quantized_tensor(quantized: Path) -> None:
    graph = onnx.load(quantized / INT8[0]).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    (reader,) = [node for node in graph.node if "faces" in node.input]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert reader.op_type == "DequantizeLinear"
    assert constants[reader.input[1]] == 1 / 64
    assert constants[reader.input[2]] == 128
    assert "Cast" not in {node.op_type for node in graph.node}


def test_every_onnx_convolution_runs_on_integers(quantized: Path) -> None:
    counted = qdq_graph.count_convs(quantized / INT8[0])
    assert counted.convs == counted.int8_convs == 9
    assert qdq_graph.count_convs(quantized / "small.fp32.onnx").int8_convs == 0


def test_onnx_stays_readable_for_old_runtimes(quantized: Path) -> None:
    model = onnx.load(quantized / INT8[0])
    assert ([(o.domain, o.version) for o in model.opset_import], model.ir_version) == ([("", 17)], 8)


def test_every_tflite_convolution_is_int8(quantized: Path) -> None:
    counted = tflite_graph.count_convs(quantized / INT8[1])
    assert counted.convs == counted.int8_convs == 9


def test_tflite_input_is_the_pixel_minus_128_and_logits_are_float(quantized: Path) -> None:
    model = Classifier(quantized / INT8[1])
    spec = model.contract.input
    assert (spec.dtype, spec.low, spec.high, spec.layout) == ("int8", -128, 127, "NHWC")
    assert model.engine.outputs[0].dtype == "float32"
    graph = read_tflite((quantized / INT8[1]).read_bytes()).subgraphs[0]
    quantization = graph.tensors[graph.inputs[0]].quantization
    assert (list(quantization.scale), list(quantization.zeroPoint)) == ([1 / 64], [0])


@pytest.mark.parametrize("file", INT8)
def test_file_is_at_most_35_percent_of_float(quantized: Path, file: str) -> None:
    float_size = (quantized / file.replace("int8", "fp32")).stat().st_size
    assert (quantized / file).stat().st_size <= 0.35 * float_size


@pytest.mark.parametrize("file", INT8)
def test_int8_names_the_class_that_float_names(quantized: Path, faces: Path, file: str) -> None:
    images = load_faces(faces, "PublicTest").images
    float_logits = Classifier(quantized / file.replace("int8", "fp32")).logits(images)
    assert agreement(Classifier(quantized / file).logits(images), float_logits) >= 0.98


@pytest.mark.parametrize("file", INT8)
def test_contract_says_what_it_was_calibrated_and_measured_on(quantized: Path, faces: Path, file: str) -> None:
    model = Classifier(quantized / file)
    assert model.contract == parse_contract((quantized / f"{file}.json").read_text(), file)
    assert model.contract.precision == "int8"
    assert model.contract.calibrated_on == "FER2013 Training, 105 faces, class-balanced, seed 0"
    (measured,) = model.contract.measured
    public = load_faces(faces, "PublicTest")
    assert (measured.dataset, measured.split, measured.n) == ("FER2013", "PublicTest", len(public))
    assert measured.accuracy == pytest.approx((model.logits(public.images).argmax(1) == public.labels).mean())


def test_int8_onnx_takes_any_batch(quantized: Path) -> None:
    model = Classifier(quantized / INT8[0])
    assert model.logits(np.zeros((3, 48, 48), np.uint8)).shape == (3, 7)


def test_checksums_cover_the_int8_models(quantized: Path) -> None:
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=quantized, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert {f"{name}: OK" for name in (*INT8, "quantize.csv")} < set(checked.stdout.splitlines())


def test_csv_has_a_row_for_each_candidate_and_what_was_measured(quantized: Path) -> None:
    rows = rows_of(quantized)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["engine"], row["recipe"]) for row in rows] == [
        ("onnxruntime", "float"),
        ("onnxruntime", "qdq-u8-quantile"),
        ("onnxruntime", "qdq-u8-minmax"),
        ("ai-edge-litert", "float"),
        ("ai-edge-litert", "tflite-quantile"),
        ("ai-edge-litert", "tflite-minmax"),
    ]
    assert {(row["agreement_on"], row["agreement_n"]) for row in rows} == {("FER2013 PublicTest", "140")}
    assert all(float(row["accuracy"]) > 0.9 and float(row["p50_ms"]) > 0 for row in rows)


def test_one_candidate_of_each_kind_got_a_name_and_it_passed(quantized: Path) -> None:
    rows = rows_of(quantized)
    named = {row["file"]: row for row in rows if row["file"]}
    assert set(named) == {"small.fp32.onnx", "small.fp32.tflite", *INT8}
    assert all(named[file]["verdict"].startswith("too few faces: agreement ") for file in INT8)
    assert {file for file, row in named.items() if row["deploy"] == "yes"} == set(INT8)
    assert all(row["model_sha256"] == sha256_of(quantized / file) for file, row in named.items())


@pytest.mark.parametrize("file", INT8)
def test_the_contract_names_the_recipe_and_the_gate(quantized: Path, file: str) -> None:
    made = Classifier(quantized / file).contract.quantization
    recipe = json.loads((quantized / f"{file}.recipe.json").read_text())
    assert made is not None
    assert (made.recipe, made.target) == (recipe["recipe"]["name"], "x86")
    assert (made.max_accuracy_drop_points, made.max_macro_f1_drop_points, made.min_agreement) == (0.3, 0.5, 0.98)
    assert not made.forced
    assert (made.failed or "").endswith("faces would tell")


def test_the_cache_gives_the_same_models_as_the_faces(
    exported: Path, artifacts: Path, cache: Path, faces: Path, tmp_path: Path
) -> None:
    recipes = ("--recipes", "qdq-u8-quantile,tflite-quantile")  # which of two draws wins is a matter of time
    with_faces = Path(shutil.copytree(exported, tmp_path / "with-faces" / exported.name))
    assert run(with_faces, "--faces", faces, "--count", 105, *recipes) == 0
    assert run_with_cache(artifacts, cache, *recipes) == 0
    assert _without_contract(artifacts / INT8[0]) == _without_contract(with_faces / INT8[0])
    assert _tensors(artifacts / INT8[1]) == _tensors(with_faces / INT8[1])


def _without_contract(path: Path) -> bytes:
    """The model but for its metadata: only there do both differ, in what was measured."""
    model = onnx.load(path)
    del model.metadata_props[:]
    return model.SerializeToString(deterministic=True)


def _tensors(path: Path) -> list[tuple]:
    model = read_tflite(path.read_bytes())
    return [
        (
            tensor.name,
            tensor.type,
            bytes(bytearray([] if (data := model.buffers[tensor.buffer].data) is None else data)),
            None if tensor.quantization is None else str(vars(tensor.quantization)),
        )
        for tensor in model.subgraphs[0].tensors
    ]


def test_without_faces_nothing_is_said_of_accuracy(
    artifacts: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_with_cache(artifacts, cache) == 0
    output = capfd.readouterr().out
    assert f"from {cache}, as there are no faces at" in output
    assert "golden inputs" in output
    rows = rows_of(artifacts)
    assert {(row["accuracy"], row["macro_f1"]) for row in rows} == {("", "")}
    assert {(row["agreement_on"], row["agreement_n"]) for row in rows} == {("golden inputs", "64")}
    assert Classifier(artifacts / INT8[0]).contract.measured == ()


def test_a_cache_of_another_checkpoint_is_refused(
    artifacts: Path, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "calibration.json"
    other.write_text(json.dumps({**json.loads(cache.read_text()), "checkpoint_sha256": "f" * 64}))
    assert run_with_cache(artifacts, other) == 4
    error = capfd.readouterr().err
    assert "made for the checkpoint ffffffffffff" in error
    assert "make quantize" in error
    assert written(artifacts) == []


def test_neither_faces_nor_cache_stops_with_instructions(
    artifacts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_with_cache(artifacts, tmp_path / "no-cache.json") == 2
    error = capfd.readouterr().err
    assert error.startswith("fer-edge-lab quantize: nothing to calibrate with")
    assert error.count("\n") == 1
    assert "make data FER2013=" in error
    assert written(artifacts) == []


@pytest.mark.parametrize("option", ["--count", "--seed"])
def test_a_cache_cannot_serve_another_count_or_seed(
    artifacts: Path, cache: Path, option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_with_cache(artifacts, cache, option, 7) == 2
    assert f"Leave out {option}" in capfd.readouterr().err
    assert written(artifacts) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda table: None,
        lambda table: [],
        lambda table: {"ranges": {}},
        lambda table: {**table, "surprise": 1},
        lambda table: {**table, "schema_version": 3},
        lambda table: {**table, "ranges": {**table["ranges"], "onnx": {"quantile": {"a": [1]}}}},
        lambda table: {**table, "ranges": {**table["ranges"], "onnx": {"quantile": {}}}},
        lambda table: {**table, "ranges": {**table["ranges"], "tflite": {"quantile": {}}}},
    ],
    ids=["null", "list", "lacks keys", "unknown key", "newer", "half a range", "no onnx", "no tflite"],
)
def test_a_damaged_cache_is_refused(
    change, artifacts: Path, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "calibration.json"
    bad.write_text(json.dumps(change(json.loads(cache.read_text()))))
    assert run_with_cache(artifacts, bad) == 4
    assert (
        len([line for line in capfd.readouterr().err.splitlines() if line.startswith("fer-edge-lab quantize: ")]) == 1
    )
    assert written(artifacts) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{"])
def test_a_cache_that_is_no_json_is_refused(content: bytes, artifacts: Path, tmp_path: Path) -> None:
    bad = tmp_path / "calibration.json"
    bad.write_bytes(content)
    assert run_with_cache(artifacts, bad) == 4


@pytest.mark.parametrize("file", ["small.fp32.onnx", "small.fp32.tflite", "golden.npz"])
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "truncated"])
def test_a_damaged_artifact_is_refused_in_one_line(
    file: str, damage: str, artifacts: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = artifacts / file
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "garbage": b"garbage" * 99, "truncated": content[: len(content) // 2]}[damage])
    assert run_with_cache(artifacts, cache) == 4
    output = capfd.readouterr()
    assert output.err.startswith("fer-edge-lab quantize: ")
    assert output.err.count("\n") == 1
    assert file in output.err
    assert written(artifacts) == []


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "nowhere") == 4
    assert capfd.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_models_of_two_checkpoints_are_refused(artifacts: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(artifacts / "small.fp32.onnx")
    contract = json.loads((artifacts / "small.fp32.onnx.json").read_text())
    onnx.helper.set_model_props(model, {"fer_edge": json.dumps({**contract, "checkpoint_sha256": "0" * 64})})
    onnx.save(model, artifacts / "small.fp32.onnx")
    assert run_with_cache(artifacts, cache) == 4
    assert "different checkpoints" in capfd.readouterr().err


def test_the_named_checkpoint_must_be_the_exported_one(
    artifacts: Path, cache: Path, checkpoint_path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(checkpoint_path.read_bytes() + b"\0")
    assert run_with_cache(artifacts, cache, "--checkpoint", other) == 4
    assert run_with_cache(artifacts, cache, "--checkpoint", tmp_path / "nowhere") == 4
    assert run_with_cache(artifacts, cache, "--checkpoint", checkpoint_path) == 0


@pytest.mark.parametrize("content", [b"", b"garbage" * 99])
def test_damaged_faces_are_bad_data(content: bytes, artifacts: Path, tmp_path: Path) -> None:
    bad = tmp_path / "faces.npz"
    bad.write_bytes(content)
    assert run(artifacts, "--faces", bad) == 2
    assert written(artifacts) == []


def test_too_few_faces_are_bad_data(artifacts: Path, faces: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(artifacts, "--faces", faces, "--count", 100_000) == 2
    assert "expected at least 100000" in capfd.readouterr().err


@pytest.mark.parametrize("option", [("--count", 0), ("--seed", -1)])
def test_a_senseless_count_or_seed_is_bad_usage(option: tuple, artifacts: Path, faces: Path) -> None:
    assert run(artifacts, "--faces", faces, *option) == 2


def test_the_folder_may_be_the_current_one(artifacts: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(artifacts)
    assert run(".", "--faces", "none", "--calibration", cache) == 0
    assert written(artifacts) == sorted(name + part for name in INT8 for part in ("", ".json", ".recipe.json"))


COMMITTED = pytest.mark.parametrize("path", sorted(MODELS.glob("*/calibration.json")), ids=lambda p: p.parent.name)


@COMMITTED
def test_committed_caches_belong_to_the_committed_checkpoints(path: Path) -> None:
    cached = load_cache(path, sha256_of(path.parent / f"{path.parent.name}.safetensors"))
    assert all(cached.ranges[kind][method] for kind in ("onnx", "tflite") for method in ("quantile", "minmax"))


@pytest.mark.slow
@COMMITTED
def test_committed_models_pass_the_gate_on_fer2013_as_their_cache_says(path: Path, tmp_path: Path) -> None:
    fer2013 = Path(os.environ.get("FER2013_CACHE", ROOT / "data" / "fer2013.npz"))
    if not fer2013.is_file():
        pytest.skip("FER2013 is absent; `make data FER2013=fer2013.csv` brings it")
    name, again = path.parent.name, tmp_path / "calibration.json"
    checkpoint = path.parent / f"{name}.safetensors"
    assert command.main(["export", str(checkpoint), "--out", str(tmp_path)]) == 0
    words = [tmp_path / name, "--faces", fer2013, "--checkpoint", checkpoint, "--save-calibration", again]
    assert command.main(["quantize", *(str(word) for word in words)]) == 0
    committed, made = (load_cache(p, sha256_of(checkpoint)) for p in (path, again))
    assert committed.description() == made.description()
    for kind in ("onnx", "tflite"):
        stored, found = committed.ranges[kind]["quantile"], made.ranges[kind]["quantile"]
        assert stored.keys() == found.keys()
        # Another processor sums in another order.
        assert all(found[key].high == pytest.approx(stored[key].high, rel=1e-3, abs=1e-3) for key in stored)
