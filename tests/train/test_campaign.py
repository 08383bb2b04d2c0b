"""A campaign runs its jobs in order, forgets none that failed, and goes on where it was stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.errors import UsageError

from boards import lab as command
from tests.conftest import ROOT
from tests.waiting import eventually
from train.fit import campaign


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "_POLL_S", 0.01)


def plan(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return path


HELP = 'command = ["train", "--help"]\n'
FAILS = 'command = ["train", "no-such-recipe"]\n'


def test_jobs_run_once_and_leave_their_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = plan(tmp_path, f'[[job]]\nname = "a"\n{HELP}[[job]]\nname = "b"\n{HELP}needs = ["a"]\n')
    arguments = ["campaign", str(path), "--folder", str(tmp_path / "c"), "--at-once", "2"]
    assert command.main(arguments) == 0
    assert capsys.readouterr().out.split("\n")[:4] == ["a: started", "a: done", "b: started", "b: done"]
    assert "usage:" in (tmp_path / "c" / "logs" / "a.log").read_text()
    assert command.main(arguments) == 0
    assert capsys.readouterr().out == ""


def test_what_waits_for_a_failed_job_is_left_out_and_the_others_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plan(
        tmp_path,
        f'[[job]]\nname = "bad"\n{FAILS}[[job]]\nname = "after"\n{HELP}needs = ["bad"]\n[[job]]\nname = "good"\n{HELP}',
    )
    assert command.main(["campaign", str(path), "--folder", str(tmp_path / "c")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("fer-edge-lab campaign: failed: bad, after.")
    assert "good: done" in captured.out
    assert "no-such-recipe" in (tmp_path / "c" / "logs" / "bad.log").read_text()
    assert not (tmp_path / "c" / "logs" / "after.log").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no \[\[job\]\]"),
        ("jobs = 2\n", "unknown key 'jobs'; did you mean job"),
        (f"[[job]]\n{HELP}", "name is missing"),
        (f'[[job]]\nname = "../x"\n{HELP}', "expected a name fit for a file"),
        ('[[job]]\nname = "a"\ncommand = []\n', "a command of one text or more"),
        ('[[job]]\nname = "a"\ncommand = "fit"\n', "command is 'fit', expected a list"),
        (f'[[job]]\nname = "a"\nwhen = 1\n{HELP}', "unknown key 'when'"),
        (f'[[job]]\nname = "a"\n{HELP}needs = ["b"]\n', "needs 'b', expected a job that stands before it"),
        (f'[[job]]\nname = "a"\n{HELP}[[job]]\nname = "a"\n{HELP}', "two jobs are named 'a'"),
        ("[[job", "not valid TOML"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        campaign.load_plan(plan(tmp_path, text))


def test_a_stopped_campaign_stops_its_jobs_and_goes_on_later(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(  # the job: it says that it has begun, and waits to be stopped
        "import signal, sys\nif '--help' in sys.orig_argv:\n    print('begun', flush=True)\n    signal.pause()\n"
    )
    path, log = plan(tmp_path, f'[[job]]\nname = "a"\n{HELP}'), tmp_path / "c" / "logs" / "a.log"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    start = [sys.executable, "-m", "boards.lab", "campaign", str(path), "--folder", str(tmp_path / "c")]
    with subprocess.Popen(start, env=environment, cwd=ROOT) as process:
        eventually(lambda: log.is_file() and "begun" in log.read_text(), "it does not begin", process=process)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert not (tmp_path / "c" / "done" / "a").exists()
    assert command.main(["campaign", str(path), "--folder", str(tmp_path / "c")]) == 0


def test_a_second_campaign_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    jobs = campaign.load_plan(plan(tmp_path, f'[[job]]\nname = "a"\n{HELP}'))
    (tmp_path / "c").mkdir()
    with campaign._only_campaign(tmp_path / "c"), pytest.raises(UsageError, match="a campaign already runs in"):
        campaign.run(jobs, tmp_path / "c", at_once=1)
