"""Board profiles: every committed one loads, and a wrong one is refused with the key that is wrong."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomllib

from fer_edge.detectors import DETECTOR_FILES
from fer_edge.errors import UsageError

from boards import lab as command
from boards.profiles import PROFILES, load_profile, profile_names, table
from boards.wheels import Target, check_lock, package_name
from quantize.recipes import TARGETS
from tests.conftest import ROOT

NAMES = profile_names()


def test_there_is_a_profile_for_every_promised_board() -> None:
    assert set(NAMES) == {"pi-zero-2w", "pi4", "pi5", "jetson-nano", "jetson-orin-nano", "arm64", "x86-64"}


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_loads_and_its_wheels_are_locked(name: str) -> None:
    profile = load_profile(name)
    assert profile.detector.name in DETECTOR_FILES
    for board in profile.with_each_engine():
        for system in board.system:
            check_lock(ROOT / board.lock(system), system.wheels)


def test_the_table_names_every_board(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["boards"]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == table([load_profile(name) for name in NAMES])
    assert all(name in printed for name in NAMES)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("cores = 4", "cores = 0", "cores is 0, expected 1 to 1000000"),
        ("cores = 4", 'cores = "4"', "cores is '4', expected a whole number"),
        ("cores = 4", "cores = 4\nfans = 1", "unknown key 'fans'; known: arch, camera, cores"),
        ("cores = 4", "", "cores is missing"),
        ("cores = 4", "cores = 1", "2 threads on 1 cores"),
        ('precision = "int8"', 'precision = "int4"', "model, precision is 'int4', expected one of int8, fp16, fp32"),
        (
            '"ai-edge-litert==2.3.0"',
            '"ai-edge-litert>=2.3"',
            r"system, requirements is 'ai-edge-litert>=2.3', expected a text such as numpy==2.4.6",
        ),
        ('name = "ai-edge-litert"', 'name = "onnxruntime"', "does not ask for the engine onnxruntime"),
        ('name = "ai-edge-litert"', 'name = "tflite-runtime"', "does not ask for the engine tflite-runtime"),
        ('range = "auto"', 'range = "wide"', "detector, range is 'wide', expected one of near, far, auto"),
        ("buffer_count = 4", "buffer_count = 40", "camera, buffer_count is 40, expected 1 to 8"),
        ('emulated_as = "cortex-a72"', 'emulated_as = "z80"', "no emulated core 'z80'"),
        ('"ai-edge-litert==2.3.0"', '"ai-edge-litert==2.3.0", "onnxruntime==1.21.0"', "which is excluded"),
        ("onnxruntime==1.31.1", "onnxruntime==1.21.0", "alternative: Debian 12 asks for onnxruntime==1.21.0, which is"),
        ('alternative = ["onnxruntime==1.31.1", ', "alternative = [", "does not ask for the engine onnxruntime"),
        ('alternative = "onnxruntime"', 'alternative = "tflite-runtime"', "tflite-runtime take the same files"),
        ("[engine]", "[engine", "not valid TOML"),
        ("cores = 4", "cores = " + "9" * 5000, "not valid TOML: Exceeds the limit"),
        ("cores = 4", "cores = " + "9" * 30, "cores is a huge whole number, expected a smaller one"),
        ("cores = 4", "cores = nan", "cores is nan, expected a whole number"),
        ("cores = 4", "cores = " + "[" * 1000 + "]" * 1000, "nested too deeply|cores is a list"),
        ('title = "Raspberry Pi 4B"', "title = 4", "title is 4, expected text"),
        ('title = "Raspberry Pi 4B"', 'title = "\\u001b[31m"', r"title holds the character U\+001B"),
        ("[engine]", "[system]", "system: a list|not valid TOML|Cannot"),
        ('precision = "int8"', "precision = []", "precision is a list, expected one of int8"),
    ],
)
def test_a_wrong_profile_is_refused(before: str, after: str, message: str, tmp_path: Path) -> None:
    text = (PROFILES / "pi4.toml").read_text()
    assert before in text
    (tmp_path / "mine.toml").write_text(text.replace(before, after))
    with pytest.raises(UsageError, match=rf"mine\.toml: .*{message}"):
        load_profile("mine", tmp_path)


def test_a_profile_saved_by_a_windows_editor_loads(tmp_path: Path) -> None:
    text = (PROFILES / "pi4.toml").read_text().replace("\n", "\r\n")
    (tmp_path / "pi4.toml").write_bytes(text.encode("utf-8-sig"))
    assert load_profile("pi4", tmp_path) == load_profile("pi4")
    (tmp_path / "pi4.toml").write_bytes(text.replace("Raspberry", "Raspbérry").encode("latin-1"))
    with pytest.raises(UsageError, match=r"pi4\.toml, line 1: byte 0xE9 is not UTF-8"):
        load_profile("pi4", tmp_path)


def test_a_name_in_a_profile_is_not_its_own_to_choose(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(f'name = "other"\n{(PROFILES / "pi4.toml").read_text()}')
    with pytest.raises(UsageError, match="unknown key 'name'"):
        load_profile("mine", tmp_path)


def test_an_unknown_board_is_one_line_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["bundle", "pi9"]) == 2
    assert "board 'pi9' has no profile; there are: arm64, jetson-nano" in capsys.readouterr().err


def test_the_model_follows_engine_and_precision() -> None:
    assert load_profile("pi4").model_suffix == "int8.tflite"
    targets = {name: load_profile(name).quantize_target for name in ("pi4", "pi5", "x86-64", "jetson-nano")}
    assert targets == {"pi4": "armv8", "pi5": "armv8.2-dot", "x86-64": "x86", "jetson-nano": None}
    assert load_profile("jetson-nano").model_suffix == "fp32.onnx"


def test_a_venv_sees_the_systems_packages_only_where_picamera2_is() -> None:
    assert load_profile("pi5").system_site_packages
    assert not load_profile("x86-64").system_site_packages


def test_platform_tags_run_from_the_boards_glibc_to_the_oldest() -> None:
    tags = Target("aarch64", "3.11", (2, 36)).platforms
    assert tags[0] == "manylinux_2_36_aarch64"
    assert "manylinux_2_17_aarch64" in tags
    assert "manylinux_2_41_aarch64" not in tags


def test_a_lock_made_for_other_versions_is_refused() -> None:
    profile = load_profile("pi4")
    with pytest.raises(UsageError, match="Make it again with `fer-edge-lab lock`"):
        check_lock(ROOT / profile.lock(profile.system[0]), ["numpy==1.0"])


# Every key of every profile, one at a time.
def as_toml(table: dict[str, Any], name: str = "") -> str:
    """TOML of a table of texts, numbers, lists and tables, which JSON writes the same way."""
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    lists = {key: value for key, value in table.items() if isinstance(value, list) and isinstance([*value, 0][0], dict)}
    own = {key: value for key, value in table.items() if key not in {**tables, **lists}}
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in own.items()]
    for key, inner in tables.items():
        lines += [f"[{name}{key}]", as_toml(inner, f"{name}{key}.")]
    for key, entries in lists.items():
        lines += [line for entry in entries for line in (f"[[{name}{key}]]", as_toml(entry, f"{name}{key}."))]
    return "\n".join(lines) + "\n"


def leaves(table: dict[str, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value of a profile that is no table."""
    for key, value in table.items():
        for place, inner in enumerate(value) if isinstance(value, list) else [(None, value)]:
            way = (*path, key) if place is None else (*path, key, place)
            if isinstance(inner, dict):
                yield from leaves(inner, way)
            elif place in (None, 0):
                yield (*path, key)


