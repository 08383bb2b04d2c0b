"""The search refuses what lost accuracy, takes models and faces of the user's own, and survives being killed."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from fer_edge.classifier import Classifier
from fer_edge.errors import ModelError
from fer_edge.faces import load_faces

from boards import lab as command
from export.contracts import float_contract
from export.metadata import put_in_onnx
from export.onnx_model import onnx_of
from quantize import publish, tflite_ptq
from quantize.counter import InstructionCounter
from quantize.measure import is_correlated
from quantize.recipes import TARGETS
from quantize.replay import load_replay
from tests.conftest import ROOT
from tests.export import small
from tests.waiting import eventually
from train.fit import checkpoint


def run(*arguments: object, counter: InstructionCounter | None = None) -> int:
    """`fer-edge-lab quantize`, taking what keeps every limit on drawn faces that are too few to prove it."""
    return command.main(["quantize", *(str(argument) for argument in arguments), "--accept-too-few"], counter)


def counting(float_count: int, int8_count: int) -> InstructionCounter:
    """A stand-in for the emulator, which takes minutes to make: float files are given one count, others another."""
    return lambda models, cpu: {path: float_count if "fp32" in path.name else int8_count for path in models}


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "quantize.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def int8_files(folder: Path) -> list[str]:
    """INT8 files under their final names."""
    return sorted(path.name for path in folder.glob("*.int8*"))


def blanked(faces: Path, grey: int, path: Path) -> Path:
    """The face cache with every Training face of one grey: the sabotage of a calibration."""
    with np.load(faces) as archive:
        arrays = {name: archive[name] for name in ("images", "labels", "splits", "label_names", "split_names")}
    arrays["images"][arrays["splits"] == arrays["split_names"].tolist().index("Training")] = grey
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def blank_faces(faces: Path, shared_folder: Path) -> Path:
    """Middle grey: of the drawn faces' own mean, so that nothing in the network moves."""
    return blanked(faces, 128, shared_folder / "blank.npz")


@pytest.fixture(scope="session")
def own_faces(shared_folder: Path) -> Path:
    """A folder of labelled faces, as a user has them: one sub-folder a class, images of another size."""
    root = shared_folder / "own-faces"
    images, labels = small.drawn_faces(140, seed=5)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = root / small.LABELS[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(image, (96, 96), interpolation=cv2.INTER_CUBIC))
    return root


