"""Count what an inference costs on an emulated core."""

import json
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from fer_edge.errors import UsageError
from fer_edge.files import sha256_of

from boards.arm64.cores import core_named
from boards.arm64.emulator import GuestError, Mark, run_guest
from boards.arm64.userland import EmulationError, Userland, make_userland
from boards.instructions import InstructionRow

_MAX_SPREAD = 0.01


def count_instructions(userland: Userland, models: Sequence[Path]) -> list[InstructionRow]:
    """A row for each .tflite or .onnx file: the median of five inferences after a warm-up of three.

    Raises UsageError for a file that is not there, GuestError when a model fails or its counts do not repeat.
    """
    missing = [str(path) for path in models if not path.is_file()]
    if missing:
        raise UsageError(f"{', '.join(missing)} not found. Make models with `make export quantize`.")
    printed, marks = run_guest(userland, "count.py", [str(path.absolute()) for path in models])
    return counted_rows(userland, models, printed.splitlines(), marks)


def count_or_skip(models: Sequence[Path], cpu: str) -> dict[Path, int]:
    """Instructions of each model on `cpu`, as `quantize` asks (`quantize.counter.InstructionCounter`).

    Prints why, and counts nothing, where this machine cannot emulate; a model that fails there is left out.
    """
    try:
        userland = make_userland(core_named(cpu))
    except EmulationError as error:
        print(f"instructions not counted: {error}")
        return {}
    try:
        rows = count_instructions(userland, models)
        return {path: row.instructions for path, row in zip(models, rows, strict=True)}
    except GuestError as error:
        if len(models) == 1:
            print(f"instructions not counted: {error}")
            return {}
    # One of them fails, and ends the run of all.
    return {path: count for model in models for path, count in count_or_skip([model], cpu).items()}


def counted_rows(
    userland: Userland, models: Sequence[Path], lines: Sequence[str], marks: Sequence[Mark]
) -> list[InstructionRow]:
    """The rows of a run of guest/count.py, from the line it printed and the marks it passed for each model."""
    facts = [json.loads(line) for line in lines]
    return [_row(userland, *items) for items in zip(models, facts, _by_model(marks), strict=True)]


def _by_model(marks: Sequence[Mark]) -> list[list[Mark]]:
    """Marks count from 0 again at every model."""
    runs: list[list[Mark]] = []
    for mark in marks:
        if mark.number == 0:
            runs.append([])
        runs[-1].append(mark)
    return runs


def _row(userland: Userland, path: Path, facts: dict[str, str], marks: Sequence[Mark]) -> InstructionRow:
    counts = [after.instructions - before.instructions for before, after in pairwise(marks)]
    dots = [after.dot_products - before.dot_products for before, after in pairwise(marks)]
    median = int(statistics.median(counts))
    # An interpreter tidies up now and then, and a busy host lets threads wait in loops: most must agree, not all.
    if sum(abs(count - median) <= _MAX_SPREAD * median for count in counts) * 2 <= len(counts):
        raise GuestError(f"{path.name}: inferences took {counts} instructions, expected most within 1 % of each other.")
    return InstructionRow(
        model=path.name,
        model_sha256=sha256_of(path),
        engine=facts["engine"],
        engine_version=facts["version"],
        cpu=userland.core.name,
        suite=userland.core.suite,
        instructions=median,
        dot_products=int(statistics.median(dots)),
    )
