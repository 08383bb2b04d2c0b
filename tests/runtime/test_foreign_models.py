"""Models that were not made here, end to end: the program reads photographs with faces and says what the model says."""

import csv
import dataclasses
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from fer_edge import Recognizer
from fer_edge.classifier import Classifier
from fer_edge.cli import main
from fer_edge.contract import METADATA_KEY
from fer_edge.crop import crop_faces
from fer_edge.detectors import open_detector
from fer_edge.faces import LabelledFaces

from tests.runtime.fakes.foreign import IMAGENET, SIX, UNIT, Foreign, changed, expected, write_foreign
from tests.runtime.fakes.mjpeg_server import MjpegServer

QUIETLY = ("--detector", "mediapipe", "--quiet")
MODELS = {
    "rgb-64-imagenet": Foreign(**IMAGENET),
    "bgr-raw": Foreign(colour="bgr"),
    "rgb-112-nhwc-unit": Foreign(side_px=112, layout="NHWC", **UNIT),
    "rgb-224-fp16": Foreign(side_px=224, dtype="float16", **IMAGENET),
    "fp16-raw": Foreign(dtype="float16"),
    "batch-of-one": Foreign(batch=1, **UNIT),
    "batch-of-eight": Foreign(batch=8, **UNIT),
    "second-output-by-name": Foreign(embedding=True, **UNIT),
    "second-output-by-index": Foreign(embedding=True, chosen_by="index", **UNIT),
    "probabilities": Foreign(probabilities=True, **UNIT),
    "grey-unit": Foreign(colour="grey", mean=(0.0,), std=(255.0,)),
    "uint8-pixels": Foreign(dtype="uint8", layout="NHWC"),
}
TFLITE = {
    "rgb-64-imagenet": Foreign(layout="NHWC", **IMAGENET),
    "rgb-224": Foreign(side_px=224, layout="NHWC", **UNIT),
    "probabilities": Foreign(layout="NHWC", probabilities=True, **UNIT),
    "second-output": Foreign(layout="NHWC", embedding=True, chosen_by="index", **UNIT),
    "second-output-by-name": Foreign(layout="NHWC", embedding=True, **UNIT),
    "grey-unit": Foreign(colour="grey", layout="NHWC", mean=(0.0,), std=(255.0,)),
}
ALL = [(f"{name}.onnx", one) for name, one in MODELS.items()] + [
    (f"{name}.tflite", one) for name, one in TFLITE.items()
]


@pytest.fixture
def pair(astronaut: np.ndarray, tmp_path: Path) -> Path:
    """A photograph of two faces, the second one in a blue light."""
    near = astronaut[:360, 40:400]
    blue = (near * (1.0, 0.6, 0.3)).astype(np.uint8)
    path = tmp_path / "pair.png"
    cv2.imwrite(str(path), np.concatenate([near, blue], axis=1))
    return path


def faces_of(path: Path) -> list[dict]:
    return [face for line in path.read_text(encoding="utf-8").splitlines() for face in json.loads(line)["faces"]]


def said_by_hand(foreign: Foreign, photo: Path, detector_file: Path) -> np.ndarray:
    """Compute what the model must say of the faces in a photograph: the region by its box, then sums of pixels."""
    image = cv2.imread(str(photo))
    crops = []
    for found in open_detector("mediapipe", detector_file).detect(image):
        box = found.box
        side = max(box.width_px, box.height_px) * (1 + 2 * foreign.square_margin)
        left, top = box.left_px + box.width_px / 2 - side / 2, box.top_px + box.height_px / 2 - side / 2
        region = image[round(top) : round(top + side), round(left) : round(left + side)]
        crops.append(cv2.resize(region, (foreign.side_px, foreign.side_px), interpolation=cv2.INTER_AREA))
    return expected(foreign, np.stack(crops))


