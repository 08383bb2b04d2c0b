"""One virtual board: QEMU without KVM, spoken to through qemu-guest-agent (no network), cut off at will."""

import base64
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards.arm64.userland import EmulationError, require_tools
from boards.vm.image import Image, overlay

_QEMU = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
_CONSOLE = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
_KERNEL = "quiet loglevel=4 systemd.show_status=0 audit=0 mitigations=off"
_ENVIRONMENT = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
# On a busy machine systemd's 90 s were over before the kernel had loaded 9p.
_SHARE_AGAIN = "systemctl is-failed --quiet share.mount && systemctl restart share.mount"
BOOT_LIMIT_S = 1500.0


@dataclass(frozen=True)
class Result:
    """Result of a command in the guest: exit code (124: not ended in time), output with standard error."""

    code: int
    output: str


class Machine:
    """A board that can be started, used, rebooted and cut off.

    `folder` has its disk, which keeps what was written between two starts; `share` is /share of the guest, read-only.
    """

    def __init__(self, image: Image, folder: Path, share: Path, cpu: str) -> None:
        self._image, self._folder, self._share, self._cpu = image, folder, share, cpu
        self._process: subprocess.Popen[bytes] | None = None
        self._agent = folder / "agent.sock"

    def start(self) -> str:
        """Boot; return when systemd has started everything, with what it says of that. Raises EmulationError."""
        with open(self._folder / "qemu.log", "w") as errors:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )
        return self.wait_up()

    def _command(self) -> list[str]:
        arch, folder = self._image.arch, self._folder
        machine = ["-M", "q35"] if arch == "amd64" else ["-M", "virt,gic-version=3"]
        # A thread for each core; a translation cache large enough that no code is translated twice.
        words = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            _QEMU[arch],
            *machine,
            "-cpu",
            self._cpu,
            "-accel",
            "tcg,thread=multi,tb-size=512",
            "-smp",
            "2",
        ]
        words += ["-m", "2048", "-display", "none", "-nodefaults", "-no-user-config", "-device", "virtio-rng-pci"]
        words += ["-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)]
        words += ["-append", f"root=LABEL=root rw console={_CONSOLE[arch]} {_KERNEL}"]
        words += ["-drive", f"file={folder / 'disk.qcow2'},if=none,id=disk,format=qcow2,cache=writeback"]
        words += ["-device", "virtio-blk-pci,drive=disk"]
        words += ["-serial", f"file:{folder / 'console.log'}", "-device", "virtio-serial-pci"]
        words += ["-chardev", f"socket,path={self._agent},server=on,wait=off,id=agent"]
        words += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        share = f"local,path={self._share},mount_tag=share,security_model=none,readonly=on,multidevs=remap"
        return [*words, "-virtfs", share]

    def wait_up(self) -> str:
        """Wait for the agent, then for systemd; return the state systemd is in. Raises EmulationError."""
        until_s = time.monotonic() + BOOT_LIMIT_S
        while self._ask("guest-ping") is None:
            if self._process is not None and self._process.poll() is not None:
                raise EmulationError(f"QEMU ended: {(self._folder / 'qemu.log').read_text().strip()}")
            if time.monotonic() > until_s:
                raise EmulationError(f"the guest does not answer; its console: {self._console()}")
            time.sleep(0.5)
        self.run(f"systemctl is-system-running --wait; {_SHARE_AGAIN}", BOOT_LIMIT_S)
        return self.run("systemctl is-system-running --wait", BOOT_LIMIT_S).output.strip()

    def _console(self) -> str:
        return (self._folder / "console.log").read_text(errors="replace").strip()[-400:]

    def run(self, command: str, limit_s: float = 300.0) -> Result:
        """Run a shell command as root in the guest."""
        arguments = {"path": "/bin/bash", "arg": ["-c", "exec 2>&1; " + command]}
        started = self._ask("guest-exec", **arguments, env=_ENVIRONMENT, **{"capture-output": True})
        if not started or "return" not in started:
            return Result(125, f"the guest agent did not answer: {started}")
        until_s, wait_s = time.monotonic() + limit_s, 0.2
        while time.monotonic() < until_s:
            answer = self._ask("guest-exec-status", pid=started["return"]["pid"]) or {}
            if "error" in answer:  # told once, and that answer came too late
                return Result(125, f"the guest agent lost the result of {command[:100]}")
            state = answer.get("return", {})
            if state.get("exited"):
                output = base64.b64decode(state.get("out-data", "")).decode(errors="replace")
                return Result(state.get("exitcode", 128 + state.get("signal", 0)), output)
            time.sleep(wait_s)
            wait_s = min(wait_s * 1.5, 3.0)
        return Result(124, "")

    def reboot(self) -> str:
        """Reboot in an orderly way; as `start`."""
        before = self.run("cat /proc/sys/kernel/random/boot_id").output
        self.run("systemctl --no-block reboot", 30)
        until_s = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < until_s:
            now = self.run("cat /proc/sys/kernel/random/boot_id", 30)
            if now.code == 0 and now.output != before:
                return self.wait_up()
            time.sleep(2)
        raise EmulationError("the guest does not come back from a reboot")

    def cut(self) -> None:
        """Take the power away: QEMU is killed, and what it had not written is lost."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any] | None:
        """One answer of the agent, None when there is none in time."""
        token = time.monotonic_ns() & 0x7FFFFFFF
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(30)
                line.connect(str(self._agent))
                # The byte empties the agent's parser; the token tells this answer from a late one of before.
                line.sendall(b"\xff" + _message("guest-sync-delimited", id=token))
                answers = line.makefile("rb")
                while f'"return": {token}' not in (answer := answers.readline()).decode(errors="replace"):
                    if not answer:
                        return None
                line.sendall(_message(command, **arguments))
                found: dict[str, Any] | None = json.loads(answers.readline() or b"null")
                return found
        except (OSError, ValueError):
            return None


def _message(name: str, **arguments: Any) -> bytes:
    return json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"


@contextmanager
def virtual_machine(image: Image, share: Path, cpu: str) -> Iterator[Machine]:
    """A machine on a fresh disk, not started yet; ended and its disk removed after the block."""
    require_tools(_QEMU[image.arch], "qemu-img", "setpriv")
    with overlay(image) as folder:
        machine = Machine(image, folder, share, cpu)
        try:
            yield machine
        finally:
            machine.cut()
