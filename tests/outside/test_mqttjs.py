"""mqtt.js, in Node and in a browser."""

import json
import shutil
import subprocess

import pytest

from browser import Chromium
from harness import ROOT, free_port

# Debian's Mosquitto can't bind WebSockets to loopback.
pytestmark = pytest.mark.footbridge

WEB = ROOT / "tests/outside/web"


def test_node(make_broker):
    port = free_port()
    broker = make_broker(f"listener {port} 127.0.0.1\nprotocol websockets", durable=True)
    urls = [f"mqtt://127.0.0.1:{broker.port}", f"ws://127.0.0.1:{port}"]
    done = subprocess.run(
        ["node", "clients.mjs", *urls], cwd=WEB, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": ok\n") == 18


def test_a_page_in_chromium(make_broker, client, tmp_path):
    """The page, its script and its WebSocket come from one listener."""
    site = tmp_path / "www"
    site.mkdir()
    shutil.copy(WEB / "index.html", site)
    shutil.copy(WEB / "node_modules/mqtt/dist/mqtt.min.js", site)
    port, foreign = free_port(), free_port()
    origin = f"http://127.0.0.1:{port}"
    broker = make_broker(
        f"listener {port} 127.0.0.1\nprotocol websockets\n"
        f"http_dir {site}\nwebsockets_origin {origin}\n"
        f"listener {foreign} 127.0.0.1\nprotocol websockets\n"
        "websockets_origin http://elsewhere.example"
    )
    watcher = client(broker.port, "watcher")
    watcher.subscribe("verdict", 1)
    with Chromium(f"{origin}/?foreign={foreign}", tmp_path) as chromium:
        verdict = watcher.messages.get(timeout=60)
        assert chromium.poll() is None
    assert json.loads(verdict.payload) == {
        "versions": [3, 4, 5],
        "foreign": [1006, False],
        "text": [1003, True],
        "goodbye": [1000, True],
    }
