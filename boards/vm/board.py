"""The product on a whole virtual board: installed, started by systemd, unplugged, hung, cut off, upgraded, removed."""

import json
import shutil
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer_edge import __version__
from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.frames import Frame
from fer_edge.models import DEFAULT_MODEL
from fer_edge.pipeline import Pipeline

from boards.bundle.archive import pack, require_bundle, write_sums
from boards.vm.image import CACHE, build_image
from boards.vm.machine import Machine, Result, virtual_machine
from boards.vm.picamera import clip_pictures
from boards.vm.report import CheckError, Report, expect
from boards.vm.usb import FORMATS, UNPLUG, plug, write_camera

_CLIP_PICTURES, _USB_PICTURES = 40, 10
RESULTS = "/var/lib/private/fer-edge"


class Shell:
    """Commands of the guest; those that fail raise CheckError with what they printed."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def _listed(self) -> str:
        """Every path that is not the kernel's, a log's or a running program's, and every group."""
        places = "/etc /opt /usr /root /home /var/lib /var/cache /var/spool"
        odd = "-path /var/lib/systemd -o -path /var/cache/ldconfig -o -name '*-' -o -path /var/lib/mosquitto"
        return self._must(f"find {places} -xdev \\( {odd} \\) -prune -o -print; cut -d: -f1 /etc/group", 300)

    def _whole(self) -> int:
        """The number of lines of the results; each must be JSON."""
        text = self._must(f"cat {RESULTS}/faces.jsonl", 120)
        for number, line in enumerate(text.splitlines(), 1):
            try:
                json.loads(line)
            except ValueError:
                raise CheckError(f"line {number} of faces.jsonl is torn: {line[:200]}") from None
        return len(text.splitlines())

    def _lines(self) -> int:
        return int(self._must(f"wc -l <{RESULTS}/faces.jsonl"))

    def _guest(self, command: str, limit_s: float = 120) -> Result:
        return self._machine.run(command, limit_s)

    def _must(self, command: str, limit_s: float = 120) -> str:
        """Output of a command that must end well."""
        result = self._guest(command, limit_s)
        expect(result.code == 0, f"{command[:100]}: exit code {result.code}: {result.output.strip()[-600:]}")
        return result.output

    def _until(self, condition: str, limit_s: float) -> None:
        """Wait until a command ends well; its journal says why where it does not."""
        until_s = time.monotonic() + limit_s
        while self._guest(condition, 60).code != 0:
            if time.monotonic() > until_s:
                journal = self._guest("journalctl -u fer-edge -n 12 --no-pager -o cat").output
                raise CheckError(f"not within {limit_s:.0f} s: {condition}; journal: {journal.strip()[-800:]}")
            time.sleep(2)


