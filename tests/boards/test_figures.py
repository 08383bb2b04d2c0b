"""The table of the published systems: what it says of each kind of model, from the CSV files `quantize` writes."""

from dataclasses import replace
from pathlib import Path

import pytest

from fer_edge.bench import write_rows
from fer_edge.errors import DataError

from boards.figures import (
    accuracy_table,
    instructions_table,
    loop_table,
    measured_rows,
    peers_table,
    systems_table,
    variants_table,
)
from boards.instructions import InstructionRow, write_instructions
from boards.peers.paired import PeerRow, write_peers
from tests.boards.test_report import ROW

HEADER = (
    "file,engine,precision,size_kb,agreement,agreement_n,accuracy,macro_f1,ccc,p50_ms,latency_ratio,verdict,"
    "model_sha256"
)


def table_of(folder: Path, model: str, *rows: str) -> list[str]:
    (folder / model).mkdir()
    (folder / model / "quantize.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    counted = [
        InstructionRow("m.fp32.onnx", "aa", "onnxruntime", "1", "cortex-a72", "bookworm", 9_000_000, 0),
        InstructionRow("m.int8.onnx", "bb", "onnxruntime", "1", "cortex-a72", "bookworm", 6_000_000, 0),
    ]
    write_instructions(counted, folder / "instructions.csv")
    (folder / "cost.csv").write_text("model,parameters,mmac\nxception,940000,10.4\n")
    return systems_table(folder).splitlines()[2:]


def test_classes_are_judged_by_accuracy_and_counted_where_the_very_file_was_counted(tmp_path: Path) -> None:
    (line,) = table_of(
        tmp_path,
        "xception",
        "m.fp32.onnx,onnxruntime,fp32,400.2,1.0,3589,0.6612,0.6301,,0.5,1.0,reference,aa",
        "m.int8.onnx,onnxruntime,int8,120.4,0.9876,3589,0.6598,0.6290,,0.205,0.41,pass,bb",
    )
    assert line == (
        "| `xception`, onnxruntime | 10.4 | 3589 | 66.12%, F1 63.01% | 65.98%, F1 62.90% | 98.76% | 400 to 120 "
        "| 0.50 to 0.20 | 0.41 | 9.00 to 6.00 |  |"
    )


def test_values_are_judged_by_concordance(tmp_path: Path) -> None:
    (line,) = table_of(
        tmp_path,
        "plain-va",
        "v.fp32.tflite,ai-edge-litert,fp32,400,1.0,3501,,,0.7312,0.8,1.0,reference,cc",
        "v.int8.tflite,ai-edge-litert,int8,120,0.9987,3501,,,0.7304,0.4,0.5,pass,dd",
    )
    assert "| 3501 | CCC 0.731 | CCC 0.730 | 0.9987 |" in line and line.endswith("| 0.5 |  |  |")


def test_a_model_the_gate_refused_says_why(tmp_path: Path) -> None:
    (line,) = table_of(
        tmp_path,
        "mobilenetv3",
        "m.fp32.onnx,onnxruntime,fp32,400,1.0,3589,0.6,0.5,,1.0,1.0,reference,aa",
        ",onnxruntime,int8,200,0.9,3589,0.6,0.5,,1.2,1.2,fail: agreement 90.00% below 98%,ee",
    )
    assert "refused: agreement 90.00% below 98%" in line


def test_an_ablation_joins_what_three_programs_measured(tmp_path: Path) -> None:
    (tmp_path / "ablation.csv").write_text(
        "row,model,parameters,mmac,accuracy,accuracy_lowest,accuracy_highest,target_accuracy,epochs_to_target\n"
        '"SE, BatchNorm",n-se,134567,2.7,0.5,0.49,0.51,0.45,4.5\n'
    )
    (tmp_path / "int8.csv").write_text(
        "model,file,engine,drop_points,agreement,latency_ratio\n"
        "n-se,m.int8.onnx,onnxruntime,0.25,0.9712,1.22\n"
        "n-se,m.int8.tflite,ai-edge-litert,0.11,0.9801,1.1\n"
    )
    table_of(tmp_path, "unused", "m.fp32.onnx,onnxruntime,fp32,400,1.0,3589,0.6,0.5,,1.0,1.0,reference,aa")
    first, second = variants_table(tmp_path).splitlines()[2:]
    assert first == (
        "| SE, BatchNorm | 134,567 | 2.7 | 50.00% | 49.00%, 51.00% | 4.5 | onnxruntime | 0.25 | 97.12% | 1.22 "
        "| 9.00 to 6.00 |  |"
    )
    assert second.startswith("|  |  |  |  |  |  | ai-edge-litert | 0.11 | 98.01% |")
    (tmp_path / "int8.csv").write_text("model,file,engine,drop_points,agreement,latency_ratio\n")
    with pytest.raises(DataError, match="nothing of n-se"):
        variants_table(tmp_path)


