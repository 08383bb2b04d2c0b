"""The systemd unit: valid, not root, hardened, watched."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from fer_edge.detectors import DATA

UNIT = DATA / "fer-edge.service"


@pytest.fixture(scope="module")
def service():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNIT)
    return parser["Service"]


def systemd_analyze(*words):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is absent; `apt install systemd` brings it")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60)


def test_it_is_valid(tmp_path):
    """An unknown key is only a warning to systemd, so nothing at all may be said."""
    unit = tmp_path / "fer-edge.service"
    # The command is not installed here; that it is there is the installation's concern.
    unit.write_text(UNIT.read_text().replace("/opt/fer-edge/bin/fer-edge", "/bin/true"))
    done = systemd_analyze("verify", str(unit))
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_hardened_to_a_score_below_4(tmp_path):
    done = systemd_analyze("security", "--offline=true", "--threshold=40", str(UNIT))
    assert done.returncode == 0, done.stdout[-500:]


def test_it_runs_as_a_user_of_its_own_in_the_group_video(service):
    assert service["DynamicUser"] == "yes" and service["User"] not in ("root", "0")
    assert service["SupplementaryGroups"] == "video"


def test_it_comes_back_and_is_watched(service):
    assert (service["Type"], service["Restart"]) == ("notify", "always")
    assert int(service["WatchdogSec"]) >= 60
    assert "-HUP" in service["ExecReload"]


def test_it_starts_with_the_board_however_often_it_failed_and_ends_in_time(service):
    sections = configparser.RawConfigParser(strict=False)
    sections.optionxform = str
    sections.read(UNIT)
    assert sections["Install"]["WantedBy"] == "multi-user.target"
    assert sections["Unit"]["StartLimitIntervalSec"] == "0"
    assert sections["Unit"]["After"] == sections["Unit"]["Wants"] == "network-online.target"
    assert 1 <= int(service["RestartSec"]) <= 30
    assert int(service["TimeoutStopSec"]) <= 10


def test_it_may_open_cameras_and_keeps_its_results_from_others(service):
    unit = UNIT.read_text().splitlines()
    assert service["DevicePolicy"] == "closed"
    assert {"DeviceAllow=char-video4linux rw", "DeviceAllow=char-media rw", "DeviceAllow=char-dma_heap rw"} < set(unit)
    assert (service["StateDirectory"], service["StateDirectoryMode"]) == ("fer-edge", "0750")
    assert service["UMask"] == "0077"


def test_it_keeps_no_picture_in_a_core_dump(service):
    assert service["LimitCORE"] == "0"


def test_a_jetson_can_build_and_keep_its_engine(service):
    """The user has no home, and everything but these folders is read-only."""
    assert service["CacheDirectory"] == "fer-edge"
    unit = UNIT.read_text().splitlines()
    assert "Environment=FER_EDGE_CACHE=/var/cache/fer-edge" in unit
    assert service["TimeoutStartSec"] == "15min"
    assert {"DeviceAllow=/dev/nvmap rw", "DeviceAllow=char-nvhost* rw", "DeviceAllow=char-nvidia* rw"} < set(unit)
    # systemd takes a * in the name of a driver, and not in a path.
    assert not [line for line in unit if line.startswith("DeviceAllow=/dev/") and "*" in line]


def test_every_secret_can_be_a_credential_and_none_has_to_be():
    """A relative path is looked for in /etc/credstore and left out where it is absent; an absolute one has to exist."""
    found = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith("LoadCredential=")]
    names = [f"fer-edge.{name}" for name in ("source-address", "source-password", "web-token", "mqtt-password")]
    # systemd 247 and 248 fail an assertion where the path is missing: https://github.com/systemd/systemd/issues/19178
    assert found == [f"{name}:{name}" for name in names]
    assert all(name in Path("docs/service.md").read_text() for name in names)