def test_calibration_on_blank_images_is_refused_and_advice_given(
    artifacts: Path, blank_faces: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipes = "qdq-u8-quantile,tflite-minmax"
    assert run(artifacts, "--faces", blank_faces, "--count", 70, "--recipes", recipes) == 1
    error = capfd.readouterr().err
    assert "agreement" in error
    assert "No INT8 model was written." in error
    assert "--exclude" in error or "no single layer stands out" in error
    assert int8_files(artifacts) == []
    verdicts = {row["recipe"]: row["verdict"] for row in rows_of(artifacts) if row["recipe"] != "float"}
    assert set(verdicts) == set(recipes.split(","))
    assert all(verdict.startswith("fail: ") and "agreement" in verdict for verdict in verdicts.values())


def test_calibration_on_black_images_is_refused_on_fer2013(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fer2013 = Path(os.environ.get("FER2013_CACHE", ROOT / "data" / "fer2013.npz"))
    if not fer2013.is_file():
        pytest.skip("FER2013 is absent; `make data FER2013=fer2013.csv` brings it")
    loaded = checkpoint.load(ROOT / "models/fer-nano/fer-nano.safetensors")
    model = onnx_of(loaded.network)
    put_in_onnx(model, float_contract(loaded.info, loaded.sha256, layout="NCHW"))
    onnx.save(model, tmp_path / "nano.onnx")
    black = blanked(fer2013, 0, tmp_path / "black.npz")
    asked = ("--out", tmp_path, "--faces", black, "--count", 64, "--recipes", "qdq-u8-quantile")
    assert run(tmp_path / "nano.onnx", *asked) == 1
    assert "accuracy drop" in capfd.readouterr().err
    assert int8_files(tmp_path / "nano") == []


def test_a_layer_that_is_not_there_cannot_be_excluded(
    artifacts: Path, faces: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = onnx.load(artifacts / "small.fp32.onnx").graph
    layer = next(node.name for node in graph.node if node.op_type == "Conv")
    assert run(artifacts, "--faces", faces, "--exclude", f"{layer}v") == 2
    assert f"small has no such layer; did you mean '{layer}'?" in capfd.readouterr().err
    assert int8_files(artifacts) == []


def test_a_refused_model_can_be_forced_and_its_contract_says_so(artifacts: Path, blank_faces: Path) -> None:
    sabotaged = (artifacts, "--faces", blank_faces, "--count", 70, "--recipes", "qdq-u8-quantile")
    assert run(*sabotaged, "--force", "--max-drop", 2) == 0
    made = Classifier(artifacts / "small.int8.onnx").contract.quantization
    assert made is not None
    assert made.forced
    assert "agreement" in (made.failed or "")
    assert made.max_accuracy_drop_points == 2


def test_a_contract_of_another_input_is_refused(artifacts: Path, faces: Path) -> None:
    model = onnx.load(artifacts / "small.fp32.onnx")
    contract = json.loads((artifacts / "small.fp32.onnx.json").read_text())
    contract["input"]["width_px"] = 64
    onnx.helper.set_model_props(model, {"fer_edge": json.dumps(contract)})
    onnx.save(model, artifacts / "small.fp32.onnx")
    assert run(artifacts, "--faces", faces) == 4


def test_more_instructions_than_float_are_refused_and_counted_once(artifacts: Path, faces: Path) -> None:
    asked: list[Path] = []

    def counter(models, cpu: str) -> dict[Path, int]:
        assert cpu == "cortex-a72"
        asked.extend(models)
        return counting(1000, 1100)(models, cpu)

    words = (artifacts, "--faces", faces, "--count", 70, "--recipes", "qdq-s8-quantile", "--target", "armv8")
    assert run(*words, counter=counter) == 1
    assert int8_files(artifacts) == []
    assert run(*words, "--force", counter=counter) == 0
    (row,) = [row for row in rows_of(artifacts) if row["file"] == "small.int8.armv8.onnx"]
    assert row["instructions"] == "1100"
    assert row["verdict"].startswith("fail: instructions to float's on cortex-a72 1.10")
    assert len(asked) == 2  # float and candidate, in the first run alone: a contract does not change the graph


def test_a_search_that_breaks_off_leaves_the_files_of_the_one_before(
    artifacts: Path, faces: Path, blank_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--count", 70, "--recipes", "qdq-u8-quantile")
    assert run(artifacts, "--faces", faces, *asked, "--max-drop", 5) == 0
    before = {path.name: path.read_bytes() for path in artifacts.iterdir() if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish, "write_csv", full)
    assert run(artifacts, "--faces", blank_faces, *asked) == 2
    assert {path.name: path.read_bytes() for path in artifacts.iterdir() if path.is_file()} == before


def test_a_model_that_predicts_the_same_for_every_face_is_not_correlated() -> None:
    generator = np.random.default_rng(0)
    float_answers = generator.uniform(size=(64, 2)).astype(np.float32)
    assert is_correlated(float_answers + generator.normal(0, 0.02, (64, 2)).astype(np.float32), float_answers)
    assert not is_correlated(np.tile(np.float32([1, 0]), (64, 1)), float_answers)


def test_a_killed_search_leaves_no_final_name_and_resumes(artifacts: Path, faces: Path) -> None:
    recipes = ["--recipes", "qdq-u8-quantile,qdq-u8-minmax,qdq-u8-convs"]
    arguments = [str(artifacts), "--faces", str(faces), "--count", "70", *recipes]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "runtime")))}
    job = subprocess.Popen([sys.executable, "-m", "boards.lab", "quantize", *arguments], cwd=ROOT, env=environment)
    work = artifacts / ".search"

    def trials() -> list[Path]:
        return [path for path in work.glob("*/trial.json") if path.parent.name[0] != "."]

    eventually(trials, "no trial was finished", process=job, timeout_s=250)
    finished = trials()
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    assert int8_files(artifacts) == []
    assert not (artifacts / "quantize.csv").exists()
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    assert run(*arguments) == 0
    assert int8_files(artifacts) != []
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps  # reused, not made again


def trials_in(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".search").iterdir() if path.is_dir()}


def test_trials_of_other_faces_are_built_again_and_those_of_other_limits_are_not(artifacts: Path, faces: Path) -> None:
    one = (artifacts, "--faces", faces, "--recipes", "qdq-u8-quantile", "--count")
    assert run(*one, 70) == 0
    first = trials_in(artifacts)
    assert run(*one, 70, "--max-drop", 5) == 0
    assert trials_in(artifacts) == first
    assert run(*one, 77) == 0
    assert not trials_in(artifacts) & first