@pytest.mark.parametrize(("name", "foreign"), ALL, ids=[name for name, _ in ALL])
def test_the_program_says_of_every_face_what_the_model_says(
    name: str, foreign: Foreign, pair: Path, tmp_path: Path, mediapipe_file: Path
) -> None:
    if name.endswith(".tflite"):
        pytest.importorskip("ai_edge_litert", reason="its schema writes the file")
    model, out = write_foreign(tmp_path / name, foreign), tmp_path / "out.jsonl"
    assert main([str(pair), "--model", str(model), "--jsonl", str(out), *QUIETLY]) == 0
    faces = faces_of(out)
    by_hand = said_by_hand(foreign, pair, mediapipe_file)
    assert len(faces) == len(by_hand) == 2
    tolerance = 0.01 if foreign.dtype == "float16" else 1e-3
    for face, probabilities in zip(faces, by_hand, strict=True):
        assert list(face["probabilities"]) == list(SIX)
        np.testing.assert_allclose(list(face["probabilities"].values()), probabilities, atol=tolerance)
        assert face["expression"] == SIX[int(np.argmax(probabilities))]
    if foreign.colour != "grey":
        assert abs(by_hand[0] - by_hand[1]).max() > 0.03, "the blue light makes a difference"


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(write_foreign(tmp_path / "model.onnx", MODELS["rgb-64-imagenet"]))


def said_of(model: onnx.ModelProto, photo: Path, folder: Path, **saving: object) -> np.ndarray:
    """The probabilities (faces, labels) that the program writes of a photograph, with a model saved in a folder."""
    onnx.save(model, folder / "model.onnx", **saving)
    out = folder / "out.jsonl"
    assert main([str(photo), "--model", str(folder / "model.onnx"), "--jsonl", str(out), *QUIETLY]) == 0
    return np.array([list(face["probabilities"].values()) for face in faces_of(out)])


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_old_operator_sets_run(
    model: onnx.ModelProto, opset: int, pair: Path, tmp_path: Path, mediapipe_file: Path
) -> None:
    model.opset_import[0].version, model.ir_version = opset, 4
    by_hand = said_by_hand(MODELS["rgb-64-imagenet"], pair, mediapipe_file)
    np.testing.assert_allclose(said_of(model, pair, tmp_path), by_hand, atol=1e-3)


def test_weights_in_a_file_beside_the_model_are_found(
    model: onnx.ModelProto, pair: Path, tmp_path: Path, mediapipe_file: Path
) -> None:
    """As exporters write large ones: external data."""
    beside = {"save_as_external_data": True, "size_threshold": 0, "location": "weights.bin"}
    found = said_of(model, pair, tmp_path, **beside)
    assert (tmp_path / "weights.bin").stat().st_size > 0
    np.testing.assert_allclose(found, said_by_hand(MODELS["rgb-64-imagenet"], pair, mediapipe_file), atol=1e-3)


def test_a_model_of_any_height_and_width_gets_the_size_its_contract_says(
    model: onnx.ModelProto, pair: Path, tmp_path: Path, mediapipe_file: Path
) -> None:
    for place, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = name
    # It takes no picture of fewer than 8 pixels, as networks that halve it several times do not.
    kernel = np.full((3, 1, 8, 8), 1 / 64, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(kernel, "kernel"))
    pooled = onnx.helper.make_node("Conv", ["x", "kernel"], ["pooled"], strides=[8, 8], group=3)
    model.graph.node.insert(1, pooled)
    model.graph.node[2].input[0] = "pooled"
    sized = dataclasses.replace(MODELS["rgb-64-imagenet"], side_px=80)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: sized.contract.to_json()})
    np.testing.assert_allclose(said_of(model, pair, tmp_path), said_by_hand(sized, pair, mediapipe_file), atol=1e-3)


@pytest.mark.parametrize("colours", [("rgb", "bgr"), ("bgr", "rgb")])
def test_the_order_of_colours_is_the_contracts(colours: tuple[str, str], pair: Path, tmp_path: Path) -> None:
    """The same file with the other order says something else: nothing guesses it."""
    said = []
    for colour in colours:
        foreign = Foreign(colour=colour, **UNIT)
        faces = Recognizer(model=write_foreign(tmp_path / f"{colour}.onnx", foreign))(cv2.imread(str(pair)))
        said.append(np.array([face.probabilities for face in faces]))
    assert abs(said[0] - said[1]).max() > 0.02


def test_the_recognizer_and_the_program_agree(pair: Path, tmp_path: Path) -> None:
    model, out = write_foreign(tmp_path / "model.onnx", MODELS["rgb-64-imagenet"]), tmp_path / "out.jsonl"
    assert main([str(pair), "--model", str(model), "--jsonl", str(out), *QUIETLY]) == 0
    faces = Recognizer(model=model, detector="mediapipe")(cv2.imread(str(pair)))
    assert [face.to_dict() | {"track_id": 0} for face in faces] == [face | {"track_id": 0} for face in faces_of(out)]


