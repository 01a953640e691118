"""A box with little memory: a control group with a bound, as far as this machine lets us have one."""

import contextlib
import os
from pathlib import Path

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


class Group:
    """A control group of its own for `megabytes`; `wrapper` starts a program in it. What is not
    possible here leaves the program without: resident memory is looked at in any case."""

    def __init__(self, name, megabytes):
        self.folder, self.wrapper = None, []
        root, bound = (V1, "memory.limit_in_bytes") if V1.is_dir() else (V2, "memory.max")
        folder = root / name
        try:
            folder.mkdir()
            (folder / bound).write_text(str(megabytes << 20))
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            return
        self.folder = folder
        script = f'echo $$ >{folder}/cgroup.procs && exec "$@"'
        self.wrapper = ["/bin/sh", "-c", script, "sh"]

    def close(self):
        if self.folder is not None:
            with contextlib.suppress(OSError):
                self.folder.rmdir()


def peak(pid):
    """The most memory that a process has had, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def written(pid):
    """Bytes that a process has sent to disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("write_bytes:"))
    return int(line.split()[1])


def name():
    return f"footbridge-soak-{os.getpid()}"
