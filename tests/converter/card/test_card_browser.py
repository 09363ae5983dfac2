"""The card in a real browser: it is seen, it fits, and nothing in it runs."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alphaseal.format import manifest as m
from alphaseal_converter.card import render_card
from manifests import example_manifest, example_sources
from pictures import example_performance

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or os.name != "posix", reason="no Chromium on the PATH: the card is looked at in one"
)

PATIENCE = 120.0
"""Seconds for one answer: far more than a browser takes, so that only a hang ends a test."""
ATTACKS = (
    "<script>document.title='owned'</script>",
    "</title></desc></svg><svg onload=\"document.title='owned'\"></svg>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</style><script>document.title='owned'</script>",
    "</code></pre></details><iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe>",
    "<a href=\"javascript:document.title='owned'\">x</a>",
    '<meta http-equiv=refresh content="0;url=data:text/html,owned">',
    "<style>body{display:none}</style>",
    "<!--",
    "<![CDATA[",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=document.title='owned'>",
)


class Browser:
    """One page of a headless Chromium, spoken to in its own protocol over a pair of pipes."""

    def __init__(self, profile: str) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        shell = f'exec 3<&{commands} 4>&{answers}; exec "$@"'
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                shell,
                "bash",
                str(CHROMIUM),
                *options,
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
            ],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._unread = b""
        self._number = 0
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")
        self("Page.setLifecycleEventsEnabled", enabled=True)

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, return its answer; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._answers, 1 << 20)
            assert data, "the browser is gone"
            self._unread += data
        first, self._unread = self._unread.split(b"\0", 1)
        message: dict[str, Any] = json.loads(first)
        return message

    def open(self, path: Path, *, width: int = 1280, dark: bool = False, media: str = "") -> None:
        """Load a file and wait until it is there."""
        self.events.clear()
        self("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.go(path.as_uri())

    def go(self, address: str) -> None:
        """Navigate, and wait for the load event of just this document."""
        document = self("Page.navigate", url=address)["loaderId"]

        def loaded(event: dict[str, Any]) -> bool:
            found = event.get("params", {})
            return event.get("method") == "Page.lifecycleEvent" and (found["name"], found["loaderId"]) == (
                "load",
                document,
            )

        while not any(map(loaded, self.events)):
            self.events.append(self._receive())

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def screenshot(self) -> bytes:
        """The visible part as PNG."""
        return base64.b64decode(self("Page.captureScreenshot")["data"])

    def complaints(self) -> list[dict[str, Any]]:
        """Everything that a console would have shown."""
        names = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [event for event in self.events if event.get("method") in names]

    def close(self) -> None:
        """End the browser; by force where it does not go."""
        os.close(self._commands)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests, with a profile of its own."""
    with tempfile.TemporaryDirectory(prefix="alphaseal-chromium-", ignore_cleanup_errors=True) as profile:
        opened = Browser(profile)
        try:
            yield opened
        finally:
            opened.close()


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """The card of the example with every picture."""
    path = tmp_path / "card.html"
    path.write_text(
        render_card(example_manifest(), example_sources(), "note", example_performance()),
        encoding="utf-8",
        newline="\n",
    )
    return path


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_card_is_seen_and_fits(browser: Browser, card: Path, width: int, dark: bool) -> None:
    """Desktop and phone, light and dark: something is drawn, nothing scrolls sideways, the console stays empty."""
    browser.open(card, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelectorAll('svg.chart').length") == 7
    sizes = browser.value("[...document.querySelectorAll('svg.chart')].map(one => one.getBoundingClientRect().height)")
    assert min(sizes) > 100
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in background.removeprefix("rgb(").rstrip(")").split(",")) > 384
    assert light is not dark
    ink = browser.value("getComputedStyle(document.querySelector('svg.chart path.line')).stroke")
    assert ink == ("rgb(134, 191, 227)" if dark else "rgb(34, 87, 122)")
    browser.value("document.querySelector('svg.chart').scrollIntoView() === undefined")
    picture = browser.screenshot()
    assert picture.startswith(b"\x89PNG")
    browser.go("about:blank")
    assert len(picture) > 3 * len(browser.screenshot())


