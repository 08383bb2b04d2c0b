"""The checks of the virtual board can fail: each is given a guest that does what it asks for, and guests that do not.

The guest is a list of answers here; `make vm` starts a real one.
"""

import contextlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from boards.bundle.archive import pack, write_sums
from boards.vm import board as virtual
from boards.vm import image, picamera
from boards.vm.board import BOARDS, RESULTS, _Trial, share_folder, try_board
from boards.vm.machine import Result
from boards.vm.picamera import PicameraRoot
from boards.vm.report import CheckError, Report
from boards.vm.usb import plug, write_camera
from tests.conftest import ROOT

Answer = str | Result | list[str]


class Guest:
    """Answers a command with that of the first words it holds; of a list one a time, the last for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.commands: list[str] = []
        self.state = "running"

    def run(self, command: str, limit_s: float) -> Result:
        self.commands.append(command)
        for words, answer in self.answers.items():
            if words in command:
                if isinstance(answer, list):
                    answer = answer.pop(0) if len(answer) > 1 else answer[0]
                return answer if isinstance(answer, Result) else Result(0, answer)
        return Result(0, "")

    def start(self) -> str:
        return self.state

    reboot = start

    def cut(self) -> None:
        self.commands.append("POWER CUT")


class Clock:
    """A clock that goes on only where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def guest() -> Guest:
    return Guest()


