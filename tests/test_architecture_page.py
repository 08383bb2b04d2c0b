"""docs/architecture.md: each answer to "where to change what" is the one that the code gives."""

import ast
import functools
import inspect
import re
import typing
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import tomllib

from tests.conftest import ROOT
from tests.test_layout import ALLOWED

PAGE = (ROOT / "docs/architecture.md").read_text()
ANSWERS = dict(
    re.findall(r"^\| (?!to \|)([^|]+) \| ([^|]+) \|$", PAGE.split("## Where to change what")[1], re.MULTILINE)
)
RUNTIME = "runtime/fer_edge"
FOLDERS = (RUNTIME, "train", "export", "quantize", "boards")


def answer(change: str) -> set[str]:
    """The files and folders that the page names for a change."""
    return set(re.findall(r"`([\w.]+/[\w./]*|mkdocs\.yml)`", ANSWERS[change]))


def file_of(thing: object) -> str:
    """The file that defines a class, a function or a module, as the page writes it."""
    return str(Path(inspect.getfile(thing)).relative_to(ROOT))  # type: ignore[arg-type]


@functools.cache
def code() -> dict[str, list[ast.AST]]:
    """The syntax of every file of the five packages."""
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return {str(path.relative_to(ROOT)): list(ast.walk(ast.parse(path.read_text()))) for path in paths}


def users_of(*names: str, folder: str = "") -> set[str]:
    """The files that use or import one of the names."""
    return {
        file
        for file, nodes in code().items()
        if file.startswith(folder) and any(_name_of(node) & set(names) for node in nodes)
    }


def _name_of(node: ast.AST) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        return {alias.name for alias in node.names}
    return {getattr(node, "id", getattr(node, "attr", None))} - {None}


