"""Pictures: their kind and size from the first bytes, and what is refused before anything is decoded."""

import random
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import DataError, SourceError
from fer_edge.faces import load_faces
from fer_edge.picture_file import decode_image, kind_of_file, read_image
from fer_edge.picture_header import (
    PictureHeaderError,
    PictureLimit,
    is_animated_gif,
    kind_of_picture,
    picture_header,
)
from fer_edge.sources import open_source

from tests.runtime.fakes.media import numbered, write_image

WIDTH, HEIGHT = 64, 48
SUFFIXES = {
    **{".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WebP", ".tif": "TIFF", ".gif": "GIF"},
    **{".ppm": "PNM", ".pgm": "PNM", ".pfm": "PNM", ".pam": "PNM", ".hdr": "HDR", ".ras": "Sun raster"},
    **{".jp2": "JPEG 2000", ".avif": "AVIF"},
}


def encoded(suffix: str, width: int = WIDTH, height: int = HEIGHT, parameters: tuple[int, ...] = ()) -> bytes:
    image = cv2.resize(numbered(7, 8, 6), (width, height))
    image[height // 2 :] = (10, 60, 200)
    if suffix in (".hdr", ".pfm"):
        image = image.astype(np.float32) / 255
    try:
        whole, data = cv2.imencode(suffix, image[:, :, 0] if suffix == ".pgm" else image, parameters)
    except cv2.error:
        whole = False
    if not whole:
        pytest.skip(f"this OpenCV writes no {suffix}")
    return data.tobytes()


@pytest.mark.parametrize(("suffix", "kind"), SUFFIXES.items())
def test_kind_and_size_are_known_from_the_header(suffix: str, kind: str) -> None:
    data = encoded(suffix)
    header = picture_header(data)
    assert (header.kind, header.width_px, header.height_px) == (kind, WIDTH, HEIGHT)
    assert kind_of_picture(data[:64]) == kind


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".pfm"])
def test_what_is_understood_is_decoded(suffix: str) -> None:
    assert decode_image(encoded(suffix), "picture").shape == (HEIGHT, WIDTH, 3)
    assert decode_image(encoded(suffix), "picture", grey=True).shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("suffix", "parameters"),
    [
        (".webp", (cv2.IMWRITE_WEBP_QUALITY, 60)),
        (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101)),
        (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        (".jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)),
        (".tif", (cv2.IMWRITE_TIFF_COMPRESSION, 1)),
    ],
)
def test_every_flavour_of_a_format_is_understood(suffix: str, parameters: tuple[int, ...]) -> None:
    header = picture_header(encoded(suffix, parameters=parameters))
    assert (header.width_px, header.height_px) == (WIDTH, HEIGHT)


