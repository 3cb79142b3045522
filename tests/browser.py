"""The page in a real browser: Debian's chromium, driven by selenium, with a fake microphone."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
) -> Iterator[Any]:
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


def resize(driver: Any, width: int, height: int) -> None:
    """A window of any size: chromium's own is never narrower than 500 px."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
