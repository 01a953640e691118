"""Headless Chromium, and the DevTools protocol to look at what a page shows."""

import json
import os
import re
import signal
import subprocess
import urllib.request

from websockets.sync.client import connect

from harness import wait_until

QUIET = (
    "--no-first-run --disable-background-networking --disable-component-update --disable-sync"
    " --disable-gpu --disable-dev-shm-usage --no-sandbox"
)


class Chromium:
    """A headless browser that shows a page."""

    def __init__(self, url, folder):
        self.log_file = folder / "chromium.log"
        self.log = open(self.log_file, "wb")
        self.process = subprocess.Popen(
            ["chromium", "--headless", *QUIET.split(), f"--user-data-dir={folder}/profile"]
            + ["--remote-debugging-port=0", url],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # All its processes, and no other.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def poll(self):
        """The exit status, once it has ended."""
        return self.process.poll()

    def page(self):
        """Its page, to be looked at."""
        told = wait_until(
            lambda: re.search(r"ws://[^/]*:(\d+)/", self.log_file.read_text(errors="replace")),
            60,
            "DevTools",
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{told[1]}/json", timeout=30) as answer:
            targets = json.load(answer)
        target = next(target for target in targets if target["type"] == "page")
        return Page(target["webSocketDebuggerUrl"])


class Page:
    """What a tab shows. All that its console says is kept in `said`."""

    def __init__(self, url):
        self.socket = connect(url, max_size=None)
        self.said = []
        self._last = 0
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """Has a command done and returns its result."""
        self._last += 1
        self.socket.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            told = json.loads(self.socket.recv(timeout=60))
            if told.get("id") == self._last:
                assert "error" not in told, f"{method}: {told['error']}"
                return told["result"]
            if told.get("method") in (
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
                "Log.entryAdded",
            ):
                self.said.append(json.dumps(told["params"])[:1000])

    def open(self, url):
        """Goes there."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState == 'complete' && location.href != 'about:blank'")

    def js(self, expression):
        """The value of an expression in the page."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression, timeout=30):
        """Waits until an expression holds and returns its value."""
        return wait_until(lambda: self.js(expression), timeout, expression)

    def text(self, selector):
        """What is to be read at the first place that the selector finds."""
        return self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def shows(self, selector, text, timeout=30):
        """Waits until that text is to be read there."""
        found = f"(document.querySelector({json.dumps(selector)})?.innerText ?? '')"
        self.until(f"{found}.includes({json.dumps(text)})", timeout)

    def fill(self, form, **fields):
        """Fills a form in and sends it, as by its button."""
        for name, value in fields.items():
            self.js(
                f"document.getElementById({json.dumps(form)}).elements[{json.dumps(name)}]"
                f".value = {json.dumps(value)}"
            )
        self.js(f"document.getElementById({json.dumps(form)}).requestSubmit()")
