"""Every output with any labels: from 3 to 30, of any script, and such that look alike once they are shortened."""

import csv
import dataclasses
import io
import itertools
import json
import math
import re
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.board import BoardState
from fer_edge.cli import main
from fer_edge.colours import colour_of, css_colour, terminal_colour
from fer_edge.drawing import draw, drawable
from fer_edge.frames import Box, Face, Frame, FrameResult
from fer_edge.pictures import Pictures
from fer_edge.program.vitals import Vitals
from fer_edge.sinks import CsvSink, JsonlSink, TerminalSink
from fer_edge.sinks.live_view import LiveView
from fer_edge.sinks.mqtt import discovery
from fer_edge.sinks.mqtt_topics import Topics
from fer_edge.sinks.terminal import Timeline
from fer_edge.sinks.timeline_page import write_page
from fer_edge.sinks.track_events import TrackEvents
from fer_edge.streams import cut_to_width, width_of
from fer_edge.tasks import TASKS

from tests.runtime.fakes.contracts import READABLE
from tests.runtime.fakes.foreign import UNIT, Foreign, write_foreign
from tests.runtime.fakes.mjpeg_server import free_port
from tests.runtime.fakes.servers import chromium, mosquitto
from tests.runtime.fakes.subscriber import Subscriber
from tests.waiting import eventually

SETS: dict[str, tuple[str, ...]] = {
    "3": ("negativ", "neutral", "positiv"),
    # Numbers, which JavaScript puts in an order of its own, and words that its objects know.
    "6": ("10", "2", "1", "constructor", "__proto__", "none"),
    # One name once it is made a slug, or is without its accents.
    "8": ("Überraschung", "uberraschung", "a b", "a-b", "a_b", "喜び", "怒り", "🙂"),
    # The first letters of the known ones, and words of one meaning.
    "12": (
        *("contempt", "contentment", "disgust", "disappointment", "sad", "sadness", "Sad", "surprise", "surety"),
        *("happy, really", 'the "new" one', "<b>anger</b>"),
    ),
    "30": tuple(f"{'very ' * 9}long expression {number}" for number in range(30)),
}
VITALS = Vitals(10.0, None, 0, BoardState(None, None, None, None))
of_every_set = pytest.mark.parametrize("labels", SETS.values(), ids=SETS)


def face_of(labels: tuple[str, ...], best: int, track_id: int = 0, box: Box | None = None) -> Face:
    rest = 0.4 / (len(labels) - 1)
    numbers = tuple(0.6 if place == best else rest for place in range(len(labels)))
    where = box or Box(20.0 + 60 * (track_id % 10), 60.0, 40.0, 40.0)
    return Face(where, 0.9, track_id, labels[best], 0.6, numbers, labels, "classes")


def frame_of(index: int, *faces: Face, width: int = 640, height: int = 480) -> tuple[Frame, FrameResult]:
    frame = Frame(np.full((height, width, 3), 90, np.uint8), index, index / 10, "clip.mp4")
    labels, task = (faces[0].labels, faces[0].task) if faces else ((), "classes")
    result = FrameResult(index, index / 10, "clip.mp4", width, height, labels, faces, {"total": 6.5}, task=task)
    return frame, result


def run_of(labels: tuple[str, ...]) -> list[tuple[Frame, FrameResult]]:
    """A frame for each label, with one face that has it."""
    return [frame_of(place, face_of(labels, place)) for place in range(len(labels))]


# --- Colours ----------------------------------------------------------------------------------------------------------


@of_every_set
def test_every_label_of_a_model_has_a_colour_of_its_own(labels: tuple[str, ...]) -> None:
    colours = [colour_of(label, labels) for label in labels]
    assert len(set(colours)) == len(labels)
    nearest = min(math.dist(one, other) for one, other in itertools.combinations(colours, 2))
    assert nearest > 20, "people tell them apart"
    assert all(re.fullmatch("#[0-9a-f]{6}", css_colour(label, labels)) for label in labels)


