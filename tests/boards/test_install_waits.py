"""install.sh's wait for the service, with a stand-in for systemctl: no service manager runs where the tests do."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

# It answers SubState from a list, a line a call and the last one for ever, and ExecMainStatus from a file.
SYSTEMCTL = """#!/bin/sh
case "$*" in
    *ExecMainStatus*) cat "$ANSWERS/status" ;;
    *SubState*)
        head -n 1 "$ANSWERS/states"
        [ "$(wc -l <"$ANSWERS/states")" -le 1 ] || sed -i 1d "$ANSWERS/states" ;;
    *) exit 9 ;;
esac
"""


def wait(folder: Path, states: list[str], status: int) -> subprocess.CompletedProcess[str]:
    """Run wait_for_service of install.sh as it stands; its exit code is 1 where the release is to be rolled back."""
    text = (ROOT / "boards/bundle/install.sh").read_text()
    function = re.search(r"^wait_for_service\(\) \{\n.*?^\}\n", text, re.MULTILINE | re.DOTALL)
    assert function
    for name, body in (("systemctl", SYSTEMCTL), ("sleep", "#!/bin/sh\n")):
        (folder / name).write_text(body)
        (folder / name).chmod(0o755)
    (folder / "states").write_text("".join(f"{state}\n" for state in states))
    (folder / "status").write_text(f"{status}\n")
    script = f'set -eu\nsay() {{ printf "%s\\n" "$*"; }}\n{function[0]}wait_for_service\n'
    settings = {"PATH": f"{folder}:{os.environ['PATH']}", "ANSWERS": str(folder)}
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=settings, timeout=60)


@pytest.mark.parametrize("state", ["auto-restart", "failed", "dead"])
def test_a_source_that_was_lost_keeps_the_release(tmp_path: Path, state: str) -> None:
    finished = wait(tmp_path, [state], 3)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "is the camera there?" in finished.stdout


@pytest.mark.parametrize("status", [1, 2, 4, 139])
def test_any_other_end_gives_the_release_up(tmp_path: Path, status: int) -> None:
    assert wait(tmp_path, ["auto-restart"], status).returncode == 1


def test_a_service_that_comes_up_and_ends_again_gives_the_release_up(tmp_path: Path) -> None:
    assert wait(tmp_path, ["running", "running", "auto-restart"], 1).returncode == 1


def test_a_moment_between_stop_and_start_is_no_end(tmp_path: Path) -> None:
    finished = wait(tmp_path, ["dead", "start", "running"], 1)
    assert (finished.returncode, finished.stdout) == (0, "")


def test_a_service_that_waits_for_its_camera_keeps_the_release(tmp_path: Path) -> None:
    finished = wait(tmp_path, ["start"], 1)
    assert finished.returncode == 0
    assert "is the camera there?" in finished.stdout
