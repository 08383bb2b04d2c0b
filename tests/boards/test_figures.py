"""The table of the published systems: what it says of each kind of model, from the CSV files `quantize` writes."""

from pathlib import Path

from boards.figures import systems_table
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
