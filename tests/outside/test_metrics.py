"""/metrics and /health, and what reads them."""

import json
import re
import shutil
import socket
import subprocess

import pytest

from frames import Response, ask, request
from harness import ROOT, free_port, wait_until

pytestmark = pytest.mark.footbridge

#: prometheus.io/docs/instrumenting/exposition_formats
SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')


def scrape(port):
    response, body = ask(port, request(path="/metrics", Host="x"))
    assert response.status == 200
    assert response.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return body.decode()


def values(text):
    """The samples: name and labels as they are written, to number."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def health(port):
    response, body = ask(port, request(path="/health", Host="x"))
    assert response.fields["content-type"] == "application/json"
    return response.status, json.loads(body)


@pytest.fixture
def bridged(make_site, make_upstream):
    """A site with a bridge that is up and one that has no upstream."""
    upstream = make_upstream()
    return make_site(
        rest=f"connection cloud\naddress 127.0.0.1:{upstream.port}\ntopic a/# out 1\n"
        f"connection no\"where\\\naddress 127.0.0.1:{free_port()}\ntopic b/# out 1",
        durable=True,
    )


def test_metrics(bridged, client):
    port = bridged.web_port
    device = client(bridged.port, "device")
    for n in range(7):
        device.publish("a/b", f"{n}", 1)
    device.publish("b/c", "waits", 1)
    sent = 'footbridge_bridge_sent_messages_total{bridge="cloud"}'
    wait_until(lambda: values(scrape(port)).get(sent) == 7, 20, "messages upstream")
    text = scrape(port)
    found = values(text)
    escaped = r'bridge="no\"where\\"'
    assert found['footbridge_bridge_up{bridge="cloud"}'] == 1
    assert found['footbridge_bridge_state{bridge="cloud",state="up"}'] == 1
    assert found[f"footbridge_bridge_up{{{escaped}}}"] == 0
    assert found[f"footbridge_bridge_queue_messages{{{escaped}}}"] == 1
    assert found[f'footbridge_bridge_mapping_queue_messages{{{escaped},mapping="1"}}'] == 1
    assert found["footbridge_publish_received_total"] >= 8
    assert found["footbridge_store_working"] == 1
    # Never who is there, or what is published.
    assert "device" not in text and "a/b" not in text and "a/#" not in text
    # Each figure in one piece, behind its HELP and TYPE.
    seen, current = set(), None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current = line.split()[2]
            assert current not in seen
            seen.add(current)
        elif line.startswith("# TYPE "):
            assert line.split()[2] == current
            assert (line.split()[3] == "counter") == current.endswith("_total")
        else:
            assert SAMPLE.fullmatch(line) and SAMPLE.match(line)[1] == current, line
    response, body = ask(port, request("HEAD", "/metrics", Host="x"))
    assert response.status == 200 and body == b""
    assert int(response.fields["content-length"]) > 1000


def test_counters_that_survive_restarts_say_so(bridged, client):
    port = bridged.web_port
    client(bridged.port, "device").publish("b/c", "waits", 1)
    kept = "footbridge_store_written_bytes_total"
    before = wait_until(lambda: values(scrape(port))[kept], 20, "a commit")
    assert re.search(rf"# HELP {kept} .* Survives restarts\.", scrape(port))
    bridged.restart()
    assert values(scrape(port))[kept] >= before


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is in Debian's prometheus")
def test_promtool_finds_nothing_to_mend(bridged):
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scrape(bridged.web_port),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_dashboard_asks_only_for_what_there_is(bridged):
    """etc/grafana-dashboard.json: each metric of each expression exists, or can."""
    there = set(re.findall(r"^# HELP (\w+)", scrape(bridged.web_port), re.MULTILINE))
    dashboard = json.loads((ROOT / "etc/grafana-dashboard.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    expressions += [variable["query"] for variable in dashboard["templating"]["list"]]
    asked = {name for text in expressions for name in re.findall(r"footbridge_\w+", text)}
    assert len(expressions) > 10 and len(asked) > 10
    assert asked <= there, asked - there
    for panel in panels:
        assert panel["title"] and panel["targets"]


def test_health(bridged):
    status, told = health(bridged.web_port)
    assert status == 200
    assert (told["status"], told["store"], told["listeners"]) == ("ok", "ok", "ok")
    wait_until(lambda: health(bridged.web_port)[1]["bridges"][0]["state"] == "up", 20, "bridge")
    states = {bridge["name"]: bridge["state"] for bridge in health(bridged.web_port)[1]["bridges"]}
    assert set(states) == {"cloud", 'no"where\\'} and states["cloud"] == "up"


def test_health_of_a_listener_without_its_port(make_site):
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = held.getsockname()[1]
        port = make_site(rest=f"listener {taken} 127.0.0.1").web_port
        status, told = health(port)
        assert (status, told["listeners"]) == (503, "waiting")
    wait_until(lambda: health(port)[0] == 200, 30, "listener")


def test_who_asks_and_does_not_read_fills_no_memory(make_site):
    port = make_site().web_port
    with socket.create_connection(("127.0.0.1", port), timeout=8) as silent:
        silent.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        # One that has not said all it wants holds nothing up.
        assert scrape(port)
        silent.sendall(b"\r\n")
        assert Response(silent).status == 200
    for _ in range(50):
        assert health(port)[0] == 200