# --- the tables of the README ----------------------------------------------------------------------------------------


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Two models, the larger first by name, each with a float and an INT8 file; the smaller has a whole loop too."""
    for name, size_kb in (("ada", 900.0), ("bob", 90.0)):
        int8 = replace(ROW, model=f"{name}.int8.tflite", model_kb=size_kb, p50_ms=1.25, accuracy=0.65, macro_f1=0.6)
        fp32 = replace(int8, model=f"{name}.fp32.tflite", precision="fp32", model_kb=4 * size_kb, accuracy=0.6612)
        loop = [replace(int8, stage=stage, detector="yunet", p50_ms=3.0) for stage in ("detect", "total")]
        write_rows(tmp_path / name / "bench.csv", [fp32, int8, *(loop if name == "bob" else [])])
        agreement = f"file,agreement\n{name}.int8.tflite,0.9876\n"
        (tmp_path / name / "quantize.csv").write_text(agreement)
    return tmp_path


def test_the_smallest_model_comes_first_and_int8_says_how_often_it_agrees(measured: Path) -> None:
    assert accuracy_table(measured).splitlines()[2:] == [
        "| `bob.fp32.tflite` | 360 | 66.12% | 60.00% |  | 1.25 |",
        "| `bob.int8.tflite` | 90 | 65.00% | 60.00% | 98.76% | 1.25 |",
        "| `ada.fp32.tflite` | 3600 | 66.12% | 60.00% |  | 1.25 |",
        "| `ada.int8.tflite` | 900 | 65.00% | 60.00% | 98.76% | 1.25 |",
    ]


def test_rows_without_an_accuracy_are_not_in_the_table_of_accuracies(measured: Path) -> None:
    write_rows(measured / "ada/bench.csv", [replace(ROW, accuracy=None, macro_f1=None, ece=None)])
    assert "ada" not in accuracy_table(measured)


def test_the_stages_of_a_loop_are_columns(measured: Path) -> None:
    assert loop_table(measured, "bob.int8.tflite").splitlines() == [
        "| | detect | total |",
        "|---|---|---|",
        "| mean | 2.00 | 2.00 |",
        "| p50 | 3.00 | 3.00 |",
        "| p95 | 2.20 | 2.20 |",
    ]


def test_what_was_not_measured_says_how_to_measure_it(measured: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row of the whole loop with ada\.int8\.tflite\. Make it with `make rel"):
        loop_table(measured, "ada.int8.tflite")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no \*/bench\.csv\. Make it with `make release-model`"):
        measured_rows(tmp_path / "empty")


def test_our_files_stand_beside_other_peoples_with_the_ratio_to_the_first(tmp_path: Path) -> None:
    ours = PeerRow("fer-edge", "a.int8.tflite", "f", "x", "2", 1, "F", "P", 9, 0.65, 0.6, 1.0, 2.0, 90.0, 1.0, 1.0)
    write_peers(tmp_path / "peers.csv", [ours, replace(ours, name="fer", model="m.hdf5", p50_ms=4.0, p50_ratio=4.0)])
    assert peers_table(tmp_path).splitlines()[2:] == [
        "| `a.int8.tflite` | 65.00% | 60.00% | 1.00 | 1.00 | 90 |",
        "| fer | 65.00% | 60.00% | 4.00 | 4.00 | 90 |",
    ]


def test_a_model_is_in_the_table_of_instructions_where_both_its_files_were_counted(tmp_path: Path) -> None:
    rows = [
        InstructionRow(f"{name}.{kind}.tflite", f"{name}{kind}{cpu}", "ai-edge-litert", "2", cpu, "", count, 0)
        for name, kinds in (("bob", {"fp32": 9_000_000, "int8": 4_500_000}), ("ada", {"fp32": 1_000_000}))
        for kind, count in kinds.items()
        for cpu in ("cortex-a72", "cortex-a76")
    ]
    write_instructions(rows, tmp_path / "instructions.csv")
    assert instructions_table(tmp_path / "instructions.csv").splitlines() == [
        "| | A72 float | A72 INT8 | A72 factor | A76 float | A76 INT8 | A76 factor |",
        "|---|---|---|---|---|---|---|",
        "| `bob`, ai-edge-litert | 9.00 | 4.50 | 2.00 | 9.00 | 4.50 | 2.00 |",
    ]


def test_an_ablation_of_which_half_was_measured_is_refused_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ablation\.csv not found\. Make it with `make ablation PLAN=\.\.\.`"):
        variants_table(tmp_path)
    (tmp_path / "ablation.csv").write_text("model,target_accuracy\na,0.6\n")
    (tmp_path / "int8.csv").write_text("model,file\nb,b.int8.tflite\n")
    with pytest.raises(DataError, match=r"int8\.csv: nothing of a\. Run `make ablation` again"):
        variants_table(tmp_path)


def test_of_several_targets_the_table_shows_this_machines(tmp_path: Path) -> None:
    folder = tmp_path / "xception"
    folder.mkdir()
    shared = "onnxruntime,fp32,400,1.0,9,0.6,0.5,,1.0,1.0,reference"
    lines = [f"m.fp32.onnx,{shared},aa,{target}" for target in ("armv8", "x86")]
    lines += [
        f"m.int8.onnx,onnxruntime,int8,100,0.9{digit},9,0.6,0.5,,{time},0.5,pass,bb,{target}"
        for digit, time, target in ((1, 9.0, "armv8"), (2, 0.5, "x86"))
    ]
    (folder / "quantize.csv").write_text("\n".join([f"{HEADER},target", *lines]) + "\n")
    (line,) = systems_table(tmp_path).splitlines()[2:]
    assert "| 92.00% |" in line and "| 1.00 to 0.50 |" in line