def profile_table(name: str) -> dict[str, Any]:
    return tomllib.loads((PROFILES / f"{name}.toml").read_text())


def changed(name: str, way: tuple[Any, ...], change: Callable[[dict[str, Any], str], None], folder: Path) -> Path:
    """A copy of a profile in which `change` was done to the table that holds the last key of `way`."""
    table = profile_table(name)
    inner = table
    for step in way[:-1]:
        inner = inner[step]
    change(inner, way[-1])
    (folder / f"{name}.toml").write_text(as_toml(table))
    return folder


def refusal(name: str, folder: Path) -> str:
    with pytest.raises(UsageError) as refused:
        load_profile(name, folder)
    text = str(refused.value)
    assert "\n" not in text and f"{name}.toml" in text
    return text


@pytest.mark.parametrize("name", NAMES)
def test_a_letter_too_many_in_any_key_is_refused_with_the_key_that_was_meant(name: str, tmp_path: Path) -> None:
    def mistyped(table: dict[str, Any], key: str) -> None:
        table[f"{key}x"] = table.pop(key)

    ways = list(leaves(profile_table(name)))
    assert len(ways) > 20
    for way in ways:
        said = refusal(name, changed(name, way, mistyped, tmp_path))
        assert str(way[-1]) in said, (way, said)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [[], {}, -1, 1e300, "", "\x00", "two\nlines", None])
