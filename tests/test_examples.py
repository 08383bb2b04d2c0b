"""Every example runs: each is one idea that a stranger copies."""

import csv
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import pytest
import yaml

from fer_edge.cli import main

from tests.conftest import ROOT, sample

EXAMPLES = ROOT / "examples"


def run(name: str, *words: object, **environ: str) -> str:
    """Run the example and return what it prints."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environ})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of the sample clip in which the face begins to smile."""
    reader = cv2.VideoCapture(str(sample("WolfgangLanger_Pexels.mp4")))
    reader.set(cv2.CAP_PROP_POS_FRAMES, 224)
    path = tmp_path_factory.mktemp("clip") / "short.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 24, (640, 360))
    for _ in range(12):
        writer.write(cv2.resize(reader.read()[1], (640, 360)))
    writer.release()
    return path


def test_every_example_has_a_test() -> None:
    here = Path(__file__).read_text()
    assert all(path.name in here for path in EXAMPLES.iterdir() if path.suffix in (".py", ".yaml"))


def test_webcam(short: Path) -> None:
    lines = run("webcam.py", short).splitlines()
    assert lines and all(re.fullmatch(r" +[0-9.]+ s  face 0: \w+ [0-9]+%", line) for line in lines)


def test_annotated_photo(tmp_path: Path) -> None:
    out = tmp_path / "annotated.png"
    assert "happy" in run("annotated_photo.py", sample("astronaut.png"), out)
    assert cv2.imread(str(out)).shape == (512, 512, 3)


def test_table(short: Path, tmp_path: Path) -> None:
    words = ["--jsonl", str(tmp_path / "x.jsonl"), "--csv", str(tmp_path / "x.csv"), "--quiet", "--as-fast-as-possible"]
    assert main([str(short), *words]) == 0
    shown = run("table.py", tmp_path / "x.jsonl")
    expressions = {row["expression"] for row in csv.DictReader((tmp_path / "x.csv").open())}
    assert expressions <= set(shown.split())
    faces = sum(len(json.loads(line)["faces"]) for line in (tmp_path / "x.jsonl").read_text().splitlines())
    counted = [line.split()[1:] for line in shown.splitlines() if re.match(r"[0-9]", line)]
    assert sum(int(cell) for row in counted for cell in row) == faces


def test_supervision_detections(short: Path) -> None:
    lines = run("supervision_detections.py", short).splitlines()
    assert len(lines) == 12 and any("happy" in line or "surprise" in line for line in lines)


def test_led_on_smile() -> None:
    said = run("led_on_smile.py", sample("WolfgangLanger_Pexels.mp4"), 17, GPIOZERO_PIN_FACTORY="mock").split()
    assert said[0] == "on"
    assert all(first != second for first, second in pairwise(said))


def test_notebook() -> None:
    html = run("notebook.py", sample("astronaut.png"))
    assert "data:image/png;base64," in html and "<b>happy</b>" in html


def test_home_assistant() -> None:
    """home_assistant.yaml: the label it waits for is one the model says."""
    from fer_edge import load_contract
    from fer_edge.models import DEFAULT_MODEL

    (automation,) = yaml.safe_load((EXAMPLES / "home_assistant.yaml").read_text())["automation"]
    (trigger,) = automation["triggers"]
    assert trigger["to"] in load_contract(DEFAULT_MODEL).labels
    assert trigger["entity_id"].startswith("sensor.")
