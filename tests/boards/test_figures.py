"""The table of the published systems: what it says of each kind of model, from the CSV files `quantize` writes."""

from pathlib import Path

import pytest

from fer_edge.errors import DataError

from boards.figures import systems_table, variants_table
from boards.instructions import InstructionRow, write_instructions

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