def test_a_recipe_beside_a_model_makes_the_same_model_again(quantized: Path, artifacts: Path, faces: Path) -> None:
    recipe = quantized / "small.int8.onnx.recipe.json"
    assert run(artifacts, "--faces", faces, "--recipe", recipe) == 0  # with its own number of faces
    first, second = (onnx.load(folder / "small.int8.onnx") for folder in (quantized, artifacts))
    for model in (first, second):
        del model.metadata_props[:]
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_a_float_onnx_of_the_users_own_with_a_folder_of_faces(exported: Path, own_faces: Path, tmp_path: Path) -> None:
    model = onnx.load(exported / "small.fp32.onnx")
    mine = tmp_path / "mine.onnx"
    contract = Classifier(exported / "small.fp32.onnx").contract
    put_in_onnx(model, contract)
    onnx.save(model, mine)
    assert run(mine, "--out", tmp_path / "made", "--faces", own_faces, "--recipes", "qdq-u8-quantile") == 0
    made = tmp_path / "made" / "mine"
    assert {"mine.fp32.onnx", "mine.int8.onnx", "mine.int8.onnx.recipe.json", "golden.npz", "SHA256SUMS"} <= {
        path.name for path in made.iterdir()
    }
    (measured,) = Classifier(made / "mine.int8.onnx").contract.measured
    assert (measured.dataset, measured.split, measured.n) == ("own-faces", "held-out half", 70)
    # Its ranges, kept, are enough where the faces are not.
    saved = tmp_path / "ranges.json"
    asked = ("--out", tmp_path / "made", "--recipes", "qdq-u8-quantile")
    assert run(mine, *asked, "--faces", own_faces, "--save-calibration", saved) == 0
    assert run(mine, *asked, "--faces", "none", "--calibration", saved) == 0
    made_without = Classifier(made / "mine.int8.onnx").contract.quantization
    assert made_without is not None
    assert (made_without.max_accuracy_drop_points, made_without.min_agreement) == (None, 0.8)


def test_a_float_onnx_does_not_take_the_place_of_an_exported_model(
    artifacts: Path, faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in artifacts.iterdir() if path.is_file()}
    mine = tmp_path / "small.onnx"
    mine.write_bytes((artifacts / "small.fp32.onnx").read_bytes())
    assert run(mine, "--out", artifacts.parent, "--faces", faces) == 2
    assert "exported from a checkpoint" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in artifacts.iterdir() if path.is_file()} == before


def test_the_float_file_of_an_artifact_folder_stands_for_the_folder(artifacts: Path, faces: Path) -> None:
    golden = (artifacts / "golden.npz").read_bytes()
    asked = ("--faces", faces, "--count", 70, "--recipes", "qdq-u8-quantile", "--max-drop", 5)
    assert run(artifacts / "small.fp32.onnx", "--out", artifacts.parent.parent, *asked) == 0
    assert (artifacts / "small.int8.onnx").is_file()
    assert (artifacts / "golden.npz").read_bytes() == golden


