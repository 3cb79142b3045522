"""The page in a browser: recording from a fake microphone, typing, saving, by keyboard, on a phone."""

from __future__ import annotations

import json
import time
import zipfile
from urllib.parse import parse_qs, urlsplit

import pytest

from s2i.data.sound_files import readable_endings
from s2i.inference.model import load
from s2i.reports.export import export
from s2i.search.build import build_index
from tests.fixtures import browser
from tests.fixtures.browser import click, find, wait, wait_for
from tests.fixtures.data import write_tiny_data
from tests.fixtures.models import SENTENCES, write_recording, write_tiny_run

UPLOAD = "#s2i-recording input[type=file]"
LACKING = browser.missing()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING or "never")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    export([write_tiny_run(folder / "speech"), write_tiny_run(folder / "text", "text")], folder / "model")
    write_tiny_data(folder)
    (folder / "examples").mkdir()
    write_recording(folder / "examples" / "one.wav", 1.5)
    line = {"audio": "one.wav", "text": SENTENCES[0], "speaker": "a voice"}
    (folder / "examples" / "examples.jsonl").write_text(json.dumps(line) + "\n")
    build_index(load(folder / "model", "cpu"), folder / "manifest.jsonl", folder / "index")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    options = ("--index", str(folder / "index"), "--device", "cpu")
    with browser.app(folder / "model", *options, log=folder / "log") as address:
        yield address


@pytest.fixture(scope="module")
def driver(folder):
    spoken = write_recording(folder / "spoken.wav", 3.0)
    with browser.browser(folder / "downloads", spoken) as driver:
        yield driver


@pytest.fixture
def page(driver, address):
    """The page, newly opened at a desktop's width."""
    browser.resize(driver, 1280, 900)
    driver.get(address)
    wait(driver, "#s2i-generate")
    wait(driver, "#s2i-recording .record-button")
    return driver


def test_a_spoken_and_a_typed_sentence_are_generated_side_by_side_and_saved(page, folder):
    began = time.monotonic()
    click(page, "#s2i-recording .record-button")
    time.sleep(2.0)
    click(page, "#s2i-recording .stop-button")
    wait(page, "#s2i-recording .play-pause-button")
    longest = time.monotonic() - began  # a busy machine presses the button late
    wait(page, "#s2i-text textarea").send_keys(SENTENCES[0])
    click(page, "#s2i-generate")
    wait(page, "s2i-answer")
    assert len(find(page, ".s2i-card")) == 4
    assert len(find(page, ".s2i-speech .s2i-stages img")) == len(find(page, ".s2i-text .s2i-stages img")) == 8
    assert (
        len(find(page, ".s2i-neighbours .s2i-speech li"))
        == len(find(page, ".s2i-neighbours .s2i-text li"))
        == 6
    )
    heard = float(find(page, ".s2i-player.s2i-speech")[0].get_attribute("data-seconds"))
    assert 1.0 < heard < longest

    click(page, "#s2i-save")
    saved = folder / "downloads" / "s2i-images.zip"
    wait_for(saved.exists)
    with zipfile.ZipFile(saved) as archive:
        settings = json.loads(archive.read("settings.json"))
        assert len(archive.namelist()) == 2 + 2 * 4 * 3 and archive.testzip() is None
    assert settings["text"] == SENTENCES[0] and settings["seeds"] == [0, 1, 2, 3]

    follow_the_cursor(page)
    nothing_came_from_elsewhere(page)


