"""rtmsd with short limits, on a disk that stalls while the file $STALL exists. Otherwise tests would take minutes."""

import os
import sys
import time
from pathlib import Path

from rtmsd.cli import main
from rtmsd.daemon import health
from rtmsd.recording.disk import writer
from rtmsd.recording.disk.filesystem import Disk


class StallingDisk(Disk):
    def sync(self, descriptor: int) -> None:
        while Path(os.environ["STALL"]).exists():
            time.sleep(0.02)
        super().sync(descriptor)


if __name__ == "__main__":
    vars(health).update(SILENT_S=1.0, SYNC_LAG_S=0.5, LOOK_EVERY_S=0.1)
    vars(writer).update(Disk=StallingDisk)
    sys.exit(main())
