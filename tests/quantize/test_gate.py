"""The gate names the limit that is missed and the figure that misses it."""

from dataclasses import replace

import pytest

from quantize.gate import Limits, verdict
from quantize.report import COLUMNS, Candidate, table, write_csv

REFERENCE = Candidate(
    file="net.fp32.onnx",
    engine="onnxruntime",
    precision="fp32",
    recipe="float",
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
    assert verdict(GOOD, REFERENCE, Limits()) == "pass"


def test_limits_themselves_are_allowed() -> None:
    edge = replace(GOOD, size_ratio=0.35, agreement=0.98, accuracy=0.66 - 0.00499)
    assert verdict(edge, REFERENCE, Limits()) == "pass"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size_ratio": 0.41}, "size ratio 0.410 above 0.35"),
        ({"int8_convs": 14}, "14 of 15 convolutions are integer, expected all"),
        ({"agreement": 0.9712}, "agreement 97.12% below 98%"),
        ({"accuracy": 0.65}, "accuracy loss 1.00 points above 0.5"),
    ],
)
def test_a_missed_limit_is_named_with_its_figure(change: dict, reason: str) -> None:
    assert verdict(replace(GOOD, **change), REFERENCE, Limits()) == f"fail: {reason}"


def test_every_missed_limit_is_named() -> None:
    assert verdict(replace(GOOD, size_ratio=0.5, int8_convs=0), REFERENCE, Limits()).count(";") == 1


def test_a_gain_in_accuracy_passes() -> None:
    assert verdict(replace(GOOD, accuracy=0.7), REFERENCE, Limits()) == "pass"


def test_agreement_on_golden_inputs_alone_is_not_judged() -> None:
    unmeasured = {"accuracy": None, "macro_f1": None, "agreement_on": "golden inputs"}
    candidate, reference = replace(GOOD, agreement=0.9, **unmeasured), replace(REFERENCE, **unmeasured)
    assert verdict(candidate, reference, Limits()) == "pass"


def test_csv_leaves_unmeasured_figures_empty(tmp_path) -> None:
    write_csv(tmp_path / "quantize.csv", [replace(GOOD, accuracy=None, macro_f1=None)])
    head, row = (tmp_path / "quantize.csv").read_text().splitlines()
    cells = dict(zip(head.split(","), row.split(","), strict=True))
    assert tuple(cells) == COLUMNS
    assert (cells["accuracy"], cells["macro_f1"]) == ("", "")


def test_table_is_aligned_and_marks_unmeasured_figures() -> None:
    lines = table([REFERENCE, replace(GOOD, accuracy=None)]).splitlines()
    assert [line.index(word) for line, word in zip(lines, ("verdict", "reference", "reference"), strict=True)] == [
        lines[0].index("verdict")
    ] * 3
    assert " - " in lines[2]