def follow_the_cursor(page):
    """The attention map changes with the recording's time, and from seed to seed."""
    player = find(page, ".s2i-player.s2i-speech")[0]
    tiles = player.find_elements("css selector", ".s2i-tile")
    attention = player.find_element("css selector", ".s2i-attention i")
    before = attention.value_of_css_property("background-position")
    page.execute_script("arguments[0].querySelector('audio').currentTime = 0.9", player)
    wait_for(lambda: attention.value_of_css_property("background-position") != before)
    pressed = [tile.get_attribute("aria-pressed") for tile in tiles]
    chosen = tiles[pressed.index("true")]
    starts = [float(tile.get_attribute("data-start")) for tile in tiles]
    assert float(chosen.get_attribute("data-start")) == max(start for start in starts if start <= 0.9)
    assert pressed.count("true") == 1
    label = chosen.get_attribute("aria-label")
    assert player.find_element("css selector", "output").text == label and label.endswith(" s")
    left = page.execute_script(
        "return parseFloat(arguments[0].querySelector('.s2i-cursor').style.left)", player
    )
    assert left == pytest.approx(90 / float(player.get_attribute("data-seconds")), abs=0.5)
    sheet = attention.value_of_css_property("background-image")
    find(page, ".s2i-card .s2i-speech .s2i-pick")[2].click()
    assert player.find_element("css selector", ".s2i-seed").text == "seed 2"
    assert (
        sheet.startswith('url("data:image/jpeg')
        and attention.value_of_css_property("background-image") != sheet
    )


def nothing_came_from_elsewhere(page):
    hosts = set()
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = urlsplit(message["params"]["request"]["url"])
            if url.scheme not in ("data", "blob", "chrome"):
                hosts.add(url.hostname)
    assert hosts == {"127.0.0.1"}
    assert not [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def test_by_keyboard_alone(page):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys):
        ActionChains(page).send_keys(*keys).perform()

    def reach(selector):
        for _ in range(40):
            press(Keys.TAB)
            if page.execute_script("return document.activeElement.closest(arguments[0]) !== null", selector):
                return
        raise AssertionError(f"Tab never reaches {selector}")

    reach("#s2i-text")
    press("a small bird")
    reach("#s2i-seeds")
    ActionChains(page).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys("5").perform()
    reach("#s2i-generate")
    press(Keys.ENTER)
    wait(page, "s2i-answer")
    reach(".s2i-words .s2i-tile")  # the strongest word
    press(Keys.HOME)
    press(Keys.ARROW_RIGHT)
    assert find(page, ".s2i-text output")[0].text == "small"
    reach(".s2i-pick")
    reach(".s2i-card a[download]")
    assert find(page, ".s2i-card h3")[0].text == "Seed 5"


def test_an_example_generates_and_the_address_then_carries_it(page, address):
    click(page, "#s2i-example-0")
    wait(page, "s2i-answer .s2i-player.s2i-speech")
    assert find(page, ".s2i-chosen")[0].get_attribute("data-seed") == "0"
    assert parse_qs(urlsplit(page.current_url).query) == {"example": ["one"], "seeds": ["0,1,2,3"]}
    find(page, ".s2i-card .s2i-speech .s2i-pick")[2].click()
    assert [card.get_attribute("data-seed") for card in find(page, ".s2i-chosen")] == ["2"]
    shown = image_of(page)
    page.get(page.current_url)
    wait(page, "s2i-answer .s2i-player.s2i-speech")
    assert image_of(page) == shown and page.title == "model"


def image_of(page):
    return find(page, ".s2i-card .s2i-speech .s2i-pick img")[2].get_attribute("src")


def test_a_link_brings_sentence_and_seeds(page, address):
    page.get(f"{address}/?text=a+small+bird&seeds=5")
    wait(page, "s2i-answer .s2i-player.s2i-text")
    assert wait(page, "#s2i-text textarea").get_attribute("value") == "a small bird"
    assert [card.get_attribute("data-seed") for card in find(page, ".s2i-card")] == ["5"]


