"""boards/instructions.csv: instructions and int8 dot products an inference takes on an Arm core, one thread.

Counted under emulation, so they are exact for the instruction stream and say nothing of time: no cache, no memory, no
clock. One row a model file, engine and core; a row is found by the SHA-256 of the file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fer_edge.csv_tables import columns_of, read_csv, write_csv
from fer_edge.errors import DataError

INSTRUCTIONS = Path("boards/instructions.csv")


@dataclass(frozen=True)
class InstructionRow:
    """Field order is the column order. `instructions` and `dot_products` are for one face through the engine."""

    model: str
    model_sha256: str
    engine: str
    engine_version: str
    cpu: str
    suite: str
    instructions: int
    dot_products: int

    @property
    def key(self) -> tuple[str, str, str]:
        """Key by which a newer row replaces an older one."""
        return self.model_sha256, self.engine, self.cpu


COLUMNS = columns_of(InstructionRow)


def read_instructions(path: Path = INSTRUCTIONS) -> list[InstructionRow]:
    """The rows of the CSV. Raises DataError naming what is wrong in it."""
    if not path.is_file():
        raise DataError(f"{path} not found. Make it with `make count-instructions`.")
    return read_csv(path, InstructionRow)


def write_instructions(rows: Iterable[InstructionRow], path: Path = INSTRUCTIONS) -> None:
    """Write the rows, atomically, in the order of model, engine and core."""
    write_csv(path, InstructionRow, sorted(rows, key=lambda row: (row.model, row.engine, row.cpu, row.model_sha256)))


def merged(old: Iterable[InstructionRow], new: Iterable[InstructionRow]) -> list[InstructionRow]:
    """`old` with every row of `new` in the place of its predecessor."""
    return list({row.key: row for row in (*old, *new)}.values())


def look_name(detector: str, side_px: int | None) -> str:
    """Name of the row that counts one detection in a picture of 640x480, on the detector's own or another canvas."""
    return f"look, {detector}" if side_px is None else f"look, {detector}, {side_px} px"


LOOP_STAGES = ("detect", "track", "crop", "classify", "smooth", "sink", "total")


def loop_table(rows: Iterable[InstructionRow]) -> str:
    """Markdown: million instructions of a frame's way through the whole loop, by case, core and stage."""
    counts: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        case, _, stage = row.model.partition(": ")
        if case.startswith("loop, ") and stage in LOOP_STAGES:
            counts.setdefault((case.removeprefix("loop, "), row.cpu), {})[stage] = row.instructions / 1e6
    lines = [f"| loop | core | {' | '.join(LOOP_STAGES)} |", "|---" * (2 + len(LOOP_STAGES)) + "|"]
    for (case, cpu), stages in sorted(counts.items()):
        cells = " | ".join(f"{stages[stage]:.1f}" for stage in LOOP_STAGES)
        lines.append(f"| {case} | {cpu} | {cells} |")
    return "\n".join(lines)
