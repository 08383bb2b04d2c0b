"""The power a board draws, where it has a sensor; watts, None where it has none."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

_HWMON = Path("/sys/class/hwmon")
_PMIC = re.compile(r"(\w+)_([AV]) \w+\(\d+\)=([0-9.]+)[AV]")


def power_probe(hwmon: Path = _HWMON) -> Callable[[], float | None]:
    """Choose the power reader: the board's own sensor (Jetson's INA3221 and the like) or the Pi 5's regulator."""
    if hwmon_power_w(hwmon) is not None:
        return lambda: hwmon_power_w(hwmon)
    if (answer := _ask_pmic()) and pmic_power_w(answer) is not None:
        return lambda: pmic_power_w(_ask_pmic() or "")
    return lambda: None


def hwmon_power_w(hwmon: Path) -> float | None:
    """The largest power any sensor tells: on a Jetson that is the whole board's input.

    https://docs.kernel.org/hwmon/sysfs-interface.html: power in microwatts, else millivolts times milliamperes.
    """
    watts = [_number(path) / 1e6 for path in hwmon.glob("hwmon*/power*_input") if _number(path) > 0]
    for current in hwmon.glob("hwmon*/curr*_input"):
        volts = current.with_name(current.name.replace("curr", "in"))
        watts.append(_number(current) * _number(volts) / 1e6)
    return max((value for value in watts if value > 0), default=None)


def pmic_power_w(answer: str) -> float | None:
    """The sum over the rails of `vcgencmd pmic_read_adc`; what hangs on USB is not in it."""
    rails: dict[str, dict[str, float]] = {}
    for rail, unit, value in _PMIC.findall(answer):
        rails.setdefault(rail, {})[unit] = float(value)
    products = [rail["A"] * rail["V"] for rail in rails.values() if rail.keys() == {"A", "V"}]
    return sum(products) if products else None


def _ask_pmic() -> str | None:
    try:
        return subprocess.run(["vcgencmd", "pmic_read_adc"], capture_output=True, text=True, timeout=2).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None


def _number(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0