def test_a_link_speaks_what_was_spoken_and_nothing_stale_stays_under_words_that_can_not_be(page):
    wait(page, "#s2i-text textarea").send_keys("a small bird")
    click(page, "#s2i-speak")
    wait(page, "#s2i-recording .play-pause-button")
    click(page, "#s2i-generate")
    wait(page, "s2i-answer .s2i-player.s2i-speech")
    shown = image_of(page)
    assert parse_qs(urlsplit(page.current_url).query) == {
        "text": ["a small bird"],
        "spoken": ["1"],
        "seeds": ["0,1,2,3"],
    }
    page.get(page.current_url)
    wait(page, "s2i-answer .s2i-player.s2i-speech")
    assert image_of(page) == shown and len(find(page, ".s2i-player.s2i-text")) == 1
    browser.clear(page, "#s2i-text textarea")
    click(page, "#s2i-speak")
    assert "expected words to speak" in wait(page, ".s2i-failure").text.lower()
    wait_for(lambda: not find(page, "s2i-answer") and not browser.shown(page, "#s2i-save"))


def test_files_are_offered_that_can_be_decoded(page):
    click(page, "#s2i-recording [aria-label='Upload file']")
    wait_for(lambda: find(page, UPLOAD))
    wait_for(lambda: ".flac" in (find(page, UPLOAD)[0].get_attribute("accept") or ""))
    offered = find(page, UPLOAD)[0].get_attribute("accept").split(",")
    assert tuple(offered) == readable_endings()


def test_failures_are_sentences_and_nothing_stale_stays_and_the_page_goes_on(page, folder):
    wait(page, "#s2i-text textarea").send_keys("a bird")
    click(page, "#s2i-generate")
    wait(page, "s2i-answer")
    wait(page, "#s2i-save")
    browser.clear(page, "#s2i-text textarea")
    click(page, "#s2i-generate")
    assert "expected a recording or a sentence" in wait(page, ".s2i-failure").text.lower()
    wait_for(lambda: not find(page, "s2i-answer") and not browser.shown(page, "#s2i-save"))
    (folder / "words.wav").write_text("a bird is not a sound")
    click(page, "#s2i-recording [aria-label='Upload file']")
    wait_for(lambda: find(page, UPLOAD))
    find(page, UPLOAD)[0].send_keys(str(folder / "words.wav"))
    wait(page, "#s2i-recording audio")
    click(page, "#s2i-generate")
    wait_for(lambda: "something else in the recording" in wait(page, ".s2i-failure").text)
    assert str(folder) not in wait(page, ".s2i-failure").text


def test_two_visitors_at_once_each_get_their_own(page, address):
    first = page.current_window_handle
    page.switch_to.new_window("tab")
    second = page.current_window_handle
    try:
        for handle, words in ((first, "blue"), (second, "red")):
            page.switch_to.window(handle)
            page.get(address)
            wait(page, "#s2i-text textarea").send_keys(words)
        for handle in (first, second):  # the second while the first is generated, or waits
            page.switch_to.window(handle)
            click(page, "#s2i-generate")
        for handle, words in ((first, "blue"), (second, "red")):
            page.switch_to.window(handle)
            wait(page, "s2i-answer")
            assert [tile.text for tile in find(page, ".s2i-words .s2i-tile")] == [words]
    finally:
        page.switch_to.window(second)
        page.close()
        page.switch_to.window(first)


def test_the_page_is_as_wide_before_an_answer_as_after_it(page):
    def width():
        return find(page, ".s2i-results")[0].rect["width"], find(page, ".s2i-head")[0].rect["x"]

    before = width()
    wait(page, "#s2i-text textarea").send_keys(SENTENCES[0])
    click(page, "#s2i-generate")
    wait(page, "s2i-answer")
    assert width() == before


@pytest.mark.parametrize("width", [320, 390, 768])
def test_the_page_fits_the_width_of_a_phone(page, width):
    wait(page, "#s2i-text textarea").send_keys(SENTENCES[0])
    click(page, "#s2i-speak")
    wait(page, "#s2i-recording .play-pause-button")
    browser.resize(page, width, 700)
    click(page, "#s2i-generate")
    wait(page, "s2i-answer .s2i-player.s2i-speech")
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    for selector in (".s2i-card", ".s2i-attention", ".s2i-line", "#s2i-generate"):
        box = find(page, selector)[0].rect
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
