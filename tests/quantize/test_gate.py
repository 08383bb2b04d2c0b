"""The gate names the limit that is missed and the figure that misses it."""

import math
from dataclasses import replace

import pytest

from fer_edge.errors import UsageError

from quantize.gate import Limits, limits_for, misses, passed, verdict
from quantize.recipes import TARGETS
from quantize.report import COLUMNS, Candidate, table, write_csv

X86, PI5 = TARGETS["x86"], TARGETS["armv8.2-dot"]

REFERENCE = Candidate(
    file="net.fp32.onnx",
    engine="onnxruntime",
    precision="fp32",
    recipe="float",
    target="x86",
    size_kb=2724.0,
    size_ratio=1.0,
    agreement=1.0,
    agreement_on="FER2013 PublicTest",
    agreement_n=3589,
    accuracy=0.66,
    macro_f1=0.6,
    convs=15,
    int8_convs=0,
    p50_ms=1.3,
    latency_ratio=1.0,
    verdict="reference",
)
GOOD = replace(
    REFERENCE, file="net.int8.onnx", precision="int8", size_ratio=0.27, agreement=0.99, int8_convs=15, latency_ratio=0.4
)


def test_a_model_within_all_limits_passes() -> None:
    assert verdict(GOOD, REFERENCE, Limits(), X86) == "pass"


def test_limits_themselves_are_allowed() -> None:
    edge = replace(GOOD, size_ratio=0.35, agreement=0.98, accuracy=0.66 - 0.00299, latency_ratio=1.0)
    assert verdict(edge, REFERENCE, Limits(), X86) == "pass"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size_ratio": 0.41}, "size ratio 0.410 above 0.35"),
        ({"int8_convs": 7}, "7 of 15 convolutions are integer, expected 50% or more"),
        ({"agreement": 0.9712}, "agreement 97.12% below 98%"),
        ({"accuracy": 0.65}, "accuracy drop 1.00 points above 0.3"),
        ({"macro_f1": 0.59}, "macro-F1 drop 1.00 points above 0.5"),
        ({"latency_ratio": 1.07}, "slower than float on this machine: time ratio 1.07 above 1"),
    ],
)
def test_a_missed_limit_is_named_with_its_figure(change: dict, reason: str) -> None:
    assert verdict(replace(GOOD, **change), REFERENCE, Limits(), X86) == f"fail: {reason}"


def test_for_an_arm_target_instructions_are_judged_and_time_here_is_not() -> None:
    slow = replace(GOOD, latency_ratio=4.0, instructions=90, instruction_ratio=0.9)
    assert verdict(slow, REFERENCE, Limits(), PI5) == "pass"
    more = replace(slow, instruction_ratio=1.2)
    assert verdict(more, REFERENCE, Limits(), PI5) == (
        "fail: more work than float on cortex-a76: instruction ratio 1.20 above 1"
    )


def test_what_was_not_measured_is_said() -> None:
    text = verdict(GOOD, REFERENCE, Limits(), PI5)
    assert text == "pass; speed on cortex-a76 not measured"
    assert passed(text)
    assert passed(verdict(GOOD, REFERENCE, Limits(), TARGETS["jetson-trt"]))


def test_a_wider_drop_is_allowed_when_asked_for() -> None:
    worse = replace(GOOD, accuracy=0.65, macro_f1=0.589)
    assert verdict(worse, REFERENCE, limits_for(1.0), X86) == "pass"
    with pytest.raises(UsageError, match="--max-drop"):
        limits_for(-1)


def test_every_missed_limit_is_named() -> None:
    assert verdict(replace(GOOD, size_ratio=0.5, int8_convs=0), REFERENCE, Limits(), X86).count(";") == 1


def test_a_gain_in_accuracy_passes() -> None:
    assert verdict(replace(GOOD, accuracy=0.7), REFERENCE, Limits(), X86) == "pass"


def test_agreement_on_golden_inputs_alone_is_not_judged() -> None:
    unmeasured = {"accuracy": None, "macro_f1": None, "agreement_on": "golden inputs"}
    candidate, reference = replace(GOOD, agreement=0.9, **unmeasured), replace(REFERENCE, **unmeasured)
    assert verdict(candidate, reference, Limits(), X86) == "pass; accuracy not measured"


@pytest.mark.parametrize(
    "figures", [{"agreement": math.nan}, {"accuracy": math.nan}, {"accuracy": None, "ccc": math.nan}]
)
def test_a_figure_that_is_no_number_does_not_pass(figures: dict[str, float]) -> None:
    reference = replace(REFERENCE, ccc=0.7)
    assert not passed(verdict(replace(GOOD, **{"ccc": 0.7, **figures}), reference, Limits(), X86))


def test_without_faces_an_agreement_that_is_no_number_does_not_pass() -> None:
    unmeasured = {"accuracy": None, "macro_f1": None}
    candidate = replace(GOOD, agreement=math.nan, **unmeasured)
    assert not passed(verdict(candidate, replace(REFERENCE, **unmeasured), Limits(), X86))


def test_misses_are_counted() -> None:
    assert misses("pass; accuracy not measured") == 0
    assert misses(verdict(replace(GOOD, size_ratio=0.5, int8_convs=0), REFERENCE, Limits(), X86)) == 2


def test_csv_leaves_unmeasured_figures_empty(tmp_path) -> None:
    write_csv(tmp_path / "quantize.csv", [replace(GOOD, accuracy=None, macro_f1=None)])
    head, row = (tmp_path / "quantize.csv").read_text().splitlines()
    cells = dict(zip(head.split(","), row.split(","), strict=True))
    assert tuple(cells) == COLUMNS
    assert (cells["accuracy"], cells["macro_f1"]) == ("", "")


def test_table_is_aligned_marks_what_was_written_and_what_was_not_measured() -> None:
    lines = table([REFERENCE, replace(GOOD, recipe="qdq", accuracy=None), replace(GOOD, file="", recipe="nncf")])
    head, *rows = lines.splitlines()
    assert {row.index(word) for row, word in zip(rows, ("reference", "reference", "reference"), strict=True)} == {
        head.index("verdict")
    }
    assert " - " in rows[1]
    assert [mark in row for mark, row in zip(("qdq*", "nncf "), rows[1:], strict=True)] == [True, True]
