"""A real Chromium, driven by its own driver: what it shows, what it logs, and whom it asks."""

import base64
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Of the extra `heavy`: without it these tests are collected, and left to CI's own step.
    from selenium import webdriver
    from selenium.webdriver.remote.webelement import WebElement

PATIENCE_S = 600.0
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
LOOKS = {
    "light": {"width": 1100, "scheme": "light", "media": ""},
    "dark": {"width": 1100, "scheme": "dark", "media": ""},
    "narrow": {"width": 380, "scheme": "light", "media": ""},
    "narrow dark": {"width": 380, "scheme": "dark", "media": ""},
    "print": {"width": 800, "scheme": "dark", "media": "print"},
}
PICTURES = {
    "light picture": {"width": 900, "scheme": "light", "media": ""},
    "dark picture": {"width": 900, "scheme": "dark", "media": ""},
    "narrow picture": {"width": 380, "scheme": "light", "media": ""},
}
"""For docs/."""
_CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


class Browser:
    """One window."""

    def __init__(self, driver: "webdriver.Chrome") -> None:
        self.driver = driver

    def open(self, url: str, look: str = "light", *, scripts: bool = True) -> None:
        chosen = (LOOKS | PICTURES)[look]
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=chosen["width"], height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": chosen["scheme"]}
        self.cdp("Emulation.setEmulatedMedia", media=chosen["media"], features=[scheme])
        self.cdp("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.driver.get(url)

    def cdp(self, command: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    def all(self, selector: str) -> "list[WebElement]":
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str = "main") -> str:
        return self.driver.find_element("css selector", selector).text

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Return what the console says since the last time: errors, and what the policy refused."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests since the last time, with url and headers."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [one["params"]["request"] for one in messages if one["method"] == "Network.requestWillBeSent"]

    def faint(self) -> list[str]:
        """Return the texts whose contrast is below 4.5, which WCAG's level AA asks for."""
        found: list[str] = self.run(_CONTRAST)
        return found

    def follow(self, act: Callable[[], object]) -> None:
        """Do what leads to another page, and wait until that is there."""
        before = self.driver.find_element("css selector", "html")
        act()
        from selenium.webdriver.support.expected_conditions import staleness_of
        from selenium.webdriver.support.wait import WebDriverWait

        wait = WebDriverWait(self.driver, PATIENCE_S)
        wait.until(staleness_of(before))
        wait.until(lambda _: self.run("return document.readyState") == "complete")

    def picture(self, selector: str) -> bytes:
        """Return a PNG from the page's top to the end of the first of these elements."""
        end = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom + scrollY + 24"
        clip = {"x": 0, "y": 0, "width": self.run("return innerWidth"), "height": self.run(end, selector), "scale": 0.9}
        taken = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(taken["data"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """A new Chromium with an empty profile. Its absence fails: `apt-get install chromium chromium-driver`."""
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    assert all(paths), "apt-get install -y chromium chromium-driver"
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(paths[0])
    with tempfile.TemporaryDirectory(prefix="joinback-chromium-") as profile:
        for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(paths[1])))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
