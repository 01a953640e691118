"""The name of an upstream, where name servers do what they do in the field."""

import contextlib
import os
import socket
import subprocess
import time

import pytest

from harness import FOOTBRIDGE, free_port, wait_until
from name_server import A, AAAA, NXDOMAIN, REFUSED, RUBBISH, SERVFAIL, SILENCE, NameServer, machine
from test_bridge_directives import Upstream

pytestmark = [
    pytest.mark.footbridge,
    pytest.mark.skipif(os.geteuid() != 0, reason="has port 53 and mounts"),
]

NAME = "up.footbridge.test"


class Site:
    """A broker whose bridge goes to a name, and the name servers that it asks."""

    def __init__(self, make_broker, folder):
        self._make, self._folder = make_broker, folder
        self._stack = contextlib.ExitStack()

    def server(self, says):
        made = NameServer(says)
        self._stack.callback(made.close)
        return made

    def upstream(self, host="127.0.0.1", port=0):
        made = Upstream(host, port=port)
        self._stack.callback(made.close)
        return made

    def broker(self, address, *resolv_conf, lines=()):
        config = ["connection up", f"address {address}", "topic t/# out 1", "restart_timeout 1", *lines]
        broker = self._make("\n".join(config), start=False)
        broker.wrapper = machine(self._folder, *resolv_conf)
        return broker.start()

    def close(self):
        self._stack.close()


@pytest.fixture
def site(make_broker, tmp_path):
    made = Site(make_broker, tmp_path)
    yield made
    made.close()


def says(**kinds):
    """For A and AAAA of the upstream's name; nobody has another."""
    return lambda name, kind: kinds["a" if kind == A else "aaaa"] if name == NAME else NXDOMAIN


def comes(upstream, seconds=30):
    return upstream.connects.get(timeout=seconds)


@pytest.mark.parametrize("other", [[], SERVFAIL, REFUSED, NXDOMAIN, SILENCE, RUBBISH, (9, [])], ids=str)
def test_one_family_is_enough(site, other):
    upstream = site.upstream()
    server = site.server(says(a=["127.0.0.1"], aaaa=other))
    site.broker(f"{NAME}:{upstream.port}", f"nameserver {server.address}")
    comes(upstream)
    assert {kind for _, kind in server.asked} == {A, AAAA}


@pytest.mark.parametrize("is_silent", [False, True])
def test_the_first_name_server_is_dead(site, is_silent):
    """Nobody is there, or nobody answers."""
    upstream = site.upstream()
    dead = "127.77.77.77"
    if is_silent:
        dead = site.server(lambda *_: SILENCE).address
    server = site.server(says(a=["127.0.0.1"], aaaa=[]))
    servers = f"nameserver {dead}", f"nameserver {server.address}"
    site.broker(f"{NAME}:{upstream.port}", *servers)
    comes(upstream)


def test_a_search_list(site):
    upstream = site.upstream()
    server = site.server(says(a=["127.0.0.1"], aaaa=[]))
    search = "search nowhere.test footbridge.test"
    site.broker(f"up:{upstream.port}", search, f"nameserver {server.address}")
    comes(upstream)


def hole(stack, host, port):
    """A listener whose queue is full: the system drops what comes, as a firewall does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    full = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    full.bind((host, port))
    full.listen(0)
    while True:
        one = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        one.settimeout(0.3)
        try:
            one.connect((host, port))
        except OSError:
            return


@pytest.mark.parametrize("alive, dead", [("::1", "127.0.0.1"), ("127.0.0.1", "::1")])
def test_the_other_family_leads_nowhere(site, alive, dead):
    # A port of both: one that the kernel gives in one family may be taken in the other.
    port = free_port()
    upstream = site.upstream(alive, port)
    server = site.server(says(a=["127.0.0.1"], aaaa=["::1"]))
    with contextlib.ExitStack() as stack:
        hole(stack, dead, port)
        site.broker(f"{NAME}:{upstream.port}", f"nameserver {server.address}")
        comes(upstream)


@pytest.mark.parametrize("address", ["[::1]", "ip6-only"])
def test_ipv6_alone(site, address):
    upstream = site.upstream("::1")
    server = site.server(says(a=[], aaaa=["::1"]))
    host = NAME if address == "ip6-only" else address
    site.broker(f"{host}:{upstream.port}", f"nameserver {server.address}")
    comes(upstream)


def test_an_answer_that_takes_longer_than_an_attempt(site):
    """The next attempt has it."""
    upstream = site.upstream()
    server = site.server(says(a=(13, ["127.0.0.1"]), aaaa=SILENCE))
    conf = f"nameserver {server.address}", "options timeout:30 attempts:1"
    broker = site.broker(f"{NAME}:{upstream.port}", *conf)
    comes(upstream, 60)
    wait_until(lambda: f"{NAME}: the name server does not answer" in broker.log(), what="line in the log")
    assert len([kind for _, kind in server.asked if kind == A]) == 1


@pytest.mark.parametrize("outage", [SILENCE, SERVFAIL, RUBBISH, ["0.0.0.0"]], ids=str)
def test_the_name_server_goes_away(site, client, outage):
    """The bridge comes back all the same, and the site never waits."""
    upstream, answers = site.upstream(), {"a": ["127.0.0.1"], "aaaa": []}
    server = site.server(lambda name, kind: answers["a" if kind == A else "aaaa"])
    broker = site.broker(f"{NAME}:{upstream.port}", f"nameserver {server.address}")
    comes(upstream)
    answers.update(a=outage, aaaa=outage if not isinstance(outage, list) else [])
    device = client(broker.port, "device")
    device.subscribe("here", 1)
    for n in range(2):
        upstream.cut()
        device.publish("here", n, 1)
        assert device.payloads(1) == [str(n)]
        comes(upstream)
    log = broker.log()
    assert f"Bridge up: {NAME}: " in log and "trying the addresses that it had" in log


def test_a_name_that_is_blocked(site):
    """0.0.0.0 is this machine: the bridge would come to its own broker."""
    port = free_port()
    server = site.server(says(a=["0.0.0.0"], aaaa=["::"]))
    broker = site.broker(
        f"{NAME}:{port}", f"nameserver {server.address}", lines=("listener %d 127.0.0.1" % port,)
    )
    told = f"{NAME}: the name server says "
    wait_until(lambda: told in broker.log(), 30, told)
    time.sleep(2)
    assert "connected to" not in broker.log()


@pytest.mark.parametrize("other", [SERVFAIL, SILENCE], ids=str)
def test_a_command_to_a_name(site, broker, tmp_path, other):
    """footbridge pub looks it up in the same way."""
    server = site.server(says(a=["127.0.0.1"], aaaa=other))
    command = [FOOTBRIDGE, "pub", "-h", NAME, "-p", str(broker.port), "-t", "t", "-m", "x", "-q", "1"]
    on = machine(tmp_path, f"nameserver {server.address}")
    done = subprocess.run([*on, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