def test_a_float_onnx_without_contract_is_refused(exported: Path, faces: Path, tmp_path: Path) -> None:
    model = onnx.load(exported / "small.fp32.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "mine.onnx")
    assert run(tmp_path / "mine.onnx", "--out", tmp_path, "--faces", faces) == 4


def test_an_int8_model_is_not_quantized_again(quantized: Path, faces: Path, tmp_path: Path) -> None:
    assert run(quantized / "small.int8.onnx", "--out", tmp_path, "--faces", faces) == 4


def test_a_checkpoint_is_exported_first(checkpoint_path: Path, faces: Path, tmp_path: Path) -> None:
    assert run(checkpoint_path, "--out", tmp_path, "--faces", faces, "--count", 70, "--recipes", "qdq-u8-minmax") == 0
    assert "small.int8.onnx" in int8_files(tmp_path / "small")


def test_too_few_own_faces_are_an_error_with_the_count_found(
    artifacts: Path, own_faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    (few / "happy").mkdir(parents=True)
    for path in sorted((own_faces / "happy").iterdir())[:12]:
        (few / "happy" / path.name).write_bytes(path.read_bytes())
    assert run(artifacts, "--faces", few) == 2
    assert "12 faces, expected at least 64" in capfd.readouterr().err
    (few / "happy" / "broken.png").write_bytes(b"not a picture")
    assert run(artifacts, "--faces", few) == 2
    assert "1 of 13 images cannot be read" in capfd.readouterr().err


def test_signed_activations_for_arm_count_as_arm_fuses_them(artifacts: Path, faces: Path) -> None:
    recipes = ("--recipes", "qdq-s8-quantile,qdq-s8-minmax", "--target", "armv8.2-dot")
    assert run(artifacts, "--faces", faces, "--count", 70, *recipes) == 0
    (row,) = [row for row in rows_of(artifacts) if row["file"] == "small.int8.armv8.2-dot.onnx"]
    assert row["recipe"].startswith("qdq-s8-")
    assert (row["int8_convs"], row["convs"]) == ("9", "9")
    model = Classifier(artifacts / "small.int8.armv8.2-dot.onnx")
    assert (model.contract.input.dtype, model.contract.input.low) == ("int8", -128)


def test_tensorrt_gets_zero_points_of_zero_and_float_biases(artifacts: Path, faces: Path) -> None:
    assert run(artifacts, "--faces", faces, "--count", 70, "--target", "jetson-trt") == 0
    graph = onnx.load(artifacts / "small.int8.jetson-trt.onnx").graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantizers
    zeros = [constants[node.input[2]] for node in quantizers]
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert int8_files(artifacts) == [f"small.int8.jetson-trt.onnx{part}" for part in ("", ".json", ".recipe.json")]


def test_float_and_full_integer_tflite_have_names_and_contracts_of_their_own(artifacts: Path, faces: Path) -> None:
    names = "tflite-quantile,tflite-float-io,tflite-full-integer"
    assert run(artifacts, "--faces", faces, "--count", 105, "--recipes", names, "--max-drop", 2) == 0
    images = load_faces(faces, "PublicTest").images[:20]
    expected = Classifier(artifacts / "small.fp32.tflite").logits(images).argmax(1)
    for file, kind, output in (
        ("small.int8.tflite", "int8", "float32"),
        ("small.int8-float.tflite", "float32", "float32"),
        ("small.int8-full-integer.tflite", "int8", "int8"),
    ):
        model = Classifier(artifacts / file)
        assert (model.contract.input.dtype, model.engine.outputs[0].dtype) == (kind, output)
        assert (model.logits(images).argmax(1) == expected).mean() >= 0.95


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--target", "riscv"), "target 'riscv' is unknown"),
        (("--recipes", "default,magic"), "recipe 'default' is unknown"),
        (("--recipe", "nowhere.json"), "nowhere.json: cannot be read"),
        (("--max-drop", "-1"), "--max-drop: '-1' is not a number from 0 to 100"),
        (("--min-agreement", "101"), "--min-agreement: '101' is not a number from 0 to 100"),
        (("--percentile", "20"), "--percentile 20"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: tuple, found: str, artifacts: Path, faces: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(artifacts, "--faces", faces, "--count", 70, *arguments) == 2
    error = capfd.readouterr().err
    assert found in error
    assert error.count("\n") == 1


def test_recipes_that_need_faces_are_left_out_with_a_word(
    artifacts: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipes = "qdq-u8-quantile,qdq-u8-entropy,nncf"
    assert run(artifacts, "--faces", "none", "--calibration", cache, "--recipes", recipes) == 0
    output = capfd.readouterr().out
    assert "left out qdq-u8-entropy: needs faces" in output
    assert "left out nncf: needs faces" in output


@pytest.mark.parametrize("kind", [RuntimeError, ModelError])
def test_a_recipe_that_cannot_be_made_is_a_row_and_the_others_go_on(
    kind: type[Exception],
    artifacts: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> bytes:
        raise kind("div.cc data[i] != zero_point")

    # As ai-edge-quantizer and LiteRT fail on networks they do not know.
    monkeypatch.setattr(tflite_ptq, "quantized", broken)
    recipes = "qdq-u8-quantile,tflite-quantile"
    assert run(artifacts, "--faces", "none", "--calibration", cache, "--recipes", recipes) == 1
    assert "could not be made: div.cc" in capfd.readouterr().err
    assert {row["recipe"]: row["verdict"][:5] for row in rows_of(artifacts)}["tflite-quantile"] == "fail:"
    assert int8_files(artifacts) == [f"small.int8.onnx{part}" for part in ("", ".json", ".recipe.json")]


def test_every_target_has_recipes_of_distinct_names() -> None:
    from quantize.recipes import recipes_for

    for target in TARGETS.values():
        names = [recipe.name for rung in recipes_for(target, "all") for recipe in rung]
        assert len(names) == len(set(names)) >= 6


@pytest.mark.parametrize(
    "content", ["", "[]", '{"recipe": {"name": "a"}}', '{"recipe": {"name": "a", "backend": "x"}}']
)
def test_a_damaged_recipe_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.recipe.json"
    path.write_text(content)
    with pytest.raises(Exception, match=r"not (a recipe|JSON)"):
        load_replay(path)