@pytest.fixture
def trial(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> _Trial:
    monkeypatch.setattr(virtual, "time", Clock())
    monkeypatch.setattr(virtual, "labels_here", lambda clip: Counter(happy=3, neutral=1))
    return _Trial(guest, Report("vm test"), Path("clip.mp4"))  # type: ignore[arg-type]


def faces(*labels: str) -> str:
    return "".join(json.dumps({"faces": [{"expression": label}]}) + "\n" for label in labels)


GONE = Result(1, "no such thing")
LINES = "wc -l <"
# The check, what the guest answers, and what is told of it.
HOLD = [
    ("boot", {"uname": "6.12\n13.1\nsystemd 257 (257.8)\n+PAM"}, "kernel 6.12, systemd is running"),
    (
        "install",
        {"install.sh": "checking\nfer-edge is in use\n", "stat": "640 root fer-edge-config\n"},
        "fer-edge is in use",
    ),
    ("doctor", {"doctor": "model  fine\ncameras  1 V4L2 device(s): vivid\n"}, "1 V4L2 device(s): vivid"),
    (
        "USB camera",
        {"modprobe vhci": "video2\n", "--get-fmt": ["'MJPG'", "'YUYV'"], "--max-frames 3": faces("happy", "neutral")},
        "mjpeg happy, neutral; yuyv happy, neutral; as the same pictures give on this machine",
    ),
    ("start", {}, "READY after 0 s"),
    ("face through V4L2", {"tail -5": faces("neutral", "happy")}, "happy, as the same pictures give on this machine"),
    ("Prometheus", {"curl": '# HELP x\nfer_edge_frames_total 3\nfer_edge_faces{a="b"} 1\n'}, "2 metrics"),
    ("MQTT", {"mosquitto_sub": "vm/faces {}\nvm/available online\nvm/faces {}\n"}, "vm/available, vm/faces"),
    ("watchdog", {"$p != 7": [GONE, GONE, ""], "MainPID": "7\n"}, "started again 4 s after kill -STOP"),
    ("unplug and replug", {LINES: "12\n", "MainPID": "7\n"}, "frames again, by the same process"),
    ("unplug and replug", {LINES: "12\n", "MainPID": ["7\n", "8\n"]}, "frames again, after a restart by systemd"),
    ("reboot", {LINES: "12\n", "cat /var": faces("happy")}, "started with the board, results go on"),
    (
        "power cut",
        {"cat /var": faces("happy", "sad"), "ls -1": "annotated.mp4\nannotated.1.mp4\nfaces.jsonl\n", "cv2": "0 9 "},
        "2 whole JSON lines; frames in annotated.mp4, annotated.1.mp4: 0 9",
    ),
    ("upgrade without camera", {"readlink": ["releases/1\n", "releases/2\n"]}, "the new release is in use"),
    ("roll-back", {"readlink": "releases/1\n"}, "releases/1"),
    ("uninstall and purge", {"find": "/etc/hosts\n"}, "nothing is left that was not there before"),
]
BREAK = [
    ("install", {"install.sh": Result(4, "the new release does not work")}, "exit code 4: the new release does not"),
    ("install", {"install.sh": "is in use", "stat": "644 root root"}, "/etc/fer-edge/fer-edge.toml has 644 root root"),
    ("install", {"install.sh": "it is installed already"}, "it is installed already"),
    ("doctor", {"doctor": Result(4, "model: damaged")}, "exit code 4: model: damaged"),
    ("doctor", {"doctor": "cameras  none\n"}, "exit code 0: cameras  none"),
    ("USB camera", {"modprobe vhci": "video2", "--get-fmt": "'YUYV'"}, "video2 gives 'yuyv'"),
    (
        "USB camera",
        {"modprobe vhci": "video2", "--get-fmt": "'MJPG'", "--max-frames 3": faces("happy", "angry")},
        "expected {'happy': 3, 'neutral': 1}",
    ),
    ("USB camera", {"modprobe vhci": "video2", "--get-fmt": "'MJPG'", "--max-frames 3": ""}, "mjpeg: labels set()"),
    ("start", {"is-active": GONE, "journalctl": "no camera"}, "not within 600 s: systemctl is-active"),
    ("face through V4L2", {"tail -5": faces("angry")}, "labels ['angry']; the same pictures give"),
    ("face through V4L2", {"grep -q": GONE}, "not within 600 s: grep -q"),
    ("Prometheus", {"curl": "python_info 1\n"}, "metrics: ['python_info']"),
    ("Prometheus", {"curl": Result(7, "refused")}, "exit code 7: refused"),
    ("MQTT", {"mosquitto_sub": "vm/faces {}\n"}, "topics ['vm/faces']"),
    ("watchdog", {"$p != 7": GONE, "MainPID": "7\n", "journalctl": "asleep"}, "not within 400 s"),
    ("unplug and replug", {LINES: "12\n", "journalctl -u fer-edge -b": GONE}, "not within 400 s"),
    ("reboot", {LINES: "12\n", "cat /var": faces("happy") + '{"faces": ['}, "line 2 of faces.jsonl is torn"),
    ("power cut", {"ls -1": "annotated.mp4\n", "cv2": "0 "}, "frames in ['annotated.mp4']: 0"),
    ("power cut", {"ls -1": "faces.jsonl\n", "cv2": ""}, "frames in []"),
    ("upgrade without camera", {"readlink": "releases/1\n", "install.sh": "it burns"}, "the old release is in use"),
    ("roll-back", {"rollback": Result(4, "does not work either")}, "exit code 4: does not work either"),
    ("uninstall and purge", {"find": ["/etc/hosts\n/opt/fer-edge\n"]}, "left behind: /etc/hosts, /opt/fer-edge"),
]


def check_named(trial: _Trial, name: str):
    return dict(trial.checks())[name]


@pytest.mark.parametrize(("name", "answers", "seen"), HOLD, ids=[f"{one[0]}, {one[2][:20]}" for one in HOLD])
def test_a_check_holds_where_the_board_does_what_it_asks_for(
    trial: _Trial, guest: Guest, name: str, answers: dict[str, Answer], seen: str
) -> None:
    guest.answers = {words: list(answer) if isinstance(answer, list) else answer for words, answer in answers.items()}
    trial._listing = "/etc/hosts\n"
    assert check_named(trial, name)().startswith(seen)


@pytest.mark.parametrize(("name", "answers", "message"), BREAK, ids=[f"{one[0]}, {one[2][:20]}" for one in BREAK])
def test_a_check_does_not_hold_where_it_does_not_and_says_what_it_saw(
    trial: _Trial, guest: Guest, name: str, answers: dict[str, Answer], message: str
) -> None:
    guest.answers = {words: list(answer) if isinstance(answer, list) else answer for words, answer in answers.items()}
    with pytest.raises(CheckError) as broken:
        check_named(trial, name)()
    assert message in str(broken.value)


def test_every_check_is_shown_to_hold_and_to_fail(trial: _Trial) -> None:
    names = [name for name, _ in trial.checks()]
    assert set(names) == {one[0] for one in HOLD}
    assert set(names) - {one[0] for one in BREAK} == {"boot"}, "which has a test of its own"


@pytest.mark.parametrize("name", ["boot", "reboot", "power cut"])
def test_a_systemd_with_failed_units_does_not_count_as_up(trial: _Trial, guest: Guest, name: str) -> None:
    guest.state = "degraded"
    guest.answers = {"--failed": "fer-edge.service", LINES: "3"}
    with pytest.raises(CheckError, match=r"systemd is (degraded: fer-edge\.service|not running)"):
        check_named(trial, name)()


def test_the_power_is_cut_while_results_are_being_written(trial: _Trial, guest: Guest) -> None:
    guest.answers = {"ls -1": "annotated.mp4", "cv2": "4"}
    check_named(trial, "power cut")()
    assert guest.commands.index("sleep 30") < guest.commands.index("POWER CUT")
    assert f"cat {RESULTS}/faces.jsonl" in guest.commands[guest.commands.index("POWER CUT") :]


def test_versions_of_the_guest_are_in_the_report(trial: _Trial, guest: Guest) -> None:
    guest.answers = {"uname": "6.12\n13.1\nsystemd 257 (257.8)\n"}
    check_named(trial, "boot")()
    assert {"kernel": "6.12", "Debian": "13.1", "systemd": "257"}.items() <= trial._report.versions.items()


# --- a whole run ----------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    bundle = tmp_path / "made/fer-edge-1-pi5"
    bundle.mkdir(parents=True)
    (bundle / "install.sh").write_text("#!/bin/sh\n")
    (bundle / "README.txt").write_text("read\n")
    write_sums(bundle)
    pack(bundle, tmp_path / "bundle.tar.gz")
    return tmp_path / "bundle.tar.gz"


def pictures(*_: object) -> list[np.ndarray]:
    return [np.full((480, 640, 3), 10 * number, np.uint8) for number in range(12)]


@pytest.mark.parametrize(("broken", "count"), [("boot", 1), ("install", 2), ("doctor", 15), ("start", 5)])
def test_a_run_ends_where_the_rest_cannot_hold_and_goes_on_elsewhere(
    guest: Guest, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, count: int
) -> None:
    def fail() -> str:
        raise CheckError("no")

    names = [name for name, _ in _Trial(guest, Report(""), Path()).checks()]  # type: ignore[arg-type]
    checks = [(name, fail if name == broken else lambda: "fine") for name in names]
    monkeypatch.setattr(_Trial, "checks", lambda self: checks)
    monkeypatch.setattr(virtual, "build_image", lambda *_: None)
    monkeypatch.setattr(virtual, "share_folder", lambda *_: contextlib.nullcontext(tmp_path))
    monkeypatch.setattr(virtual, "virtual_machine", lambda *_: contextlib.nullcontext(guest))
    report = try_board(BOARDS["pi5"], archive, Path("clip.mp4"), tmp_path)
    assert (report.failed, len(report.checks)) == ([broken], count)


def test_the_share_has_the_bundle_a_later_build_and_the_pictures_and_goes_afterwards(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtual, "clip_pictures", pictures)
    with share_folder(archive, Path("clip.mp4"), tmp_path) as share:
        assert {path.name for path in share.iterdir()} == {
            *("bundle.tar.gz", "next.tar.gz", "clip.bgr", "usb_camera.py", "mjpeg", "yuyv")
        }
        assert (share / "bundle.tar.gz").read_bytes() == archive.read_bytes()
        assert (share / "clip.bgr").stat().st_size == 12 * 480 * 640 * 3
        assert len(list((share / "mjpeg").iterdir())) == len(list((share / "yuyv").iterdir())) == 10
        texts = {}
        for name in ("bundle", "next"):
            with tarfile.open(share / f"{name}.tar.gz") as tar:
                texts[name] = {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}  # type: ignore[union-attr]
    assert texts["bundle"].keys() == texts["next"].keys()
    changed = {name.split("/")[1] for name, text in texts["next"].items() if text != texts["bundle"][name]}
    assert changed == {"README.txt", "SHA256SUMS"}
    assert not share.exists()


def test_the_usb_cameras_pictures_are_jpeg_and_two_bytes_a_pixel(tmp_path: Path) -> None:
    write_camera(tmp_path, pictures()[:2])
    assert (tmp_path / "mjpeg/001").read_bytes()[:3] == b"\xff\xd8\xff"
    assert (tmp_path / "yuyv/001").stat().st_size == 480 * 640 * 2
    assert plug("yuyv").count("yuyv") == 2 and "usb_camera.py yuyv /share/yuyv" in plug("yuyv")


# --- its image ------------------------------------------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the programs that build an image; mmdebstrap and mkfs.ext4 are stood in for."""
    names: list[str] = []

    def run(command: list[str]) -> None:
        names.append(command[0])
        if command[0] == "mmdebstrap":
            root = Path(command[-1])
            for path in ("boot/vmlinuz-6.12", "boot/initrd.img-6.12", "var/cache/apt/archives/a.deb"):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(path)
            (root / "etc/systemd/system/multi-user.target.wants").mkdir(parents=True)
        if command[0] == "mkfs.ext4":
            root = Path(command[command.index("-d") + 1])
            assert not (root / "var/cache/apt/archives/a.deb").exists()
            kept = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
            Path(command[-1]).write_text(json.dumps(kept))

    monkeypatch.setattr(image, "run", run)
    monkeypatch.setattr(image, "require_tools", lambda *_: None)
    monkeypatch.setattr(image, "debian_mirror", list)
    return names


def test_an_image_has_kernel_initrd_and_a_root_that_mounts_the_share_and_makes_a_camera(
    built: list[str], tmp_path: Path
) -> None:
    made = image.build_image("amd64", "trixie", tmp_path)
    assert built == ["mmdebstrap", "truncate", "mkfs.ext4"]
    assert (made.kernel.read_text(), made.initrd.read_text()) == ("boot/vmlinuz-6.12", "boot/initrd.img-6.12")
    files = json.loads(made.root.read_text())
    assert "share /share 9p" in files["etc/fstab"] and ",ro," in files["etc/fstab"]
    assert files["etc/modules-load.d/vivid.conf"] == "vivid\n"
    assert not (made.folder / "root").exists(), "it is in the file now"


def test_an_image_is_built_again_where_its_recipe_changed_and_after_a_build_that_failed(
    built: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image.build_image("amd64", "trixie", tmp_path)
    image.build_image("amd64", "trixie", tmp_path)
    assert len(built) == 3
    monkeypatch.setattr(image, "_PACKAGES", ("udev",))
    with monkeypatch.context() as broken:
        broken.setattr(image, "_pack", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            image.build_image("amd64", "trixie", tmp_path)
    image.build_image("amd64", "trixie", tmp_path)
    assert built[3:] == ["mmdebstrap", "mmdebstrap", "truncate", "mkfs.ext4"]


# --- picamera2 on libcamera's virtual camera ------------------------------------------------------------------------


class Root(PicameraRoot):
    """A root whose Python gives an answer of the test, and leaves `results` where fer-edge was asked for them."""

    answer: tuple[int, str] = (0, "")
    results: tuple[str, ...] = ()

    def run(self, *words: str, timeout_s: float = 120) -> tuple[int, str]:
        if "--jsonl" in words:
            text = self.results[0] if "picamera2" in words else self.results[1]
            (self.root / "tmp/faces.jsonl").write_text(text)
        return self.answer


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Root]]:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "faces").mkdir()
    picture = np.full((480, 640, 3), (10, 60, 110), np.uint8)
    picamera.cv2.imwrite(str(tmp_path / "faces/0.jpg"), picture)
    monkeypatch.setattr(Root, "answer", (0, ""))
    monkeypatch.setattr(Root, "results", ())
    return Root


