"""A client of the control socket."""

import json
import socket


class Control:
    """One connection. `ask` says what the broker answers: the items of a list, and its last line."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")

    def send(self, line):
        self.socket.sendall(line)

    def answer(self):
        items = []
        while True:
            line = self.lines.readline()
            assert line.endswith(b"\n"), f"the connection has ended: {line}"
            said = json.loads(line)
            assert said["v"] == 1
            if "item" not in said:
                return items, said
            items.append(said["item"])

    def ask(self, command, **members):
        self.send(json.dumps({"v": 1, "do": command, **members}).encode() + b"\n")
        return self.answer()

    def ended(self):
        """Whether the broker has closed the connection; waits for that."""
        try:
            return self.lines.readline() == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.lines.close()
        self.socket.close()