def texts_of(file: str) -> set[str]:
    """The texts in a file, parts of f-strings among them."""
    return {node.value for node in code()[file] if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def calls_of(file: str) -> set[str]:
    """The functions a file calls, as written there."""
    return {ast.unparse(node.func) for node in code()[file] if isinstance(node, ast.Call)}


def test_the_picture_shows_the_packages_in_the_order_they_may_import_and_the_parts_of_the_runtime() -> None:
    assert "](architecture.svg)" in PAGE
    picture = ElementTree.parse(ROOT / "docs/architecture.svg").getroot()
    texts = [node.text for node in picture.iter("{http://www.w3.org/2000/svg}text")]
    packages = [text for text in texts if text in ALLOWED]
    stages = sorted(set(ALLOWED) - {RUNTIME}, key=lambda name: len(ALLOWED[name]))  # each may import those before it
    assert packages == [*stages, RUNTIME]
    parts = ["sources/", "detectors/", "tracker", "crop", "classifier", "smoother", "sinks/"]
    assert [text for text in texts if text in parts] == parts
    places = [ROOT / RUNTIME / (part if part.endswith("/") else f"{part}.py") for part in parts]
    assert [place for place in places if not place.exists()] == []


def test_fifteen_changes_touch_three_places_at_most() -> None:
    assert len(ANSWERS) == 15
    assert [change for change in ANSWERS if not 1 <= len(answer(change)) <= 3] == []


def test_a_sink_is_a_file_of_its_own_that_one_other_makes() -> None:
    from fer_edge import settings

    files = [file for file in code() if file.startswith(f"{RUNTIME}/sinks/")]
    classes = [node.name for file in files for node in code()[file] if isinstance(node, ast.ClassDef)]
    sinks = {name for name in classes if name.endswith("Sink")} - {"Sink", "ListeningSink", "LineSink"}
    assert {"CsvSink", "MqttSink", "WebSink"} <= sinks
    makers = users_of(*sinks, folder="runtime") - set(files)
    assert makers == {f"{RUNTIME}/program/parts.py", f"{RUNTIME}/bench/measure.py"}  # the benchmark times one of them
    assert answer("add a sink") == {f"{RUNTIME}/sinks/", f"{RUNTIME}/program/parts.py", file_of(settings)}


def test_only_the_registry_of_detectors_knows_their_classes() -> None:
    from fer_edge import detectors
    from fer_edge.detectors.mediapipe import MediaPipeDetector
    from fer_edge.detectors.yunet import YuNetDetector

    assert {MediaPipeDetector.name, YuNetDetector.name} == set(detectors.DETECTOR_FILES)
    assert users_of("MediaPipeDetector", "YuNetDetector") == {file_of(detectors)}
    assert answer("add a detector") == {f"{RUNTIME}/detectors/", file_of(detectors)}


def test_a_profile_alone_makes_a_board(tmp_path: Path) -> None:
    from boards import profiles, wheels

    (tmp_path / "pi6.toml").write_bytes((ROOT / "boards/profiles/pi5.toml").read_bytes())
    board = profiles.load_profile("pi6", tmp_path)
    assert (board.name, profiles.profile_names(tmp_path)) == ("pi6", ["pi6"])
    assert {board.lock(system).parent for system in board.system} == {wheels.LOCKS}
    assert answer("add a board") == {"boards/profiles/", f"{wheels.LOCKS}/"}


def test_int8_recipes_are_named_in_one_file_and_every_tool_is_called_in_another() -> None:
    from quantize import backends, recipes

    rungs = (rung for target in recipes.TARGETS.values() for rung in recipes.recipes_for(target, recipes.ALL))
    names = {recipe.name for rung in rungs for recipe in rung} - {recipes.NNCF}  # which a module and a tool are called
    assert {file for file in code() if texts_of(file) & names} == {file_of(recipes)}
    assert set(backends._BACKENDS) == set(recipes.CHOICES["backend"])
    assert answer("add an INT8 recipe") == {file_of(recipes), file_of(backends)}


def test_every_architecture_has_a_file_and_a_recipe_that_names_it() -> None:
    from train import architectures

    kinds = architectures.ARCHITECTURES
    assert {Path(file_of(kind)).parent for kind in kinds.values()} == {Path("train/architectures")}
    recipes = [tomllib.loads(path.read_text()) for path in (ROOT / "train/recipes").glob("*.toml")]
    assert {recipe["architecture"] for recipe in recipes} == set(kinds)
    assert answer("add an architecture") == {"train/architectures/", file_of(architectures), "train/recipes/"}


def test_faces_are_cut_out_by_one_file_and_the_margins_of_the_contract() -> None:
    from fer_edge import contract_parts, crop

    from boards.lab import command_line

    assert users_of("margin_for") == {file_of(crop)}
    assert "margins" in command_line()[1].names
    assert answer("change the crop") == {file_of(crop), file_of(contract_parts.FaceCrop)}


def test_mqtt_topics_are_named_in_one_file() -> None:
    from fer_edge.sinks import mqtt, mqtt_topics

    home = mqtt_topics.Topics("home")
    endings = {topic.removeprefix("home") for topic in (home.available, home.events, home.state, home.stats)}
    naming = {file for file in code() if file.startswith(RUNTIME) and texts_of(file) & endings}
    assert naming - {f"{RUNTIME}/sinks/web.py"} == {file_of(mqtt_topics)}  # the web page has addresses of these names
    assert answer("change an MQTT topic") == {file_of(mqtt_topics), file_of(mqtt)}


def test_csv_files_are_written_in_three_files_and_the_reference_names_the_dataclass_of_each_row() -> None:
    from boards import reference

    assert answer("change a CSV column") == {
        file for file in code() if {"csv.writer", "csv.DictWriter"} & calls_of(file)
    }
    page = (ROOT / "docs/reference-csv.md").read_text()
    for file in reference.FILES:
        assert f"a row is `{file.kind.__qualname__}` of `{file.kind.__module__}`" in page


def test_the_smoothing_default_is_one_number() -> None:
    from fer_edge import smoother
    from fer_edge.pipeline import Pipeline
    from fer_edge.settings import ModelSettings

    defaults = (smoother.DEFAULT_SMOOTHING, smoother.DEFAULT_HYSTERESIS)
    assert (ModelSettings().smoothing, ModelSettings().hysteresis) == defaults
    for kind, names in (
        (Pipeline, ("smoothing", "hysteresis")),
        (smoother.HysteresisSmoother, ("alpha", "hysteresis")),
    ):
        parameters = inspect.signature(kind).parameters
        assert tuple(parameters[name].default for name in names) == defaults
    defining = users_of("DEFAULT_SMOOTHING")
    assert defining == {file_of(smoother), file_of(Pipeline), file_of(ModelSettings)}
    assert answer("change the smoothing default") == {file_of(smoother)}


def test_the_limits_of_the_gate_are_the_defaults_of_one_class() -> None:
    from quantize import gate

    assert gate.limits_for(None) == gate.Limits()
    calls = [(file, node) for file, nodes in code().items() for node in nodes if isinstance(node, ast.Call)]
    set_apart = {file for file, call in calls if ast.unparse(call.func) == "Limits" and (call.args or call.keywords)}
    assert set_apart == {file_of(gate)}
    assert answer("change a limit of the gate") == {file_of(gate.Limits)}


def test_votes_are_aligned_by_one_file_for_one_reader() -> None:
    from train.data import align, fer2013

    assert users_of("ALIGNED_AGREEMENT") == {file_of(align), file_of(fer2013)}
    assert answer("see where votes of FER+ are aligned with FER2013") == {file_of(align), file_of(fer2013)}


def test_a_refusal_is_decided_by_the_gate_and_worded_by_the_report() -> None:
    from quantize import gate, report

    assert "verdict" in report.Row.__dataclass_fields__
    places = {"artifacts/NAME/quantize.csv", file_of(report.verdict_text), file_of(gate.judge)}
    assert answer("see why a recipe was refused") == places


def test_instructions_are_counted_by_a_plugin_and_kept_in_one_table() -> None:
    from boards.arm64 import counting, emulator
    from boards.instructions import INSTRUCTIONS

    plugin = emulator._SOURCE.resolve().relative_to(ROOT)
    assert (ROOT / plugin).is_file()
    places = {file_of(counting.count_instructions), str(plugin), str(INSTRUCTIONS)}
    assert answer("see where instruction counts come from") == places


def test_a_contract_is_made_of_the_classes_of_two_files_and_checked_in_a_third() -> None:
    from fer_edge import contract, contract_checks

    hints = typing.get_type_hints(contract.ModelContract).values()
    parts = {file_of(kind) for hint in hints for kind in _own_classes(hint)} | {file_of(contract)}
    assert answer("bump the contract") == {file_of(contract_checks.lowest_schema), *parts}


def _own_classes(hint: object) -> set[type]:
    """The project's own classes that a type hint speaks of."""
    if isinstance(hint, type) and hint.__module__.startswith("fer_edge"):
        return {hint}
    return {kind for part in typing.get_args(hint) for kind in _own_classes(part)}


def test_a_page_is_a_file_and_a_line_of_the_navigation() -> None:
    named = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}
    assert answer("add a page to the documentation") == {"docs/", "mkdocs.yml"}


