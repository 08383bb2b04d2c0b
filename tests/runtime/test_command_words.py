"""`fer-edge SOURCE... --save DIR`: what people type first."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from fer_edge.cli import main

from tests.conftest import sample


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with a face, no face, and a file that is no picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    face = cv2.imread(str(sample("astronaut.png")))
    cv2.imwrite(str(folder / "face.png"), face)
    cv2.imwrite(str(folder / "nobody.png"), face[300:, 300:])
    return folder


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, for what standard output and error hold."""
    command = [sys.executable, "-m", "fer_edge", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_photograph_is_named_in_one_line(photographs, capsys):
    assert main([str(photographs / "face.png")]) == 0
    line, summary = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == ["face.png", "happy"]
    assert summary == "1 picture, 1 face: happy 1"


def test_several_photographs_have_a_summary_by_expression(photographs, capsys):
    assert main([str(photographs / "face.png"), str(photographs / "nobody.png"), str(photographs / "face.png")]) == 0
    *lines, summary, missing = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["face.png", "nobody.png", "face.png"]
    assert summary == "3 pictures, 2 faces: happy 2"
    assert missing == "no face in 1 picture: nobody.png"


def test_flags_may_stand_between_sources(photographs, tmp_path):
    words = [photographs / "face.png", "--jsonl", tmp_path / "x.jsonl", photographs / "nobody.png", "--quiet"]
    assert main([str(word) for word in words]) == 0
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 2


def test_save_writes_all_about_photographs(photographs, tmp_path):
    out = tmp_path / "out"
    assert main([str(photographs), "--save", str(out), "--quiet"]) == 0
    assert sorted(path.name for path in (out / "annotated").iterdir()) == ["face.jpg", "nobody.jpg"]
    results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [len(result["faces"]) for result in results] == [1, 0]
    assert [row["expression"] for row in csv.DictReader((out / "results.csv").open())] == ["happy"]


def test_save_writes_all_about_a_video(tmp_path):
    out = tmp_path / "out"
    assert main([str(sample("WolfgangLanger_Pexels.mp4")), "--save", str(out), "--quiet", "--max-frames", "5"]) == 0
    capture = cv2.VideoCapture(str(out / "annotated.mp4"))
    assert sum(capture.grab() for _ in range(10)) == 5
    assert len((out / "results.jsonl").read_text().splitlines()) == 5


def test_a_second_run_overwrites_nothing(photographs, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        assert main([str(photographs / "face.png"), "--save", str(out), "--quiet"]) == 0
    names = {path.name for path in out.iterdir()}
    assert {"results.jsonl", "results-2.jsonl", "results.csv", "results-2.csv", "annotated", "annotated-2"} <= names


def test_two_pictures_of_one_name_are_both_saved(photographs, tmp_path):
    out, face = tmp_path / "out", str(photographs / "face.png")
    assert main([face, face, "--save", str(out), "--quiet"]) == 0
    assert sorted(path.name for path in (out / "annotated").iterdir()) == ["face-2.jpg", "face.jpg"]


@pytest.mark.parametrize(("privacy", "kept"), [("blur", True), ("numbers", False)])
def test_privacy_holds_for_what_is_saved(photographs, tmp_path, privacy, kept):
    out = tmp_path / "out"
    assert main([str(photographs / "face.png"), "--save", str(out), "--privacy", privacy, "--quiet"]) == 0
    assert (out / "annotated" / "face.jpg").exists() == kept
    if kept:
        assert main([str(out / "annotated" / "face.jpg"), "--jsonl", str(tmp_path / "x.jsonl"), "--quiet"]) == 0
        assert json.loads((tmp_path / "x.jsonl").read_text())["faces"] == []


def test_save_into_a_file_is_refused(photographs, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main([str(photographs / "face.png"), "--save", str(tmp_path / "out")]) == 2
    assert "a file of this name is there, expected a folder" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_results_go_to_standard_output_and_words_for_people_to_standard_error(photographs):
    done = run(photographs, "--jsonl", "-")
    assert done.returncode == 0
    assert [len(json.loads(line)["faces"]) for line in done.stdout.splitlines()] == [1, 0]
    assert "2 pictures, 1 face: happy 1" in done.stderr
    rows = run(photographs, "--csv", "-", "--quiet").stdout
    assert [row["expression"] for row in csv.DictReader(rows.splitlines())] == ["happy"]


def test_a_reader_that_goes_does_not_spoil_the_rest(photographs, tmp_path):
    out = tmp_path / "out"
    command = f"'{sys.executable}' -m fer_edge '{photographs}' --save '{out}' --jsonl - --quiet | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert len((out / "results.jsonl").read_text().splitlines()) == 2


def test_both_tables_cannot_go_to_standard_output(photographs, capsys):
    assert main([str(photographs), "--jsonl", "-", "--csv", "-"]) == 2
    assert "both go to standard output" in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_among_many_is_named_and_the_others_done(photographs, tmp_path):
    (photographs / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    done = run(photographs, "--jsonl", tmp_path / "x.jsonl")
    assert done.returncode == 2
    assert "broken.jpg" in done.stderr and "could not be read: 1" in done.stderr
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("other", "kind"), [("rtsp://127.0.0.1/x", "stream"), ("0", "camera"), ("photos", "folder"), ("clip.mp4", "video")]
)
def test_pictures_and_something_else_are_refused_with_the_reason(photographs, monkeypatch, capsys, other, kind):
    monkeypatch.chdir(photographs.parent)
    assert main([str(photographs / "face.png"), other]) == 2
    assert f"is a {kind}, and several sources at a time must all be pictures" in capsys.readouterr().err


def test_a_slip_of_the_finger_is_met_with_what_was_meant(photographs, monkeypatch, capsys):
    monkeypatch.chdir(photographs)
    assert main(["fase.png"]) == 3
    assert "no such file. Did you mean face.png?" in capsys.readouterr().err


def test_one_source_is_named_once(photographs, capsys):
    with pytest.raises(SystemExit) as ended:
        main([str(photographs), "--camera", "0"])
    assert ended.value.code == 2
    assert "each name a source" in capsys.readouterr().err


def test_no_source_at_all_is_met_with_examples(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "photo.jpg" in capsys.readouterr().err


def test_help_begins_with_examples_and_is_grouped_by_what_people_want(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert text.index("examples:") < text.index("what to read") < text.index("what to write and show")
