"""The page in a browser, on a phone and on a desk: headless Chromium against the whole program on the sample clip."""

import contextlib
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fer_edge.board import BoardState
from fer_edge.pictures import Pictures
from fer_edge.program.vitals import Vitals
from fer_edge.sinks.web import WebSink

from tests.conftest import ROOT
from tests.runtime.fakes.feeding import feeding
from tests.runtime.fakes.results import face, face_of_values, taken, taken_of_values
from tests.runtime.fakes.servers import chromium

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is absent; `make setup` brings it")
pytest.importorskip("microdot", reason="microdot is absent; the extra `web` brings it")
pytestmark = pytest.mark.usefixtures("mediapipe_file")

PHONE, DESK = (390, 844), (1280, 800)
AXE = "axe-core@4.14.1"
VITALS = Vitals(10.0, None, 0, BoardState(None, None, None, None))


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root, as in a container; only our page is opened.
        found = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield found
        found.close()


class Running:
    """`fer-edge --web` on the sample clip, at its pace; `url` is the address it printed."""

    def __init__(self, clip: Path, *words: str):
        command = [sys.executable, "-m", "fer_edge", "--source", str(clip), "--quiet", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert "web page at" in line, line
        self.url = line.split()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.process.terminate()
        self.process.wait(10)
        self.process.stderr.close()


def opened(browser, url, size):
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.goto(url, wait_until="domcontentloaded")
    return page


def picture_of(page) -> bytes:
    """Read the picture that is shown now back from a canvas."""
    return page.evaluate(
        """() => {
          const img = document.getElementById("picture"), c = document.createElement("canvas");
          c.width = 64; c.height = 36;
          c.getContext("2d").drawImage(img, 0, 0, 64, 36);
          return c.toDataURL();
        }"""
    )


COLOURS_IN_TIMELINE = """() => {
  const pen = document.getElementById("timeline").getContext("2d");
  return new Set(pen.getImageData(60, 10, 2000, 1).data).size;
}"""

# The page draws everything again with each event, so both are asked for at once.
PLACE_ON_PLANE = """() => {
  const [plane, here] = [".plane", ".plane .here"].map((name) => document.querySelector(name).getBoundingClientRect());
  return [(here.x + here.width / 2 - plane.x) / plane.width, (here.y + here.height / 2 - plane.y) / plane.height];
}"""


def test_the_page_shows_the_moving_picture_and_the_expression_on_phone_and_desk(browser, clip):
    with Running(clip, "--web", "0", "--privacy", "blur") as program:
        page = opened(browser, program.url, PHONE)
        page.wait_for_selector("#picture:visible", timeout=30_000)
        page.wait_for_selector(".face h3", timeout=30_000)
        first = picture_of(page)
        # Towards its end the woman of the clip smiles.
        page.wait_for_function(
            "() => document.querySelector('.face h3')?.textContent.includes('happy')", timeout=60_000
        )
        assert picture_of(page) != first, "the picture moves"
        assert page.locator("#legend li").count() == 7
        assert page.locator("#stages .bars").count() == 1
        for size in (PHONE, DESK):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            wide = page.evaluate("() => document.documentElement.scrollWidth")
            assert wide <= size[0], "nothing has to be scrolled sideways"
            assert page.evaluate(COLOURS_IN_TIMELINE) > 3
        assert page.problems == []
        page.close()


def test_with_numbers_there_is_no_picture(browser, clip):
    with Running(clip, "--web", "0", "--privacy", "numbers") as program:
        page = opened(browser, program.url, PHONE)
        page.wait_for_selector(".face h3", timeout=30_000)
        assert not page.locator("#picture").is_visible()
        assert "numbers only" in page.locator("#no-picture").inner_text()
        page.close()


def test_away_from_loopback_the_page_is_refused_without_its_token(browser, clip):
    with Running(clip, "--web", "0.0.0.0:0", "--privacy", "blur") as program:
        bare = program.url.split("?")[0]
        assert program.url != bare, "the printed address has the token"
        stranger = browser.new_context().new_page()
        assert stranger.goto(bare).status == 401
        assert "token" in stranger.locator("body").inner_text()
        assert stranger.goto(bare + "stream.mjpg").status == 401
        guest = browser.new_context().new_page()
        guest.goto(program.url, wait_until="domcontentloaded")
        guest.wait_for_selector(".face h3", timeout=30_000)
        assert "token" not in guest.url, "it moved into a cookie"


def test_the_page_says_when_the_board_is_gone(browser, clip):
    with Running(clip, "--web", "0", "--privacy", "numbers") as program:
        page = opened(browser, program.url, PHONE)
        page.wait_for_selector(".face h3", timeout=30_000)
    page.wait_for_selector("#notice:visible", timeout=30_000)
    assert "No connection" in page.locator("#notice").inner_text()
    page.close()


def test_valence_and_arousal_are_shown_on_the_circumplex(browser):
    """A pleased, excited face stands to the right of the middle and above it, beside the word nearest to it."""
    vitals = Vitals(10.0, None, 0, BoardState(50.0, None, False, 90.0), 0, {})
    glad = face_of_values((0.75, 0.5), "happiness", 7)
    with WebSink("0", None, Pictures("numbers"), lambda: vitals) as sink, feeding(sink, taken_of_values(0, glad)):
        page = opened(browser, sink.server.url, PHONE)
        page.wait_for_selector(".plane .here")
        across, down = page.evaluate(PLACE_ON_PLANE)
        assert 0.75 < across < 0.95 and 0.2 < down < 0.35
        assert "happiness+0.75 +0.50" in page.locator(".face h3").inner_text().replace("\n", "")
        assert page.locator(".plane .anchor").count() == 8 == page.locator("#legend li").count()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE[0]
        assert page.problems == []
        page.close()


def test_who_does_not_fit_reads_why_and_comes_in_once_there_is_room(browser):
    sink = WebSink(
        "0", None, Pictures(), lambda: Vitals(10.0, None, 0, BoardState(None, None, None, None)), max_viewers=1
    )
    with sink, feeding(sink, taken(0, face("happy"))):
        first = opened(browser, sink.server.url, DESK)
        first.wait_for_selector("article.face")
        second = opened(browser, sink.server.url, DESK)
        second.wait_for_function(
            "() => document.getElementById('notice').textContent.includes('1 viewers are watching')"
        )
        first.close()
        second.wait_for_selector("article.face")
        second.close()


def test_another_web_site_shows_neither_picture_nor_page(browser):
    """A page on another host name of this machine, which the browser takes for another site."""
    body = b"<img id=a><iframe id=b></iframe><script>a.onerror = () => { document.title = 'refused' }</script>"
    vitals = Vitals(10.0, None, 0, BoardState(None, None, None, None))
    with (
        WebSink("0", None, Pictures(), lambda: vitals) as sink,
        feeding(sink, taken(0, face("happy"))),
        serving(body) as port,
    ):
        page = opened(browser, f"http://localhost:{port}/", DESK)
        page.evaluate(f"document.getElementById('a').src = 'http://127.0.0.1:{sink.server.port}/stream.mjpg'")
        page.wait_for_function("() => document.title == 'refused'")
        assert sink.view.viewers == 0, "nothing was drawn for it"
        page.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script, which looks for what keeps people from using a page (WCAG 2)."""
    script = ROOT / "build/axe/package/axe.min.js"
    if not script.is_file():
        if shutil.which("npm") is None:
            pytest.skip("npm is absent, which brings axe-core; apt install npm")
        folder = script.parent.parent
        folder.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True)
        if packed.returncode != 0:
            pytest.skip(f"npm does not bring {AXE}")
        shutil.unpack_archive(folder / packed.stdout.split()[-1], folder)
    return script.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_and_used_by_everybody(browser, axe, scheme):
    sink = WebSink("0", None, Pictures("numbers"), lambda: VITALS)
    with sink, feeding(sink, taken(0, face("happy"), face("sad", track_id=2))):
        page = opened(browser, sink.server.url, DESK)
        page.emulate_media(color_scheme=scheme)
        page.wait_for_selector("#counts .value")
        page.evaluate(axe)
        found = page.evaluate("async () => (await axe.run({runOnly: ['wcag2a', 'wcag2aa']})).violations")
        problems = [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found]
        assert problems == []
        page.close()


def test_the_last_hour_is_shown_and_can_be_downloaded(browser):
    sink = WebSink("0", None, Pictures("numbers"), lambda: VITALS)
    with sink, feeding(sink, taken(0, face("happy"), face("sad", track_id=2))):
        page = opened(browser, sink.server.url, DESK)
        page.wait_for_selector("#counts .value")
        assert page.locator("#counts .value").all_inner_texts() == ["50%", "50%"]
        page.get_by_role("button", name="Last day").click()
        assert page.get_by_role("button", name="Last hour").get_attribute("aria-pressed") == "false"
        with page.expect_download() as download:
            page.get_by_role("link", name="Download CSV").click()
        head, *rows = Path(download.value.path()).read_text().splitlines()
        assert head.startswith("minute,frames,most_faces,angry") and rows
        page.close()


def test_a_paused_page_stands_still_and_leaves_its_place_to_others(browser):
    sink = WebSink("0", None, Pictures(), lambda: VITALS, max_viewers=1)
    with sink, feeding(sink, taken(0, face("happy"))):
        page = opened(browser, sink.server.url, DESK)
        page.wait_for_selector("#picture:visible")
        page.get_by_role("button", name="Pause").click()
        page.wait_for_selector("#still:visible")
        other = opened(browser, sink.server.url, DESK)
        other.wait_for_selector("article.face")
        other.close()
        page.get_by_role("button", name="Resume").click()
        page.wait_for_selector("#picture:visible")
        page.close()


def test_a_source_that_falls_silent_is_told_in_a_banner(browser):
    sink = WebSink("0", None, Pictures("numbers"), lambda: VITALS)
    with sink:
        with feeding(sink, taken(0, face("happy"))):
            page = opened(browser, sink.server.url, DESK)
            page.wait_for_selector("article.face")
        page.wait_for_selector("#notice:visible", timeout=20_000)
        assert "camera or stream is away" in page.locator("#notice").inner_text()
        page.close()


def test_what_the_board_does_not_have_is_left_out(browser):
    sink = WebSink("0", None, Pictures("numbers"), lambda: VITALS)
    with sink, feeding(sink, taken(0, face("happy"))):
        page = opened(browser, sink.server.url, DESK)
        page.wait_for_selector("article.face")
        assert not page.locator("#board").is_visible()
        page.close()


@contextlib.contextmanager
def serving(body):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
