"""The daemon with a disk that hangs for a while when told so by SIGUSR1; otherwise `python -m rtmsd`."""

import signal
import sys
import time
from unittest import mock

from rtmsd import cli
from rtmsd.recording.disk import Disk
from tests.benchmarks.trials import STALL_S


def main() -> int:
    stalled_until_s = 0.0
    write = Disk.write

    def stall(*_: object) -> None:
        nonlocal stalled_until_s
        stalled_until_s = time.monotonic() + STALL_S

    def slow_write(self: Disk, descriptor: int, data: bytes, offset: int) -> None:
        time.sleep(max(0.0, stalled_until_s - time.monotonic()))
        write(self, descriptor, data, offset)

    signal.signal(signal.SIGUSR1, stall)
    with mock.patch.object(Disk, "write", slow_write):
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
