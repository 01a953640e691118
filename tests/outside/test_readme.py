"""The README's first steps, as somebody who pastes them has them."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from harness import FOOTBRIDGE, ROOT, free_port, wait_until

pytestmark = pytest.mark.footbridge


def blocks():
    """The indented blocks of the five minutes: to a message, the experiment, the end."""
    text = (ROOT / "README.md").read_text()
    section = text.split("\n## From nothing to a message")[1].split("\n## ")[0]
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.MULTILINE)
    return ["\n".join(line[4:] for line in block.splitlines()) + "\n" for block in found]


def runs(pid):
    """A process whose parent is gone may stay as a zombie for a while."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_the_first_steps(tmp_path):
    first, experiment, end = blocks()
    ports = {"18831": str(free_port()), "18832": str(free_port())}
    folder = tmp_path / "edge"

    def here(text):
        text = text.replace("/tmp/edge", str(folder)).replace("cargo build --release\n", "")
        assert "$PWD/target/release" in text or "PATH" not in text
        text = text.replace("$PWD/target/release", str(Path(FOOTBRIDGE).parent))
        return re.sub("|".join(ports), lambda found: ports[found[0]], text)

    shell = subprocess.Popen(
        ["bash", "-m"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    os.set_blocking(shell.stdout.fileno(), False)
    said = b""

    def has(*lines):
        nonlocal said
        said += shell.stdout.read() or b""
        places = [said.find(line) for line in lines]
        return -1 not in places and places == sorted(places)

    try:
        shell.stdin.write(here(first).encode())
        shell.stdin.flush()
        wait_until(lambda: has(b"site-1/boiler 71.5\n"), 30, "message")
        shell.stdin.write(here(experiment).encode())
        shell.stdin.flush()
        both = b"site-1/boiler 72.0\n", b"site-1/boiler 72.5\n"
        wait_until(lambda: has(*both), 40, "what was published meanwhile")
        pids = [int((folder / f"{name}.pid").read_text()) for name in ("up", "edge")]
        shell.stdin.write(here(end).encode())
        shell.stdin.close()
        shell.wait(timeout=20)
        wait_until(lambda: not any(map(runs, pids)), what="end of the brokers")
    except BaseException:
        print(said.decode(errors="replace"))
        raise
    finally:
        for name in ("up", "edge"):
            if (folder / f"{name}.pid").exists():
                os.kill(int((folder / f"{name}.pid").read_text()), signal.SIGKILL)
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
