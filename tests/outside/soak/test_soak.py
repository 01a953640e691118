"""All attackers at once, beside a site that goes about its business, in 24 MB.

tests/run --soak [MINUTES] runs it, two minutes by default, and prints what was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import free_port
from soak import limit

pytestmark = pytest.mark.footbridge

HERE = Path(__file__).resolve().parents[1]
MINUTES = float(os.environ.get("FOOTBRIDGE_SOAK_MINUTES", 2))
QUIET = 10  # seconds
MEGABYTES = 24

CONFIG = """
listener {web}  127.0.0.1
protocol websockets
allow_anonymous true
password_file {passwords}
memory_limit 10M
max_connections 2000
connection healthy
address 127.0.0.1:{healthy}
topic tele/# out 1 "" up/
topic cmd/# in 1
restart_timeout 1
connection hostile
address 127.0.0.1:{hostile}
topic hostile/# both 1
restart_timeout 1 5
"""


@pytest.fixture
def run():
    """Starts one of the programs of this folder."""
    started = []

    def start(module, *arguments):
        command = [sys.executable, "-m", f"soak.{module}", *map(str, arguments)]
        process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def result(process, timeout):
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, f"{process.args} ended with status {process.returncode}"
    return json.loads(output)


def test_soak(make_broker, make_upstream, run, tmp_path):
    seconds = MINUTES * 60
    group = limit.Group(limit.name(), MEGABYTES)
    healthy = make_upstream("max_queued_messages 0")
    web, hostile = free_port(), free_port()
    passwords = tmp_path / "passwords"
    passwords.write_text("user:$7$101$c2FsdHNhbHRzYWx0$" + "A" * 86 + "==\n")
    passwords.chmod(0o600)
    config = CONFIG.format(web=web, passwords=passwords, healthy=healthy.port, hostile=hostile)
    broker = make_broker(config, durable=True, quiet=True, start=False)
    broker.wrapper = group.wrapper
    broker.start()
    pid = broker.process.pid

    run("upstream", hostile)
    site = run("site", broker.port, healthy.port, 2 * QUIET + seconds)
    quiet = result(run("probe", broker.port, QUIET + 10), QUIET + 60)
    before = limit.written(pid)
    attackers = run("attackers", broker.port, web, seconds)
    probe = run("probe", broker.port, seconds - 5)
    beside = result(probe, seconds + 120)
    done = result(attackers, seconds + 120)
    report = result(site, seconds + 400)

    peak = limit.peak(pid)
    figures = {
        "quiet": quiet,
        "beside": beside,
        "attacks": done,
        "site": report,
        "peak MB": round(peak, 1),
        "written MB": round((limit.written(pid) - before) / 1e6, 1),
        "control group": str(group.folder),
    }
    print(json.dumps(figures, indent=1))
    broker.stop()
    group.close()
    assert not report["complaints"], report["complaints"]
    assert report["acknowledged"] + report["refused"] + report["unanswered"] == report["said"]
    assert report["unanswered"] == 0, report
    assert peak <= MEGABYTES
    # What the machine itself does to a program is not the broker's: it may be short of processors.
    bound = 5 * max(quiet["pings"]["p99"], beside["echoes"]["p99"])
    assert beside["pings"]["p99"] <= bound, figures
