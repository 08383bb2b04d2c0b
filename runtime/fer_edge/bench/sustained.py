"""Sustained load: minute 1 against minute N. A board without a fan is fast until it is hot.

Its own CSV, one row a minute, because the benchmark's has no column for time.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.bench.measure import Progress, now
from fer_edge.board import BoardState, board_info, board_state
from fer_edge.csv_tables import columns_of, write_csv

_HWMON = Path("/sys/class/hwmon")
_PMIC = re.compile(r"(\w+)_([AV]) \w+\(\d+\)=([0-9.]+)[AV]")
_SAMPLE_EVERY_S = 1.0
_MINUTE_S = 60.0


@dataclass(frozen=True)
class SustainedRow:
    """One minute of calls without a pause. Field order is the column order; None is written as nothing."""

    board: str
    cpu: str
    model: str
    model_sha256: str
    threads: int
    work: str
    minute: int
    n: int
    p50_ms: float
    p95_ms: float
    fps: float
    temp_max_c: float | None
    freq_min_mhz: float | None
    throttled: bool | None
    power_mean_w: float | None
    started_at: str


SUSTAINED_COLUMNS = columns_of(SustainedRow)


@dataclass(frozen=True)
class SustainedWork:
    """Work that is repeated, and its name in the rows. `call` does one piece: one frame, or one face."""

    call: Callable[[], object]
    name: str
    model: str
    model_sha256: str
    threads: int


def bench_sustained(
    work: SustainedWork, minutes: int, *, minute_s: float = _MINUTE_S, progress: Progress = iter
) -> list[SustainedRow]:
    """Call without a pause for `minutes` of `minute_s` seconds; one row each."""
    probe = power_probe()
    return [_minute(work, minute, minute_s, probe) for minute in progress(range(1, minutes + 1))]


def _minute(work: SustainedWork, minute: int, length_s: float, probe: Callable[[], float | None]) -> SustainedRow:
    started_at, info = now(), board_info()
    begin = time.perf_counter()
    times_ms: list[float] = []
    states, watts, next_sample = [board_state()], [probe()], begin + _SAMPLE_EVERY_S
    while (before := time.perf_counter()) < begin + length_s or not times_ms:
        work.call()
        times_ms.append((time.perf_counter() - before) * 1e3)
        if before > next_sample:
            states.append(board_state())
            watts.append(probe())
            next_sample = before + _SAMPLE_EVERY_S
    elapsed_s = time.perf_counter() - begin
    drawn = [value for value in watts if value is not None]
    p50, p95 = np.percentile(times_ms, [50, 95])
    return SustainedRow(
        board=info.board,
        cpu=info.cpu,
        model=work.model,
        model_sha256=work.model_sha256,
        threads=work.threads,
        work=work.name,
        minute=minute,
        n=len(times_ms),
        p50_ms=float(p50),
        p95_ms=float(p95),
        fps=len(times_ms) / elapsed_s,
        power_mean_w=sum(drawn) / len(drawn) if drawn else None,
        started_at=started_at,
        **_extremes(states),
    )


def _extremes(states: list[BoardState]) -> dict[str, Any]:
    temperatures = [state.temp_c for state in states if state.temp_c is not None]
    frequencies = [state.freq_mhz for state in states if state.freq_mhz is not None]
    flags = [state.throttled for state in states if state.throttled is not None]
    return {
        "temp_max_c": max(temperatures, default=None),
        "freq_min_mhz": min(frequencies, default=None),
        "throttled": any(flags) if flags else None,
    }


def slowdown(rows: list[SustainedRow]) -> float:
    """Median latency of the last minute over that of the first: 1 where heat changed nothing."""
    return rows[-1].p50_ms / rows[0].p50_ms


def write_sustained(path: Path, rows: Iterable[SustainedRow]) -> None:
    """Write the rows as CSV, atomically; floats carry four decimals."""
    write_csv(path, SustainedRow, rows)


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