CLAIMS = {
    "GIF": b"GIF89a" + struct.pack("<HH", 30000, 30000) + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 32767, 32767) + b"\x08\2\0\0\0CRC!\0\0\0\0IENDCRC!",
    "BMP": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 20000, -20000, 1, 8, 1) + bytes(20),
    "old BMP": b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 20000, 20000, 1, 8),
    "JPEG": b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65500, 65500) + b"\3\1\x11\0\2\x11\1\3\x11\1\xff\xda",
    "WebP": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\0\xff\xff\0",
    "lossless WebP": b"RIFF\0\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I", 0x0FFFFFFF),
    "TIFF": b"II*\0\x08\0\0\0\2\0" + struct.pack("<HHIIHHII", 256, 4, 1, 40000, 257, 3, 1, 40000),
    "big TIFF": b"MM\0+\0\x08\0\0"
    + struct.pack(">QQ", 16, 2)
    + struct.pack(">HHQQHHQQ", 256, 16, 1, 1 << 40, 257, 16, 1, 9),
    "PNM": b"P6 # a comment\n30000 30000\n255\n",
    "PAM": b"P7\nWIDTH 30000\nHEIGHT 30000\nDEPTH 3\nMAXVAL 255\nENDHDR\n",
    "HDR": b"#?RADIANCE\n# -Y 1 +X 1\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n",
    "Sun raster": b"\x59\xa6\x6a\x95" + struct.pack(">II", 30000, 30000) + bytes(20),
    "JPEG 2000": b"\xff\x4f\xff\x51\0\x2f\0\0" + struct.pack(">IIII", 30000, 30000, 0, 0) + bytes(16) + b"\0\3",
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_few_bytes_that_claim_a_huge_picture_are_refused_undecoded(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(CLAIMS[kind])
    with pytest.raises(SourceError, match=r"bomb\.png: \d+x\d+ are .* million pixels; .* Scale it down\."):
        read_image(path)


@pytest.mark.parametrize("width", [16000, 64])
def test_an_avif_that_lies_about_its_size_is_seen_through(width: int) -> None:
    """Its boxes claim little, the AV1 picture inside is what gets decoded."""
    data = encoded(".avif", 256, 128)
    at = data.index(b"ispe") + 8
    header = picture_header(data[:at] + struct.pack(">II", width, 16) + data[at + 8 :])
    assert (header.width_px, header.height_px) == (max(width, 256), 128)


def test_a_png_chunk_that_is_longer_than_its_file_is_refused() -> None:
    """OpenCV makes room for all of it before it looks: 4 GB for a file of 6 kB."""
    data = bytearray(encoded(".png"))
    data[33:37] = b"\xff\xff\xff\xd6"
    with pytest.raises(SourceError, match="cut short"):
        decode_image(bytes(data), "picture")


def test_a_progressive_jpeg_of_countless_scans_is_refused() -> None:
    data = encoded(".jpg", 2048, 1024, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    assert picture_header(data).passes <= 20
    with pytest.raises(SourceError, match=r"JPEG of 6\d\d scans"):
        decode_image(data[:-2] + last_scan * 600 + b"\xff\xd9", "picture")


def test_the_limit_is_a_setting_and_named_in_the_refusal(tmp_path: Path) -> None:
    path = write_image(tmp_path / "photo.png", numbered(3, 1000, 500))
    with pytest.raises(SourceError, match=r"0\.5 million.*limit for PNG is 0\.4 million.*--max-megapixels \(0\.4\)"):
        read_image(path, limit=PictureLimit(0.4, "--max-megapixels"))
    assert read_image(path, limit=PictureLimit(0.5)).shape == (500, 1000, 3)


def test_a_file_larger_than_any_picture_within_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as stream:
        stream.write(b"\xff\xd8\xff")
        stream.truncate(1 << 33)  # sparse: 8 GB
    with pytest.raises(SourceError, match="8590 MB; the limit for images is 100 MB"):
        read_image(path)


def test_an_oversized_picture_in_a_folder_is_left_out_with_a_warning(tmp_path, caplog) -> None:
    write_image(tmp_path / "a.png", numbered(1))
    (tmp_path / "b.png").write_bytes(CLAIMS["GIF"])
    with open_source(str(tmp_path)) as source:
        assert [Path(frame.source).name for frame in source] == ["a.png"]
    assert "b.png: 30000x30000" in caplog.text and caplog.text.count("Left out.") == 1


def test_of_many_damaged_pictures_the_first_are_named_and_all_are_counted(tmp_path, caplog) -> None:
    write_image(tmp_path / "a.png", numbered(1))
    for number in range(30):
        (tmp_path / f"bad{number}.jpg").write_bytes(b"no picture")
    with open_source(str(tmp_path)) as source:
        assert len(list(source)) == 1
    assert len(caplog.records) == 11
    assert "30 of 31 images were left out" in caplog.text


def test_opencv_has_a_second_wall_of_its_own() -> None:
    script = (
        "import fer_edge, cv2, numpy, struct\n"
        "data = b'P6 9000 9000 255\\n' + bytes(100)\n"
        "try:\n    print(cv2.imdecode(numpy.frombuffer(data, numpy.uint8), 1))\n"
        "except cv2.error as error:\n    print('refused', 'CV_IO_MAX_IMAGE_PIXELS' in str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() in ("refused True", "None"), done.stderr


def test_faces_in_folders_go_through_the_same_door(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    write_image(tmp_path / "happy" / "1.png", numbered(3, 48, 48))
    (tmp_path / "happy" / "2.png").write_bytes(CLAIMS["PNG"])
    with pytest.raises(DataError, match=r"2\.png: 32767x32767.*1 of 2 images cannot be read"):
        load_faces(tmp_path, "test")


@pytest.mark.parametrize("name", ["photo.jfif", "photo.jpe", "photo", "photo.txt"])
def test_a_picture_is_known_by_its_first_bytes_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    """So that the EXIF orientation of a phone's JPEG counts, which a video decoder does not look at."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
    data = encoded(".jpg")
    (tmp_path / name).write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    with open_source(str(tmp_path / name)) as source:
        (frame,) = source
    assert frame.image_bgr.shape == (WIDTH, HEIGHT, 3), "upright: its sides are exchanged"


def test_a_folder_reads_pictures_whatever_they_are_called_and_tells_what_it_leaves_out(tmp_path, caplog) -> None:
    for name, suffix in (("1.jpg", ".jpg"), ("2.jfif", ".jpg"), ("3", ".png"), ("4.avif", ".avif"), ("5.dat", ".webp")):
        (tmp_path / name).write_bytes(encoded(suffix))
    for name in ("notes.txt", "more.txt", "clip.mp4"):
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "folder.jpg").mkdir()
    with open_source(str(tmp_path)) as source:
        assert [Path(frame.source).name for frame in source] == ["1.jpg", "2.jfif", "3", "4.avif", "5.dat"]
    (record,) = caplog.records
    assert "3 files are left out, as they are no images (.txt 2, .mp4 1)" in record.getMessage()


def test_a_gif_that_moves_is_a_video_and_one_that_does_not_is_a_picture(tmp_path: Path) -> None:
    if not hasattr(cv2, "imencodeanimation"):
        pytest.skip("this OpenCV writes no animations")
    animation = cv2.Animation()
    animation.frames, animation.durations = [numbered(1), numbered(9), numbered(20)], [100] * 3
    (tmp_path / "moves.gif").write_bytes(cv2.imencodeanimation(".gif", animation)[1].tobytes())
    (tmp_path / "still.gif").write_bytes(encoded(".gif"))
    for name, frames in (("moves.gif", 3), ("still.gif", 1)):
        with open_source(str(tmp_path / name)) as source:
            assert len(list(source)) == frames
    assert not is_animated_gif(b"GIF89a")


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("JPEG XL", b"\xff\x0a"),
        ("OpenEXR", b"v/1\1"),
        ("Photoshop", b"8BPS"),
    ],
)
def test_a_picture_that_opencv_does_not_read_is_called_what_it_is(tmp_path: Path, kind: str, head: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(head + bytes(100))
    with pytest.raises(SourceError, match=f"{kind}: OpenCV reads no such files; convert it to JPEG"):
        open_source(str(path)).__enter__()


def test_what_is_no_file_has_no_kind(tmp_path: Path) -> None:
    assert [kind_of_file(path) for path in (tmp_path, tmp_path / "none", Path("a\0b"))] == [None] * 3


@given(data=st.data())
def test_any_bytes_behind_any_head_are_a_header_or_a_header_error(data: st.DataObject) -> None:
    head = data.draw(st.sampled_from([*CLAIMS.values(), *(b for b in [b"", b"\xff\xd8\xff", b"II+\0", b"P5\n"])]))
    kept = data.draw(st.integers(0, len(head)))
    try:
        header = picture_header(head[:kept] + data.draw(st.binary(max_size=80)))
    except PictureHeaderError as error:
        assert "\n" not in str(error)
    else:
        assert header.width_px > 0 and header.height_px > 0


def test_damaged_pictures_take_little_memory_and_time() -> None:
    """In a process of its own, whose peak is its own: 1,500 files, each damaged in a few bytes."""
    done = subprocess.run(
        [sys.executable, "-c", _FUZZ, *map(str, sys.path)], capture_output=True, text=True, timeout=250, check=True
    )
    peak_mb, slowest_s, decoded = done.stdout.split()
    assert int(peak_mb) < 400 and float(slowest_s) < 10 and int(decoded) > 100


_FUZZ = """
import random, sys, time
sys.path[:] = sys.argv[1:]
from tests.runtime.test_picture_file import SUFFIXES, damaged, encoded, peak_mb
from fer_edge.errors import SourceError
from fer_edge.picture_file import decode_image
wholes = [encoded(suffix) for suffix in SUFFIXES]
slowest, decoded = 0.0, 0
for seed in range(1500):
    data, begun = damaged(wholes[seed % len(wholes)], random.Random(seed)), time.process_time()
    try:
        decode_image(data, "picture")
        decoded += 1
    except SourceError:
        pass
    slowest = max(slowest, time.process_time() - begun)
print(peak_mb(), slowest, decoded)
"""


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few bytes changed, most of them in its header."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(min(len(changed), chance.choice([32, 64, 256, len(changed)])))
        width = chance.choice([1, 2, 4])
        changed[at : at + width] = chance.choice([b"\xff" * width, b"\0" * width, chance.randbytes(width)])
    return bytes(changed)


def peak_mb() -> int:
    """The most memory this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
