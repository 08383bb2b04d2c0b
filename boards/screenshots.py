"""Pictures of the web page for docs/: the sample clip with the face hidden, on a phone and on a desk.

Needs playwright and Debian's chromium.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import UsageError

# FER2013 says happy, FER+ happiness.
_SMILES = "() => document.querySelector('.face h3')?.textContent.includes('happ')"
_WAIT_MS = 120_000


@dataclass(frozen=True)
class Screen:
    """A viewport in CSS pixels and how many device pixels each has."""

    width_px: int
    height_px: int
    scale: int


SCREENS = (Screen(390, 844, 2), Screen(1280, 800, 1))


def take_screenshots(clip: Path, folder: Path, chromium: str, model: Path | None = None) -> list[Path]:
    """Run the page on `clip`, with the runtime's own model or `model`; `folder`/web-<width>.png for each of SCREENS."""
    from playwright.sync_api import sync_playwright

    paths = []
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root, as in a container; only our page is opened.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for screen in SCREENS:
            path = folder / f"web-{screen.width_px}.png"
            size = {"width": screen.width_px, "height": screen.height_px}
            page = browser.new_page(viewport=size, device_scale_factor=screen.scale)
            _shoot(page, clip, path, model)
            paths.append(path)
        browser.close()
    return paths


def _shoot(page, clip: Path, path: Path, model: Path | None) -> None:
    """Towards its end the woman of the clip smiles: by then the timeline has a past."""
    command = [sys.executable, "-m", "fer_edge", "--source", str(clip), "--web", "0", "--privacy", "blur", "--quiet"]
    command += ["--model", str(model)] if model else []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        line = program.stderr.readline()
        if "web page at" not in line:
            raise UsageError(f"fer-edge did not start: {line.strip()}")
        page.goto(line.split()[-1], wait_until="domcontentloaded")
        page.wait_for_selector("#picture:visible", timeout=_WAIT_MS)
        page.wait_for_function(_SMILES, timeout=_WAIT_MS)
        page.wait_for_timeout(1500)
        page.screenshot(path=str(path), full_page=True)
        program.terminate()
