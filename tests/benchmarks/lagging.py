"""The daemon whose event loop is probed often, and written down on SIGUSR1; otherwise `python -m rtmsd`."""

import json
import signal
import sys
from pathlib import Path
from typing import Final
from unittest import mock

import trio

from rtmsd import cli
from rtmsd.admin.metrics import LoopLag
from tests.benchmarks.daemon import LAGS

_PROBE_S: Final = 0.01


def main() -> int:
    lags_s: list[float] = []
    target = Path(sys.argv[-1]).with_name(LAGS)  # beside the configuration

    async def measure(_: LoopLag) -> None:
        while True:
            due_s = trio.current_time() + _PROBE_S
            await trio.sleep_until(due_s)
            lags_s.append(trio.current_time() - due_s)

    def write_down(*_: object) -> None:
        written = target.with_suffix(".new")
        written.write_text(json.dumps(lags_s))
        written.replace(target)
        lags_s.clear()

    signal.signal(signal.SIGUSR1, write_down)
    with mock.patch.object(LoopLag, "measure", measure):
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
