"""Runs a command and starts it anew when it fails, as procd and systemd do with the packages' broker.

    python respawn.py COMMAND…

SIGTERM ends both, and then it is not started anew, however it ends; when this is killed, so is the
command."""

import ctypes
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
#: Seconds. The packages wait longer; nothing but patience depends on it.
PAUSE = 0.2


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(command):
    ended = []
    child = None

    def end(*_):
        ended.append(True)
        if child is not None:
            child.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    while True:
        child = subprocess.Popen(command, preexec_fn=die_with_parent)
        status = child.wait()
        if ended or status == 0:
            print(f"respawn: ended with {status}", file=sys.stderr, flush=True)
            sys.exit()
        print(f"respawn: ended with {status}, started anew", file=sys.stderr, flush=True)
        time.sleep(PAUSE)


main(sys.argv[1:])
