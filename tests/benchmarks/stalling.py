"""The daemon with a disk that hangs for a while on SIGUSR1; otherwise `python -m rtmsd`."""

import signal
import sys
import time
from collections.abc import Sequence
from unittest import mock

from rtmsd import cli
from rtmsd.recording.disk.filesystem import Disk
from tests.benchmarks.trials import STALL_S


def main() -> int:
    stalled_until_s = 0.0
    write_pieces = Disk.write_pieces

    def stall(*_: object) -> None:
        nonlocal stalled_until_s
        stalled_until_s = time.monotonic() + STALL_S

    def slow_write(self: Disk, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        time.sleep(max(0.0, stalled_until_s - time.monotonic()))
        write_pieces(self, descriptor, pieces, offset)

    signal.signal(signal.SIGUSR1, stall)
    with mock.patch.object(Disk, "write_pieces", slow_write):
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
