"""Three boards on one machine: one broker, Debian's Prometheus with targets from an inventory, the overview page."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from fer_edge.errors import UsageError

from boards.fleet.targets import write_targets
from tests.conftest import ROOT
from tests.runtime.fakes.mjpeg_server import free_port
from tests.runtime.fakes.servers import chromium, mosquitto
from tests.waiting import eventually

MONITORING = ROOT / "boards/fleet/monitoring"
NAMES = ("door", "hall", "küche")


def inventory(folder: Path, text: str) -> Path:
    path = folder / "boards.yml"
    path.write_text(text)
    return path


def needs(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program} (apt install {package})")
    return found


# --- the inventory -------------------------------------------------------------------------------------------------


def test_the_boards_of_an_inventory_become_targets(tmp_path: Path) -> None:
    boards = inventory(
        tmp_path,
        """
all:
  children:
    first: {vars: {fer_edge_wave: 1}, hosts: {door.local: {fer_edge_board: pi5, ansible_host: 10.0.0.7}}}
    second: {hosts: {hall: {fer_edge_board: pi4, fer_edge_metrics_port: 9200, ansible_host: "fd00::7"}}}
  hosts: {broker.local: {}}
""",
    )
    assert write_targets(boards, tmp_path / "targets.json") == 2
    assert json.loads((tmp_path / "targets.json").read_text()) == [
        {"targets": ["10.0.0.7:9100"], "labels": {"board": "door.local", "profile": "pi5", "wave": "1"}},
        {"targets": ["[fd00::7]:9200"], "labels": {"board": "hall", "profile": "pi4"}},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("all: {hosts: {broker: {}}}", "no host with fer_edge_board"), ("all: [", "no inventory that Ansible can read")],
)
def test_an_inventory_without_boards_is_refused_and_the_targets_are_kept(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "targets.json").write_text("[]")
    with pytest.raises(UsageError, match=message):
        write_targets(inventory(tmp_path, text), tmp_path / "targets.json")
    with pytest.raises(UsageError, match="not found"):
        write_targets(tmp_path / "absent.yml", tmp_path / "targets.json")
    assert (tmp_path / "targets.json").read_text() == "[]"


def test_the_alert_rules_do_what_their_tests_say() -> None:
    command = [needs("promtool", "prometheus"), "test", "rules", "alerts_test.yml"]
    finished = subprocess.run(command, cwd=MONITORING, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr


# --- three boards --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fleet:
    """Ports of what runs: /metrics of each board by name, the broker, Prometheus."""

    metrics: dict[str, int]
    broker: int
    prometheus: int

    def ask(self, query: str) -> list[dict]:
        """Result of a query; raises HTTPError where Prometheus does not understand it."""
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]["result"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, clip: Path, mediapipe_file: Path) -> Iterator[Fleet]:
    """Three services with machine ids of their own, scraped each second. Needs root, for the machine ids."""
    needs("prometheus", "prometheus")
    needs("ffmpeg", "ffmpeg")
    if os.geteuid() != 0:
        pytest.skip("needs root: each board has its own /etc/machine-id, in a mount namespace")
    folder = tmp_path_factory.mktemp("fleet")
    film = folder / "long.mp4"
    loop = ["ffmpeg", "-loglevel", "error", "-stream_loop", "40", "-i", str(clip), "-c", "copy", str(film)]
    subprocess.run(loop, check=True)
    ports = {name: free_port() for name in NAMES}
    broker, prometheus = free_port(), free_port()
    with ExitStack() as stack:
        stack.enter_context(mosquitto(broker))
        for number, name in enumerate(NAMES):
            stack.enter_context(running(board(folder, film, number, ports[name], broker)))
        hosts = ", ".join(
            f"{name}: {{fer_edge_board: pi5, ansible_host: 127.0.0.1, fer_edge_metrics_port: {port}}}"
            for name, port in ports.items()
        )
        write_targets(inventory(folder, f"all: {{hosts: {{{hosts}}}}}"), folder / "targets.json")
        for name in ("prometheus.yml", "alerts.yml"):
            text = (MONITORING / name).read_text()
            (folder / name).write_text(text.replace("interval: 15s", "interval: 1s"))
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
        stack.enter_context(running([*command, f"--web.listen-address=127.0.0.1:{prometheus}"]))
        found = Fleet(ports, broker, prometheus)
        wait_for(lambda: len(found.ask("fer_edge_frames_total > 0")) == len(NAMES))
        yield found


def board(folder: Path, film: Path, number: int, metrics: int, broker: int) -> list[str]:
    """A service whose machine id is its own, slow enough that three leave the machine to others."""
    machine_id = folder / f"machine-id-{number}"
    machine_id.write_text(f"{number + 1:032x}\n")
    words = ["--source", str(film), "--detect", "10", "--target-fps", "3", "--quiet"]
    words += ["--metrics", f"127.0.0.1:{metrics}", "--mqtt", f"mqtt://127.0.0.1:{broker}"]
    script = 'mount --bind "$0" /etc/machine-id && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(machine_id), sys.executable, "-m", "fer_edge", *words]


class running:  # noqa: N801 (used as a function)
    """A process for the length of a block."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)


