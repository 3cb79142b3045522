"""The page in a real browser: Debian's chromium, driven by selenium, with a fake microphone."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome as Driver
    from selenium.webdriver.remote.webelement import WebElement

ROOT = Path(__file__).parents[1]


def missing() -> str:
    """What a browser test lacks here, for the skip's reason; empty where nothing is missing."""
    import importlib.util

    lacking = [name for name in ("gradio", "selenium") if importlib.util.find_spec(name) is None]
    lacking += [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"needs {' and '.join(lacking)}" if lacking else ""


@contextmanager
def app(model: Path, *options: str, log: Path) -> Iterator[str]:
    """`s2i app` as a person starts it; yields its address. What it prints goes to `log`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "s2i", "app", "--model", str(model), "--port", str(port), *options]
    with log.open("w") as stream:
        server = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while address not in log.read_text():
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the page did not come up: {log.read_text()}")
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def browser(
    downloads: Path, microphone: Path | None = None, size: tuple[int, int] = (1280, 900)
) -> Iterator[Driver]:
    """A selenium driver whose microphone hears `microphone` (WAV) once, and whose requests are logged."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ):
        options.add_argument(switch)
    if microphone is not None:
        options.add_argument(f"--use-file-for-fake-audio-capture={microphone}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        resize(driver, *size)
        yield driver
    finally:
        driver.quit()


def resize(driver: Driver, width: int, height: int) -> None:
    """A window of any size: chromium's own is never narrower than 500 px."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(driver: Driver, selector: str) -> list[WebElement]:
    """Every element that a CSS selector names."""
    return driver.find_elements("css selector", selector)


def shown(driver: Driver, selector: str) -> WebElement | None:
    """The first of them that is displayed."""
    look = "return [...document.querySelectorAll(arguments[0])].find(part => part.getClientRects().length)"
    return driver.execute_script(look, selector)


def wait(driver: Driver, selector: str, seconds: float = 30) -> WebElement:
    """As `shown`, as soon as there is one."""
    wait_for(lambda: shown(driver, selector), seconds, f"{selector} is not shown")
    return shown(driver, selector)


def wait_for(seen: Callable[[], object], seconds: float = 30, otherwise: str = "it does not happen") -> None:
    """Until `seen` is true."""
    until = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > until:
            raise AssertionError(f"{otherwise} within {seconds} s")
        time.sleep(0.1)


def click(driver: Driver, selector: str) -> None:
    """Click what `wait` finds; again where gradio has replaced the element meanwhile."""
    from selenium.common.exceptions import StaleElementReferenceException

    for _ in range(5):
        try:
            return wait(driver, selector).click()
        except StaleElementReferenceException:
            time.sleep(0.1)
    raise AssertionError(f"{selector} is replaced again and again")
