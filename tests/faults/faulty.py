"""rtmsd on a disk that fails as a file says: `python -m tests.faults.faulty CONTROL run --config FILE`.

CONTROL holds one word: `ok`, the name of an errno (`EIO`, `EROFS`, `ENOSPC`), `slow SECONDS` for each sync, or `stuck`;
`ok TEXT` refuses only files that have TEXT in their path.
All else is the real daemon: only `rtmsd.recording.disk.filesystem.Disk`, the class for what may fail, is another one.
"""

import errno
import os
import sys
import time
from pathlib import Path

from rtmsd.cli import main
from rtmsd.recording.disk import writer
from rtmsd.recording.disk.filesystem import Disk

CONTROL = Path(sys.argv[1])


class FaultyDisk(Disk):
    def misbehave(self) -> None:
        word, _, seconds = CONTROL.read_text().partition(" ")
        if word == "slow":
            time.sleep(float(seconds))
        elif word == "stuck":
            while CONTROL.read_text() == "stuck":
                time.sleep(0.02)
        elif word != "ok":
            number = getattr(errno, word)
            raise OSError(number, os.strerror(number))

    def open(self, path: Path, *, create: bool = False) -> int:
        word, _, refused = CONTROL.read_text().partition(" ")
        if word == "ok" and refused and refused in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        if not CONTROL.read_text().startswith("slow"):
            self.misbehave()
        return super().open(path, create=create)

    def sync(self, descriptor: int) -> None:
        self.misbehave()
        super().sync(descriptor)

    def sync_together(self, descriptor: int) -> None:
        self.misbehave()
        super().sync_together(descriptor)


setattr(writer, "Disk", FaultyDisk)  # noqa: B010
sys.exit(main(sys.argv[2:]))