def test_a_grey_picture_reaches_a_model_of_colour_with_three_equal_channels(
    astronaut: np.ndarray, tmp_path: Path, mediapipe_file: Path
) -> None:
    """As a grey camera gives it; the file has one channel."""
    photo, foreign = tmp_path / "grey.png", MODELS["rgb-64-imagenet"]
    cv2.imwrite(str(photo), cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY))
    out = tmp_path / "out.jsonl"
    assert (
        main([str(photo), "--model", str(write_foreign(tmp_path / "m.onnx", foreign)), "--jsonl", str(out), *QUIETLY])
        == 0
    )
    (face,) = faces_of(out)
    by_hand = said_by_hand(foreign, photo, mediapipe_file)
    np.testing.assert_allclose(list(face["probabilities"].values()), by_hand[0], atol=1e-3)


def test_a_grey_camera_serves_a_model_of_colour(astronaut: np.ndarray, tmp_path: Path, mediapipe_file: Path) -> None:
    grey, out = cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY), tmp_path / "out.jsonl"
    foreign = MODELS["rgb-64-imagenet"]
    model = write_foreign(tmp_path / "m.onnx", foreign)
    with MjpegServer(picture=grey) as server:
        words = ["--source", f"http://127.0.0.1:{server.port}/", "--model", str(model), "--jsonl", str(out), *QUIETLY]
        assert main([*words, "--max-frames", "3"]) == 0
    cv2.imwrite(str(tmp_path / "as-sent.jpg"), grey)
    by_hand = said_by_hand(foreign, tmp_path / "as-sent.jpg", mediapipe_file)
    for face in faces_of(out):
        np.testing.assert_allclose(list(face["probabilities"].values()), by_hand[0], atol=5e-3)
    assert len(faces_of(out)) == 3


def test_an_aligned_model_gets_the_face_upright(astronaut: np.ndarray, tmp_path: Path, mediapipe_file: Path) -> None:
    """A turned face is cut out upright: the crop is nearer to that of the upright face than one by the box is."""
    turn = cv2.getRotationMatrix2D((256, 256), -20, 1.0)
    turned = cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    detector = open_detector("mediapipe", mediapipe_file)
    contract = Foreign(side_px=112, aligned=True, **IMAGENET).contract
    upright, tilted = (
        crop_faces(one, detector.detect(one)[:1], contract, "mediapipe")[0] for one in (astronaut, turned)
    )
    by_box = dataclasses.replace(contract, face_crop=Foreign().contract.face_crop)
    straight, slanted = (
        crop_faces(one, detector.detect(one)[:1], by_box, "mediapipe")[0] for one in (astronaut, turned)
    )

    def alike(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])

    assert alike(upright, tilted) > alike(straight, slanted) + 0.1


def test_faces_are_tracked_and_smoothed_in_a_clip(clip: Path, tmp_path: Path) -> None:
    model, out = write_foreign(tmp_path / "m.onnx", Foreign(batch=1, aligned=True, **IMAGENET)), tmp_path / "o.csv"
    words = [str(clip), "--model", str(model), "--csv", str(out), "--detect", "5", "--max-frames", "20", *QUIETLY]
    assert main([*words, "--as-fast-as-possible"]) == 0
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert len(rows) == 20 and {row["track_id"] for row in rows} == {"0"}
    assert list(rows[0])[-6:] == [f"p_{label}" for label in SIX]


def test_fer_edge_bench_measures_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_foreign(tmp_path / "m.onnx", MODELS["rgb-224-fp16"])
    assert main(["bench", "--model", str(model), "-n", "3", "--warmup", "1", "--out", str(tmp_path / "bench.csv")]) == 0
    assert "classify" in capsys.readouterr().out


