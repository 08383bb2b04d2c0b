"""quantize.csv and what is printed of it: every limit that is missed is named, and nothing unmeasured is made up."""

from pathlib import Path

import pytest

from fer_edge.errors import DataError

from quantize.gate import Miss, Verdict
from quantize.intervals import Interval
from quantize.report import COLUMNS, Row, markdown, misses_text, read_cells, table, verdict_text, write_csv

FLOAT = Row(
    file="small.fp32.onnx",
    engine="onnxruntime",
    precision="fp32",
    recipe="float",
    target="x86",
    size_kb=1000.25,
    size_ratio=1.0,
    agreement=1.0,
    accuracy=0.66666,
    macro_f1=0.6,
    convs=15,
    p50_ms=1.23456,
    latency_ratio=1.0,
    verdict="reference",
)
INT8 = Row(
    file="small.int8.onnx",
    engine="onnxruntime",
    precision="int8",
    recipe="qdq-u8-quantile",
    target="x86",
    size_kb=260.0,
    size_ratio=0.26,
    agreement=0.9871,
    accuracy=0.665,
    macro_f1=0.599,
    convs=15,
    int8_convs=14,
    p50_ms=0.4,
    latency_ratio=0.3241,
    instruction_ratio=0.5,
    verdict="pass",
)
VALUES = Row(engine="onnxruntime", precision="int8", recipe="qdq", target="x86", agreement=0.99, ccc=0.71234)


def miss(**changes: object) -> Miss:
    known = {"name": "accuracy drop", "limit": 0.3, "measured": 0.5, "unit": "points"}
    return Miss(**{**known, **changes})


def test_rows_come_back_as_text_rounded_and_empty_where_not_measured(tmp_path: Path) -> None:
    write_csv(tmp_path / "quantize.csv", [FLOAT, INT8])
    first, second = read_cells(tmp_path / "quantize.csv")
    assert tuple(first) == COLUMNS
    assert (first["size_kb"], first["accuracy"], first["p50_ms"]) == ("1000.2", "0.6667", "1.2346")
    assert (first["ccc"], first["instructions"], second["instruction_ratio"]) == ("", "", "0.5")
    assert (second["latency_ratio"], second["int8_convs"]) == ("0.324", "14")


def test_rows_of_earlier_searches_are_kept_behind_the_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "quantize.csv"
    write_csv(path, [INT8])
    kept = read_cells(path)
    write_csv(path, [FLOAT], kept)
    assert [row["recipe"] for row in read_cells(path)] == ["float", "qdq-u8-quantile"]


@pytest.mark.parametrize("content", [b"", b"file,engine\na,b\n", b"\xff\xfe\x00", b'"'])
def test_a_table_of_other_columns_has_no_rows(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "quantize.csv").write_bytes(content)
    assert read_cells(tmp_path / "quantize.csv") == []
    assert read_cells(tmp_path / "absent.csv") == []


def test_the_printed_table_marks_what_was_written_and_leaves_a_dash_for_the_rest() -> None:
    header, first, second, third = table([FLOAT, INT8, VALUES]).splitlines()
    assert header.split() == [
        *("engine", "recipe", "kB", "size", "agrees", "accuracy", "macro-F1", "CCC", "int8", "convs", "p50", "ms"),
        *("time", "work", "verdict"),
    ]
    assert first.split()[:3] == ["onnxruntime", "float", "1000"]
    assert second.split()[1] == "qdq-u8-quantile*", "a file was written"
    assert second.split()[4:9] == ["98.71%", "66.50%", "59.90%", "-", "14/15"]
    assert second.split()[-3:] == ["0.32", "0.50", "pass"]
    assert third.split()[5:8] == ["-", "-", "0.712"]
    assert header.index("verdict") == first.index("reference") == second.index("pass")


def test_the_table_for_the_page_has_the_chosen_file_in_bold(tmp_path: Path) -> None:
    write_csv(tmp_path / "quantize.csv", [FLOAT, INT8])
    lines = markdown(tmp_path / "quantize.csv").splitlines()
    assert lines[1] == "|---|---|---|---|---|---|---|"
    assert lines[2] == "| float, onnxruntime | 1000 | 66.67% | 60.00% | 100.00% | 1.00 | reference |"
    assert lines[3] == "| `qdq-u8-quantile` | 260 | 66.50% | 59.90% | 98.71% | 0.32 | **pass** |"


@pytest.mark.parametrize("content", ["file,engine\na,b\n", "recipe,engine,size_kb\nfloat,x,much\n"])
def test_a_csv_that_is_another_cannot_become_the_pages_table(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.csv").write_text(content)
    with pytest.raises(DataError, match=r"other\.csv: no column .*; expected a quantize\.csv\..*make quantize"):
        markdown(tmp_path / "other.csv")


def test_a_verdict_names_every_limit_with_its_interval() -> None:
    drop = miss(interval=Interval(0.5, 0.35, 0.8))
    weights = miss(name="size of the weights to float's", limit=0.35, measured=0.41, unit="ratio")
    convs = miss(name="integer convolutions", limit=0.5, measured=0.4, unit="fraction", at_least=True)
    assert verdict_text(Verdict((drop, weights, convs))) == (
        "fail: accuracy drop 0.50 points (0.35 to 0.80) above 0.30; "
        "size of the weights to float's 0.41 above 0.35; integer convolutions 40.00% below 50.00%"
    )


def test_what_fails_is_said_and_what_is_open_only_where_nothing_fails() -> None:
    failed = miss(interval=Interval(0.5, 0.35, 0.8))
    still_open = miss(
        name="agreement",
        limit=0.02,
        measured=0.01,
        unit="fraction",
        interval=Interval(0.01, 0.0, 0.1),
        decided=False,
        faces=1234,
    )
    assert "agreement" not in verdict_text(Verdict((failed, still_open)))
    assert verdict_text(Verdict((still_open,))) == (
        "too few faces: agreement 1.00% (0.00% to 10.00%); about 1,234 faces would tell"
    )
    endless = Verdict((Miss(**{**vars(still_open), "faces": None}), still_open))
    assert misses_text(endless).endswith("; more than a million faces would tell")


def test_a_pass_says_what_was_not_measured_and_a_float_model_has_no_verdict() -> None:
    assert verdict_text(Verdict((), ("accuracy not measured",))) == "pass; accuracy not measured"
    assert verdict_text(Verdict()) == "pass"
    assert verdict_text(None) == "reference"
