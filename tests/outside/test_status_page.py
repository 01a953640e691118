"""The status page in Chromium, with a bridge to a real second broker."""

import gzip
import ssl
import time
import urllib.request

import pytest

from browser import Chromium
from frames import Web, ask, handshake, request
from harness import ROOT, free_port
from test_auth import passwords

pytestmark = pytest.mark.footbridge

#: What a hostile client puts into ids, topics and payloads.
HOSTILE = "<img src=x onerror=hit=1><script>hit=1</script>"


@pytest.fixture
def browser(tmp_path):
    with Chromium("about:blank", tmp_path) as chromium:
        yield chromium.page()


def test_what_is_served(make_site):
    port = make_site().web_port
    for method in ("GET", "HEAD"):
        response, body = ask(port, request(method, "/", Host="x", **{"Accept-Encoding": "gzip"}))
        assert response.status == 200
        assert response.fields["content-type"] == "text/html; charset=utf-8"
        assert response.fields["content-encoding"] == "gzip"
        assert response.fields["x-content-type-options"] == "nosniff"
        policy = response.fields["content-security-policy"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
        length = int(response.fields["content-length"])
        assert length < 25 * 1024
        assert len(body) == (length if method == "GET" else 0)
    packed = (ROOT / "src/net/web/page/page.html.gz").read_bytes()
    assert ask(port, request(path="/?x", Host="x"))[1] == packed
    for status, method, path in [(404, "GET", "/none"), (405, "POST", "/"), (405, "PUT", "/health")]:
        assert ask(port, request(method, path, Host="x"))[0].status == status, path
    fields = {"Accept-Encoding": "br"}
    assert ask(port, request(path="/", Host="x", **fields))[0].status == 406


def test_status_page(make_broker, tmp_path):
    """Beside WebSockets and files, and not where it is turned off."""
    (tmp_path / "index.html").write_text("mine")
    (tmp_path / "a.txt").write_text("file")
    cases = {
        f"protocol websockets\nhttp_dir {tmp_path}\nstatus_page true": (True, 200),
        f"protocol http\nhttp_dir {tmp_path}\nstatus_page true": (True, 200),
        f"protocol http\nhttp_dir {tmp_path}\nstatus_page false": (False, 200),
        "protocol http": (True, 404),
    }
    ports = {lines: free_port() for lines in cases}
    make_broker("".join(f"listener {port} 127.0.0.1\n{lines}\n" for lines, port in ports.items()))
    for lines, (has_page, file) in cases.items():
        port = ports[lines]
        response, body = ask(port, request(path="/", Host="x"))
        assert response.status == 200
        assert (body == b"mine") != has_page, lines
        assert ("content-security-policy" in response.fields) == has_page
        assert ask(port, request(path="/a.txt", Host="x"))[0].status == file, lines
        assert ask(port, request(path="/health", Host="x"))[0].status == (200 if has_page else 404)


def test_only_the_own_page_may_connect(make_site):
    port = make_site().web_port
    host = f"127.0.0.1:{port}"
    with Web(port, "own", Host=host, Origin=f"http://{host}") as web:
        assert web.accepts()
    # A program says none.
    with Web(port, "program") as web:
        assert web.accepts()
    response, _ = ask(port, handshake(Host=host, Origin="http://elsewhere.example"))
    assert response.status == 403


def test_a_site_with_a_bridge(make_site, make_upstream, client, link, browser):
    """It loads, numbers move, and an outage is to be seen at once."""
    upstream = make_upstream()
    line = link(upstream.port)
    site = make_site(
        rest=f"connection cloud\naddress 127.0.0.1:{line.port}\nrestart_timeout 1\n"
        "topic sensors/# out 1\ntopic cmd/# in 1\nlog_dest topic\nlog_dest stderr"
    )
    browser.open(site.url)
    browser.shows("#live", "live")
    browser.shows(".bridge .pill", "connected")
    browser.shows("#issues", "All is well")
    browser.shows(".sentence", "Everything is delivered.")
    sensor = client(site.port, "sensor")
    for n in range(5):
        sensor.publish("sensors/a", f"{n}", 1)
    sent = "[...document.querySelectorAll('dt')].find(dt => dt.innerText == 'Sent')"
    browser.until(f"{sent}.nextSibling.innerText.startsWith('5')")
    browser.shows(".station:nth-child(3)", "/s")
    # The picture of the hour has a point each ten seconds; the test does not wait for it.
    browser.js("sample(), sample()")
    browser.until("document.querySelector('.spark .line').getAttribute('d').includes('L')")
    begun = time.monotonic()
    line.cut()
    browser.until("document.querySelector('.bridge .pill').className == 'pill bad'", 20)
    seen = time.monotonic() - begun
    print(f"an outage is to be seen after {seen * 1000:.0f} ms")
    assert seen < 10
    browser.shows("#issues", "cloud is not connected")
    browser.shows(".fails", "Fails at reaching the upstream")
    sensor.publish("sensors/a", "kept", 1)
    browser.shows(".sentence", "Nothing is lost: 1 message waits")
    browser.shows("#log", "cloud")
    line.mend()
    browser.shows(".sentence", "Everything is delivered.", 60)
    browser.shows("#issues", "All is well")
    browser.shows("details summary", "mapping")
    assert browser.said == []
    # The broker itself goes and comes back.
    site.stop()
    browser.shows("#issues", "No contact with the broker")
    site.start()
    browser.shows("#issues", "All is well", 60)


def test_login_watch_and_publish(make_site, client, browser, tmp_path):
    """With the rights of who logs in; nothing that peers choose becomes markup."""
    file = passwords(tmp_path / "auth")
    acl = tmp_path / "acl"
    acl.write_text(
        "user alice\ntopic read $SYS/#\ntopic read #\ntopic write cmd/#\n"
        "user bob\ntopic readwrite #\n"
    )
    site = make_site(
        rest=f"password_file {file}\nacl_file {acl}\nmax_queued_messages 1\n"
        f"connection {HOSTILE.split()[0]}\naddress 127.0.0.1:{free_port()}\ntopic none/# out 1",
        anonymous=False,
    )
    browser.open(site.url)
    browser.until("!document.getElementById('login').hidden")
    browser.fill("login", user="alice", password="wrong")
    browser.shows("#login-why", "Not authorized")
    browser.fill("login", user="alice", password="wonder")
    browser.shows("#live", "live")
    browser.js("location.reload()")
    browser.shows("#live", "live")
    assert browser.js("localStorage.length") == 0

    bob = client(site.port, "bob", login=("bob", "builder"))
    absent = client(site.port, HOSTILE, clean=False, login=("bob", "builder"))
    absent.subscribe("absent", 1)
    absent.close()
    for n in range(5):
        bob.publish("absent", f"{n}", 1)
    browser.shows("#drops", HOSTILE)

    browser.fill("watch", filter="sensors/#")
    browser.shows("#watch-said", "Watching sensors/#.")
    topic = f"sensors/{HOSTILE.replace('/', '|')}/\u202ex"
    bob.publish(topic, HOSTILE, 1)
    bob.publish("sensors/raw", b"\x00\xff\x01", 1)
    bob.publish("elsewhere", "unseen", 1)
    browser.shows("#tree", "3 bytes: 00 ff 01")
    browser.shows("#tree", HOSTILE)
    assert "unseen" not in browser.text("#tree")
    # The tree has a bound.
    for n in range(600):
        bob.paho.publish(f"sensors/many/{n}", "x")
    browser.shows("#tree", "A narrower filter")
    assert browser.js("document.querySelectorAll('#tree li').length") <= 500
    browser.js("document.getElementById('unwatch').click()")
    browser.shows("#watch-said", "Stopped.")

    bob.subscribe("cmd/#", 1)
    browser.fill("publish", topic="cmd/lamp", payload="grün")
    browser.shows("#publish-said", "Published to cmd/lamp")
    got = bob.get()
    assert (got.topic, got.payload.decode()) == ("cmd/lamp", "grün")
    browser.fill("publish", topic="sensors/forged", payload="x")
    browser.shows("#publish-said", "not authorized")

    assert browser.js("typeof hit") == "undefined"
    assert browser.js("document.querySelectorAll('main img, main script').length") == 0
    assert browser.said == []


def test_tls(secure, ca):
    """The listener's certificate is the page's."""
    port = secure(ca.issue(), "protocol http").tls_port
    trust = ssl.create_default_context(cafile=ca.cert)
    page = urllib.request.Request(f"https://localhost:{port}/", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(page, timeout=20, context=trust) as answer:
        assert b"<h1>footbridge</h1>" in gzip.decompress(answer.read())