def test_a_folder_of_colour_faces_of_any_size_judges_it(tmp_path: Path, astronaut: np.ndarray) -> None:
    """Accuracy on the board, with the model's own classes; the pictures become its size and colours."""
    foreign, faces = Foreign(labels=("one", "two"), **UNIT), tmp_path / "faces"
    blue = (astronaut * (1.0, 0.4, 0.1)).astype(np.uint8)
    crops = [astronaut[20:220, 120:320], blue[:300, :300], astronaut[300:, 300:], blue[100:250, 100:250]]
    resized = np.stack([cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA) for crop in crops])
    said = expected(foreign, resized).argmax(axis=1)
    for number, (crop, place) in enumerate(zip(crops, said, strict=True)):
        # The last one lies in the wrong folder.
        folder = faces / foreign.labels[place if number < 3 else 1 - place]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), crop)
    model, out = write_foreign(tmp_path / "m.onnx", foreign), tmp_path / "bench.csv"
    words = ["bench", "--model", str(model), "-n", "3", "--warmup", "1", "--out", str(out)]
    assert main([*words, "--dataset", str(faces)]) == 0
    (row,) = [row for row in csv.DictReader(out.open()) if row["accuracy"]]
    assert float(row["accuracy"]) == 0.75


# --- Refusals ---------------------------------------------------------------------------------------------------------

UNIT_64 = Foreign(**UNIT)
TWO = Foreign(embedding=True, **UNIT)


