"""A name server for tests, and a machine whose resolv.conf(5) has it: for root, who may have port 53."""

import os
import random
import socket
import struct
import threading
import time

A, AAAA = 1, 28
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
#: Answers that are none.
SILENCE, RUBBISH = "silence", "rubbish"


class NameServer:
    """Answers by `says(name, kind)`: a list of addresses, a response code, SILENCE, RUBBISH, or such a
    thing after some seconds as (seconds, answer)."""

    def __init__(self, says):
        self.says = says
        #: What it was asked, as (name, kind).
        self.asked = []
        self.address = f"127.77.{random.randrange(256)}.{random.randrange(1, 255)}"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.address, 53))
        self._socket.settimeout(0.1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while not self._over.is_set():
            try:
                asked, peer = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            threading.Thread(target=self._answer, args=(asked, peer), daemon=True).start()

    def _answer(self, asked, peer):
        name, end = [], 12
        while length := asked[end]:
            name.append(asked[end + 1 : end + 1 + length].decode())
            end += 1 + length
        kind = struct.unpack_from("!H", asked, end + 1)[0]
        question = asked[12 : end + 5]
        self.asked.append((".".join(name), kind))
        said = self.says(".".join(name), kind)
        if isinstance(said, tuple):
            time.sleep(said[0])
            said = said[1]
        if said == SILENCE:
            return
        try:
            self._socket.sendto(self._reply(asked[:2], question, kind, said), peer)
        except OSError:
            pass

    @staticmethod
    def _reply(number, question, kind, said):
        if said == RUBBISH:
            return number + b"\x81\x80" + b"\0\1\xff\xff\0\0\0\0" + question[:-3] + b"\xc0\xff\xc0"
        addresses = said if isinstance(said, list) else []
        code = NOERROR if isinstance(said, list) else said
        head = number + struct.pack("!5H", 0x8180 | code, 1, len(addresses), 0, 0)
        family = socket.AF_INET6 if kind == AAAA else socket.AF_INET
        records = [socket.inet_pton(family, address) for address in addresses]
        pointer = b"\xc0\x0c" + struct.pack("!HHI", kind, 1, 0)
        return head + question + b"".join(
            pointer + struct.pack("!H", len(record)) + record for record in records
        )


def machine(folder, *lines):
    """What runs a command with such a resolv.conf."""
    conf = folder / "resolv.conf"
    conf.write_text("\n".join(lines) + "\n")
    switch = folder / "nsswitch.conf"
    switch.write_text("hosts: files dns\n")
    bind = f"mount --bind {conf} /etc/resolv.conf"
    if os.path.exists("/etc/nsswitch.conf"):
        bind += f" && mount --bind {switch} /etc/nsswitch.conf"
    script = f'{bind} && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
