"""Peers that speak TLS: OpenSSL's s_client and s_server, and Python's ssl, which is OpenSSL too."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import threading

import wire
from harness import free_port, listens, wait_until

#: OpenSSL refuses what is old or weak by itself; the brokers are to be asked.
WEAK = "DEFAULT@SECLEVEL=0"

#: A session of MQTT that the broker ends: s_client ends then, too.
HELLO_AND_GOODBYE = wire.connect("s_client") + wire.GOODBYE


def trusting(ca, pair=None, *, version=None, check=True):
    """A client's context: it trusts `ca`, shows `pair`, and speaks one version only where that is set."""
    context = ssl.create_default_context(cafile=str(ca.cert))
    if not check:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def s_client(port, *options, send=HELLO_AND_GOODBYE):
    """What `openssl s_client` says, with what came behind the handshake; never a failure of its own."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost"]
    done = subprocess.run(
        [*command, "-ign_eof", *map(str, options)],
        input=send,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
    )
    return done.stdout.decode(errors="replace")


def hang_up(broker, says="Configuration reloaded."):
    """SIGHUP, until the broker has said that it is done."""
    before = broker.log().count(says)
    os.kill(broker.process.pid, signal.SIGHUP)
    wait_until(lambda: broker.log().count(says) > before, what=says)


def said(broker, what, timeout=20):
    """The first line of the log with `what`."""
    wait_until(lambda: what in broker.log(), what=what, timeout=timeout)
    return next(line for line in broker.log().splitlines() if what in line)


class Upstream:
    """An upstream of MQTT 3.1.1 by TLS that takes all and keeps nothing; `shaken` has what OpenSSL says
    of each handshake, `errors` why others failed."""

    def __init__(self, pair, *, ca=None, alpn=(), versions=(ssl.TLSVersion.TLSv1_2, None)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        context.minimum_version = versions[0]
        if versions[1] is not None:
            context.maximum_version = versions[1]
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(ca.cert)
        context.sni_callback = self._note_name
        self._context = context
        self._name = None
        self._connections = []
        self.shaken, self.errors = [], []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def drop(self):
        """Closes all connections."""
        while self._connections:
            with contextlib.suppress(OSError):
                self._connections.pop().shutdown(socket.SHUT_RDWR)

    def _note_name(self, _sock, name, _context):
        self._name = name

    def _serve(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._name = None
            try:
                plain.settimeout(20)
                tls = self._context.wrap_socket(plain, server_side=True)
            except OSError as error:
                self.errors.append(error)
                plain.close()
                continue
            tls.settimeout(None)
            self._connections.append(tls)
            seen = {"name": self._name, "version": tls.version(), "cipher": tls.cipher()[0]}
            seen |= {"alpn": tls.selected_alpn_protocol(), "reused": tls.session_reused}
            self.shaken.append(seen | {"peer": tls.getpeercert()})
            threading.Thread(target=self._converse, args=(tls,), daemon=True).start()

    def _converse(self, tls):
        buffer = bytearray()
        with tls, contextlib.suppress(OSError):
            while data := tls.recv(65536):
                buffer += data
                for packet in wire.split(buffer):
                    tls.sendall(_answer(packet))


def _answer(packet):
    if packet.kind == wire.CONNECT:
        return b"\x20\x02\x00\x00"
    if packet.kind == wire.PINGREQ:
        return b"\xd0\x00"
    if packet.kind == wire.SUBSCRIBE:
        return wire.packet(0x90, packet.body[:2] + b"\x01")
    if packet.kind == wire.PUBLISH and packet.qos == 1:
        return wire.ack(wire.PUBACK, packet.id)
    return b""


class Server:
    """`openssl s_server` with these options, on a port of its own; it speaks TLS and nothing else."""

    def __init__(self, *options):
        self.port = free_port()
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-quiet"]
        self._process = subprocess.Popen(
            [*command, *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def __enter__(self):
        wait_until(self._up, what="listening s_server")
        return self

    def _up(self):
        ended = self._process.poll()
        assert ended is None, self._process.stderr.read().decode()
        return listens(self.port)

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()
