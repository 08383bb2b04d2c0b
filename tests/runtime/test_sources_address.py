"""The text after --source: which kind it names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import SourceError
from fer_edge.sources import open_source
from fer_edge.sources.address import Kind, camera_device, is_csi_camera, kind_of, picamera_number


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0", Kind.CAMERA),
        ("12", Kind.CAMERA),
        ("/dev/video2", Kind.CAMERA),
        ("/dev/v4l/by-id/usb-046d-video-index0", Kind.CAMERA),
        ("picamera2", Kind.PICAMERA),
        ("picamera2:1", Kind.PICAMERA),
        ("rtsp://host/stream", Kind.STREAM),
        ("RTSPS://host/stream", Kind.STREAM),
        ("http://host:8080/video.mp4", Kind.STREAM),
        ("https://host/", Kind.STREAM),
        ("rtmp://host/live", Kind.STREAM),
        ("photo.JPG", Kind.IMAGE),
        ("some/photo.webp", Kind.IMAGE),
        ("clip.mp4", Kind.VIDEO),
        ("no-suffix", Kind.VIDEO),
        ("²", Kind.VIDEO),  # a digit to Unicode, but no camera
    ],
)
def test_the_kind_follows_from_scheme_and_suffix(text, kind):
    assert kind_of(text) is kind


def test_a_folder_is_a_folder_whatever_its_name(tmp_path):
    folder = tmp_path / "faces.jpg"
    folder.mkdir()
    assert kind_of(str(folder)) is Kind.FOLDER


@pytest.mark.parametrize("text", ["", "  ", "ftp://host/clip.mp4", "file:///clip.mp4"])
def test_text_that_names_no_source_is_refused_in_one_line(text):
    with pytest.raises(SourceError) as refused:
        open_source(text)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 3


def test_an_unknown_scheme_is_refused_without_showing_its_password():
    with pytest.raises(SourceError) as refused:
        open_source("ftp://me:hunter2@host/clip.mp4")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("text", "device"), [("0", 0), ("/dev/video3", 3), ("/dev/v4l/by-id/x", "/dev/v4l/by-id/x")])
def test_a_camera_is_an_index_or_a_path(text, device):
    assert camera_device(text) == device


@pytest.mark.parametrize(("text", "number"), [("picamera2", 0), ("picamera2:0", 0), ("picamera2:3", 3)])
def test_the_number_of_a_csi_camera(text, number):
    assert picamera_number(text) == number


def test_a_csi_camera_that_is_no_number_is_refused():
    with pytest.raises(SourceError, match="picamera2:N"):
        open_source("picamera2:front")


@given(st.text(max_size=60))
def test_any_text_is_a_source_or_a_source_error(text):
    try:
        source = open_source(text, sysfs=Path("/nonexistent"))
    except SourceError:
        return
    assert source.name


@pytest.mark.parametrize("driver", ["unicam-image", "rp1-cfe-csi2_ch0"])
def test_index_0_becomes_picamera2_where_the_kernel_says_it_is_a_csi_camera(tmp_path, driver):
    _describe(tmp_path, "video0", driver)
    assert open_source("0", sysfs=tmp_path).name == "picamera2:0"
    assert open_source("/dev/video0", sysfs=tmp_path).name == "picamera2:0"


@pytest.mark.parametrize("driver", ["HD Pro Webcam C920", "bcm2835-codec-decode", "mmal service 16.1"])
def test_index_0_stays_a_v4l2_camera_otherwise(tmp_path, driver):
    _describe(tmp_path, "video0", driver)
    assert open_source("0", sysfs=tmp_path).name == "camera 0"


def test_no_description_means_no_csi_camera(tmp_path):
    assert not is_csi_camera(0, tmp_path)


def _describe(sysfs, video, driver):
    (sysfs / video).mkdir()
    (sysfs / video / "name").write_text(f"{driver}\n")
