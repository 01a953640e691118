"""Handshakes that are slow, broken or many: they cost only themselves, and the log names them once."""

import contextlib
import os
import socket
import ssl
import threading
import time

import pytest

import wire
from harness import free_port, wait_until
from process import memory
from test_bad_input import GARBAGE
from tls_peers import said, trusting
from wire import Raw

pytestmark = pytest.mark.footbridge

#: A client that says nothing is let go after 10 s; looked at now and then.
DEADLINE = 40


def hello():
    """The ClientHello of OpenSSL."""
    return Handshake().out()


class Handshake:
    """A client's handshake in memory."""

    def __init__(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")

    def out(self, came=b""):
        """What it says next, after it has heard `came`."""
        self._in.write(came)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._out.read()


class Traffic:
    """Two well-behaved clients, one by TLS, one without, who talk all the time."""

    def __init__(self, client, broker, ca):
        self.tls = client(broker.tls_port, "well-behaved", tls=trusting(ca))
        self.plain = client(broker.port, "witness")
        for one in (self.tls, self.plain):
            one.subscribe("t", 1)

    def goes_on(self):
        for one in (self.tls, self.plain):
            one.publish("t", "x", 1)
        for one in (self.tls, self.plain):
            assert one.payloads(2) == ["x", "x"]
            assert not one.closed.is_set()


@pytest.fixture
def traffic(secure, ca, client):
    """Well-behaved clients, before and after the test; `traffic.broker` is theirs."""
    # With -v the log has what is left out otherwise.
    broker = secure(ca.issue(), quiet=True)
    made = Traffic(client, broker, ca)
    made.broker = broker
    made.goes_on()
    yield made
    assert broker.alive()
    made.goes_on()
    with Raw(broker.tls_port, "new", tls=trusting(ca)):
        pass


def closed_within(raw, seconds):
    """Whether the broker closes the connection by then."""
    raw.socket.settimeout(seconds)
    try:
        while raw.socket.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_a_plain_client(traffic):
    with Raw(traffic.broker.tls_port) as raw:
        raw.send(wire.connect("plain"))
        assert closed_within(raw, 5)
    line = said(traffic.broker, "what came is no TLS")
    assert "a client without TLS, or another program, on a listener with certfile" in line


@pytest.mark.parametrize("name", [name for name in GARBAGE if name != "tls hello"])
def test_garbage(traffic, name):
    with Raw(traffic.broker.tls_port) as raw:
        raw.send(GARBAGE[name])
        with contextlib.suppress(OSError):
            raw.socket.shutdown(socket.SHUT_WR)
        assert closed_within(raw, 5)


def test_prefixes_of_a_handshake(traffic):
    """Every prefix of a ClientHello, then the end of the connection."""
    whole = hello()
    for end in range(0, len(whole), 7):
        with Raw(traffic.broker.tls_port) as raw:
            raw.send(whole[:end])


def test_damaged_handshakes(traffic):
    """A byte is wrong, wherever: closed, or served where it does not matter; nothing else."""
    whole = hello()
    for at in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        with Raw(traffic.broker.tls_port) as raw:
            raw.send(damaged)
            with contextlib.suppress(OSError):
                raw.socket.shutdown(socket.SHUT_WR)
            assert closed_within(raw, 5), at


def test_a_damaged_record_ends_its_connection(traffic, ca):
    with Raw(traffic.broker.tls_port, "damaged", tls=trusting(ca)) as raw:
        plain = socket.socket(fileno=os.dup(raw.socket.fileno()))
        with plain:
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            assert closed_within(raw, 5)


def test_renegotiation_and_early_data_are_not_taken(traffic):
    """A second ClientHello within a handshake."""
    with Raw(traffic.broker.tls_port) as raw:
        raw.send(hello() + hello())
        assert closed_within(raw, 5)


def test_a_slow_handshake_has_its_deadline(traffic):
    """A byte each second, for ever: with each comes something, but no CONNECT."""
    whole, begun = hello(), time.monotonic()
    with Raw(traffic.broker.tls_port) as slow, Raw(traffic.broker.tls_port) as dumb:
        slow.socket.settimeout(1)
        for byte in whole:
            assert time.monotonic() - begun < DEADLINE, "it goes on for ever"
            try:
                slow.send(bytes([byte]))
                if not slow.socket.recv(100):
                    break
            except TimeoutError:
                traffic.goes_on()
            except OSError:
                break
        else:
            raise AssertionError("the hello came to its end")
        assert closed_within(dumb, DEADLINE)
    said(traffic.broker, "sent no CONNECT in time")


def test_a_handshake_without_a_connect_has_its_deadline(traffic, ca):
    with Raw(traffic.broker.tls_port, tls=trusting(ca)) as raw:
        assert closed_within(raw, DEADLINE)
    said(traffic.broker, "sent no CONNECT in time")


def test_a_slow_but_honest_client_gets_in(traffic, ca):
    """A cellular link: pieces of 100 bytes."""
    broker = traffic.broker
    port = trickle(broker.tls_port, 100, 0.02)
    with Raw(port, "slow", tls=trusting(ca)) as raw:
        raw.send(wire.PING)
        raw.expect(wire.PINGRESP)


def trickle(behind, size, pause):
    """A port whose connections reach the port behind in pieces of so many bytes; the port."""
    port = free_port()
    server = socket.create_server(("127.0.0.1", port))

    def carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(size):
                sink.sendall(data)
                time.sleep(pause)
            sink.shutdown(socket.SHUT_WR)

    def serve():
        near, _ = server.accept()
        server.close()
        far = socket.create_connection(("127.0.0.1", behind))
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threads = [threading.Thread(target=carry, args=pair) for pair in [(near, far), (far, near)]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        near.close()
        far.close()

    threading.Thread(target=serve, daemon=True).start()
    return port


def test_a_thousand_half_handshakes(traffic):
    """Half of them have said hello and got their answer, the others have sent a part of it."""
    broker, whole = traffic.broker, hello()
    with contextlib.ExitStack() as all_of_them:
        for n in range(1000):
            raw = all_of_them.enter_context(Raw(broker.tls_port))
            with contextlib.suppress(OSError):  # it may have made room for others already
                raw.send(whole if n % 2 else whole[: len(whole) // 2])
            if n % 250 == 0:
                traffic.goes_on()
        traffic.goes_on()
        lines = [line for line in broker.log().splitlines() if "127.0.0.1" in line]
        assert len(lines) < 30, "\n".join(lines[:30])


def test_those_who_give_up_in_the_middle(traffic):
    """Each at another step; the broker forgets them all."""
    broker = traffic.broker
    for n in range(60):
        with Raw(broker.tls_port) as raw:
            handshake = Handshake()
            raw.send(handshake.out())
            if n % 3:
                answer = raw.socket.recv(65536)
                if n % 3 == 2:
                    raw.send(handshake.out(answer)[:-1])
            if n % 2:
                raw.socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
                )
    fds = f"/proc/{broker.process.pid}/fd"
    wait_until(lambda: len(os.listdir(fds)) < 40, what="end of the connections")


def test_a_flood_of_plain_clients_does_not_flood_the_log(traffic):
    broker, before = traffic.broker, len(traffic.broker.log())
    for _ in range(300):
        with Raw(broker.tls_port) as raw:
            raw.send(wire.connect("plain"))
            closed_within(raw, 5)
    traffic.goes_on()
    wait_until(lambda: "what came is no TLS" in broker.log(), what="line in the log")
    lines = broker.log()[before:].splitlines()
    assert len(lines) < 30, "\n".join(lines[:30])


def test_a_reader_that_never_reads(traffic, ca, client):
    """What is sent to it waits within the bounds of its queue, encrypted or not; nobody else waits."""
    broker = traffic.broker
    with Raw(broker.tls_port, "deaf", tls=trusting(ca)) as deaf:
        deaf.send(wire.subscribe(1, "flood", 0))
        deaf.expect(wire.SUBACK)
        flooder = client(broker.tls_port, "flooder", tls=trusting(ca))
        flooder.publish("flood", b"x" * 60_000, 1)
        before = memory(broker.process.pid)["VmRSS"]
        for _ in range(300):
            flooder.publish("flood", b"x" * 60_000, 1)
        traffic.goes_on()
        # 18 MB were sent; the kernel takes some of it, and a queue at QoS 0 about 1 MB.
        assert memory(broker.process.pid)["VmRSS"] - before < 6_000
        # It reads on, as far as it goes: all of it is whole.
        deaf.socket.settimeout(3)
        count = 0
        while count < 20 and (packet := deaf.receive()):
            assert packet.payload == b"x" * 60_000
            count += 1
        assert count == 20
