"""A report in a browser: on a phone too its first images are on the first screen, and nothing moves."""

from __future__ import annotations

import re
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlparse

import pytest
from PIL import Image

from s2i.data.manifest import Caption
from s2i.reports.caption_cards import every_caption, leading_captions
from s2i.reports.charts import class_chart
from s2i.reports.document import Section, document, with_sizes
from s2i.reports.gallery import GalleryImages, GalleryItem
from s2i.reports.main_results import headline, main_results, main_table, summary
from s2i.reports.page import kind, notices, page_header
from s2i.runs.fingerprints import OTHER
from tests.fixtures import browser
from tests.fixtures.browser import find, wait_for
from tests.reports.test_page import results, scores

LACKING = browser.missing()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING or "never")
TEXT = "a large bird with a green crown, a brown back, a striped eye, a white wing and a long bill."


DATA = {
    "generated_size": 64,
    "subject": "photographed birds, described by the colours and shapes of their parts",
    "folder": "birds/pack",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A smoke run's report over few classes: with every notice there is."""
    folder = tmp_path_factory.mktemp("report")
    for name in ("speech", "text", "real"):
        Image.new("RGB", (64, 64), "green").save(folder / f"{name}.png")
    images = {side: GalleryImages([f"{side}.png"], "", [], []) for side in ("speech", "text")}
    items = [
        GalleryItem(Caption(TEXT, "a.wav", "v", "en"), "b", "a.wav", "real.png", False, images)
        for _ in range(8)
    ]
    main, comparison = main_results(scores("speech", "text")), results(-0.3, -0.1)
    about = kind({"speech": "small-speech-gan", "text": "small-text-gan"}, DATA)
    header = page_header(about, headline(main, comparison), summary(main), notices([24], 4, OTHER))
    data = {"generated_captions": 8}
    classes = [(f"Black footed Albatross {number}", 0.5, number / 30) for number in range(30)]
    sections = [
        leading_captions(items, data),
        Section("Results", "", main_table(main, comparison), folded=False),
        every_caption(items, 1, data),
        Section("Set-up", "a run", "<p>facts</p>"),
        Section("Classes", "", class_chart("Accuracy of each class", classes), folded=False),
    ]
    (folder / "index.html").write_text(with_sizes(document("report", header, sections), folder))
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("downloads")) as driver:
        yield driver


@pytest.mark.parametrize("width, height", [(1280, 900), (390, 844)])
def test_the_first_images_are_on_the_first_screen(driver, address, width, height):
    browser.resize(driver, width, height)
    driver.get(address)
    first = find(driver, "img")[0].rect
    assert first["y"] + first["height"] <= height
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert len({image.rect["y"] for image in find(driver, ".column img")[: 18 if width > 900 else 3]}) == (
        3 if width > 900 else 1
    )  # a row a modality; on a phone a caption's images side by side


@pytest.mark.parametrize("width", [1280, 390])
def test_the_plot_of_classes_is_as_wide_as_the_page_and_its_text_large_enough(driver, address, width):
    browser.resize(driver, width, 844)
    driver.get(address)
    [plot] = find(driver, ".full > svg")
    left, right = plot.rect["x"], plot.rect["x"] + plot.rect["width"]
    assert right - left > 0.85 * (width - 60)
    names = [text.rect for text in find(driver, ".full svg svg text")]
    assert len(names) == 30
    for name in names:  # on their side: as wide as a line is high
        assert name["width"] >= 11 and left - 6 < name["x"] < right
        assert name["y"] + name["height"] <= plot.rect["y"] + plot.rect["height"]
    first = [name["x"] for name in names]
    assert first == sorted(first) and min(b - a for a, b in pairwise(first)) > 8  # letters are 8 px high


SHIFTS = """
const [toItsEnd, done] = arguments;
let moved = 0; // parts of the page: what moves inside a player of sound has no node
new PerformanceObserver((list) => list.getEntries().forEach((each) => {
  moved += each.sources.filter((source) => source.node).length;
})).observe({ type: "layout-shift", buffered: true });
document.querySelectorAll("img").forEach((each) => { each.loading = "eager"; });
if (toItsEnd) scrollTo(0, document.documentElement.scrollHeight);
const wait = () => [...document.images].every((each) => each.complete) ? setTimeout(() => done(moved), 300)
  : setTimeout(wait, 50);
wait();
"""


def moved(driver, *, scrolled=True):
    """How many parts have moved since the page began to come, with its images; scrolled to its end then."""
    return driver.execute_async_script(SHIFTS, scrolled)


def test_nothing_moves_while_images_load(driver, address):
    browser.resize(driver, 390, 844)
    driver.get(address)
    assert moved(driver) == 0


def test_nothing_moves_on_a_slow_processor_which_shows_what_it_has_read_so_far(driver, address):
    """A page that is shorter than the window at first has no scroll bar, and would be narrower with it."""
    browser.resize(driver, 390, 844)
    try:
        for slowness in (10, 20, 20, 20, 40, 40, 40):
            driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": slowness})
            driver.get(address)
            assert moved(driver) == 0
    finally:
        driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": 1})


class InPieces(SimpleHTTPRequestHandler):
    """Sends a page as a slow line does, tag by tag, so that a browser shows each beginning of it."""

    def log_message(self, *_):
        """Say nothing."""

    def copyfile(self, source, outputfile):
        """The file's bytes, with pauses of a frame of the screen."""
        if not self.path.endswith(".html"):
            return super().copyfile(source, outputfile)
        head, body = source.read().split(b"<body>")
        outputfile.write(head)
        pieces = rb"\s*<article.*?</article>|\s*<figure class=.chart.*?</figure>|[^<]*<[^>]*>"
        for piece in re.findall(pieces, b"<body>" + body, re.DOTALL):  # folded cards and charts whole
            outputfile.write(piece)
            time.sleep(0.02)


@pytest.fixture(scope="module")
def slow_address(address):
    """The report from a server that sends it in pieces."""
    folder = Path(unquote(urlparse(address).path)).parent
    handler = partial(InPieces, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@pytest.mark.parametrize("width, height", [(1280, 900), (390, 844)])
def test_nothing_moves_while_the_page_comes_or_comes_again_where_its_middle_was_read(
    driver, slow_address, width, height
):
    """A caption that is read in part, a button without its words yet, a chart that comes before its table."""
    browser.resize(driver, width, height)
    driver.get(slow_address)
    assert moved(driver) == 0
    driver.execute_script("scrollTo(0, document.documentElement.scrollHeight / 2)")
    time.sleep(0.3)  # the browser notes the place
    driver.refresh()
    assert moved(driver, scrolled=False) == 0
    assert driver.execute_script("return scrollY") > height


def test_contents_open_what_they_lead_to(driver, address):
    browser.resize(driver, 1280, 900)
    driver.get(address)
    folds = find(driver, "details.section")
    assert [fold.get_attribute("open") for fold in folds] == [None, None]
    find(driver, "nav a[href='#set-up']")[0].click()
    wait_for(lambda: folds[1].get_attribute("open"))
    assert folds[0].get_attribute("open") is None
    find(driver, "#unfold")[0].click()
    assert all(fold.get_attribute("open") for fold in folds)
    find(driver, "#unfold")[0].click()
    assert not any(fold.get_attribute("open") for fold in folds)
