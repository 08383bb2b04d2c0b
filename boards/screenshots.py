"""Pictures for docs/ of the web page and of a timeline: the sample clip with the face hidden, on a phone and on a desk.

Needs playwright and Debian's chromium.
"""

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import UsageError

# FER2013 says happy, FER+ happiness.
_SMILES = "() => document.querySelector('.face h3')?.textContent.includes('happ')"
_WAIT_MS = 120_000
_FILM_FRAMES = 24
_FILM_STEP_S = 0.6


@dataclass(frozen=True)
class Screen:
    """A viewport in CSS pixels and how many device pixels each has."""

    width_px: int
    height_px: int
    scale: int


SCREENS = (Screen(390, 844, 2), Screen(1280, 800, 1))


def take_screenshots(clip: Path, folder: Path, chromium: str, model: Path | None = None) -> list[Path]:
    """Run the page on `clip`, with the runtime's own model or `model`.

    Writes `folder`/web-<width>.png and timeline-<width>.png for each of SCREENS, and web.gif, a moving picture of the
    page.
    """
    from playwright.sync_api import Error, sync_playwright

    try:
        with sync_playwright() as playwright:
            return _taken(playwright, clip, folder, chromium, model)
    except Error as error:
        raise UsageError(f"{chromium} took no pictures: {str(error).splitlines()[0]}") from None


def _taken(playwright, clip: Path, folder: Path, chromium: str, model: Path | None) -> list[Path]:
    paths = []
    # Chromium's own sandbox does not start for root, as in a container; only our page is opened.
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    for screen in SCREENS:
        path = folder / f"web-{screen.width_px}.png"
        size = {"width": screen.width_px, "height": screen.height_px}
        page = browser.new_page(viewport=size, device_scale_factor=screen.scale)
        _shoot(page, clip, path, model)
        paths.append(path)
    paths.append(folder / "web.gif")
    with _running(clip, model) as url:
        page = browser.new_page(viewport={"width": 1000, "height": 620})
        _film(page, url, paths[-1])
    with tempfile.TemporaryDirectory() as run:
        _save_run(clip, Path(run), model)
        for screen in SCREENS:
            paths.append(folder / f"timeline-{screen.width_px}.png")
            page = browser.new_page(viewport={"width": screen.width_px, "height": 620})
            page.goto((Path(run) / "timeline.html").as_uri())
            page.screenshot(path=str(paths[-1]), full_page=True)
    browser.close()
    return paths


@contextmanager
def _running(clip: Path, model: Path | None) -> Iterator[str]:
    """`fer-edge` on the clip, at its pace; the address of its page."""
    command = [sys.executable, "-m", "fer_edge", "--source", str(clip), "--web", "0", "--privacy", "blur", "--quiet"]
    command += ["--model", str(model)] if model else []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        try:
            line = program.stderr.readline()
            if "web page at" not in line:
                raise UsageError(f"fer-edge did not start: {line.strip()}")
            yield line.split()[-1]
        finally:
            program.terminate()  # or the end of the block would wait for that of the clip


def _save_run(clip: Path, folder: Path, model: Path | None) -> None:
    command = [sys.executable, "-m", "fer_edge", str(clip), "--save", str(folder), "--privacy", "blur", "--quiet"]
    subprocess.run([*command, *(["--model", str(model)] if model else [])], check=True)


def _shoot(page, clip: Path, path: Path, model: Path | None) -> None:
    """Towards its end the woman of the clip smiles: by then the timeline has a past."""
    with _running(clip, model) as url:
        page.goto(url, wait_until="domcontentloaded")
        page.wait_for_selector("#picture:visible", timeout=_WAIT_MS)
        page.wait_for_function(_SMILES, timeout=_WAIT_MS)
        page.wait_for_timeout(1500)
        page.screenshot(path=str(path), full_page=True)


def _film(page, url: str, path: Path) -> None:
    """A short loop, three pictures a second, small enough for a README."""
    from PIL import Image

    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_selector("#picture:visible", timeout=_WAIT_MS)
    shots = []
    while len(shots) < _FILM_FRAMES and not page.locator("#notice").is_visible():  # the clip ends with a notice
        shots.append(page.screenshot())
        page.wait_for_timeout(1000 * _FILM_STEP_S)
    small = [Image.open(io.BytesIO(shot)).convert("RGB").resize((640, 397), Image.Resampling.LANCZOS) for shot in shots]
    first, *others = [picture.quantize(200, kmeans=1) for picture in small]
    first.save(path, save_all=True, append_images=others, duration=int(1000 * _FILM_STEP_S), loop=0)
