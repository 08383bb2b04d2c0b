"""Parts beside the virtual machine: the report, the agent's protocol, the recipe of an image. QEMU is `make vm`."""

import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from fer_edge.errors import UsageError

from boards.arm64.userland import EmulationError
from boards.vm import picamera
from boards.vm.board import count_frames
from boards.vm.image import Image, build_image
from boards.vm.machine import Machine
from boards.vm.picamera import clip_pictures
from boards.vm.report import BEGIN, END, CheckError, Report, expect, read_report, write_section


def test_a_report_keeps_what_held_and_what_did_not(tmp_path: Path) -> None:
    report = Report("vm test", versions={"kernel": "6.12"})
    assert report.check("boot", lambda: "systemd is running")
    assert not report.check("face", lambda: expect(False, "no face") or "")
    report.write(tmp_path / "deep" / "report.json")
    again = read_report(tmp_path / "deep" / "report.json")
    assert [(check.name, check.held, check.seen) for check in again.checks] == [
        ("boot", True, "systemd is running"),
        ("face", False, "no face"),
    ]
    assert (again.failed, again.versions) == (["face"], {"kernel": "6.12"})
    assert again.wall_s >= 0


def test_the_page_shows_the_newest_reports_and_keeps_its_own_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nlast year\n{END}\nafter\n")
    report = Report("vm test", versions={"kernel": "6.12"})
    report.check("boot", lambda: "a | b")
    report.check("face", lambda: expect(False, "no <face>") or "")
    report.write(tmp_path / "reports/test.json")
    for _ in range(2):
        write_section(page, tmp_path / "reports")
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith(f"{END}\nafter\n") and "last year" not in text
    assert "| boot | a \\| b | 0 |" in text
    assert "| face | **did not hold**: no &lt;face> | 0 |" in text
    assert text.count("vm test") == 1


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("text\n")
    with pytest.raises(UsageError, match="lacks the lines"):
        write_section(tmp_path / "page.md", tmp_path)
    assert (tmp_path / "page.md").read_text() == "text\n"


def test_a_fault_of_the_check_itself_is_not_taken_for_one_of_the_product_and_loses_no_other_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken() -> str:
        raise KeyError("main")

    report = Report("vm test")
    assert report.check("boot", lambda: "systemd is running")
    assert not report.check("broken", broken)
    assert [check.seen for check in report.checks] == [
        "systemd is running",
        "the check itself failed: KeyError: 'main'",
    ]
    assert "Traceback" in capsys.readouterr().err


def test_frames_are_counted_whatever_ffmpeg_says_of_a_torn_recording(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, torn = tmp_path / "whole.avi", tmp_path / "torn.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (640, 480))
    for picture in clip_pictures(clip, 20):
        writer.write(picture)
    writer.release()
    content = bytearray(whole.read_bytes())
    content[len(content) // 4 : len(content) // 3] = bytes(len(content) // 3 - len(content) // 4)
    torn.write_bytes(content[: len(content) // 2])
    command = count_frames([str(whole), str(torn)], sys.executable)
    monkeypatch.delenv("OPENCV_FFMPEG_LOGLEVEL", raising=False)  # which the runtime sets in this process
    loud = subprocess.run(command.removesuffix("2>/dev/null"), shell=True, capture_output=True, text=True)
    quiet = subprocess.run(f"exec 2>&1; {command}", shell=True, capture_output=True, text=True)
    assert "mpeg4" in loud.stderr
    counts = [int(word) for word in quiet.stdout.split()]
    assert counts[0] == 20 > counts[1] > 0


def test_pictures_for_the_virtual_camera_fill_the_whole_frame(clip: Path) -> None:
    pictures = clip_pictures(clip, 3)
    assert [picture.shape for picture in pictures] == [(480, 640, 3)] * 3
    assert all(picture.flags.c_contiguous and picture.std() > 1 for picture in pictures)


def test_an_image_that_is_up_to_date_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from boards.vm import image

    folder = tmp_path / "amd64-trixie"
    folder.mkdir()
    (folder / "recipe").write_text(image._recipe("amd64", "trixie"))
    monkeypatch.setattr(image, "run", lambda command: pytest.fail(f"{command} was run"))
    assert build_image("amd64", "trixie", tmp_path).root == folder / "root.ext4"


def test_without_root_the_chroot_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picamera.os, "geteuid", lambda: 1000)
    with pytest.raises(EmulationError, match="needs root"):
        picamera.build_picamera_root(tmp_path)


# --- the guest agent: a fake, since the real one is inside a guest ---------------------------------------------------


class Agent(threading.Thread):
    """Speaks the protocol of qemu-guest-agent: one connection at a time, a command that ends at the second look."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self.commands: list[str] = []
        self._looks = 0

    def run(self) -> None:
        while True:
            line, _ = self._server.accept()
            with line, line.makefile("rwb") as stream:
                while request := stream.readline():
                    answer = self._answer(json.loads(request.lstrip(b"\xff")))
                    stream.write(json.dumps({"return": answer}).encode() + b"\n")
                    stream.flush()

    def _answer(self, request: dict) -> object:
        arguments = request.get("arguments", {})
        match request["execute"]:
            case "guest-sync-delimited":
                return arguments["id"]
            case "guest-exec":
                self.commands.append(arguments["arg"][1])
                return {"pid": 7}
            case "guest-exec-status":
                self._looks += 1
                output = base64.b64encode("Küche\n".encode()).decode()
                return {"exited": self._looks > 1, "exitcode": 3, "out-data": output}
        return {}


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[tuple[Machine, Agent]]:
    agent = Agent(tmp_path / "agent.sock")
    agent.start()
    yield Machine(Image(tmp_path, "amd64", "trixie"), tmp_path, tmp_path, "max"), agent


def test_a_command_of_the_guest_gives_its_exit_code_and_output(guest: tuple[Machine, Agent]) -> None:
    machine, agent = guest
    result = machine.run("ls /nowhere")
    assert (result.code, result.output) == (3, "Küche\n")
    assert agent.commands == ["exec 2>&1; ls /nowhere"]


def test_a_share_that_was_not_mounted_in_time_is_mounted_again_before_the_state_is_told(
    guest: tuple[Machine, Agent],
) -> None:
    machine, agent = guest
    assert machine.wait_up() == "Küche"
    first, second = agent.commands
    assert first.endswith("systemctl is-failed --quiet share.mount && systemctl restart share.mount")
    assert second == "exec 2>&1; systemctl is-system-running --wait"


def test_a_guest_that_does_not_answer_is_no_result(tmp_path: Path) -> None:
    machine = Machine(Image(tmp_path, "amd64", "trixie"), tmp_path, tmp_path, "max")
    assert machine.run("true").code == 125


def test_a_result_the_agent_no_longer_has_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(Image(tmp_path, "amd64", "trixie"), tmp_path, tmp_path, "max")
    answers = iter([{"return": {"pid": 7}}, {"error": {"desc": "PID 7 does not exist"}}])
    monkeypatch.setattr(machine, "_ask", lambda command, **arguments: next(answers, {}))
    result = machine.run("true", 0.5)
    assert result.code == 125 and "lost the result of true" in result.output


def test_expect_says_what_was_seen() -> None:
    with pytest.raises(CheckError, match="no face"):
        expect(False, "no face")
