"""Run mutated inputs in child processes, so that a crash, a hang or a memory bomb is found and survived.

The child names each input before it takes it. Where it dies, falls silent or takes too much memory, that input is kept
as a file, and another child goes on behind it. An input is made from target, seed and number alone, so each can be made
again: `python -m tests.fuzz TARGET --seed 0 --first 1234 --n 1`.
"""

import faulthandler
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz.targets import SABOTAGE, TARGETS, Run, Target

HANG_S = 10.0
PEAK_MB = 512
# Beyond this the child cannot allocate at all, so that no mistake takes the machine down.
_ADDRESS_SPACE_MB = 2048
_START_S = 120.0
# Native libraries leak a little of every model that they refuse.
_INPUTS_A_CHILD = 3000
_KEPT_OF_A_KIND = 3


@dataclass(frozen=True)
class Fault:
    """One input that was not taken or refused as it should be. `kind` groups faults of one cause."""

    target: str
    index: int
    kind: str
    detail: str
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.target} {self.index}: {self.kind}\n{self.detail}\n  input: {self.path}"


def target_named(name: str) -> Target:
    """A target; "sabotage" is the one that tests this harness."""
    return {**TARGETS, SABOTAGE.name: SABOTAGE}[name]


def input_of(target: Target, seed: int, index: int) -> bytes:
    """Input `index` of a run."""
    return target.make(Random(f"{seed} {target.name} {index}"))


def fuzz(name: str, count: int, *, seed: int = 0, first: int = 0, folder: Path) -> list[Fault]:
    """Run inputs `first` to `first + count` of one target; the faults, whose inputs are kept in `folder`."""
    target, faults, kinds = target_named(name), [], Counter[str]()
    for fault in _faults(target, seed, first, first + count):
        kinds[fault.kind] += 1
        if kinds[fault.kind] <= _KEPT_OF_A_KIND:
            faults.append(_kept(fault, target, seed, folder))
    return faults


def _kept(fault: Fault, target: Target, seed: int, folder: Path) -> Fault:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target.name}-{seed}-{fault.index}{target.suffix}"
    path.write_bytes(input_of(target, seed, fault.index))
    return Fault(fault.target, fault.index, fault.kind, fault.detail, path)


def _faults(target: Target, seed: int, first: int, end: int) -> Iterator[Fault]:
    """Faults of all inputs, from as many children as it takes."""
    while first < end:
        last = min(first + _INPUTS_A_CHILD, end)
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as folder:
            child = _Child(target.name, seed, first, last, folder, errors.fileno())
            yield from child.faults()
            first = child.next


class _Child:
    """One child process and how far it came."""

    def __init__(self, name: str, seed: int, first: int, end: int, folder: str, errors: int) -> None:
        self._name, self._end, self._errors = name, end, errors
        self.next = first
        words = [sys.executable, "-m", "tests.fuzz.child", name, str(seed), str(first), str(end), folder]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        self._rest = b""

    def faults(self) -> Iterator[Fault]:
        """Collect what the child prints, and what it dies of."""
        begun, index = False, self.next
        try:
            while (lines := self._lines(HANG_S if begun else _START_S)) is not None:
                for line in lines:
                    word, _, rest = line.partition(" ")
                    if word == "take":
                        begun, index = True, int(rest)
                        self.next = index + 1
                    elif word == "fault":
                        yield Fault(self._name, index, *json.loads(rest))
                    elif word == "done":
                        self.next = int(rest)
                        return
            yield Fault(self._name, index, *self._end_of(begun))
        finally:
            self._process.kill()
            self._process.wait()

    def _lines(self, timeout_s: float) -> list[str] | None:
        """Return the lines since; None where it is silent for too long, or dead."""
        if not select.select([self._pipe], [], [], timeout_s)[0]:
            self._process.send_signal(signal.SIGABRT)  # faulthandler writes where it hangs
            self._process.wait()
            return None
        data = os.read(self._pipe, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in lines] if data else None

    def _end_of(self, begun: bool) -> tuple[str, str]:
        self._process.wait()
        os.lseek(self._errors, 0, os.SEEK_SET)
        said = os.read(self._errors, 1 << 20).decode(errors="replace")
        if not begun:
            raise RuntimeError(f"the child of {self._name} did not start:\n{said}")
        code = self._process.returncode
        kind = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        where = [line for line in said.splitlines() if line.lstrip().startswith("File ")]
        return f"{kind} {where[0].strip() if where else ''}", said[-3000:]


def run_child(name: str, seed: int, first: int, end: int, folder: Path) -> None:
    """Take inputs and tell of each on standard output; the body of a child process."""
    tell = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever is printed is no message of ours
    faulthandler.enable()
    target = target_named(name)
    path = folder / f"input{target.suffix}"
    with target.ready(folder) as run:
        # Loading what runs needs may take any memory; what an input takes on top of it is what counts.
        path.write_bytes(target.make(Random("warm")))
        _reason(run, path)
        limit_mb = max(PEAK_MB, _peak_mb() + PEAK_MB // 2)
        space = (_virtual_mb() + _ADDRESS_SPACE_MB) << 20
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        for index in range(first, end):
            print("take", index, file=tell)
            path.write_bytes(input_of(target, seed, index))
            if (found := _reason(run, path)) is not None:
                print("fault", json.dumps(found), file=tell)
            if _peak_mb() > limit_mb:
                print("fault", json.dumps(("too much memory", f"{_peak_mb()} MB, limit {limit_mb} MB")), file=tell)
                print("done", index + 1, file=tell)
                os._exit(0)
    print("done", end, file=tell)
    os._exit(0)


def _reason(run: Run, path: Path) -> tuple[str, str] | None:
    """Return what is wrong with how an input was taken: anything but success and a FerEdgeError."""
    from fer_edge.errors import FerEdgeError

    try:
        run(path)
    except FerEdgeError:
        return None
    except BaseException as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/" not in frame.filename]
        where = next(
            (f for f in reversed(frames) if "site-packages" not in f.filename and "/lib/" not in f.filename), None
        )
        place = f"{Path(where.filename).name}:{where.lineno}" if where else "?"
        return f"{type(error).__name__} at {place}", traceback.format_exc()[-3000:]
    return None


def _peak_mb() -> int:
    # Not ru_maxrss: a process inherits that of its parent.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def _virtual_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() >> 20
