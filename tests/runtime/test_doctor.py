"""`fer-edge doctor`: each trouble is named with its remedy."""

import dataclasses
import socket

import pytest

from fer_edge.board import BoardState
from fer_edge.cli import main
from fer_edge.doctor import (
    Finding,
    State,
    check_cameras,
    check_cma,
    check_engines,
    check_hardware,
    check_heat,
    check_opencv,
    check_picamera2,
    check_python,
    report,
)
from fer_edge.doctor.configured import check_configuration, check_default, check_files, check_model
from fer_edge.errors import ModelError, UsageError
from fer_edge.models import list_models
from fer_edge.settings import DetectionSettings, ModelSettings, Settings

from tests.runtime.fakes.certificates import Authority
from tests.runtime.fakes.mjpeg_server import free_port
from tests.runtime.fakes.models import write_onnx
from tests.runtime.fakes.servers import mosquitto


def having(**versions: str):
    return {name.replace("_", "-"): found for name, found in versions.items()}.get


@pytest.mark.parametrize(
    ("found", "state"), [((3, 9), State.BAD), ((3, 10), State.OK), ((3, 13), State.OK), ((3, 14), State.BAD)]
)
def test_the_python_that_is_too_old_or_too_new_is_named(found, state):
    finding = check_python(found)
    assert finding.state is state
    assert ("3.10 to 3.13" in finding.remedy) == (state is State.BAD)


def test_no_engine_is_told_with_the_package_to_install():
    (finding,) = check_engines(having())
    assert finding.state is State.BAD and "pip install ai-edge-litert" in finding.remedy