@pytest.mark.parametrize(
    ("foreign", "part", "changes", "message"),
    [
        (
            UNIT_64,
            "input",
            {"layout": "NHWC"},
            "the model takes float32 (3, 64, 64). Its contract would need layout NCHW.",
        ),
        (UNIT_64, "input", {"height_px": 112, "width_px": 112}, "would need height_px 64, width_px 64."),
        (UNIT_64, "input", {"colour": "grey", "mean": (0.0,), "std": (1.0,)}, "would need colour rgb."),
        (UNIT_64, "input", {"dtype": "float16"}, "would need dtype float32."),
        (UNIT_64, "output", {"name": "score"}, "no output 'score'; did you mean scores?"),
        (UNIT_64, "output", {"meaning": "probabilities"}, "expected probabilities from 0 to 1. Is the meaning"),
        (TWO, "output", {"name": None}, "2 outputs, expected one, or a contract that says which: 'scores'."),
        (TWO, "output", {"name": None, "index": 5}, "no output 5, expected 0 to 1."),
        (
            TWO,
            "output",
            {"name": None, "index": 0},
            "'embedding' of shape (any, 3), expected (faces, 6 labels). Outputs of",
        ),
    ],
)
def test_a_contract_that_does_not_fit_the_model_is_refused_in_one_line_that_says_what_would(
    foreign: Foreign, part: str, changes: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_foreign(tmp_path / "m.onnx", foreign, changed(foreign.contract, part, **changes))
    assert main([str(tmp_path), "--model", str(path)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fer-edge: {path}: ") and message in line


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"labels": ["a", "b"]}, "output 'scores' of shape (any, 6), expected (faces, 2 labels)"),
        (
            {"input": json.loads(UNIT_64.contract.to_json())["input"] | {"high": 1}},
            "range 0..1 does not fit float32, expected 0..255; another range is said by mean and std, such as",
        ),
        ({"schema_version": 4}, "contract schema 4 is newer than this fer-edge understands (3). Upgrade"),
        ({"schema_version": 1}, "contract task classes needs schema 3, found 1"),
        ({"task": "class"}, "did you mean classes?"),
        ({"normalise": True}, "unknown key 'normalise'"),
        ({"input": {}}, "height_px is missing"),
    ],
)
def test_a_contract_that_is_wrong_in_itself_is_refused_in_one_line(
    table: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_foreign(tmp_path / "m.onnx", UNIT_64)
    edit_contract(path, json.dumps(json.loads(UNIT_64.contract.to_json()) | table))
    assert main([str(tmp_path), "--model", str(path)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fer-edge: {path}: ") and message in line


def edit_contract(path: Path, text: str | None) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    if text is not None:
        onnx.helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        (["n", 4, 64, 64], onnx.TensorProto.FLOAT, "the model takes float32 (4, 64, 64). Expected a picture in one or"),
        (["n", 64 * 64], onnx.TensorProto.FLOAT, "the model takes float32 (4096). Expected a picture in one or three"),
        (
            ["n", 3, 64, 64],
            onnx.TensorProto.DOUBLE,
            "tensor(double) (3, 64, 64). Expected pixels of uint8, int8",
        ),
        (["n", 3, "h", "w"], onnx.TensorProto.FLOAT, "float32 (3, any, any). Its contract would need layout NCHW."),
    ],
)
def test_a_model_that_takes_no_picture_is_refused_in_one_line(
    shape: list, dtype: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, helper = tmp_path / "m.onnx", onnx.helper
    nodes = [
        helper.make_node("Cast", ["faces"], ["x"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean", "shape"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "any input",
        [helper.make_tensor_value_info("faces", dtype, shape)],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 6])],
        [onnx.numpy_helper.from_array(np.array([1, 6], np.int64), "shape")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    edit_contract(path, Foreign(layout="NHWC", **UNIT).contract.to_json())
    assert main([str(tmp_path), "--model", str(path)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fer-edge: {path}: ") and message in line


def test_a_file_without_a_contract_is_refused_with_the_way_to_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_foreign(tmp_path / "m.onnx", UNIT_64)
    edit_contract(path, None)
    assert main([str(tmp_path), "--model", str(path)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "no contract inside" in line and "adopt" in line and "docs/own-model.md" in line


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".pt2", ".pth"])
def test_other_formats_are_refused_with_the_way_to_these(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"something")
    assert main([str(tmp_path), "--model", str(path)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a .tflite or .onnx file. Convert others on the workbench" in line


def test_logits_that_look_like_probabilities_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Softmax twice leaves the order, but every face then seems to be all at once."""
    foreign = Foreign(probabilities=True, **UNIT)
    with caplog.at_level(logging.WARNING):
        Classifier(write_foreign(tmp_path / "right.onnx", foreign))
        assert caplog.messages == []
        Classifier(
            write_foreign(tmp_path / "wrong.onnx", foreign, changed(foreign.contract, "output", meaning="logits"))
        )
    assert "outputs that look like probabilities; its contract says logits" in caplog.text


# --- Many faces, slow models ------------------------------------------------------------------------------------------


def test_a_cache_of_grey_faces_judges_a_model_of_colour_and_size_and_says_so(
    tmp_path: Path, public_test: LabelledFaces, caplog: pytest.LogCaptureFixture
) -> None:
    """FER2013's faces of 48 px, for a model of 64 px whose classes have FER2013's names in another order."""
    foreign = Foreign(labels=("sad", "happy", "angry", "fear", "disgust", "neutral", "surprise", "contempt"), **UNIT)
    model, out = write_foreign(tmp_path / "m.onnx", foreign), tmp_path / "bench.csv"
    np.savez(
        tmp_path / "faces.npz",
        images=public_test.images[:300],
        labels=public_test.labels[:300],
        splits=np.zeros(300, np.int64),
        label_names=np.array(public_test.label_names),
        split_names=np.array(["PublicTest"]),
    )
    words = ["bench", "--model", str(model), "-n", "3", "--warmup", "1", "--out", str(out)]
    with caplog.at_level(logging.WARNING):
        assert main([*words, "--dataset", str(tmp_path / "faces.npz")]) == 0
    assert "grey faces judge m.onnx, which takes colour" in caplog.text
    large = np.stack([cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA) for face in public_test.images[:300]])
    names = [
        foreign.labels[place] for place in expected(foreign, np.repeat(large[..., None], 3, axis=3)).argmax(axis=1)
    ]
    right = np.mean(
        [name == public_test.label_names[label] for name, label in zip(names, public_test.labels[:300], strict=True)]
    )
    (row,) = [row for row in csv.DictReader(out.open()) if row["accuracy"]]
    assert float(row["accuracy"]) == pytest.approx(right, abs=1e-4)


@pytest.mark.parametrize("side_px", [48, 224])
def test_many_faces_go_through_in_batches_of_bounded_size(tmp_path: Path, side_px: int) -> None:
    """Sixteen faces of 224 px at once would take a small board's memory."""
    classifier = Classifier(write_foreign(tmp_path / "m.onnx", Foreign(side_px=side_px, **UNIT)))
    sizes, run = [], classifier.engine.run
    classifier.engine.run = lambda tensor: (sizes.append(tensor.size), run(tensor))[1]
    crops = np.random.default_rng(0).integers(0, 256, (40, side_px, side_px, 3), dtype=np.uint8)
    np.testing.assert_allclose(classifier.classify(crops), expected(Foreign(side_px=side_px, **UNIT), crops), atol=1e-4)
    assert max(sizes) <= 1 << 20
    assert sum(sizes) == crops.size, "no face goes through twice"