def test_words_that_are_known_keep_their_colour_whatever_stands_beside_them() -> None:
    known = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    assert [colour_of(one, known) for one in known] == [colour_of(one, (*known, "boredom", "pain")) for one in known]
    assert colour_of("Sad", SETS["12"]) != colour_of("sad", SETS["12"]) == colour_of("sad")


def test_a_thousand_labels_have_colours() -> None:
    labels = tuple(f"label {number}" for number in range(1000))
    assert len({colour_of(label, labels) for label in labels}) > 60


def test_a_terminal_has_a_colour_for_each_of_twelve() -> None:
    labels = tuple(f"state {number}" for number in range(12))
    assert len({terminal_colour(label, labels) for label in labels}) == 12


ANY_LABELS = st.lists(READABLE, min_size=2, max_size=60, unique_by=lambda label: unicodedata.normalize("NFC", label))


@settings(max_examples=60)
@given(ANY_LABELS)
def test_any_readable_labels_have_distinct_colours_and_are_drawn_and_said(labels: list[str]) -> None:
    names = tuple(labels)
    assert len({colour_of(name, names) for name in names}) == len(names)
    frame, result = frame_of(0, face_of(names, 0), face_of(names, len(names) - 1, 1), width=160, height=120)
    assert draw(frame.image_bgr, result).shape == (120, 160, 3)
    assert all(drawable(name, names, ascii_alone=True).isascii() for name in names)
    timeline = Timeline()
    timeline.add(0.0, [(name,) for name in names])
    assert len({width_of(line) for line in timeline.table(names)}) == 1


@given(READABLE, st.integers(0, 80))
def test_a_cut_text_is_the_longest_beginning_that_fits(text: str, columns: int) -> None:
    cut = cut_to_width(text, columns)
    assert text.startswith(cut) and width_of(cut) <= columns
    assert cut == text or width_of(text[: len(cut) + 1]) > columns


# --- Files ------------------------------------------------------------------------------------------------------------