def test_a_value_of_another_kind_anywhere_is_refused_or_taken_whole(name: str, value: object, tmp_path: Path) -> None:
    """Never anything but one line: what a key allows, such as an empty list of extras, may load."""

    def spoiled(table: dict[str, Any], key: str) -> None:
        if value is None:
            del table[key]
        else:
            table[key] = value

    refused = 0
    for way in leaves(profile_table(name)):
        folder = changed(name, way, spoiled, tmp_path)
        try:
            load_profile(name, folder)
        except UsageError as error:
            refused += 1
            assert "\n" not in str(error) and "Traceback" not in str(error)
    assert refused > 10


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_for_a_file_is_the_boards_own_or_its_alternative(name: str) -> None:
    board = load_profile(name)
    boards = board.with_each_engine()
    assert boards[0] is board and len({one.file_type for one in boards}) == len(boards)
    for one in boards:
        assert board.running(one.file_type) == one
        assert all(system.version_of(one.engine.name) for system in one.system)
    missing = {"tflite", "onnx"} - {one.file_type for one in boards}
    for suffix in missing:
        with pytest.raises(UsageError, match=f"runs .{board.file_type} files alone, and this model is a .{suffix}"):
            board.running(suffix)


@pytest.mark.parametrize("name", NAMES)
def test_a_board_has_a_target_of_quantize_only_if_it_takes_int8(name: str) -> None:
    board = load_profile(name)
    target = board.quantize_target
    assert (target is None) == (board.model.precision != "int8")
    if target is not None:
        assert target in TARGETS
        assert (target == "x86") == (board.arch == "x86_64")
        assert target != "armv8.2-dot" or board.dot_product


def test_more_threads_than_cores_and_an_unknown_core_are_said_together() -> None:
    board = load_profile("pi5")
    wrong = replace(board, cores=2, engine=replace(board.engine, threads=3), emulated_as="cortex-z9")
    first, second = wrong.problems()[:2]
    assert first == "3 threads on 2 cores"
    assert second.startswith("no emulated core 'cortex-z9'; there are: cortex-a53")


# --- what does not go together -----------------------------------------------------------------------------------


def test_what_is_excluded_is_told_for_the_system_that_asks_for_it() -> None:
    board = load_profile("pi4")
    bad = replace(board, engine=replace(board.engine, excluded=(board.system[1].requirements[0],)))
    asks = [system.os for system in board.system if board.system[1].requirements[0] in system.requirements]
    excluded = [problem for problem in bad.problems() if "alternative" not in problem]
    assert excluded == [f"{name} asks for {bad.engine.excluded[0]}, which is excluded" for name in asks]


@pytest.mark.parametrize("numpy", ["numpy==2.0.0", "numpy==10.0.0"])
def test_tflite_runtime_goes_with_numpy_1_alone(numpy: str) -> None:
    board = load_profile("pi4")
    system = replace(board.system[0], requirements=("tflite-runtime==2.14.0", numpy), alternative=())
    engine = replace(board.engine, name="tflite-runtime", alternative=None)
    assert replace(board, engine=engine, system=(system,)).problems() == [
        "Debian 12: tflite-runtime needs numpy below 2"
    ]
    older = replace(system, requirements=("tflite-runtime==2.14.0", "numpy==1.26.4"))
    assert not replace(board, engine=engine, system=(older,)).problems()


def test_a_board_without_a_system_is_refused() -> None:
    assert "no [[system]]" in replace(load_profile("pi4"), system=()).problems()


def test_only_ubuntus_python_3_10_is_given_a_reader_of_toml() -> None:
    for profile in map(load_profile, NAMES):
        for system in profile.system:
            names = [package_name(pin) for pin in system.wheels]
            assert ("tomli" in names) == (system.python == "3.10"), (profile.name, system.os)
            assert {"microdot", "prometheus-client", "paho-mqtt"} <= set(names)
