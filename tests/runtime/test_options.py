"""Settings: every flag has its key in fer-edge.toml, and what is wrong in the file is named."""

import argparse
import dataclasses
import os
import re
import sys
from pathlib import Path

import pytest
import tomllib
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.arguments import ON_MOTION, detect_when, region
from fer_edge.cli import main
from fer_edge.detectors import DATA
from fer_edge.errors import UsageError
from fer_edge.frames import Box
from fer_edge.options import add_flags, keys, parse, read_config
from fer_edge.regions import in_regions, region_mask
from fer_edge.settings import Settings

EXAMPLE = DATA / "fer-edge.toml"


def settings_of(*words: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parse(parser, words)


def written(folder: Path, text: str) -> Path:
    path = folder / "fer-edge.toml"
    path.write_text(text)
    return path


def test_a_file_sets_what_flags_set(tmp_path: Path) -> None:
    config = written(
        tmp_path,
        """
        [source]
        camera = 1
        [camera]
        buffer_count = 1
        silence_s = 5
        [model]
        threads = 4
        [detection]
        when = "on-motion"
        roi = ["0,0,0.5,1", "0.5,0,1,0,1,1"]
        [output]
        jsonl = "faces.jsonl"
        rotate_mb = 10
        quiet = true
        [web]
        address = 8000
        """,
    )
    words = "--camera 1 --buffer-count 1 --silence 5 --threads 4 --detect on-motion --roi 0,0,0.5,1 --roi 0.5,0,1,0,1,1"
    more = "--jsonl faces.jsonl --rotate-mb 10 --quiet --web 8000"
    assert settings_of("--config", str(config)) == settings_of(*words.split(), *more.split())


def test_flags_override_the_file(tmp_path: Path) -> None:
    config = written(tmp_path, "[source]\ncamera = 0\n[model]\nthreads = 4\nsmoothing = 0.5\n")
    settings = settings_of("--config", str(config), "--threads", "2", "--source", "clip.mp4")
    assert (settings.model.threads, settings.model.smoothing) == (2, 0.5)
    assert (settings.source.camera, settings.source.address) == (None, "clip.mp4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[camera]\nbuffer_cuont = 1", r"\[camera\] buffer_cuont is unknown; did you mean buffer_count\?"),
        ("[camra]\nwidth_px = 1", r"\[camra\] is unknown; did you mean camera\?"),
        ("[model]\nzzz = 1", r"\[model\] zzz is unknown; known: file, hysteresis, smoothing, threads"),
        ("threads = 4", r"\[threads\] is unknown"),
        ("source = 0", r"source is a value, expected a section \[source\]"),
        ("[model]\nthreads = 0", r"\[model\] threads: '0' is not a whole number from 1 to 64"),
        ("[camera]\nrotation = 45", r"\[camera\] rotation: '45' is none of 0, 90, 180 and 270 degrees"),
        ("[model]\nthreads = true", r"\[model\] threads is true, expected N"),
        ("[model]\nsmoothing = 2", r"smoothing: '2' is not a number from 0 to 1"),
        ('[output]\nquiet = "yes"', r"quiet is text, expected true or false"),
        ('[output]\nprivacy = "blurred"', r"privacy is 'blurred', expected one of none, blur, numbers"),
        ('[detection]\nroi = "0,0,1,1"', r"roi is text, expected a list"),
        ('[detection]\nroi = ["0,0,2,1"]', r"roi: '0,0,2,1' is not a region"),
        ("[model", r"not valid TOML"),
        ('[camera]\nwidth_px = "²"', r"width_px: '²' is not a whole number from 1 to 10000"),
        ('[model]\nthreads = "٣"', r"threads: '٣' is not a whole number"),
        ("[model]\nthreads = 100000", r"threads: '100000' is not a whole number from 1 to 64"),
        ("[model]\nthreads = 99999999999999999999", r"threads is a huge whole number, expected N"),
        ("[model]\nthreads = " + "9" * 5000, r"not valid TOML: Exceeds the limit"),
        ('[model]\nthreads = "' + "9" * 5000 + '"', r"threads: '9{120}\.\.\.' is not a whole number"),
        ("[output]\nrotate_mb = 1e308", r"rotate_mb: '1e\+308' is not a number from 0.001 to 1000000"),
        ("[output]\nkeep_files = 30000000", r"keep_files: '30000000' is not a whole number from 0 to 1000"),
        ("[rate]\ntarget_fps = nan", r"target_fps: 'nan' is not a number from 0.01 to 1000"),
        ("[camera]\nsilence_s = 2147484", r"silence_s: '2147484' is not a number from 0.01 to 86400"),
        ('[output]\njsonl = "a\\u0000b"', r"jsonl: the name of a file cannot hold a NUL"),
        ('[source]\naddress = "a\\u0000b"', r"address: a source cannot hold a NUL"),
        ('[output]\ncsv = "~nobody-of-this-name/x.csv"', r"there is no home folder ~nobody-of-this-name"),
        ("[detection]\nroi = " + "[" * 1000 + "]" * 1000, r"nested too deeply|roi is a list"),
        ("[source]\naddress = 2020-01-01", r"address is a date or time, expected WHAT"),
        ("a = 1\n" * 100_000, r"\d+ kB, expected \d+ kB at most"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"fer-edge\.toml: .*{message}") as refused:
        read_config(written(tmp_path, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["web.token", "mqtt.address", "source.address"])
def test_a_secret_in_a_value_of_another_type_is_not_shown(tmp_path: Path, key: str) -> None:
    section, name = key.split(".")
    for value in ('["mqtt://u:s3cret@h"]', '{ a = "s3cret" }', '[["s3cret"]]'):
        with pytest.raises(UsageError, match=rf"\[{section}\] {name} is a (list|table)") as refused:
            read_config(written(tmp_path, f"[{section}]\n{name} = {value}"))
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_file_as_windows_editors_save_it_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "fer-edge.toml"
    path.write_bytes('[source]\r\naddress = "café.mp4"\r\n'.encode(encoding))
    assert read_config(path) == {"source.address": "café.mp4"}


def test_a_file_in_another_encoding_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "fer-edge.toml"
    path.write_bytes("[source]\naddress = 'café.mp4'".encode("latin-1"))
    with pytest.raises(UsageError, match=r"fer-edge\.toml, line 2: byte 0xE9 is not UTF-8\. Save the file as UTF-8\."):
        read_config(path)
    path.write_bytes("[source]\naddress = 'café.mp4'".encode("utf-16"))
    with pytest.raises(UsageError, match="UTF-16, expected UTF-8"):
        read_config(path)


def test_a_configuration_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path, kind in ((tmp_path / "pipe.toml", "a named pipe"), (tmp_path, "a folder"), (Path("/dev/zero"), "device")):
        with pytest.raises(UsageError, match=f"{kind}, expected a file"):
            read_config(path)


@pytest.mark.parametrize(
    ("section", "name"),
    [
        *(("source", "address"), ("model", "file"), ("detection", "file")),
        *(("output", "jsonl"), ("output", "csv"), ("output", "video")),
    ],
)
def test_a_tilde_is_the_home_folder_in_the_file_and_behind_an_equals_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, name: str
) -> None:
    """No shell has seen either."""
    monkeypatch.setenv("HOME", "/home/somebody")
    config = written(tmp_path, f'[{section}]\n{name} = "~/x.y"\n')
    assert str(read_config(config)[f"{section}.{name}"]) == "/home/somebody/x.y"
    flag = next(key.option.flag for key in keys() if (key.section, key.name) == (section, name))
    parser = argparse.ArgumentParser()
    add_flags(parser)
    assert str(vars(parser.parse_args([f"{flag}=~/x.y"]))[f"{section}.{name}"]) == "/home/somebody/x.y"


def test_a_mistake_in_the_file_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(written(tmp_path, "[web]\nadress = 8000"))]) == 2
    assert "did you mean address?" in capsys.readouterr().err
    assert main(["--config", str(tmp_path / "absent.toml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[source]\ncamera = 0\naddress = 'clip.mp4'"])
def test_a_file_names_exactly_one_source(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="exactly one of camera, address"):
        settings_of("--config", str(written(tmp_path, text)))


@given(section=st.sampled_from([*sorted({key.section for key in keys()}), "x"]), name=st.text(max_size=8))
def test_any_key_is_a_setting_or_refused(tmp_path_factory: pytest.TempPathFactory, section: str, name: str) -> None:
    known = {(key.section, key.name) for key in keys()}
    quoted = '"' + "".join(f"\\u{ord(letter):04x}" if ord(letter) < 0xD800 else "x" for letter in name) + '"'
    path = written(tmp_path_factory.mktemp("toml"), f"[{section}]\n{quoted} = 1")
    if (section, name) not in known:
        with pytest.raises(UsageError, match=r"is unknown|not valid TOML"):
            read_config(path)


def test_every_key_has_a_flag_of_its_own() -> None:
    flags = [key.option.flag for key in keys()]
    assert len(set(flags)) == len(flags) and flags.count(None) == 1, "several pictures are words without a flag"
    assert len({key.attribute for key in keys()}) == len(flags)


def test_the_example_file_names_every_key_with_its_default() -> None:
    """Lines of settings are commented out in it; taken in, they are valid and change nothing but the source."""
    lines = EXAMPLE.read_text().splitlines()
    active = "\n".join(re.sub(r"^# ?(?=\w+ = )", "", line) for line in lines)
    tables = tomllib.loads(active)
    assert {(section, name) for section, table in tables.items() for name in table} == {
        (key.section, key.name) for key in keys()
    }
    for key in keys():
        shown = tables[key.section][key.name]
        if key.default not in (None, ()) and not isinstance(key.default, Path):
            assert str(shown).lower() == str(key.default).lower(), key.attribute


def test_the_example_file_runs_as_it_is() -> None:
    settings = settings_of("--config", str(EXAMPLE))
    assert settings.source.camera == 0
    assert settings == settings_of("--camera", "0")


# --- Values -------------------------------------------------------------------------------------------------


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release as install.sh makes it, whose environment this Python says it is."""
    (tmp_path / "bundle.env").touch()
    text = "[source]\ncamera = 3\n[camera]\nwidth_px = 320\n[model]\nfile = 'mine.onnx'\n"
    written(tmp_path, text + "[detection]\ndetector = 'yunet'\nfile = 'yunet.onnx'\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return tmp_path


def test_a_releases_model_detector_and_size_of_frames_are_the_defaults(release: Path) -> None:
    settings = settings_of("photo.jpg")
    assert (settings.model.file, settings.camera.width_px) == (Path("mine.onnx"), 320)
    assert (settings.detection.detector, settings.detection.file) == ("yunet", Path("yunet.onnx"))
    assert settings.source.camera is None


def test_a_release_does_not_say_what_to_read(release: Path) -> None:
    with pytest.raises(SystemExit):
        settings_of()


def test_a_named_file_or_a_flag_comes_before_the_release(release: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    own = written(tmp_path / "own", "[source]\ncamera = 0\n")
    assert settings_of("--config", str(own)).model.file == Settings().model.file
    assert settings_of("photo.jpg", "--model", "other.tflite").model.file == Path("other.tflite")
    named = settings_of("photo.jpg", "--detector", "mediapipe").detection
    assert (named.detector, named.file) == ("mediapipe", None)
    given = settings_of("photo.jpg", "--detector-file", "other.tflite").detection
    assert (given.detector, given.file) == ("auto", Path("other.tflite"))


def test_without_the_mark_of_a_bundle_a_file_beside_the_environment_is_nobodys(release: Path) -> None:
    (release / "bundle.env").unlink()
    assert settings_of("photo.jpg") == dataclasses.replace(
        Settings(), source=dataclasses.replace(Settings().source, address="photo.jpg")
    )


def test_detection_is_each_nth_frame_or_on_motion() -> None:
    assert (detect_when("5"), detect_when("on-motion")) == (5, ON_MOTION)
    for text in ("0", "-1", "motion", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="on-motion"):
            detect_when(text)


@pytest.mark.parametrize("text", ["", "1,2", "0,0,1", "0,0,1,1,1", "0,0,1,nan", "a,b,c,d", "0,0,1,1.5", "-0.1,0,1,1"])
def test_text_that_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a region"):
        region(text)


@given(x=st.floats(0, 1), y=st.floats(0, 1))
def test_a_rectangle_holds_what_lies_between_its_edges(x: float, y: float) -> None:
    part = region("0.25,0.25,0.75,0.5")
    box = Box(x * 640 - 10, y * 480 - 10, 20, 20)
    if abs(x - 0.25) > 0.01 and abs(x - 0.75) > 0.01 and abs(y - 0.25) > 0.01 and abs(y - 0.5) > 0.01:
        assert in_regions(box, [part], 640, 480) == (0.25 < x < 0.75 and 0.25 < y < 0.5)


def test_without_regions_the_whole_picture_counts() -> None:
    assert in_regions(Box(-500, -500, 10, 10), [], 640, 480)
    assert region_mask([], 8, 6).all()
    assert region_mask([region("0,0,0.5,1")], 80, 60).mean() == pytest.approx(0.5, abs=0.02)
