"""Identify this machine: the facts a latency figure is worthless without. Unknown facts are empty, never guessed."""

import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

# https://github.com/util-linux/util-linux/blob/master/sys-utils/lscpu-arm.c
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd42": "Cortex-A78AE",
}

_FIRMWARE = "/sys/devices/platform/soc/soc:firmware/get_throttled"


@dataclass(frozen=True)
class BoardInfo:
    """Facts that do not change while a benchmark runs."""

    board: str
    os: str
    arch: str
    cpu: str


@dataclass(frozen=True)
class BoardState:
    """Facts that do change. Degrees Celsius and MHz; None where the board has no such probe."""

    temp_c: float | None
    freq_mhz: float | None
    throttled: bool | None
    rss_mb: float | None


def board_info() -> BoardInfo:
    """Describe this machine from its device tree, os-release and /proc/cpuinfo."""
    cpu = _cpu_name()
    board = _read("/proc/device-tree/model").rstrip("\0") or platform.machine()
    return BoardInfo(board, _os_name(), platform.machine(), cpu)


def board_state() -> BoardState:
    """Temperature, frequency, throttling and this process's resident memory, now."""
    return BoardState(_temperature_c(), _frequency_mhz(), _throttled(), _rss_mb())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _os_name() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip('"')
    return platform.system()


def _cpu_name() -> str:
    """The name x86 gives itself; on Arm, which gives none, the core of the part number."""
    lines = [line.partition(":") for line in _read("/proc/cpuinfo").splitlines()]
    facts = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    part = facts.get("CPU part", "")
    return facts.get("model name") or _ARM_PARTS.get(part, f"Arm part {part}" if part else "")


def _temperature_c() -> float | None:
    """The hottest thermal zone."""
    readings = [_read(str(zone)) for zone in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    values = [int(reading) / 1000 for reading in readings if reading.lstrip("-").isdigit()]
    return max(values) if values else None


def _frequency_mhz() -> float | None:
    """The slowest core."""
    paths = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    values = [int(reading) / 1000 for reading in (_read(str(path)) for path in paths) if reading.isdigit()]
    return min(values) if values else None


def _throttled() -> bool | None:
    """Raspberry Pi firmware's bits 0 (under-voltage), 1 (frequency capped) and 2 (throttled)."""
    text = _read(_FIRMWARE)  # quicker than the command, where the kernel has it
    if text:
        return bool(int(text, 16) & 0b111)
    try:
        answer = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=2).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    value = answer.strip().partition("=")[2]
    return bool(int(value, 16) & 0b111) if value.startswith("0x") else None


def _rss_mb() -> float | None:
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return None
