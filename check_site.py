"""Check the built site in headless Chromium: `python check_site.py [--screenshots DIRECTORY]`.

Opens every page of build/site at 390 and 1280 px, with and without JavaScript. Fails on a link or
an image that is missing, on sideways scrolling, on a request to another host, on an error in the
console, and if the search or a copy button does not work. Without Chromium it says so and ends with
success.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

SITE = Path(__file__).parent / "build" / "site"
WIDTHS = (390, 1280)  # px
TIMEOUT_S = 60
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
MEASURE = """JSON.stringify({
  width: document.documentElement.scrollWidth,
  images: [...document.images].filter(i => i.loading != "lazy" && !i.naturalWidth && i.offsetParent)
    .map(i => i.src),
  links: [...document.querySelectorAll("[href]")].map(e => e.href),
  sources: [...document.querySelectorAll("img[src],script[src],source[srcset]")]
    .map(e => new URL(e.getAttribute("src") || e.getAttribute("srcset"), location).href),
  ids: [...document.querySelectorAll("[id],a[name]")].map(e => e.id || e.name),
  prompts: [...document.querySelectorAll("pre > code")]
    .filter(e => e.querySelector(".gp") && !e.closest("[data-copy]")).map(e => e.innerText),
  wide: [...document.querySelectorAll("main *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1
      && !e.closest("pre,.md-typeset__scrollwrap,code,svg,.tabbed-labels"))
    .slice(0, 3).map(e => e.tagName + "." + e.className),
})"""


# Types a word until there are results: the index is loaded in the background.
SEARCH = """(async () => {
  for (let attempt = 0; attempt < 200; attempt++) {
    for (const { shadowRoot: root } of document.querySelectorAll("*")) {
      const input = root?.querySelector("input");
      if (!input) continue;
      input.value = "budget";
      input.dispatchEvent(new Event("input", {bubbles: true}));
      if ([...root.querySelectorAll("a")].some(e => e.href.includes("budgets/?h="))) return true;
    }
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  return false;
})()"""


class Browser:
    """Headless Chromium, controlled through a pipe."""

    def __init__(self, path: str, profile: str) -> None:
        commands_in, self._commands = os.pipe()
        self._replies, replies_out = os.pipe()

        def connect() -> None:  # Chromium reads commands from 3 and writes replies to 4
            fds = os.dup(commands_in), os.dup(replies_out)
            os.dup2(fds[0], 3)
            os.dup2(fds[1], 4)

        self._process = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(3, 4, commands_in, replies_out), preexec_fn=connect,
        )  # fmt: skip
        os.close(commands_in)
        os.close(replies_out)
        self._buffer = b""
        self._id = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the Chrome DevTools Protocol and return its result."""
        self._id += 1
        message = {"id": self._id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next_message()
            if reply.get("id") == self._id:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                result: dict[str, Any] = reply["result"]
                return result
            self.events.append(reply)

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._replies], [], [], TIMEOUT_S)[0]:
                raise RuntimeError(f"Chromium did not respond for {TIMEOUT_S} seconds")
            data = os.read(self._replies, 1 << 16)
            if not data:
                raise RuntimeError("Chromium has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def open(self, url: str, width: int, *, scripts: bool = True, dark: bool = False) -> None:
        """Open a page and wait until it has loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next_message())

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save what the page shows."""
        image = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(image))

    def close(self) -> None:
        """End Chromium."""
        with contextlib.suppress(RuntimeError, OSError):
            self.call("Browser.close")
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        os.close(self._commands)
        os.close(self._replies)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a directory on loopback and yield its URL."""
    handler = functools.partial(_QuietHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def page_paths() -> list[str]:
    """Return the paths of all pages."""
    files = sorted(SITE.rglob("index.html"))
    return [file.relative_to(SITE).as_posix().removesuffix("index.html") for file in files]


def main() -> int:
    """Check all pages, and print what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--screenshots", type=Path, metavar="DIRECTORY")
    parser.add_argument("--only", default="", help="pages whose path holds this")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        print("check_site.py: skipped, Chromium is not installed")
        return 0
    if not (SITE / "index.html").exists():
        print("check_site.py: build/site is missing: run python build_docs.py first")
        return 1
    with tempfile.TemporaryDirectory() as profile, served(SITE) as base:
        browser = Browser(chromium, profile)
        try:
            problems = check_pages(browser, base, options.only, options.screenshots)
        finally:
            browser.close()
    for problem in problems:
        print(problem)
    print(f"{len(page_paths())} pages in Chromium at {WIDTHS} px: {len(problems)} problems")
    return 1 if problems else 0


def check_pages(browser: Browser, base: str, only: str, screenshots: Path | None) -> list[str]:
    """Open every page at every width and return the problems."""
    problems: list[str] = []
    links: dict[str, str] = {}  # URL: the page that has it
    anchors: dict[str, set[str]] = {}
    for path in page_paths():
        for width in WIDTHS if only in path else ():
            browser.open(base + path, width)
            page = json.loads(browser.evaluate(MEASURE))
            where = f"/{path} at {width} px"
            if page["width"] > width:
                problems.append(f"{where}: scrolls sideways, {page['width']} px: {page['wide']}")
            problems += [f"{where}: image {source} is missing" for source in page["images"]]
            problems += [f"{where}: copies prompts: {code[:50]!r}" for code in page["prompts"]]
            problems += [f"{where}: {problem}" for problem in console_problems(browser, base)]
            links |= dict.fromkeys([*page["links"], *page["sources"]], f"/{path}")
            anchors[base + path] = set(page["ids"])
            if screenshots:
                screenshots.mkdir(parents=True, exist_ok=True)
                name = path.strip("/").replace("/", "-") or "index"
                browser.screenshot(screenshots / f"{name}-{width}.png")
        if only in path:
            # A page without JavaScript: Chromium still evaluates our own expressions.
            browser.open(base + path, WIDTHS[0], scripts=False)
            metrics = browser.call("Page.getLayoutMetrics")["cssContentSize"]
            if metrics["width"] > WIDTHS[0]:
                problems.append(f"/{path} without JavaScript: {metrics['width']} px wide")
    if not only:
        problems += [] if finds_pages(browser, base) else ["the search finds nothing"]
        texts = re.findall(r"\]\(([^)]+)\)", (SITE / "llms.txt").read_text(encoding="utf-8"))
        links |= dict.fromkeys((urljoin(base, link) for link in texts), "llms.txt")
        problems += [f"{page}: {problem}" for page, problem in link_problems(links, anchors, base)]
    return problems


def finds_pages(browser: Browser, base: str) -> bool:
    """Whether the search lists results."""
    browser.open(base, WIDTHS[1])
    browser.evaluate("document.querySelector('.md-search__button').click()")
    return bool(browser.evaluate(SEARCH))


def console_problems(browser: Browser, base: str) -> list[str]:
    """Return the errors that the page logged, and its requests to other hosts."""
    problems = []
    for event in browser.events:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                problems.append(details.get("exception", {}).get("description", details["text"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                problems.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
            case "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith((base, "data:", "blob:", "about:")):
                    problems.append(f"requests {url}")
    return problems


def link_problems(
    links: dict[str, str], anchors: dict[str, set[str]], base: str
) -> Iterator[tuple[str, str]]:
    """Yield the page and the problem of each broken link to this site."""
    for link, page in links.items():
        url, anchor = urldefrag(urljoin(base, link))
        if not url.startswith(base):
            continue
        file = SITE / unquote(urlsplit(url).path).lstrip("/")
        if not (file / "index.html" if file.is_dir() else file).is_file():
            yield page, f"link to {link} is broken"
        elif anchor and url in anchors and unquote(anchor) not in anchors[url]:
            yield page, f"link to {link}: there is no such anchor"


if __name__ == "__main__":
    sys.exit(main())