@of_every_set
def test_json_lines_keep_every_name_and_its_number(labels: tuple[str, ...], tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "o.jsonl") as sink:
        for frame, result in run_of(labels):
            sink.write(frame, result)
    for place, line in enumerate((tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()):
        (face,) = json.loads(line)["faces"]
        assert face["expression"] == labels[place] and tuple(face["probabilities"]) == labels
        assert face["probabilities"][labels[place]] == 0.6


@of_every_set
def test_csv_has_a_column_for_each(labels: tuple[str, ...], tmp_path: Path) -> None:
    with CsvSink(tmp_path / "o.csv", labels) as sink:
        for frame, result in run_of(labels):
            sink.write(frame, result)
    with open(tmp_path / "o.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["expression"] for row in rows] == list(labels)
    assert [row[f"p_{label}"] for row, label in zip(rows, labels, strict=True)] == ["0.6"] * len(labels)


@of_every_set
def test_the_timeline_page_counts_and_colours_each(labels: tuple[str, ...], tmp_path: Path) -> None:
    lines = tmp_path / "o.jsonl"
    lines.write_text("".join(json.dumps(result.to_dict()) + "\n" for _, result in run_of(labels)), encoding="utf-8")
    write_page(lines, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    run = json.loads(found.group(1))
    assert run["labels"] == list(labels) and sorted(run["counts"]) == sorted([label, 1] for label in labels)
    assert run["colours"] == {label: css_colour(label, labels) for label in labels}


def test_the_timeline_page_has_the_places_of_a_scale_in_the_colours_of_the_pictures(tmp_path: Path) -> None:
    names = TASKS["smile-intensity"].names(("smile",))
    faces = [
        dataclasses.replace(face_of(("smile", "b"), 0), expression=name, labels=("smile",), probabilities=(value,))
        for name, value in (("smile", 0.9), ("smile", 0.8), ("no smile", 0.1))
    ]
    results = [frame_of(index, dataclasses.replace(one, task="smile-intensity"))[1] for index, one in enumerate(faces)]
    (tmp_path / "o.jsonl").write_text("".join(json.dumps(result.to_dict()) + "\n" for result in results))
    write_page(tmp_path / "o.jsonl", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for name in names:
        assert f'"{name}": "{css_colour(name, names)}"' in page


# --- Pictures ---------------------------------------------------------------------------------------------------------


@of_every_set
def test_every_box_has_the_colour_of_its_label(labels: tuple[str, ...]) -> None:
    for place, label in enumerate(labels):
        frame, result = frame_of(0, face_of(labels, place, box=Box(300, 200, 80, 80)))
        assert tuple(draw(frame.image_bgr, result)[270, 300]) == colour_of(label, labels)


@of_every_set
@pytest.mark.parametrize(("width", "height"), [(640, 480), (160, 120), (1920, 1080)])
def test_names_of_any_length_and_number_are_drawn_inside_the_picture(
    labels: tuple[str, ...], width: int, height: int
) -> None:
    boxes = (Box(0, 0, 40, 40), Box(width - 50, height - 60, 40, 40), Box(width / 2, height / 2, 30, 30))
    faces = [face_of(labels, place % len(labels), place, box) for place, box in enumerate(boxes)]
    frame, result = frame_of(0, *faces, width=width, height=height)
    picture = draw(frame.image_bgr, result)
    assert picture.shape == frame.image_bgr.shape
    assert (picture != frame.image_bgr).any()


def test_the_chart_of_many_labels_shows_the_greatest_and_covers_little() -> None:
    labels = SETS["30"]
    numbers = tuple((30 - place) / 465 for place in range(30))
    face = dataclasses.replace(face_of(labels, 0, box=Box(100, 100, 200, 200)), probabilities=numbers)
    frame, result = frame_of(0, face)
    changed = np.argwhere((draw(frame.image_bgr, result) != frame.image_bgr).any(axis=2))
    below = changed[changed[:, 1] > 310]
    assert below[:, 0].max() - below[:, 0].min() < 160, "eight rows, not thirty"


def test_the_name_is_cut_so_that_the_number_behind_it_is_seen() -> None:
    frame, result = frame_of(0, face_of(SETS["30"], 4, box=Box(30, 60, 40, 40)), width=240, height=240)
    certain = dataclasses.replace(result.faces[0], confidence=1.0)
    one, other = draw(frame.image_bgr, result), draw(frame.image_bgr, dataclasses.replace(result, faces=(certain,)))
    columns = np.argwhere((one[30:60] != other[30:60]).any(axis=2))[:, 1]
    assert columns.size > 20 and columns.min() > 120


@pytest.mark.parametrize(
    ("label", "drawn"),
    [
        ("happy", "happy"),
        ("Überraschung", "Uberraschung"),
        ("Größe", "Grosse"),
        ("déçu", "decu"),
        ("喜び", "label 2"),
        ("🙂", "label 3"),
        ("радость", "label 4"),
    ],
)
def test_a_font_of_ascii_alone_draws_a_name_that_can_be_told_from_the_others(label: str, drawn: str) -> None:
    """As OpenCV 4 has it: every byte of another script would be a question mark."""
    labels = ("happy", "喜び", "🙂", "радость", "Überraschung")
    assert drawable(label, labels, ascii_alone=True) == drawn
    assert drawable(label, labels, ascii_alone=False) == label


@pytest.mark.skipif(int(cv2.__version__.partition(".")[0]) < 5, reason="before OpenCV 5 there is one font, of ASCII")
def test_names_of_other_scripts_are_drawn_as_they_are() -> None:
    pictures = []
    for label in ("喜び", "怒り", "Ü", "U"):
        frame, result = frame_of(0, face_of((label, "b", "c"), 0, box=Box(100, 100, 60, 60)))
        pictures.append(draw(frame.image_bgr, result)[:100].tobytes())
    assert len(set(pictures)) == 4


# --- Terminal ---------------------------------------------------------------------------------------------------------


@of_every_set
def test_the_terminals_table_is_aligned_and_loses_no_face(labels: tuple[str, ...]) -> None:
    out = io.StringIO()
    with TerminalSink(out) as sink:
        for frame, result in run_of(labels):
            sink.write(frame, result)
    lines = out.getvalue().splitlines()
    assert all(label in out.getvalue() for label in labels)
    table = lines[next(place for place, line in enumerate(lines) if line.lstrip().startswith("second")) :]
    assert len({width_of(line) for line in table}) == 1, "columns end under one another"
    assert table[-1].split()[:2] == ["all", str(len(labels))]


def test_of_many_labels_the_rare_ones_share_a_column() -> None:
    labels, timeline = SETS["30"], Timeline()
    for place, label in enumerate(labels):
        timeline.add(0.0, [(label,)] * (31 - place))
    head, _, total = timeline.table(labels)
    assert head.count("long expression") == 11 and head.endswith("(others)")
    assert sum(map(int, total.split()[2:])) == int(total.split()[1]) == sum(range(2, 32))


def test_a_line_of_wide_letters_is_cut_where_the_terminal_ends() -> None:
    assert cut_to_width("喜び 60%", 5) == "喜び "
    assert cut_to_width("u\u0308ber", 2) == "u\u0308b"
    assert [width_of(text) for text in ("abc", "喜び", unicodedata.normalize("NFD", "é"))] == [3, 4, 1]


# --- What others read -------------------------------------------------------------------------------------------------


@of_every_set
def test_home_assistant_is_told_all_that_may_be_said(labels: tuple[str, ...]) -> None:
    (config,) = [one for topic, one in discovery(Topics("home/door"), labels).items() if "/expression/" in topic]
    assert config["device_class"] == "enum"
    assert set(config["options"]) == {*labels, "none"} and len(set(config["options"])) == len(config["options"])
    assert "state_class" not in config and "unit_of_measurement" not in config, "Home Assistant refuses them with enum"


def test_home_assistant_is_told_no_list_where_labels_are_combined_or_too_many() -> None:
    for labels in (TASKS["action-units"].said(("AU1", "AU4")), tuple(map(str, range(300)))):
        (config,) = [one for topic, one in discovery(Topics("home/door"), labels).items() if "/expression/" in topic]
        assert "options" not in config and "device_class" not in config


@of_every_set
def test_events_name_what_came_and_what_it_was_before(labels: tuple[str, ...]) -> None:
    events = TrackEvents()
    said = [event for _, result in run_of(labels) for event in events.of(result)]
    assert [event.expression for event in said] == list(labels)
    assert [event.before for event in said] == [None, *labels[:-1]]


@pytest.mark.parametrize("labels", [SETS["8"], SETS["6"]], ids=["8", "6"])
def test_a_broker_gets_the_names_as_they_are(labels: tuple[str, ...]) -> None:
    pytest.importorskip("paho.mqtt", reason="the extra `mqtt` is absent")
    from fer_edge.sinks.mqtt import MqttSink

    port = free_port()
    with mosquitto(port), Subscriber(port) as heard:
        with MqttSink(f"mqtt://127.0.0.1:{port}", "door", lambda: VITALS, expressions=labels) as sink:
            eventually(lambda: sink._outbox._client.is_connected())
            for frame, result in run_of(labels):
                sink.write(frame, result)
            events = [json.loads(text) for text in heard.wait_for("door/events", len(labels))]
        configs = [json.loads(said) for topic, said, _ in heard.messages if "/expression/config" in topic]
    assert [event["expression"] for event in events] == list(labels)
    assert set(configs[0]["options"]) == {*labels, "none"}


@of_every_set
def test_prometheus_reads_every_name_back(labels: tuple[str, ...]) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="the extra `metrics` is absent")
    pytest.importorskip("microdot", reason="the extra `metrics` is absent")
    from prometheus_client import generate_latest

    from fer_edge.sinks.prometheus import MetricsSink

    sink = MetricsSink("0", None, lambda: VITALS)
    for frame, result in run_of(labels):
        sink.write(frame, result)
    families = parser.text_string_to_metric_families(generate_latest(sink._registry).decode())
    counted = {
        sample.labels["expression"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "fer_edge_expressions_total"
    }
    assert counted == dict.fromkeys(labels, 1.0)


@of_every_set
def test_the_live_view_keeps_the_order_and_the_minutes_have_a_column_each(labels: tuple[str, ...]) -> None:
    view = LiveView(Pictures(), lambda: VITALS)
    for frame, result in run_of(labels):
        view.put(frame, result)
    state = json.loads(json.dumps(view.state(with_history=True)))
    assert [label for label, _ in state["labels"]] == [name for name, _ in state["names"]] == list(labels)
    assert len({colour for _, colour in state["labels"]}) == len(labels)
    head, row = csv.reader(io.StringIO(view.minutes_csv()))
    assert head[3:] == list(labels) and row[3:] == ["1"] * len(labels)


# --- Labels that hold together ----------------------------------------------------------------------------------------

UNITS = ("AU1", "AU4", "AU12", "AU25")


def face_of_units(*numbers: float) -> Face:
    name = TASKS["action-units"].name_of(numbers, UNITS)
    return dataclasses.replace(face_of(UNITS, 0), expression=name, probabilities=numbers, task="action-units")


def test_labels_that_hold_together_are_counted_one_by_one() -> None:
    """Their combinations are as many as numbers of so many bits: no counter and no column for each."""
    both, none = face_of_units(0.9, 0.1, 0.8, 0.2), face_of_units(0.1, 0.1, 0.1, 0.1)
    assert (both.expression, both.names) == ("AU1+AU12", ("AU1", "AU12"))
    assert none.names == ("none",)
    view, timeline = LiveView(Pictures(), lambda: VITALS), Timeline()
    for index, face in enumerate((both, both, none)):
        view.put(*frame_of(index, face))
        timeline.add(0.0, [face.names])
    names = TASKS["action-units"].names(UNITS)
    head, row = csv.reader(io.StringIO(view.minutes_csv()))
    assert dict(zip(head[3:], row[3:], strict=True)) == {"AU1": "2", "AU4": "0", "AU12": "2", "AU25": "0", "none": "1"}
    assert timeline.table(names)[-1].split() == ["all", "3", "2", "2", "1"]
    frame, result = frame_of(0, both)
    assert tuple(draw(frame.image_bgr, result)[90, 20]) == colour_of("AU1", names)


def test_prometheus_has_one_series_for_each_label_and_not_for_each_combination() -> None:
    pytest.importorskip("prometheus_client", reason="the extra `metrics` is absent")
    pytest.importorskip("microdot", reason="the extra `metrics` is absent")
    from fer_edge.sinks.prometheus import MetricsSink

    sink = MetricsSink("0", None, lambda: VITALS)
    for bits in range(16):
        sink.write(*frame_of(bits, face_of_units(*(0.9 if bits >> place & 1 else 0.1 for place in range(4)))))
    series = {
        sample.labels["expression"]: sample.value
        for family in sink._registry.collect()
        for sample in family.samples
        if sample.name == "fer_edge_expressions_total"
    }
    assert series == {"AU1": 8, "AU4": 8, "AU12": 8, "AU25": 8, "none": 1}


# --- The whole program ------------------------------------------------------------------------------------------------


@of_every_set
def test_a_run_saves_all_there_is_to_save(
    labels: tuple[str, ...], tmp_path: Path, astronaut: np.ndarray, mediapipe_file: Path
) -> None:
    photo, model = tmp_path / "photo.png", write_foreign(tmp_path / "m.onnx", Foreign(labels=labels, **UNIT))
    cv2.imwrite(str(photo), astronaut)
    assert main([str(photo), "--model", str(model), "--save", str(tmp_path / "runs")]) == 0
    (lines,) = (tmp_path / "runs").rglob("*.jsonl")
    (table,) = (tmp_path / "runs").rglob("*.csv")
    (page,) = (tmp_path / "runs").rglob("*.html")
    (face,) = json.loads(lines.read_text(encoding="utf-8"))["faces"]
    assert tuple(face["probabilities"]) == labels and face["expression"] in labels
    assert next(csv.DictReader(table.open(encoding="utf-8", newline="")))["expression"] == face["expression"]
    assert page.stat().st_size > 1000


# --- In a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is absent; `make setup` brings it")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("labels", [SETS["6"], SETS["8"]], ids=["6", "8"])
def test_the_web_page_puts_every_number_beside_its_label(browser, labels: tuple[str, ...]) -> None:
    pytest.importorskip("microdot", reason="microdot is absent; the extra `web` brings it")
    from fer_edge.sinks.web import WebSink

    from tests.runtime.fakes.feeding import feeding

    numbers = tuple((place + 1) / sum(range(1, len(labels) + 1)) for place in range(len(labels)))
    face = dataclasses.replace(face_of(labels, len(labels) - 1), probabilities=numbers)
    sink = WebSink("0", None, Pictures("numbers"), lambda: VITALS)
    with sink, feeding(sink, frame_of(0, face)):
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(sink.server.url, wait_until="domcontentloaded")
        page.wait_for_selector("article.face")
        cells = page.locator("article.face .bars > span").all_inner_texts()
        assert page.locator("#legend li").all_inner_texts() == list(labels)
        page.wait_for_selector("#counts > span")
        counted = page.locator("#counts > span").all_inner_texts()
        page.close()
    assert dict(zip(cells[::2], cells[1::2], strict=True)) == {
        label: f"{round(100 * number)}%" for label, number in zip(labels, numbers, strict=True)
    }
    assert counted == [labels[-1], "100%"]
    assert problems == []


def test_the_web_page_shows_the_greatest_of_many_and_fits_a_phone(browser) -> None:
    pytest.importorskip("microdot", reason="microdot is absent; the extra `web` brings it")
    from fer_edge.sinks.web import WebSink

    from tests.runtime.fakes.feeding import feeding

    sink = WebSink("0", None, Pictures("numbers"), lambda: VITALS)
    with sink, feeding(sink, frame_of(0, face_of(SETS["30"], 17))):
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(sink.server.url, wait_until="domcontentloaded")
        page.wait_for_selector("article.face")
        cells = page.locator("article.face .bars > span").all_inner_texts()
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        page.close()
    assert cells[:2] == [SETS["30"][17], "60%"] and len(cells) == 17 and cells[-1] == "22 more"
    assert wide <= 390


@of_every_set
def test_the_timeline_page_shows_them_in_a_browser(browser, labels: tuple[str, ...], tmp_path: Path) -> None:
    lines = tmp_path / "o.jsonl"
    lines.write_text("".join(json.dumps(result.to_dict()) + "\n" for _, result in run_of(labels)), encoding="utf-8")
    write_page(lines, tmp_path / "page.html")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    counted = page.locator("#counts > span").all_inner_texts()
    first = page.locator("#here .bars > span").all_inner_texts()
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    page.close()
    assert sorted(counted[::2]) == sorted(labels)
    assert dict(zip(first[::2], first[1::2], strict=True))[labels[0]] == "60%"
    assert wide <= 390 and problems == []


def test_a_reload_with_a_model_of_other_labels_makes_anew_what_depends_on_them(tmp_path: Path) -> None:
    """Home Assistant is told the new ones; what does not name labels stays open."""
    from fer_edge.program.parts import SinkContext, sink_makers
    from fer_edge.settings import MqttSettings, OutputSettings, Settings, WebSettings
    from fer_edge.sources import open_pictures

    settings = Settings(
        mqtt=MqttSettings(address="mqtt://127.0.0.1"),
        output=OutputSettings(jsonl=tmp_path / "o.jsonl", csv=tmp_path / "o.csv"),
        web=WebSettings(address="0"),
    )
    source = open_pictures([tmp_path / "photo.png"])
    keys = [
        set(sink_makers(settings, SinkContext(source, labels, lambda: VITALS, Pictures(), expressions=labels)))
        for labels in (SETS["3"], SETS["8"])
    ]
    assert sorted(key[0] for key in keys[1] - keys[0]) == ["csv", "mqtt"]
    assert {key[0] for key in keys[0] & keys[1]} >= {"jsonl", "web"}