def streams(main: list[int], small: list[int], mean: tuple[float, ...] = (10, 60, 110)) -> str:
    seen = {"main": {"shape": main, "mean": mean}, "small": {"shape": small, "mean": mean}}
    return f"libcamera says something\n{json.dumps(seen)}\n"


RED_FIRST = (110, 60, 10)


@pytest.mark.parametrize(
    ("code", "output", "message"),
    [
        (0, streams([480, 640, 3], [240, 320, 3]), None),
        (0, streams([480, 640, 4], [240, 320, 3]), r"main stream: \{'shape': \[480, 640, 4\]"),
        (0, streams([480, 640, 3], [480, 640, 3]), "small stream: "),
        (0, streams([480, 640, 3], [240, 320, 3], RED_FIRST), "main stream: blue, green, red .*110.*the pictures have"),
        (1, "no camera", "no camera"),
    ],
    ids=["as asked for", "four channels", "too large", "red and blue exchanged", "failed"],
)
def test_both_streams_are_of_their_size_and_blue_comes_first(
    root: type[Root], tmp_path: Path, code: int, output: str, message: str | None
) -> None:
    root.answer = (code, output)
    if message is None:
        assert "BGR as in the pictures shown" in picamera._two_streams(root(tmp_path))
        return
    with pytest.raises(CheckError, match=message):
        picamera._two_streams(root(tmp_path))


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (["happy"] * 18, None),
        (["happy"] * 17, "17 faces in 20 frames of the camera, 30 in 30 pictures"),
        (["happy"] * 9 + ["sad"] * 10, "most frames are sad, most pictures happy"),
    ],
)
def test_the_cameras_frames_have_the_faces_of_its_pictures(
    root: type[Root], tmp_path: Path, camera: list[str], message: str | None
) -> None:
    root.results = (faces(*camera), faces(*["happy"] * 30))
    if message is None:
        assert "18 faces in 20 frames, most of them happy" in picamera._faces(root(tmp_path))
        return
    with pytest.raises(CheckError, match=message):
        picamera._faces(root(tmp_path))


