"""Answers and facts of an adopted network, each rule by itself: layout, output, ways to feed, labels, meaning, crop."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fer_edge.errors import ModelError, UsageError

from export.adopt import answers, network, onnx_preparing
from export.adopt.answers import Answers
from export.adopt.network import Network, TensorFacts

SCORES = TensorFacts("scores", "float32", (-1, 7))
AGE = TensorFacts("age", "float32", (-1, 1))
COLOUR = Network(
    source="mine.onnx",
    sha256="0" * 64,
    input=TensorFacts("picture", "float32", (-1, 3, 64, 48)),
    output=SCORES,
    outputs=(SCORES,),
    layout="NCHW",
    run=lambda faces: np.zeros((len(faces), 7), np.float32),
)
GREY = replace(COLOUR, input=TensorFacts("picture", "float32", (1, 64, 48, 1)), layout="NHWC")
RAW = replace(COLOUR, input=TensorFacts("picture", "uint8", (1, 3, 64, 48)))
SILENT = Answers("mine")


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 3, 64, 64), "NCHW"),
        ((-1, 1, 48, 48), "NCHW"),
        ((1, 64, 64, 3), "NHWC"),
        ((-1, 48, 48, 1), "NHWC"),
        ((1, 3, 64, 3), "NCHW"),  # three pixels wide is less likely than three channels first
    ],
)
def test_the_dimension_of_one_or_three_is_the_channels(shape: tuple[int, ...], layout: str) -> None:
    assert network.layout_of(shape, "mine.onnx") == layout


@pytest.mark.parametrize("shape", [(1, 4, 64, 64), (1, 64, 64), (7,), (1, 2, 64, 5), (1, 1, 3, 64, 64)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"^mine\.onnx: takes .*, expected pictures of 1 or 3 channels"):
        network.layout_of(shape, "mine.onnx")


def test_height_and_width_are_read_in_either_layout() -> None:
    assert (COLOUR.size_px, COLOUR.channels, COLOUR.classes) == ((64, 48), 3, 7)
    assert (GREY.size_px, GREY.channels, GREY.classes) == ((64, 48), 1, 7)


@pytest.mark.parametrize(("asked", "found"), [("scores", SCORES), ("age", AGE), ("0", SCORES), ("1", AGE)])
def test_an_output_is_chosen_by_name_or_number(asked: str, found: TensorFacts) -> None:
    assert network.chosen_output((SCORES, AGE), asked, "mine.onnx") is found


def test_of_several_outputs_the_one_with_as_many_numbers_as_labels_is_meant() -> None:
    assert network.chosen_output((AGE, SCORES), None, "mine.onnx", classes=7) is SCORES
    assert network.chosen_output((AGE,), None, "mine.onnx", classes=7) is AGE  # which --labels then refuses


@pytest.mark.parametrize("asked", ["2", "-1", "1.0", "Scores", "", "²"])
def test_an_output_that_is_not_there_is_refused_with_those_there_are(asked: str) -> None:
    with pytest.raises(UsageError, match=r"mine\.onnx has 'scores' float32 \(n, 7\), 'age' float32 \(n, 1\)"):
        network.chosen_output((SCORES, AGE), asked, "mine.onnx")


@pytest.mark.parametrize("classes", [None, 3])
def test_two_outputs_that_could_both_be_meant_are_a_question(classes: int | None) -> None:
    with pytest.raises(UsageError, match="2 outputs, expected --output NAME"):
        network.chosen_output((SCORES, AGE), None, "mine.onnx", classes=classes)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "string"])
def test_classes_in_the_place_of_scores_are_refused(dtype: str) -> None:
    with pytest.raises(ModelError, match="expected float scores"):
        network.require_scores(replace(SCORES, dtype=dtype), "mine.onnx")


def test_a_silent_command_line_leaves_every_way_open() -> None:
    ways = answers.feedings(COLOUR, SILENT)
    assert {way.colour for way in ways} == {"rgb", "bgr"}
    assert len(ways) == 2 * len(answers.RANGES) == len(set(map(str, ways)))
    assert {way.colour for way in answers.feedings(GREY, SILENT)} == {"grey"}
    assert [str(way) for way in answers.feedings(RAW, replace(SILENT, colour="rgb"))] == ["rgb, 0..255"]


def test_means_of_colours_are_turned_for_bgr() -> None:
    rgb, bgr = (
        answers.feedings(COLOUR, replace(SILENT, colour=colour, range="imagenet"))[0] for colour in ("rgb", "bgr")
    )
    assert bgr.mean == rgb.mean[::-1] and bgr.std == rgb.std[::-1]
    (grey,) = answers.feedings(GREY, replace(SILENT, range="imagenet"))
    assert grey.mean[0] == pytest.approx(np.mean(rgb.mean), abs=3)  # one number between the three


def test_numbers_of_pixels_from_0_to_1_are_those_of_pixels_from_0_to_255() -> None:
    fractions = answers.feedings(COLOUR, replace(SILENT, colour="rgb", mean=(0.5,), std=(0.25,)))[0]
    whole = answers.feedings(COLOUR, replace(SILENT, colour="rgb", mean=(127.5,), std=(63.75,)))[0]
    assert (fractions.mean, fractions.std) == (whole.mean, whole.std)


@pytest.mark.parametrize(
    ("given_network", "given_answers", "message"),
    [
        (GREY, {"colour": "rgb"}, "takes one channel, expected grey"),
        (COLOUR, {"colour": "grey"}, "takes three channels, expected rgb or bgr"),
        (RAW, {"range": "0..1"}, "takes uint8, which are raw pixels"),
        (RAW, {"mean": (127.0,)}, "takes uint8, which are raw pixels"),
        (COLOUR, {"range": "0..1", "std": (255.0,)}, "say the same thing"),
        (COLOUR, {"mean": (1.0, 2.0)}, "--mean has 2 values, expected 1 or 3"),
        (GREY, {"std": (1.0, 2.0, 3.0)}, "--std has 3 values, expected 1 or 1"),
        (COLOUR, {"mean": (0.5,), "std": (63.75,)}, "expected both of the same"),
    ],
)
def test_answers_that_do_not_fit_the_network_are_refused(given_network, given_answers, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        answers.feedings(given_network, replace(SILENT, **given_answers))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", "b"), "2 names, expected 7"),
        (("a", "b", "c", "d", "e", "f", " "), "one of the 7 names is empty"),
        (("a", "b", "c", "d", "e", "f", "a "), "'a' is there twice"),
        (("caf\u00e9", "cafe\u0301", "c", "d", "e", "f", "g"), "is there twice"),  # one word, written in two ways
    ],
)
def test_labels_are_as_many_as_the_output_has_numbers_and_all_different(labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        answers.labels_for(COLOUR, replace(SILENT, labels=labels))


def test_labels_in_the_file_are_taken_unless_others_are_given() -> None:
    named = replace(COLOUR, known_labels=tuple("abcdefg"))
    assert answers.labels_for(named, SILENT) == tuple("abcdefg")
    assert answers.labels_for(named, replace(SILENT, labels=tuple("hijklmn"))) == tuple("hijklmn")


def test_one_number_a_face_is_no_classifier() -> None:
    with pytest.raises(ModelError, match="'age' is one number a face"):
        answers.labels_for(replace(COLOUR, output=AGE), replace(SILENT, labels=("yes", "no")))


def test_every_missing_answer_is_asked_for_at_once() -> None:
    with pytest.raises(UsageError) as asked:
        answers.require_answers(COLOUR, SILENT, measured=False)
    assert all(flag in str(asked.value) for flag in ("--labels", "--colour", "--range", "--licence"))
    with pytest.raises(UsageError) as asked:
        answers.require_answers(COLOUR, SILENT, measured=True)
    assert "--labels" in str(asked.value) and "--colour RGB" not in str(asked.value)
    answers.require_answers(COLOUR, replace(SILENT, labels=tuple("abcdefg"), licence="MIT"), measured=True)


@given(st.lists(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), min_size=2, max_size=8))
def test_what_a_softmax_gives_is_probabilities_and_what_it_takes_is_not(rows: list[list[float]]) -> None:
    logits = np.array(rows, dtype=np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert answers.meaning_of(SILENT, shares / shares.sum(axis=1, keepdims=True)) == "probabilities"
    assert answers.meaning_of(SILENT, np.vstack([logits, [[-3.0, 2.0, 0.5]]])) == "logits"


def test_a_sigmoid_a_class_is_a_question_that_meaning_answers() -> None:
    outputs = np.array([[0.9, 0.8, 0.1], [0.2, 0.2, 0.2]])
    with pytest.raises(UsageError, match="as a sigmoid a class gives"):
        answers.meaning_of(SILENT, outputs)
    assert answers.meaning_of(replace(SILENT, meaning="logits"), outputs) == "logits"
    with pytest.raises(UsageError, match=r"sum to 0\.6 to 1\.8, expected 1"):
        answers.meaning_of(replace(SILENT, meaning="probabilities"), outputs)


def test_the_crop_is_our_own_unless_margin_or_points_are_given() -> None:
    assert answers.face_crop_of(replace(SILENT, margin=0.25)).margin == 0.25
    pointed = answers.face_crop_of(replace(SILENT, align="arcface-112"))
    assert (pointed.alignment, pointed.template, pointed.margin) == ("five-point", "arcface-112", 0.0)
    assert answers.face_crop_of(SILENT).alignment == "none"
    with pytest.raises(UsageError, match="--align arcface-113: expected none or arcface-112"):
        answers.face_crop_of(replace(SILENT, align="arcface-113"))


# Graphs before they are read.
def graph(opset: int = 17) -> onnx.ModelProto:
    """x * 2 + 1, its numbers as Constant nodes in two forms, and both results as outputs."""
    nodes = [
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array([2.0], np.float32))),
        helper.make_node("Constant", [], ["one"], value_floats=[1.0]),
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        helper.make_node("Add", ["doubled", "one"], ["sum"]),
    ]
    entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "doubled", "sum")]
    made = helper.make_graph(nodes, "g", entries[:1], entries[1:])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_constants_become_initializers_in_either_form() -> None:
    model = graph()
    onnx_preparing.constants_as_initializers(model)
    assert [node.op_type for node in model.graph.node] == ["Mul", "Add"]
    values = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
    assert values == {"two": [2.0], "one": [1.0]}
    onnx.checker.check_model(model)


def test_one_output_is_kept() -> None:
    model = graph()
    onnx_preparing.keep_output(model, "sum")
    assert [output.name for output in model.graph.output] == ["sum"]


@pytest.mark.parametrize("opset", [12, 13, 17, 19])
def test_an_older_opset_is_lifted_in_a_copy_and_a_newer_one_left(opset: int) -> None:
    model = graph(opset)
    lifted = onnx_preparing.lifted(model, "mine.onnx")
    assert (onnx_preparing.opset_of(lifted), onnx_preparing.opset_of(model)) == (max(opset, 17), opset)
    assert lifted is not model


def test_an_opset_that_is_not_said_is_zero() -> None:
    model = graph()
    del model.opset_import[:]
    assert onnx_preparing.opset_of(model) == 0
    model.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("ai.onnx", 15)])
    assert onnx_preparing.opset_of(model) == 15
