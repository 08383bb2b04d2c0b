"""`fer-edge bench` as a board runs it: threads, batches, cold start, heat, power, and who ran each node."""

import csv
import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from fer_edge import cli
from fer_edge.bench import bench_classifier, read_rows
from fer_edge.bench.command import bench_cold_start
from fer_edge.bench.sustained import (
    SUSTAINED_COLUMNS,
    SustainedRow,
    SustainedWork,
    bench_sustained,
    hwmon_power_w,
    pmic_power_w,
    power_probe,
    slowdown,
    write_sustained,
)
from fer_edge.classifier import Classifier
from fer_edge.detectors.yunet import YuNetDetector
from fer_edge.engines import providers as providers_module
from fer_edge.engines.providers import announce_build, chosen_providers, engine_cache, nodes_by_provider, usable_cache

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def test_every_thread_count_and_batch_has_a_row(default_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.csv"
    words = ["bench", "--threads", "1", "2", "--batch", "1", "4", "-n", "3", "--warmup", "1", "--out", str(out)]
    assert cli.main(words) == 0
    rows = read_rows(out)
    assert [(row.threads, row.source) for row in rows] == [(1, None), (1, "batch 4"), (2, None), (2, "batch 4")]


def test_the_loop_is_measured_as_the_program_runs_it(
    clip: Path, made_yunet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """YuNet looks at the whole picture on the first frame and the eleventh; `--detect 1` has it look at all."""
    looks: list[int] = []
    detect = YuNetDetector.detect
    monkeypatch.setattr(YuNetDetector, "detect", lambda *rest, **how: looks.append(1) or detect(*rest, **how))
    words = ["bench", "--source", str(clip), "-n", "10", "--warmup", "2", "--out", str(tmp_path / "bench.csv")]
    assert cli.main(words) == 0
    assert len(looks) == 2
    assert {row.detector for row in read_rows(tmp_path / "bench.csv")} == {None, "yunet"}
    looks.clear()
    assert cli.main([*words, "--detect", "1"]) == 0
    assert len(looks) == 12


def test_a_dataset_gives_accuracy_on_the_board(default_model: Path, tmp_path: Path) -> None:
    labels = Classifier(default_model).contract.labels
    names = ("label_names", "split_names", "images", "labels", "splits")
    faces = np.zeros((7, 48, 48), np.uint8)
    values = (np.array(labels), np.array(["PublicTest"]), faces, np.arange(7), np.zeros(7, np.int64))
    np.savez(tmp_path / "faces.npz", **dict(zip(names, values, strict=True)))
    out = tmp_path / "bench.csv"
    words = ["bench", "--dataset", str(tmp_path / "faces.npz"), "-n", "3", "--warmup", "1", "--out", str(out)]
    assert cli.main(words) == 0
    (row,) = read_rows(out)
    assert row.accuracy == pytest.approx(1 / 7, abs=1e-4)
    assert (row.dataset, row.split) == ("FER2013", "PublicTest")
    assert row.ece is not None


def test_a_dataset_that_is_absent_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--dataset", str(tmp_path / "no.npz"), "-n", "2", "--warmup", "1"]) == 2
    assert "no.npz not found" in capsys.readouterr().err


def test_a_cold_start_is_a_program_that_starts(default_model: Path, mediapipe_file: Path) -> None:
    row = bench_cold_start(Classifier(default_model), "mediapipe", mediapipe_file, n=1)
    warm = bench_classifier(Classifier(default_model), n=5, warmup=1)
    assert (row.stage, row.n, row.warmup, row.detector) == ("cold_start", 1, 0, "mediapipe")
    assert row.p50_ms > 10 * warm.p50_ms
    assert row.rss_mb is not None
    assert row.rss_mb > 20


def work(calls: list[int]) -> SustainedWork:
    return SustainedWork(lambda: calls.append(1), "classify", "m.tflite", "0" * 64, 1)


def test_sustained_load_has_a_row_a_minute(tmp_path: Path) -> None:
    calls: list[int] = []
    rows = bench_sustained(work(calls), 3, minute_s=0.05)
    assert [row.minute for row in rows] == [1, 2, 3]
    assert sum(row.n for row in rows) == len(calls)
    write_sustained(tmp_path / "sustained.csv", rows)
    with open(tmp_path / "sustained.csv", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert tuple(read[0]) == SUSTAINED_COLUMNS
    assert [row["minute"] for row in read] == ["1", "2", "3"]


def test_slowdown_compares_the_last_minute_with_the_first() -> None:
    values = dict.fromkeys((field.name for field in dataclasses.fields(SustainedRow)), 0)
    first, last = (SustainedRow(**{**values, "p50_ms": p50}) for p50 in (2.0, 3.0))
    assert slowdown([first, last]) == 1.5


def test_sustained_runs_from_the_command_line(
    default_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fer_edge.bench.sustained._MINUTE_S", 0.05)
    monkeypatch.setattr("fer_edge.bench.sustained.bench_sustained.__kwdefaults__", {"minute_s": 0.05, "progress": iter})
    out = tmp_path / "bench.csv"
    assert cli.main(["bench", "--sustained", "2", "-n", "2", "--warmup", "1", "--out", str(out)]) == 0
    assert "last minute / first minute" in capsys.readouterr().out
    assert (tmp_path / "bench.sustained.csv").is_file()


def sensor(folder: Path, **values: str) -> Path:
    """A made-up hwmon tree: no board with a sensor was at hand."""
    (folder / "hwmon0").mkdir(parents=True)
    for name, value in values.items():
        (folder / "hwmon0" / name).write_text(value)
    return folder


def test_power_is_read_where_there_is_a_sensor(tmp_path: Path) -> None:
    jetson = sensor(tmp_path / "a", in1_input="5000", curr1_input="1200", in2_input="5000", curr2_input="300")
    assert hwmon_power_w(jetson) == pytest.approx(6.0)
    assert power_probe(jetson)() == pytest.approx(6.0)
    assert hwmon_power_w(sensor(tmp_path / "b", power1_input="2500000")) == pytest.approx(2.5)
    assert hwmon_power_w(sensor(tmp_path / "c", temp1_input="40000")) is None
    assert hwmon_power_w(tmp_path / "none") is None


def test_the_pi_5s_rails_are_summed() -> None:
    currents = "3V7_WL_SW_A current(0)=0.1A\n VDD_CORE_A current(7)=2.0A\n"
    answer = f"{currents}3V7_WL_SW_V volt(8)=3.7V\nVDD_CORE_V volt(15)=0.8V\nEXT5V_V volt(24)=5.1V"
    assert pmic_power_w(answer) == pytest.approx(0.37 + 1.6)
    assert pmic_power_w("error") is None


@pytest.mark.parametrize(
    ("available", "names"),
    [
        ([CPU], [CPU]),
        ([CPU, CUDA], [CUDA, CPU]),
        ([CPU, CUDA, TENSORRT], [TENSORRT, CUDA, CPU]),
        ([CPU, "DmlExecutionProvider"], [CPU]),
    ],
)
def test_providers_are_tried_in_order(available: list[str], names: list[str], tmp_path: Path) -> None:
    assert [name for name, _ in chosen_providers(available, int8=False, cache=tmp_path)] == names


def test_tensorrt_keeps_its_engines_and_takes_the_models_precision(tmp_path: Path) -> None:
    for int8 in (False, True):
        options = chosen_providers([TENSORRT], int8=int8, cache=tmp_path)[0][1]
        assert options["trt_engine_cache_enable"]
        assert options["trt_engine_cache_path"] == str(tmp_path)
        assert options["trt_int8_enable"] is int8


def test_the_long_silent_engine_build_is_announced_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    providers = chosen_providers([TENSORRT], int8=False, cache=tmp_path)
    announce_build(providers, tmp_path, Path("fer-base.fp32.onnx"))
    assert "TensorRT builds its engine for fer-base.fp32.onnx: minutes, once" in caplog.text
    (tmp_path / "some.engine").touch()
    caplog.clear()
    announce_build(providers, tmp_path, Path("fer-base.fp32.onnx"))
    announce_build(chosen_providers([CPU], int8=False, cache=tmp_path), tmp_path / "no", Path("m.onnx"))
    assert caplog.text == ""


def test_the_engine_cache_can_be_put_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path))
    assert engine_cache() == tmp_path / "tensorrt"


def test_without_a_folder_for_it_the_engine_is_built_at_every_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The user of a service has no home, or one that is read-only."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "file"))
    assert usable_cache() is None
    assert "built at every start" in caplog.text and "Set FER_EDGE_CACHE" in caplog.text
    providers = chosen_providers([TENSORRT], int8=False, cache=None)
    assert not [option for option in providers[0][1] if "cache" in option]
    announce_build(providers, None, Path("fer-base.fp32.onnx"))
    assert "minutes, at every start" in caplog.text

    monkeypatch.delenv("FER_EDGE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert usable_cache() is None


def test_a_read_only_cache_is_of_use_where_it_holds_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path))
    monkeypatch.setattr(providers_module.os, "access", lambda path, mode: False)
    assert usable_cache() is None
    (tmp_path / "tensorrt" / "some.engine").touch()
    assert usable_cache() == tmp_path / "tensorrt"


def test_tensorrt_gets_a_cache_that_is_there(small_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`open_session` on a machine whose onnxruntime has TensorRT, as far as it goes without one."""
    onnxruntime = pytest.importorskip("onnxruntime")
    asked = []
    real = onnxruntime.InferenceSession

    def session(path, options=None, providers=()):
        asked.append(providers)
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    for cache, kept in ((tmp_path / "cache", True), (small_onnx, False)):
        monkeypatch.setenv("FER_EDGE_CACHE", str(cache))
        assert providers_module.open_session(small_onnx, None) is not None
        assert ("trt_engine_cache_path" in asked[-1][0][1]) is kept
    assert (tmp_path / "cache" / "tensorrt").is_dir()


def test_every_node_says_which_provider_ran_it(
    small_onnx: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    counts = nodes_by_provider(small_onnx)
    assert set(counts) == {CPU}
    assert counts[CPU] > 0
    out = tmp_path / "bench.csv"
    assert cli.main(["bench", "--model", str(small_onnx), "-n", "2", "--warmup", "1", "--out", str(out)]) == 0
    assert re.search(rf"nodes run by {CPU}: {counts[CPU]}\n", capsys.readouterr().out)


@pytest.fixture
def small_onnx(tmp_path: Path, contract) -> Path:
    """One fully connected layer with a contract."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    spec = dataclasses.replace(contract, precision="fp32")
    weights = numpy_helper.from_array(np.zeros((48 * 48, 7), np.float32), "w")
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 1, 48, 48])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 7])]
    model = helper.make_model(helper.make_graph(nodes, "small", inputs, outputs, [weights]), ir_version=10)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 17))
    helper.set_model_props(model, {"fer_edge": spec.to_json()})
    onnx.save(model, tmp_path / "small.onnx")
    return shutil.copy(tmp_path / "small.onnx", tmp_path / "small.fp32.onnx")
