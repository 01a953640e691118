"""A small filesystem for a store, in a mount namespace of its own: nobody else sees it, and it goes
with the process that holds it, whatever happens to the test. Needs root, or a kernel that gives
ordinary users namespaces."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


class Volume:
    """Mounted on `folder` for what runs behind `enter`; the test reaches it as `path`."""

    def __init__(self, folder, mount):
        """`mount` is a shell command that mounts on "$1"."""
        self.folder = Path(folder)
        self._holder, self.enter = None, None
        reasons = []
        for user in ([], ["--map-root-user"]):
            holder = subprocess.Popen(
                ["unshare", *user, "--mount", "--propagation", "private", "sh", "-c",
                 f'{mount} || exit; echo ready; exec sleep 3600', "sh", self.folder],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            if holder.stdout.readline() == "ready\n":
                self._holder = holder
                break
            reasons.append(holder.communicate()[1].strip())
        if self._holder is None:
            pytest.skip(f"NOT TESTED: no filesystem can be mounted here: {'; '.join(reasons)}")
        pid = str(holder.pid)
        user = ["--user", "--preserve-credentials"] if user else []
        self.enter = ["nsenter", "--target", pid, *user, "--mount", "--"]
        self.path = Path(f"/proc/{pid}/root{self.folder}")

    @classmethod
    def tmpfs(cls, folder, size="8m"):
        return cls(folder, f'mount -t tmpfs -o size={size},mode=700 volume "$1"')

    @classmethod
    def ext4(cls, folder, size="12m"):
        """On a loop device, which only root can have."""
        image = Path(folder).with_suffix(".img")
        with open(image, "wb") as file:
            file.truncate(int(size.removesuffix("m")) << 20)
        if not shutil.which("mkfs.ext4", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            pytest.skip("NOT TESTED: there is no mkfs.ext4 here")
        # Inodes enough, no reserve for root: full means full.
        make = f"PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -m 0 -N 64 -J size=1 {image}"
        return cls(folder, f'{make} && mount -o loop,errors=remount-ro {image} "$1"')

    def run(self, *command):
        return subprocess.run([*self.enter, *command], capture_output=True, text=True, timeout=10)

    def stop_at_an_error(self):
        """The kernel finds an error in the ext4 and makes it read-only, as in the field."""
        device = self.run("findmnt", "-no", "SOURCE", str(self.folder)).stdout.strip()
        trigger = f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error"
        if self.run("sh", "-c", f"echo test > {trigger}").returncode:
            pytest.skip(f"NOT TESTED: {trigger} can't be written here")

    def mount_again(self):
        """What a power cycle does, with a check as at boot."""
        image = self.folder.with_suffix(".img")
        script = f'umount "$1" && {{ e2fsck -p {image}; mount -o loop {image} "$1"; }}'
        done = self.run("sh", "-c", f"PATH=$PATH:/usr/sbin:/sbin; {script}", "sh", str(self.folder))
        assert done.returncode == 0, done.stderr

    def fill(self):
        """Leaves no byte; `free` gives it back."""
        with open(self.path / "foreign", "ab", buffering=0) as file:
            size = 1 << 16
            while size >= 1:
                try:
                    if file.write(b"x" * size) < size:
                        raise OSError
                except OSError:
                    size //= 2
            os.fsync(file.fileno())

    def free(self):
        (self.path / "foreign").unlink(missing_ok=True)

    def close(self):
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()
            self._holder = None