def wait_for(holds) -> None:
    def answers() -> bool:
        try:
            return holds()
        except OSError:
            return False  # it does not listen yet

    eventually(answers, timeout_s=120.0)


@pytest.mark.slow
def test_each_board_is_one_device_on_the_broker(fleet: Fleet) -> None:
    command = [needs("mosquitto_sub", "mosquitto-clients"), "-p", str(fleet.broker), "-t", "fer-edge/+/available"]
    finished = subprocess.run([*command, "-C", "3", "-W", "60", "-v"], capture_output=True, text=True, timeout=90)
    lines = finished.stdout.split("\n")[:3]
    assert len({line.split(" ")[0] for line in lines}) == 3, finished.stdout
    assert all(line.endswith(" online") for line in lines)


@pytest.mark.slow
def test_prometheus_knows_every_board_by_its_name_in_the_inventory(fleet: Fleet) -> None:
    wait_for(lambda: len(fleet.ask('up{job="fer-edge"} == 1')) == 3)
    assert {one["metric"]["board"] for one in fleet.ask("fer_edge_picture_age_seconds < 60")} == set(NAMES)


def exported(fleet: Fleet) -> set[str]:
    """Names of all samples of a board, and of those only a board with a thermometer has."""
    with urllib.request.urlopen(f"http://127.0.0.1:{fleet.metrics['door']}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    names = set(re.findall(r"^(fer_edge_\w+)", text, re.MULTILINE)) | set(re.findall(r"# TYPE (fer_edge_\w+)", text))
    return names | {"fer_edge_board_temperature_celsius", "fer_edge_board_throttled"}


def dashboard_queries() -> list[str]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [query.replace("$board", ".*") for query in found]


def page_queries() -> list[str]:
    return re.findall(r"^  \w+: ['\"](.*?)['\"],$", (MONITORING / "overview.html").read_text(), re.MULTILINE)


def rule_queries() -> list[str]:
    return re.findall(r"^\s+expr: (.*)$", (MONITORING / "alerts.yml").read_text(), re.MULTILINE)


@pytest.mark.slow
def test_every_query_is_of_metrics_the_boards_export_and_prometheus_answers_it(fleet: Fleet) -> None:
    names = exported(fleet)
    queries = dashboard_queries() + page_queries() + rule_queries()
    assert len(queries) == 12 + 6 + 4
    for query in queries:
        assert set(re.findall(r"fer_edge_\w+", query)) <= names, query
        fleet.ask(query)
    # Rates need two scrapes. This machine may have no thermometer, and no result is lost here.
    wait_for(lambda: sum(bool(fleet.ask(query)) for query in dashboard_queries()) >= 8)


@pytest.mark.slow
def test_the_overview_lists_every_board(fleet: Fleet) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is absent; `make setup` brings it")
    # A rate needs two scrapes of its board.
    wait_for(lambda: len(fleet.ask("rate(fer_edge_frames_total[1m])")) == len(NAMES))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"file://{MONITORING}/overview.html?prometheus=http://127.0.0.1:{fleet.prometheus}")
        page.wait_for_selector("tbody tr:nth-child(3)", timeout=60_000)
        rows = page.locator("tbody tr").all_inner_texts()
        browser.close()
    cells = [row.split("\t") for row in rows]
    assert sorted(row[0] for row in cells) == sorted(NAMES)
    assert all(re.fullmatch(r"\d+", row[1]) and re.fullmatch(r"[\d.]+", row[2]) for row in cells), cells
    assert all(row[4].startswith("0.") for row in cells), cells
