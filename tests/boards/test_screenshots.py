"""Pictures for docs/: the program that is shown always hides the face, ends with its page, and a failure is one line.

The browser and the program are stood in for; `fer-edge-lab screenshots` runs the real ones.
"""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fer_edge.errors import UsageError

from boards import screenshots
from boards.screenshots import SCREENS, _running, _save_run, _taken

# Notes its words; says where its page is and waits, or saves a run.
PROGRAM = """#!/bin/sh
echo "$*" >>"$NOTES"
case "$*" in *--web*) echo $$ >"$NOTES.pid"; echo "$SAYS" >&2; exec sleep 60 ;; esac
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The words that fer-edge was started with."""
    (tmp_path / "python").write_text(PROGRAM)
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("SAYS", "fer-edge: web page at http://127.0.0.1:4711/")
    return tmp_path / "notes"


@dataclass
class Page:
    """A page of a browser that notes what is done with it."""

    size: dict[str, int]
    scale: int
    done: list[str] = field(default_factory=list)

    def goto(self, url: str, **_: object) -> None:
        self.done.append(url)

    def screenshot(self, path: str | None = None, **_: object) -> bytes:
        if path is not None:
            Path(path).write_text(f"{self.size['width']}x{self.size['height']} at {self.scale}")
        return b""

    def wait_for_selector(self, *_: object, **__: object) -> None: ...

    def wait_for_timeout(self, ms: float) -> None: ...

    def wait_for_function(self, script: str, **_: object) -> None:
        self.done.append(script)


@dataclass
class Browser:
    """A browser, and the playwright that launches it."""

    pages: list[Page] = field(default_factory=list)
    closed: bool = False

    @property
    def chromium(self) -> "Browser":
        return self

    def launch(self, **_: object) -> "Browser":
        return self

    def new_page(self, viewport: dict[str, int], device_scale_factor: int = 1) -> Page:
        self.pages.append(Page(viewport, device_scale_factor))
        return self.pages[-1]

    def close(self) -> None:
        self.closed = True


def test_the_page_is_that_of_a_program_which_hides_the_face_and_ends_afterwards(notes: Path) -> None:
    with _running(Path("clip.mp4"), Path("mine.tflite")) as url:
        assert url == "http://127.0.0.1:4711/"
        pid = int(notes.with_name("notes.pid").read_text())
    assert notes.read_text() == ("-m fer_edge --source clip.mp4 --web 0 --privacy blur --quiet --model mine.tflite\n")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_a_page_that_fails_ends_the_program_at_once(notes: Path) -> None:
    with pytest.raises(KeyError), _running(Path("clip.mp4"), None):
        raise KeyError("no such button")
    with pytest.raises(ProcessLookupError):
        os.kill(int(notes.with_name("notes.pid").read_text()), signal.SIGCONT)


def test_the_saved_run_hides_the_face_too(notes: Path, tmp_path: Path) -> None:
    _save_run(Path("clip.mp4"), tmp_path, None)
    assert notes.read_text() == f"-m fer_edge clip.mp4 --save {tmp_path} --privacy blur --quiet\n"


def test_a_program_that_does_not_start_is_told_with_its_words(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYS", "fer-edge: clip.mp4: not a video")
    with (
        pytest.raises(UsageError, match=r"^fer-edge did not start: fer-edge: clip\.mp4: not a video$"),
        _running(Path("clip.mp4"), None),
    ):
        pytest.fail("there is no page")
    with pytest.raises(ProcessLookupError):
        os.kill(int(notes.with_name("notes.pid").read_text()), signal.SIGCONT)


def test_there_is_a_picture_of_page_and_timeline_for_each_screen_and_one_that_moves(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screenshots, "_film", lambda page, url, path: path.write_text("GIF"))
    browser, out = Browser(), tmp_path / "docs"
    out.mkdir()
    paths = _taken(browser, Path("clip.mp4"), out, "chromium", None)
    names = [f"{kind}-{screen.width_px}.png" for kind in ("web", "timeline") for screen in SCREENS]
    assert [path.name for path in paths] == [*names[:2], "web.gif", *names[2:]]
    assert all(path.is_file() for path in paths) and browser.closed
    assert (out / "web-390.png").read_text() == "390x844 at 2"
    assert all("--privacy blur" in line for line in notes.read_text().splitlines())


def test_a_browser_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="playwright is absent; `make setup` brings it")
    with pytest.raises(UsageError, match=r"^/nowhere/chromium took no pictures: ") as refused:
        screenshots.take_screenshots(Path("clip.mp4"), tmp_path, "/nowhere/chromium")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())
