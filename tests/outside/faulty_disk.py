"""A disk that fails on command: the broker's calls go through faulty_disk.c."""

import errno
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
LIE = -1  # says that it is done, and does nothing


def compile_shim(folder):
    """Whoever has Rust has a C compiler."""
    shim = Path(folder) / "faulty_disk.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", shim, SOURCE, "-ldl"], check=True)
    return shim


class FaultyDisk:
    """Whatever a broker (not yet started) keeps in its store's folder."""

    def __init__(self, broker, shim):
        self.switch = broker.folder / "fault"
        broker.wrapper = [
            "env",
            f"LD_PRELOAD={shim}",
            f"FAULT_PATH={broker.folder / 'store'}",
            f"FAULT_SWITCH={self.switch}",
        ]

    def fail(self, number=errno.EIO, after=0):
        """From so many operations from now on each one fails."""
        self.mend()
        young = self.switch.with_suffix(".new")
        young.write_text(f"{number} {after}")
        young.rename(self.switch)

    def mend(self):
        self.switch.unlink(missing_ok=True)
