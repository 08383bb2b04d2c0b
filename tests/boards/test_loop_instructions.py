"""Instructions of the whole loop: from the marks of an emulated run to the rows of boards/instructions.csv."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fer_edge.errors import DataError

from boards.arm64.cores import CORES
from boards.arm64.emulator import Mark
from boards.arm64.loop import CASES, LoopCase, _by_frame, _rows, clip_frames, count_loop, four_times
from boards.arm64.smoke import SmokeError, require_counts
from boards.arm64.userland import CACHE, make_userland
from boards.instructions import INSTRUCTIONS, LOOP_STAGES, look_name, loop_table, read_instructions
from tests.conftest import ROOT

FOLLOWED = LoopCase(1, 10, "auto", 11)
A76 = SimpleNamespace(core=CORES["cortex-a76"])


def frame(start: int, *stages: int) -> list[Mark]:
    """The marks of a frame whose stages took so many instructions."""
    ends = np.cumsum([start, *stages])
    return [Mark(number, int(end), int(end) // 10) for number, end in enumerate(ends)]


def test_a_frame_begins_with_mark_zero() -> None:
    marks = [*frame(100, 5, 1, 1, 3, 1, 1), *frame(500, 5, 1, 1, 3, 1, 1)]
    assert [len(one) for one in _by_frame(marks)] == [7, 7]


def test_rows_are_means_over_frames_and_the_total_is_their_sum() -> None:
    rows = _rows(A76, FOLLOWED, [frame(0, 10, 1, 2, 6, 1, 0), frame(900, 30, 1, 2, 6, 1, 0)], "digest")
    counts = {row.model.partition(": ")[2]: row.instructions for row in rows}
    assert counts == {"detect": 20, "track": 1, "crop": 2, "classify": 6, "smooth": 1, "sink": 0, "total": 30}
    assert tuple(counts) == LOOP_STAGES
    assert {row.cpu for row in rows} == {"cortex-a76"}
    assert len({row.key for row in rows}) == len(rows)


def test_a_loop_with_other_files_has_other_rows() -> None:
    marks = [frame(0, 10, 1, 2, 6, 1, 0)]
    first, second = (_rows(A76, FOLLOWED, marks, digest)[0] for digest in ("one", "two"))
    assert first.model == second.model == "loop, 1 face, auto, each 10th, followed: detect"
    assert first.key != second.key


def test_a_loop_that_takes_more_than_recorded_is_refused() -> None:
    rows = _rows(A76, FOLLOWED, [frame(0, 1000, 100, 200, 600, 100, 100)], "digest")
    require_counts("cortex-a76", rows, rows)
    more = _rows(A76, FOLLOWED, [frame(0, 1100, 100, 200, 600, 100, 100)], "digest")
    with pytest.raises(SmokeError, match=r"followed: total: 2200 instructions, 1\.048 of the recorded 2100"):
        require_counts("cortex-a76", more, rows)


def test_four_faces_are_the_picture_four_times() -> None:
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    four = four_times(image)
    assert four.shape == image.shape
    assert np.array_equal(four[:240, :320], four[240:, 320:])


def test_frames_of_the_clip_show_its_right_part(clip: Path, tmp_path: Path) -> None:
    assert clip_frames(clip, 3).shape == (3, 480, 640, 3)
    with pytest.raises(DataError, match="0 frames, expected 3"):
        clip_frames(tmp_path / "absent.mp4", 3)


def test_every_case_and_look_was_counted_on_both_cores_and_keeps_its_limit() -> None:
    rows = {(row.model, row.cpu): row.instructions / 1e6 for row in read_instructions(ROOT / INSTRUCTIONS)}
    for cpu, limit in (("cortex-a72", 32), ("cortex-a76", 16)):
        assert rows[f"{FOLLOWED.name}: total", cpu] <= limit
        for case in CASES:
            stages = [rows[f"{case.name}: {stage}", cpu] for stage in LOOP_STAGES]
            assert sum(stages[:-1]) == pytest.approx(stages[-1], abs=0.01)
        assert rows[look_name("yunet", 320), cpu] < 1.3 * rows[look_name("mediapipe", None), cpu]


def test_the_table_has_a_line_for_every_case_and_core() -> None:
    lines = loop_table(read_instructions(ROOT / INSTRUCTIONS)).splitlines()
    assert len(lines) == 2 + 2 * len(CASES)
    assert any(line.startswith("| 1 face, auto, each 10th, followed | cortex-a76 |") for line in lines)


@pytest.mark.timeout(1200)
def test_the_loop_takes_what_is_recorded(clip: Path, default_model: Path, made_yunet_file: Path) -> None:
    if not (ROOT / CACHE / "trixie" / "site" / ".lock-sha256").is_file():
        pytest.skip("no arm64 userland; `make arm64-smoke` makes it")
    case = LoopCase(1, 10, "far", 2)
    rows = count_loop(make_userland(CORES["cortex-a76"], ROOT / CACHE), clip, default_model, made_yunet_file, [case])
    require_counts("cortex-a76", rows[-1:], read_instructions(ROOT / INSTRUCTIONS))
