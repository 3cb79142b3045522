"""Takes the README's image of the page, in a real browser.

    python tests/app/screenshot.py --model checkpoints/painted_birds --text "a red bird" --output FILE.png
        [--index DIR] [--width 1280] [--height 900] [--seeds 0-3] [--dark]

Types the sentence, lets the page speak it, generates from both, plays to the middle, and takes what the
window shows. Needs what the browser tests need: gradio, selenium, chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from s2i.data.images import save_png
from s2i.errors import InputError, exit_on_input_error
from tests.fixtures import browser


def main() -> None:
    """Take the image that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--index", type=Path, metavar="DIR")
    parser.add_argument("--text", required=True, metavar="WORDS")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG")
    parser.add_argument("--seeds", default="0-3")
    parser.add_argument("--width", type=int, default=1280, metavar="PX")
    parser.add_argument("--height", type=int, default=900, metavar="PX", help="0: the whole page")
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()
    if lacking := browser.missing():
        raise InputError(f"expected a browser to take an image of the page, found none: it {lacking}")
    index = ["--index", str(given.index)] if given.index else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            browser.app(given.model, *index, log=folder / "log") as address,
            browser.browser(folder, size=(given.width, given.height or 900)) as driver,
        ):
            driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            driver.get(address + ("?__theme=dark" if given.dark else "?__theme=light"))
            _generate(driver, given.text, given.seeds)
            if not given.height:
                whole = driver.execute_script("return document.documentElement.scrollHeight")
                browser.resize(driver, given.width, whole)
            driver.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
            time.sleep(1)
            taken = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    save_png(taken, given.output)
    print(given.output)


def _generate(driver: browser.Driver, text: str, seeds: str) -> None:
    browser.wait(driver, "#s2i-text textarea").send_keys(text)
    if browser.shown(driver, "#s2i-speak"):
        browser.click(driver, "#s2i-speak")
        browser.wait(driver, "#s2i-recording .play-pause-button")
    field = browser.wait(driver, "#s2i-seeds :is(input, textarea)")
    field.clear()
    field.send_keys(seeds)
    browser.click(driver, "#s2i-generate")
    browser.wait(driver, "s2i-answer", 120)
    driver.execute_script(
        "const audio = document.querySelector('s2i-answer audio');"
        "if (audio) audio.currentTime = Number(audio.closest('section').dataset.seconds) / 2"
    )


if __name__ == "__main__":
    exit_on_input_error(main)
