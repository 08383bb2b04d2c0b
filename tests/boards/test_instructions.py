"""Instructions an inference: the CSV others read, and the counting itself where an arm64 userland has been made."""

import dataclasses
from pathlib import Path

import pytest

from fer_edge.errors import DataError, UsageError
from fer_edge.files import sha256_of

from boards.arm64.cores import CORES, COUNTED, core_named
from boards.arm64.counting import count_instructions
from boards.arm64.emulator import GuestError, run_guest
from boards.arm64.userland import CACHE, EmulationError, Userland, make_userland, require_tools
from boards.instructions import COLUMNS, INSTRUCTIONS, InstructionRow, merged, read_instructions, write_instructions
from tests.conftest import ROOT

ROW = InstructionRow("a.int8.tflite", "f" * 64, "ai-edge-litert", "2.3.0", "cortex-a76", "trixie", 1_501_880, 716_220)


@pytest.fixture(scope="session")
def a76() -> Userland:
    if not (ROOT / CACHE / "trixie" / "site" / ".lock-sha256").is_file():
        pytest.skip("no arm64 userland; `make arm64-smoke` makes it")
    return make_userland(CORES["cortex-a76"], ROOT / CACHE)


def test_columns_are_those_the_gate_reads() -> None:
    assert ",".join(COLUMNS) == "model,model_sha256,engine,engine_version,cpu,suite,instructions,dot_products"


def test_rows_are_read_back_in_the_order_of_model_engine_and_core(tmp_path: Path) -> None:
    later = dataclasses.replace(ROW, model="b.int8.tflite", model_sha256="e" * 64)
    write_instructions([later, ROW], tmp_path / "instructions.csv")
    assert read_instructions(tmp_path / "instructions.csv") == [ROW, later]


def test_a_new_count_takes_the_place_of_the_old_one_of_the_same_file_engine_and_core() -> None:
    newer, other = dataclasses.replace(ROW, instructions=5), dataclasses.replace(ROW, cpu="cortex-a72")
    assert merged([ROW, other], [newer]) == [newer, other]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,instructions\na,5\n", "missing model_sha256, engine"),
        (
            ",".join(COLUMNS) + "\na,f,e,1,cortex-a72,bookworm,many,0\n",
            "row 2: instructions is 'many', expected a whole number",
        ),
        (",".join(COLUMNS) + "\na,f,e,1,cortex-a72,bookworm,5\n", "row 2: 7 cells, expected 8"),
    ],
)
def test_a_csv_edited_by_hand_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "instructions.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_instructions(tmp_path / "instructions.csv")


def test_the_default_model_was_counted_on_both_cores() -> None:
    model = sha256_of(ROOT / "runtime/fer_edge/data/fer-base.int8.tflite")
    cpus = {row.cpu: row for row in read_instructions(ROOT / INSTRUCTIONS) if row.model_sha256 == model}
    assert set(COUNTED) <= cpus.keys()
    assert cpus["cortex-a72"].dot_products == 0
    assert cpus["cortex-a76"].instructions < cpus["cortex-a72"].instructions


def test_an_unknown_core_is_named() -> None:
    with pytest.raises(UsageError, match=r"core 'cortex-m4' is not emulated here; there are: cortex-a53, cortex-a72"):
        core_named("cortex-m4")


def test_a_missing_program_says_what_to_install() -> None:
    with pytest.raises(EmulationError, match=r"no-such-program not found\. Install: apt install qemu-user"):
        require_tools("no-such-program")


def test_a_count_repeats_and_uses_dot_products_on_the_core_that_has_them(a76: Userland, default_model: Path) -> None:
    (row,) = count_instructions(a76, [default_model])
    (recorded,) = (r for r in read_instructions(ROOT / INSTRUCTIONS) if r.key == row.key)
    assert row.instructions == pytest.approx(recorded.instructions, rel=0.02)
    assert row.dot_products == recorded.dot_products > 0


def test_a_program_that_fails_on_the_core_is_one_error(a76: Userland, tmp_path: Path) -> None:
    (tmp_path / "cut.tflite").write_bytes(b"TFL3")
    with pytest.raises(GuestError, match=r"count\.py on cortex-a76: exit 1: .*ModelError"):
        run_guest(a76, "count.py", [str(tmp_path / "cut.tflite")])
