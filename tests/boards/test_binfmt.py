"""QEMU's rule in the kernel: overlapping arm64 builds share it, and the last of them removes it."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from boards.arm64.binfmt import binfmt_misc, shared_rule
from boards.arm64.userland import EmulationError
from tests.conftest import ROOT


@pytest.fixture
def entry() -> Iterator[Path]:
    """File of a rule nobody else has, in the kernel's real folder."""
    if os.geteuid() != 0:
        pytest.skip("needs root: binfmt_misc is mounted")
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(binfmt_misc())
        except EmulationError as error:
            pytest.skip(str(error))
        yield folder / f"fer-edge-test-{uuid.uuid4().hex}"


def rule(entry: Path) -> str:
    """Body of a rule for files named *.NAME; it matches no file there is."""
    return f"E::{entry.name[-8:]}::/bin/true:F"


def test_a_rule_is_there_inside_the_block_alone(entry: Path) -> None:
    with shared_rule(entry, rule(entry)):
        assert "interpreter /bin/true" in entry.read_text()
    assert not entry.exists()


@pytest.mark.parametrize("first_out", ["first in", "last in"])
def test_a_build_that_ends_leaves_the_rule_to_the_one_that_still_runs(entry: Path, first_out: str) -> None:
    first, second = ExitStack(), ExitStack()
    for build in (first, second):
        build.enter_context(shared_rule(entry, rule(entry)))
    (first if first_out == "first in" else second).close()
    assert entry.exists()
    first.close()
    second.close()
    assert not entry.exists()


def test_a_build_that_fails_removes_its_rule(entry: Path) -> None:
    with pytest.raises(RuntimeError, match="mmdebstrap"), shared_rule(entry, rule(entry)):
        raise RuntimeError("mmdebstrap failed")
    assert not entry.exists()


def test_the_rule_of_a_killed_build_goes_with_the_next(entry: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from boards.arm64.binfmt import shared_rule
with shared_rule(Path({str(entry)!r}), {rule(entry)!r}):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == -9
    assert entry.exists()
    with shared_rule(entry, rule(entry)):
        pass
    assert not entry.exists()


def test_a_rule_that_was_removed_and_made_again_by_others_is_left_alone(entry: Path) -> None:
    with ExitStack() as other:
        with shared_rule(entry, rule(entry)):
            entry.write_text("-1")
            other.enter_context(shared_rule(entry, rule(entry)))
        assert entry.exists()
    assert not entry.exists()
