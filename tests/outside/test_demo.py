"""footbridge demo, as a visitor would run it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness import FOOTBRIDGE, free_port, wait_until

pytestmark = pytest.mark.footbridge


def start(tmp_path, *arguments):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.Popen(
        [FOOTBRIDGE, "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("theirs", [False, True], ids=["footbridge", "mosquitto"])
def test_nothing_is_lost(tmp_path, make_upstream, theirs):
    upstream = ["--upstream", f"127.0.0.1:{make_upstream().port}"] if theirs else []
    demo = start(tmp_path, "--json", "--seconds", "8", *upstream)
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 0, out + err
    *_, sums, last = out.splitlines()
    result = json.loads(last)
    assert result["sent"] == result["arrived"] > 500
    assert result["lost"] == result["out_of_order"] == result["qos2_duplicated"] == 0
    # What is under way to the edge broker or its disk at the kill -9 is lost.
    assert result["qos0_kept_sent"] - 20 <= result["qos0_kept_arrived"] > 100
    assert result["qos0_arrived"] < result["qos0_sent"] - 50
    assert "qos0=keep on a topic line" in out
    assert result["backlog_messages"] > 100 and result["backlog_bytes"] > 20_000
    assert sums.startswith(f"sent {result['sent']}, arrived {result['arrived']}, lost 0")
    assert result["seconds"] < 30
    assert list(tmp_path.glob("footbridge-demo-*")) == []


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_no_broker_is_left_behind(tmp_path, how):
    demo = start(tmp_path)
    brokers = wait_until(lambda: len(children(demo.pid)) == 2 and children(demo.pid))
    time.sleep(0.5)
    demo.send_signal(getattr(signal, how))
    demo.communicate(timeout=10)
    assert demo.returncode == (1 if how == "SIGINT" else -9)
    wait_until(lambda: not any(map(running, brokers)), what="end of the brokers")
    if how == "SIGINT":
        assert list(tmp_path.glob("footbridge-demo-*")) == []


def test_an_upstream_that_is_not_there(tmp_path):
    demo = start(tmp_path, "--upstream", f"127.0.0.1:{free_port()}")
    _, err = demo.communicate(timeout=10)
    assert demo.returncode == 1
    assert err.splitlines()[-1] == "Error: the upstream broker: Connection refused"