def section(title: str) -> str:
    return PAGE.split(f"## {title}")[1].split("\n## ")[0]


def defined_in(file: str) -> set[str]:
    return {node.name for node in code()[file] if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_the_files_that_quantize_goes_through_are_there() -> None:
    walk = section("From a float model to the files on a board")
    files = {name for name in re.findall(r"`([\w/]+\.py)`", walk) if "/" not in name}
    assert len(files) >= 14
    assert [name for name in files if f"quantize/{name}" not in code()] == []


@pytest.mark.parametrize("name", ["Trial", "Measurements", "Verdict", "Miss"])
def test_what_quantize_hands_on_is_a_class_of_it(name: str) -> None:
    assert f"`{name}`" in section("From a float model to the files on a board")
    assert any(name in defined_in(file) for file in code() if file.startswith("quantize/"))


def test_the_readers_of_inputs_from_elsewhere_are_there() -> None:
    inputs = section("Inputs from elsewhere")
    files = re.findall(r"`(fer_edge/[\w/]+\.py)`", inputs)
    assert len(files) == 8
    assert [name for name in files if f"runtime/{name}" not in code()] == []
    assert "open_regular" in defined_in(f"{RUNTIME}/files.py") and "`open_regular`" in inputs
    assert "Range" in defined_in(f"{RUNTIME}/tables.py") and "Range(1, 8)" in inputs