@contextmanager
def share_folder(archive: Path, clip: Path, cache: Path) -> Iterator[Path]:
    """A folder for the guest: the bundle, a later build of it, and the clip as raw pictures."""
    with tempfile.TemporaryDirectory(dir=cache.absolute()) as name:
        share = Path(name)
        share.chmod(0o755)
        shutil.copyfile(archive, share / "bundle.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(share, filter="data")
        (later,) = (path for path in share.iterdir() if path.is_dir())
        (later / "README.txt").write_text((later / "README.txt").read_text() + "\nA later build.\n")
        write_sums(later)
        pack(later, share / "next.tar.gz")
        shutil.rmtree(later)
        pictures = clip_pictures(clip, _CLIP_PICTURES)
        (share / "clip.bgr").write_bytes(b"".join(picture.tobytes() for picture in pictures))
        write_camera(share, pictures[:_USB_PICTURES])
        yield share


def labels_here(clip: Path) -> Counter[str]:
    """How often this machine gives which expression to the pictures the guest is shown."""
    pipeline = Pipeline(open_detector("mediapipe"), Classifier(DEFAULT_MODEL))
    pictures = clip_pictures(clip, _CLIP_PICTURES)
    results = [pipeline.process(Frame(picture, number, 0.0, "vm")) for number, picture in enumerate(pictures)]
    return Counter(face.expression for result in results for face in result.faces)


_SETTINGS = "/etc/fer-edge/fer-edge.toml"
_BUNDLE, _NEXT = "/root/bundle", "/root/next"


@dataclass(frozen=True)
class Board:
    """Platform of a profile: Debian's architecture and release, and QEMU's processor."""

    profile: str
    arch: str
    suite: str
    cpu: str


BOARDS = {
    board.profile: board
    for board in (
        Board("x86-64", "amd64", "trixie", "max"),
        Board("pi5", "arm64", "trixie", "cortex-a76"),
        Board("pi4", "arm64", "bookworm", "cortex-a72"),
    )
}
# vivid shows a face where its HDMI output is looped to its HDMI input. OpenCV asks it for BGR3, so that is fed.
_CAMERA = """
modprobe -r vivid 2>/dev/null
modprobe vivid n_devs=1 node_types=0x101 num_inputs=1 input_types=0x3 num_outputs=1 output_types=0x1
for i in $(seq 50); do [ -e /dev/video1 ] && break; sleep 0.2; done
v4l2-ctl -d1 --set-dv-bt-timings index=0
v4l2-ctl -d0 -c hdmi_000_0_is_connected_to=2,osd_text_mode=2 || v4l2-ctl -d0 -c loop_video=1,osd_text_mode=2
v4l2-ctl -d0 --set-dv-bt-timings index=0
v4l2-ctl -d1 --set-fmt-video-out width=640,height=480,pixelformat=BGR3
[ -e /run/clip.bgr ] || cp /share/clip.bgr /run/
systemctl stop feeder 2>/dev/null
systemd-run --quiet --collect --unit=feeder v4l2-ctl -d1 --stream-out-mmap --stream-from /run/clip.bgr --stream-loop
"""
# The emulated detector takes seconds a frame.
_PATIENCE = r"first_frame_s = 120.0\nsilence_s = 60.0"
_OUTPUTS = """

[output]
jsonl = "faces.jsonl"
rotate_mb = 10
video = "annotated.mp4"
fsync_s = 5.0
[metrics]
address = 9100
[mqtt]
address = "mqtt://127.0.0.1"
topic = "vm"
"""


def try_board(board: Board, archive: Path, clip: Path, cache: Path = CACHE) -> Report:
    """Run every check on a fresh machine. Raises UsageError or EmulationError where that cannot be done."""
    require_bundle(archive, board.profile)
    image = build_image(board.arch, board.suite, cache)
    report = Report(f"vm {board.profile}")
    with share_folder(archive, clip, cache) as share, virtual_machine(image, share, board.cpu) as machine:
        trial = _Trial(machine, report, clip)
        for name, check in trial.checks():
            if not report.check(name, check) and name in ("boot", "install", "start"):
                break
    return report


class _Trial(Shell):
    """The checks, in their order: each finds the machine as the one before left it."""

    def __init__(self, machine: Machine, report: Report, clip: Path) -> None:
        super().__init__(machine)
        self._report, self._clip = report, clip
        self._listing = ""

    def checks(self) -> list[tuple[str, Callable[[], str]]]:
        """Name and function of every check."""
        return [
            ("boot", self._boot),
            ("install", self._install),
            ("doctor", self._doctor),
            ("USB camera", self._usb),
            ("start", self._start),
            ("face through V4L2", self._face),
            ("Prometheus", self._prometheus),
            ("MQTT", self._mqtt),
            ("watchdog", self._watchdog),
            ("unplug and replug", self._unplug),
            ("reboot", self._reboot),
            ("power cut", self._power_cut),
            ("upgrade without camera", self._upgrade),
            ("roll-back", self._roll_back),
            ("uninstall and purge", self._purge),
        ]

    def _boot(self) -> str:
        state = self._machine.start()
        expect(state == "running", f"systemd is {state}: {self._guest('systemctl --failed --no-legend').output}")
        facts = self._must("uname -r; cat /etc/debian_version; systemctl --version").splitlines()
        kernel, debian, systemd = facts[0], facts[1], facts[2].split()[1]
        self._report.versions |= {"kernel": kernel, "Debian": debian, "systemd": systemd}
        self._report.versions["fer-edge"] = __version__
        return f"kernel {kernel}, systemd is running"

    def _install(self) -> str:
        self._listing = self._listed()
        self._must(f"mkdir {_BUNDLE} && tar xzf /share/bundle.tar.gz -C {_BUNDLE} --strip-components=1", 1200)
        output = self._must(f"{_BUNDLE}/install.sh", 3000)
        expect("is in use" in output, output)
        modes = self._must(f"stat -c '%a %U %G' {_SETTINGS}").strip()
        expect(modes == "640 root fer-edge-config", f"{_SETTINGS} has {modes}")
        return output.strip().splitlines()[-1]

    def _doctor(self) -> str:
        self._must(_CAMERA, 300)
        found = self._guest("fer-edge doctor", 900)
        expect(found.code == 0 and "V4L2 device(s)" in found.output, f"exit code {found.code}: {found.output[-600:]}")
        return " ".join(next(line for line in found.output.splitlines() if "V4L2 device(s)" in line).split()[1:])

    def _usb(self) -> str:
        expected, seen = labels_here(self._clip), []
        for form in FORMATS:
            device = self._must(plug(form), 120).strip()
            format_ = self._must(f"v4l2-ctl -d/dev/{device} --get-fmt-video").lower()
            expect(form[:4].replace("mjpe", "mjpg") in format_, f"{device} gives {format_}")
            command = f"fer-edge --camera {device.removeprefix('video')} --max-frames 3 --first-frame 120 --jsonl -"
            lines = self._must(f"{command} 2>/dev/null", 900).splitlines()
            labels = {face["expression"] for line in lines for face in json.loads(line)["faces"]}
            expect(bool(labels) and labels <= set(expected), f"{form}: labels {labels}; expected {dict(expected)}")
            self._must(UNPLUG, 120)
            seen.append(f"{form} {', '.join(sorted(labels))}")
        return f"{'; '.join(seen)}; as the same pictures give on this machine"

    def _start(self) -> str:
        self._must(f"sed -i -e '/^.detection.$/a when = 10' -e '/^.camera.$/a {_PATIENCE}' {_SETTINGS}")
        self._must(f"cat >>{_SETTINGS} <<'END'\n{_OUTPUTS}END")
        self._must("systemctl start mosquitto")
        began_s = time.monotonic()
        self._must(
            "systemctl daemon-reload; systemctl enable --now fer-edge || journalctl -u fer-edge | tail -20", 1200
        )
        self._until("systemctl is-active --quiet fer-edge", 600)
        return f"READY after {time.monotonic() - began_s:.0f} s"

    def _face(self) -> str:
        self._until(f"grep -q '\"expression\"' {RESULTS}/faces.jsonl", 600)
        lines = self._must(f"grep '\"expression\"' {RESULTS}/faces.jsonl | tail -5").splitlines()
        labels = [face["expression"] for line in lines for face in json.loads(line)["faces"]]
        expected = labels_here(self._clip)
        expect(set(labels) <= set(expected), f"labels {labels}; the same pictures give {dict(expected)} here")
        return f"{labels[-1]}, as the same pictures give on this machine"

    def _prometheus(self) -> str:
        text = self._must("curl -sf http://127.0.0.1:9100/metrics", 120)
        names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
        expect(any(name.startswith("fer_edge_frames") for name in names), f"metrics: {sorted(names)}")
        return f"{len(names)} metrics"

    def _mqtt(self) -> str:
        text = self._must("mosquitto_sub -t 'vm/#' -C 3 -W 240 -v", 300)
        topics = sorted({line.split(" ")[0] for line in text.splitlines()})
        expect("vm/available" in topics, f"topics {topics}")
        return ", ".join(topics)

    def _watchdog(self) -> str:
        self._until("systemctl is-active --quiet fer-edge", 900)
        pid = self._must("systemctl show -p MainPID --value fer-edge").strip()
        self._must(f"kill -STOP {pid}")
        began_s = time.monotonic()
        self._until(f"p=$(systemctl show -p MainPID --value fer-edge); [ $p != {pid} ] && [ $p != 0 ]", 400)
        taken_s = time.monotonic() - began_s
        self._until("systemctl is-active --quiet fer-edge", 900)
        return f"started again {taken_s:.0f} s after kill -STOP (WatchdogSec=120)"

    def _unplug(self) -> str:
        self._must("systemctl stop feeder; echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind", 120)
        self._until("journalctl -u fer-edge -b | grep -qi 'waiting for it\\|is opened again'", 400)
        before = self._lines()
        pid = self._must("systemctl show -p MainPID --value fer-edge")
        self._must("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind", 120)
        self._until(f"[ $(wc -l <{RESULTS}/faces.jsonl) -gt {before} ]", 900)
        same = self._must("systemctl show -p MainPID --value fer-edge") == pid
        return f"frames again, {'by the same process' if same else 'after a restart by systemd'}"

    def _reboot(self) -> str:
        before = self._lines()
        expect(self._machine.reboot() == "running", "systemd is not running")
        self._until(f"[ $(wc -l <{RESULTS}/faces.jsonl) -gt {before} ]", 900)
        self._whole()
        return "started with the board, results go on"

    def _power_cut(self) -> str:
        self._must("sleep 30")  # the recording has begun, and the disk has it
        self._machine.cut()
        expect(self._machine.start() == "running", "systemd is not running after the power cut")
        self._until("systemctl is-active --quiet fer-edge", 900)
        lines = self._whole()
        names = self._must(f"ls -1 {RESULTS}").split()
        kept = [name for name in names if name.startswith("annotated")]
        opened = self._must(count_frames([f"{RESULTS}/{name}" for name in kept], _PYTHON), 300)
        expect(any(int(word) > 0 for word in opened.split()), f"frames in {kept}: {opened}")
        return f"{lines} whole JSON lines; frames in {', '.join(kept)}: {opened.strip()}"

    def _upgrade(self) -> str:
        old = self._must("readlink /opt/fer-edge/current")
        self._must("systemctl stop feeder; echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind", 120)
        self._must(f"mkdir {_NEXT} && tar xzf /share/next.tar.gz -C {_NEXT} --strip-components=1", 1200)
        output = self._must(f"{_NEXT}/install.sh", 3000)
        new = self._must("readlink /opt/fer-edge/current")
        expect(new != old, f"the old release is in use: {output[-500:]}")
        self._must("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind", 120)
        self._until("systemctl is-active --quiet fer-edge", 900)
        return "the new release is in use, and runs once the camera is back"

    def _roll_back(self) -> str:
        self._must(f"{_NEXT}/install.sh rollback", 900)
        self._until("systemctl is-active --quiet fer-edge", 900)
        return self._must("readlink /opt/fer-edge/current").strip()

    def _purge(self) -> str:
        self._must(f"{_NEXT}/install.sh uninstall --purge; rm -rf {_BUNDLE} {_NEXT}", 300)
        after = self._listed()
        left = sorted(set(after.splitlines()) - set(self._listing.splitlines()))
        expect(not left, f"left behind: {', '.join(left[:20])}")
        return "nothing is left that was not there before"


def count_frames(names: Sequence[str], python: str) -> str:
    """Shell command that prints how many frames each video plays, without what ffmpeg says of a torn one."""
    return f"{python} -I -c '{_OPEN}' {' '.join(names)} 2>/dev/null"


_PYTHON = "/opt/fer-edge/current/venv/bin/python"
_OPEN = """
import sys, cv2
for name in sys.argv[1:]:
    capture, frames = cv2.VideoCapture(name), 0
    while capture.read()[0]: frames += 1
    print(frames, end=" ")
"""
