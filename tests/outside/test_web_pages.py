"""Web pages from http_dir."""

import socket

import pytest

from frames import Response, Web, ask, handshake, request
from harness import free_port, run

pytestmark = pytest.mark.footbridge


@pytest.fixture
def site(make_broker, tmp_path):
    """A broker that serves a folder: `site(protocol)`."""
    root = tmp_path / "www"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text("<p>home</p>")
    (root / "sub/index.html").write_text("<p>sub</p>")
    (root / "app.js").write_text("code")
    (root / "big.bin").write_bytes(bytes(range(256)) * 40_000)
    (root / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text("secret")

    def make(protocol="websockets"):
        port = free_port()
        broker = make_broker(f"listener {port} 127.0.0.1\nprotocol {protocol}\nhttp_dir {root}")
        broker.web_port = port
        return broker

    return make


@pytest.mark.parametrize("protocol", ["websockets", "http"])
def test_files(site, protocol):
    port = site(protocol).web_port
    for path, kind, content in [
        ("/", "text/html; charset=utf-8", b"<p>home</p>"),
        ("/?a=b", "text/html; charset=utf-8", b"<p>home</p>"),
        ("/sub/", "text/html; charset=utf-8", b"<p>sub</p>"),
        ("/app.js", "text/javascript; charset=utf-8", b"code"),
        ("/%61pp.js", "text/javascript; charset=utf-8", b"code"),
    ]:
        response, body = ask(port, request(path=path, Host="x"))
        assert (response.status, body) == (200, content), path
        assert response.fields["content-type"] == kind
        assert response.fields["content-length"] == str(len(content))
        assert response.fields["connection"] == "close"
    response, body = ask(port, request("HEAD", "/", Host="x"))
    assert (response.status, response.fields["content-length"], body) == (200, "11", b"")
    response, _ = ask(port, request(path="/sub", Host="x"))
    assert (response.status, response.fields["location"]) == (302, "/sub/")


def test_nothing_else_is_served(site):
    port = site().web_port
    for status, method, path in [
        (404, "GET", "/none"),
        (404, "GET", "/../secret"),
        (404, "GET", "/%2e%2e/secret"),
        (404, "GET", "/sub/..%2f..%2fsecret"),
        (404, "GET", "//etc/passwd"),
        (403, "GET", "/out"),
        (405, "POST", "/"),
        (405, "DELETE", "/app.js"),
        (400, "GET /", "x y"),
    ]:
        response, body = ask(port, request(method, path, Host="x"))
        assert response.status == status, path
        assert b"secret" not in body
    _, body = ask(port, request("HEAD", "/none", Host="x"))
    assert body == b""


def test_websockets_go_on_beside_files(site):
    broker = site()
    with Web(broker.web_port, "c") as c:
        assert ask(broker.web_port, request(path="/app.js", Host="x"))[1] == b"code"
        assert c.accepts()


def test_no_websockets_where_only_files_are_served(site):
    response, _ = ask(site("http").web_port, handshake(path="/"))
    assert response.status == 200


def test_a_large_file_goes_to_a_slow_reader_while_others_are_served(site):
    broker = site()
    wanted = bytes(range(256)) * 40_000
    with socket.create_connection(("127.0.0.1", broker.web_port), timeout=8) as sock:
        sock.sendall(request(path="/big.bin", Host="x"))
        response = Response(sock)
        with Web(broker.web_port, "c"):
            pass
        got = bytearray(response.rest)
        while data := sock.recv(100_000):
            got += data
        assert got == wanted
    with open(f"/proc/{broker.process.pid}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 40_000, f"{peak} KB"


def test_a_folder_that_is_not_there_is_told(tmp_path):
    conf = tmp_path / "x.conf"
    text = f"listener {free_port()} 127.0.0.1\nprotocol http\nhttp_dir {tmp_path}/none\n"
    conf.write_text(text)
    done = run("-c", conf)
    assert done.returncode != 0
    error = done.stderr.decode() if isinstance(done.stderr, bytes) else done.stderr
    assert f"http_dir {tmp_path}/none" in error and "give a folder" in error
