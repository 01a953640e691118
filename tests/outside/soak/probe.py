"""How long a broker takes to answer a ping: from a process of its own, beside whatever goes on.

    python -m soak.probe PORT SECONDS

prints the milliseconds that the median and the slowest hundredth of the pings took, and the same for
an echo from another idle process: what this machine does to a program that is never busy itself.
"""

import json
import multiprocessing
import socket
import sys
import time

import wire

CLIENTS = 10
EVERY = 0.02


def echo(server):
    """Answers each ping, as a broker with nothing else to do would."""
    client, _ = server.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := client.recv(100):
        client.sendall(wire.packet(0xD0, b"") * (len(data) // 2))


def ping(client):
    """Milliseconds until it is answered."""
    start = time.perf_counter()
    client.sendall(wire.PING)
    answer = b""
    while len(answer) < 2:
        more = client.recv(2 - len(answer))
        if not more:
            raise EOFError("the broker has closed the connection of one that only pings")
        answer += more
    assert answer == b"\xd0\0", answer
    return (time.perf_counter() - start) * 1000


def figures(times):
    times = sorted(times)
    return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100], "max": times[-1]}


def main(port, seconds):
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = multiprocessing.Process(target=echo, args=[server], daemon=True)
        other.start()
        control = socket.create_connection(server.getsockname())
    control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    clients = []
    for n in range(CLIENTS):
        raw = wire.Raw(int(port), f"probe{n}", keepalive=30)
        raw.socket.settimeout(60)
        clients.append(raw.socket)
    end = time.monotonic() + float(seconds)
    pings, echoes = [], []
    while time.monotonic() < end:
        for client in clients:
            pings.append(ping(client))
            echoes.append(ping(control))
            time.sleep(EVERY)
    print(json.dumps({"pings": figures(pings), "echoes": figures(echoes), "count": len(pings)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