def test_an_engine_that_cannot_be_imported_is_broken(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (finding,) = check_engines(having(onnxruntime="1.31.1"))
    assert finding.state is State.BAD and "cannot be imported" in finding.text


def test_the_onnxruntime_that_dies_on_a_pi_4_is_named(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    (finding,) = check_engines(having(onnxruntime="1.21.0"))
    assert finding.state is State.BAD and "SIGILL" in finding.text


def test_tflite_runtime_beside_numpy_2_is_named():
    (finding,) = check_engines(having(tflite_runtime="2.14.0", numpy="2.1.0"))
    assert finding.state is State.WARN and "numpy<2" in finding.remedy


def test_two_opencvs_are_named_with_the_way_out():
    finding = check_opencv(having(opencv_python="4.11", opencv_python_headless="4.11"))
    assert finding.state is State.WARN
    assert "pip uninstall -y opencv-python opencv-python-headless" in finding.remedy
    assert check_opencv(having(opencv_python_headless="4.11")).state is State.OK


def test_a_camera_this_user_may_not_open_is_named_with_the_group(tmp_path, monkeypatch):
    camera = tmp_path / "video0"
    camera.touch()
    assert check_cameras([camera], 0).state is State.OK
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may open everything
    finding = check_cameras([camera], 0)
    assert finding.state is State.BAD and "usermod -aG video" in finding.remedy
    assert check_cameras([], 0).state is State.WARN


def test_a_csi_camera_without_picamera2_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert check_picamera2(expected=False).state is State.OK
    finding = check_picamera2(expected=True)
    assert finding.state is State.BAD and "apt install python3-picamera2" in finding.remedy
    assert "--system-site-packages" in finding.remedy, "the tests run in an environment without"


def test_too_little_contiguous_memory_is_told_where_a_csi_camera_needs_it(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 437212 kB\nCmaTotal:  16384 kB\nCmaFree:  1024 kB\n")
    (finding,) = check_cma(meminfo, expected=True)
    assert finding.state is State.WARN and finding.text == "1 of 16 MB free" and "cma-128" in finding.remedy
    assert next(iter(check_cma(meminfo, expected=False))).state is State.OK
    meminfo.write_text("MemTotal: 437212 kB\n")
    assert list(check_cma(meminfo, expected=True)) == []


def test_a_board_as_a_whole(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/video0").touch()
    (tmp_path / "sys/class/video4linux/video0").mkdir(parents=True)
    (tmp_path / "sys/class/video4linux/video0/name").write_text("unicam-image\n")
    found = {finding.subject: finding for finding in check_hardware(tmp_path)}
    assert "1 CSI receiver" in found["camera"].text
    assert found["picamera2"].state is State.BAD


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (BoardState(85.0, None, True, None), [State.WARN]),
        (BoardState(None, None, True, None), [State.WARN]),
        (BoardState(82.0, None, False, None), [State.WARN]),
        (BoardState(50.0, None, None, None), [State.OK]),
        (BoardState(None, None, None, None), []),
    ],
)
def test_heat_and_throttling(state, expected):
    assert [finding.state for finding in check_heat(state)] == expected


def test_models_and_detectors_that_are_well(mediapipe_file):
    findings = {finding.subject: finding for finding in check_files(Settings())}
    assert findings["classifier fer-base.int8"].state is State.OK
    assert findings["detector mediapipe"].state is State.OK


def test_the_default_detector_is_named_in_one_line():
    well, less = check_default("yunet"), check_default("mediapipe")
    assert (well.state, well.text) == (State.OK, "yunet, INT8")
    assert less.state is State.WARN and "YuNet's file was not made" in less.text and "make setup" in less.remedy


def test_a_model_with_other_bytes_than_were_installed_is_refused():
    (model, *_) = list_models()
    finding = check_model(model, "0" * 64, used=True)
    assert finding.state is State.BAD and finding.is_model and "install fer-edge again" in finding.remedy
    broken = dataclasses.replace(model, state="refused: damaged")
    assert check_model(broken, None, used=False).state is State.WARN
    assert check_model(broken, None, used=True).state is State.BAD


def test_a_packaged_model_that_no_engine_here_runs_is_well_where_another_is_used(contract, monkeypatch, tmp_path):
    monkeypatch.setattr("fer_edge.doctor.configured.has_engine", lambda suffix: suffix == ".onnx")
    model = write_onnx(tmp_path / "mine.onnx", contract)
    settings = Settings(model=ModelSettings(file=model), detection=DetectionSettings(detector="none"))
    findings = {finding.subject: finding for finding in check_files(settings)}
    assert findings["classifier fer-base.int8"].state is State.OK
    assert findings["classifier fer-base.int8"].text == "no engine for .tflite here; used only when asked for"
    assert findings["model in use"].text.startswith("mine.onnx, SHA-256")


def test_a_model_or_detector_in_use_that_does_not_open_is_bad(tmp_path):
    (tmp_path / "mine.onnx").write_bytes(b"no model")
    (tmp_path / "faces.tflite").write_bytes(b"no detector")
    detection = DetectionSettings(detector="yunet", file=tmp_path / "faces.tflite")
    settings = Settings(model=ModelSettings(file=tmp_path / "mine.onnx"), detection=detection)
    findings = {finding.subject: finding for finding in check_files(settings)}
    assert findings["model in use"].state is State.BAD and findings["model in use"].is_model
    assert findings["detector in use"].state is State.BAD and "faces.tflite" in findings["detector in use"].text


def test_the_exit_code_says_how_bad_it_is(capsys):
    report([Finding("python", State.OK, "3.11"), Finding("heat", State.WARN, "80 C", "a fan")])
    assert "-> a fan" in capsys.readouterr().out
    with pytest.raises(UsageError, match="camera must be mended"):
        report([Finding("camera", State.BAD, "no permission", "join the group")])
    with pytest.raises(ModelError):
        report([Finding("detector mediapipe", State.BAD, "absent", "fetch it", is_model=True)])


def test_the_command_prints_a_line_each(mediapipe_file, capsys):
    assert main(["doctor"]) in (0, 2)
    out = capsys.readouterr().out
    for subject in ("python", "engine", "opencv", "camera", "picamera2", "classifier fer-base.int8"):
        assert subject in out


# --- What a configuration file asks for ----------------------------------------------------------------------------


def configured(folder, text, mode=0o600):
    path = folder / "fer-edge.toml"
    path.write_text(f"[source]\ncamera = 0\n{text}")
    path.chmod(mode)
    return {finding.subject: finding for finding in check_configuration(path)}


def test_a_configuration_with_a_mistake_is_named(tmp_path):
    finding = configured(tmp_path, "[web]\nadress = 8000")["configuration"]
    assert finding.state is State.BAD and "did you mean address?" in finding.text
    assert configured(tmp_path, "") == {
        "configuration": Finding("configuration", State.OK, f"{tmp_path}/fer-edge.toml")
    }


def test_a_secret_that_everybody_may_read_is_named_with_the_remedy(tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    finding = configured(tmp_path, '[web]\ntoken = "correct-horse-battery"', 0o644)["secrets"]
    assert finding.state is State.WARN and "chmod o= " in finding.remedy
    assert "correct-horse" not in finding.text + finding.remedy
    assert "secrets" not in configured(tmp_path, '[web]\ntoken = "correct-horse-battery"', 0o640)


def test_web_addresses_are_tried(tmp_path):
    found = configured(tmp_path, '[web]\naddress = "127.0.0.1:0"\n[metrics]\naddress = "0.0.0.0:0"')
    assert found["web"].state is found["metrics"].state is State.OK
    assert "this machine only" in found["web"].text and "with a token" in found["metrics"].text
    assert configured(tmp_path, '[web]\naddress = "a..b:80"')["web"].state is State.BAD
    assert configured(tmp_path, '[web]\naddress = 0\ntoken = "short"')["web"].state is State.BAD
    with socket.create_server(("127.0.0.1", 0)) as other:
        finding = configured(tmp_path, f"[web]\naddress = {other.getsockname()[1]}")["web"]
    assert finding.state is State.WARN and "in use" in finding.text and "fer-edge itself" in finding.remedy


def test_a_broker_that_is_away_or_refuses_is_named(tmp_path):
    port = free_port()
    address = f'[mqtt]\naddress = "mqtt://me:S3cr3t@127.0.0.1:{port}"'
    finding = configured(tmp_path, address)["mqtt"]
    assert finding.state is State.BAD and "no broker listens" in finding.text
    with mosquitto(port, "allow_anonymous false"):
        refused = configured(tmp_path, address)["mqtt"]
    assert refused.state is State.BAD and "user or password is wrong" in refused.text
    assert "S3cr3t" not in finding.text + refused.text
    with mosquitto(port):
        assert configured(tmp_path, address)["mqtt"].state is State.OK


def test_a_brokers_certificate_that_is_refused_or_ends_soon_is_named(tmp_path):
    authority, port = Authority(tmp_path), free_port()
    certificate, key = authority.issue("localhost")
    tls = (f"cafile {authority.certificate}", f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true")
    address = f'[mqtt]\naddress = "mqtts://localhost:{port}"\n'
    with mosquitto(port, *tls):
        refused = configured(tmp_path, address)["mqtt"]
        found = configured(tmp_path, f'{address}ca_file = "{authority.certificate}"')
    assert refused.state is State.BAD and "certificate is refused" in refused.text and "ca_file" in refused.text
    assert found["mqtt"].state is State.OK
    assert found["mqtt certificate"].state is State.WARN and "expires in 2 days" in found["mqtt certificate"].text


def test_the_command_looks_at_the_configuration_too(mediapipe_file, tmp_path, capsys):
    path = tmp_path / "fer-edge.toml"
    path.write_text("[source]\ncamera = 0\n[web]\naddress = 0\n")
    assert main(["doctor", "--config", str(path)]) in (0, 2)
    assert "http://127.0.0.1:0/ (this machine only)" in capsys.readouterr().out