@pytest.mark.parametrize(
    ("check", "code", "output", "message"),
    [
        (picamera._busy, 0, '{"error": "camera busy. Is another program using it?"}', None),
        (picamera._busy, 0, '{"error": ""}', "the second source: no error"),
        (picamera._busy, 139, "core dumped", "core dumped"),
        (picamera._absent, 3, "fer-edge: no camera 7: libcamera sees 1 camera(s)", None),
        (picamera._absent, 2, "fer-edge: no camera 7: libcamera sees 1 camera(s)", "exit code 2, expected 3"),
        (picamera._absent, 3, "no camera", "no camera"),
        (picamera._absent, 3, "Traceback\nlibcamera sees 1 camera(s)", "Traceback"),
    ],
)
def test_a_camera_that_is_busy_or_absent_is_one_error_of_the_program(
    root: type[Root], tmp_path: Path, check, code: int, output: str, message: str | None
) -> None:
    root.answer = (code, output)
    if message is None:
        assert check(root(tmp_path)) in output
        return
    with pytest.raises(CheckError, match=message):
        check(root(tmp_path))


def test_the_root_gets_the_product_the_stubs_and_pictures_and_loses_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picamera, "clip_pictures", pictures)
    monkeypatch.chdir(ROOT)
    for old in ("opt/product/fer_edge/gone.py", "faces/99.jpg"):
        (tmp_path / old).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / old).write_text("of an earlier run")
    picamera.put_in(PicameraRoot(tmp_path), Path("clip.mp4"))
    product = tmp_path / "opt/product"
    assert not (product / "fer_edge/gone.py").exists() and not (tmp_path / "faces/99.jpg").exists()
    assert (product / "fer_edge/cli.py").read_bytes() == (ROOT / "runtime/fer_edge/cli.py").read_bytes()
    assert {"pykms.py", "pidng", "streams.py", "virtual_libcamera.py"} <= {path.name for path in product.iterdir()}
    assert not list(product.rglob("__pycache__"))
    assert len(list((tmp_path / "faces").iterdir())) == 12
    assert (tmp_path / "usr/share/libcamera/pipeline/virtual/virtual.yaml").is_file()


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (1920, 1080), (480, 640), (100, 90)])
def test_a_picture_of_any_shape_covers_the_frame_with_its_middle(height: int, width: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[height // 3 : height - height // 3, width // 3 : width - width // 3] = 255
    covered = picamera._covering(picture)
    assert covered.shape == (480, 640, 3)
    assert covered[240, 320].min() == 255
    assert abs(int(covered[:, :320].mean()) - int(covered[:, 320:].mean())) <= 2