def test_words_in_pictures_stay_inside_and_can_be_read(browser: Browser, card: Path) -> None:
    """On a phone the words of a chart are at least ten pixels high, and none reaches out of its figure."""
    browser.open(card, width=390)
    scale = browser.value("document.querySelector('svg.chart').getBoundingClientRect().width / 480")
    assert 16 * scale >= 10
    outside = browser.value(
        "[...document.querySelectorAll('svg.chart text')].filter(text => { const box = text.getBoundingClientRect();"
        " const frame = text.closest('figure').getBoundingClientRect();"
        " return box.left < frame.left || box.right > frame.right || box.bottom > frame.bottom }).length"
    )
    assert outside == 0


def test_card_prints(browser: Browser, card: Path) -> None:
    """Paper gets dark words on white, the folded code too, and no more pages than the card has content for."""
    browser.open(card, media="print")
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert browser.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    document = base64.b64decode(browser("Page.printToPDF")["data"])
    assert document.startswith(b"%PDF")
    assert 1 < document.count(b"/Type /Page\n") + document.count(b"/Type /Page ") < 40


def hostile(value: Any, attack: str) -> Any:
    """The same plain value with the attack behind each text."""
    if isinstance(value, dict):
        return {key: hostile(item, attack) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, attack) for item in value]
    return f"{value}{attack}" if isinstance(value, str) else value


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_a_text_runs(browser: Browser, tmp_path: Path, attack: str) -> None:
    """Markup in names, texts and code is shown as text: no script, no other title, no other elements, no complaint."""
    manifest = example_manifest()
    factors = [
        msgspec.convert({**hostile(msgspec.to_builtins(factor), attack), **_kept(factor)}, m.SotaFactor)
        for factor in manifest.sota_factors
    ]
    features = [
        msgspec.structs.replace(feature, name=feature.name + attack, description=attack, inputs=[attack])
        for feature in manifest.features
    ]
    manifest = msgspec.structs.replace(manifest, sota_factors=factors, features=features)
    sources = {path: text + attack for path, text in example_sources().items()}
    path = tmp_path / "card.html"
    path.write_text(render_card(manifest, sources, attack, example_performance()), encoding="utf-8", newline="\n")
    browser.open(path)
    assert browser.value("document.title") == "reversal-demo 3 · alphaseal model card"
    assert browser.value("location.protocol") == "file:"
    assert browser.complaints() == []
    assert (
        browser.value("document.querySelectorAll('script, iframe, img, math, form, meta[http-equiv=refresh]').length")
        == 0
    )
    assert browser.value("document.querySelectorAll('style').length") == 1
    assert browser.value(
        "[...document.querySelectorAll('*')].every(one => [...one.attributes].every(a => !a.name.startsWith('on')))"
    )
    assert browser.value("document.querySelectorAll('svg.chart').length") == 7
    assert browser.value("document.querySelector('footer').getBoundingClientRect().height") > 20
    assert browser.value("document.body.textContent").count(attack) >= 10


def _kept(factor: m.SotaFactor) -> dict[str, Any]:
    """What of a factor is no free text."""
    plain = msgspec.to_builtins(factor)
    return {name: plain[name] for name in ("status", "source", "metrics", "position")}


def test_policy_stops_a_script(browser: Browser, card: Path) -> None:
    """Should markup ever get through, the page's own policy does not let it run; and this test would see it."""
    text = card.read_text(encoding="utf-8")
    script = "<script>document.title='owned'</script></body>"
    card.write_text(text.replace("</body>", script), encoding="utf-8")
    browser.open(card)
    assert browser.value("document.title") != "owned"
    assert browser.complaints()
    unguarded = text.replace("default-src 'none'", "default-src 'unsafe-inline'").replace("</body>", script)
    card.write_text(unguarded, encoding="utf-8")
    browser.open(card)
    assert browser.value("document.title") == "owned"
