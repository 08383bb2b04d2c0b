"""`fer-edge timeline`: a page made of the lines a run wrote."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.cli import main
from fer_edge.errors import DataError
from fer_edge.sinks.timeline_page import write_page

from tests.runtime.fakes.results import face, taken


def lines(*frames) -> str:
    return "".join(json.dumps(result.to_dict()) + "\n" for _, result in frames)


def data_of(page: Path) -> dict:
    """Return the data that the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found.group(1))


@pytest.fixture
def page_of(tmp_path: Path):
    """Make a page of some text; the data in it."""

    def make(text: str, media: str = "") -> dict:
        (tmp_path / "results.jsonl").write_text(text)
        write_page(tmp_path / "results.jsonl", tmp_path / "page.html", media)
        return data_of(tmp_path / "page.html")

    return make


def test_every_track_has_its_expressions_over_time(page_of):
    frames = [taken(index, face("happy" if index < 5 else "sad", track_id=7)) for index in range(10)]
    run = page_of(lines(*frames), "annotated.mp4")
    (track,) = run["tracks"]
    assert track["id"] == 7 and len(track["steps"]) == 10
    place, name, confidence, frame, numbers = track["steps"][6]
    assert (name, confidence, frame) == ("sad", 0.79, 6)
    assert place * run["step_s"] == pytest.approx(0.6, abs=run["step_s"])
    assert numbers[run["labels"].index("sad")] == 0.79
    assert dict(run["counts"]) == {"happy": 5, "sad": 5}
    assert run["media"] == "annotated.mp4"


def test_times_at_which_nobody_was_seen_are_told(page_of):
    run = page_of(lines(taken(0, face()), taken(1), taken(2, face(), face(track_id=2))))
    assert [faces for _, faces in run["seen"]] == [1, 0, 2]


def test_photographs_are_steps_of_their_own(page_of):
    first, second = taken(0, face()), taken(1, face("sad", track_id=9))
    objects = [{**result.to_dict(), "source": name} for (_, result), name in ((first, "a.jpg"), (second, "b.jpg"))]
    objects[1]["time_s"] = 1.0
    run = page_of("".join(json.dumps(one) + "\n" for one in objects))
    assert run["pictures"] and run["sources"] == ["a.jpg", "b.jpg"]
    (track,) = run["tracks"]
    assert [step[:2] for step in track["steps"]] == [[0, "happy"], [1, "sad"]]


def test_a_long_run_fits_on_a_page_and_loses_no_count(page_of):
    frames = [taken(index, face(track_id=index // 100), time_s=index * 30.0) for index in range(5000)]
    run = page_of(lines(*frames))
    assert len(run["seen"]) <= 1200 and len(run["tracks"]) <= 24
    assert run["left_out"] == 50 - 24
    assert run["counts"] == [["happy", 5000]] and run["frames"] == 5000
    assert run["length_s"] == 4999 * 30.0


def test_values_are_curves(page_of):
    affect = {"box_px": [0, 0, 9, 9], "score": 0.9, "track_id": 1, "expression": "anger", "confidence": 0.5}
    result = {**taken(0)[1].to_dict(), "faces": [{**affect, "values": {"valence": -0.5, "arousal": 0.25}}]}
    run = page_of(json.dumps(result) + "\n")
    assert (run["kind"], run["labels"]) == ("values", ["valence", "arousal"])
    assert run["tracks"][0]["steps"][0][4] == [-0.5, 0.25]


def test_a_name_cannot_become_part_of_the_page(page_of, tmp_path):
    evil = "</script><script>alert(1)</script>"
    result = {**taken(0, face())[1].to_dict(), "source": evil}
    assert page_of(json.dumps(result) + "\n")["sources"] == [evil]
    assert "alert(1)</script>" not in (tmp_path / "page.html").read_text()


def test_the_page_asks_for_nothing_from_elsewhere(page_of, tmp_path):
    page_of(lines(taken(0, face())))
    text = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


def test_half_a_line_at_the_end_is_a_run_that_still_writes(page_of):
    assert page_of(lines(taken(0, face()), taken(1)) + '{"frame_index": 2, "ti')["frames"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json\n",
        "[]\n",
        "{}\n",
        '{"time_s": "soon", "source": "x", "faces": [], "frame_index": 0}\n',
        '{"time_s": NaN, "source": "x", "faces": [], "frame_index": 0}\n',
        '{"time_s": 0, "source": "x", "faces": 7, "frame_index": 0}\n',
        '{"time_s": 0, "source": "x", "faces": [{}], "frame_index": 0}\n',
        "[" * 100_000 + "\n",
    ],
)
def test_what_holds_no_results_is_refused_and_makes_no_page(tmp_path, text, capsys):
    (tmp_path / "x.jsonl").write_text(text)
    assert main(["timeline", str(tmp_path / "x.jsonl")]) == 2
    error = capsys.readouterr().err
    assert "x.jsonl" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "x.html").exists()


_numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.none() | st.text(max_size=3)


@given(
    st.fixed_dictionaries(
        {"time_s": _numbers, "frame_index": _numbers, "source": _numbers},
        optional={
            "unix_time_s": _numbers,
            "faces": _numbers
            | st.lists(
                st.fixed_dictionaries(
                    {"track_id": _numbers, "expression": _numbers, "confidence": _numbers},
                    optional={"probabilities": st.dictionaries(st.text(max_size=3), _numbers, max_size=3) | _numbers},
                ),
                max_size=3,
            ),
        },
    )
)
def test_whatever_a_line_says_is_a_page_or_one_error(tmp_path_factory, line):
    folder = tmp_path_factory.mktemp("line")
    (folder / "x.jsonl").write_text(json.dumps(line) + "\n")
    try:
        write_page(folder / "x.jsonl", folder / "x.html")
    except DataError as error:
        assert "line 1" in str(error)
    else:
        data_of(folder / "x.html")


def test_the_command_names_the_page_it_made(tmp_path, capsys):
    (tmp_path / "run.jsonl").write_text(lines(taken(0, face())))
    assert main(["timeline", str(tmp_path / "run.jsonl")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run.html")


def test_the_results_are_not_overwritten(tmp_path, capsys):
    path = tmp_path / "run.jsonl"
    path.write_text(lines(taken(0)))
    assert main(["timeline", str(path), "--output", str(path)]) == 2
    assert "would overwrite" in capsys.readouterr().err
