"""The daemon's workers from outside: who has which stream, what the log says, and signals to one of them."""

import os
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import httpx
import trio

from rtmsd.demo.daemon import Admin, DaemonProcess, signal_process
from rtmsd.demo.incidents.log import Line, read_log
from rtmsd.demo.story import RECOVERY_S

POLL_S: Final = 0.05


class Workers:
    """The workers of a running daemon.

    Args:
        admin: answers for all of them.
        log_path: of all of them.
    """

    def __init__(self, daemon: DaemonProcess, admin: Admin, log_path: Path) -> None:
        self._daemon = daemon
        self._admin = admin
        self._log_path = log_path

    # Who is there

    async def wait_ready(self) -> bool:
        """Wait until all are, and return whether they were in time."""
        with trio.move_on_after(RECOVERY_S):
            while not self._daemon.is_ready(await self._ask("/v1/status", {})):  # noqa: ASYNC110
                await trio.sleep(POLL_S)
            return True
        return False

    async def owners(self, streams: Collection[str] = ()) -> dict[str, str]:
        """Return the worker of each live stream, once these are among them: a worker that is slow may not be asked."""
        owners: dict[str, str] = {}
        with trio.move_on_after(RECOVERY_S):
            while True:
                listed = await self._ask("/v1/streams", [])
                owners = {each["rtms_stream_id"]: each["worker"] for each in listed if each["ended_ms"] is None}
                if owners.keys() >= set(streams):
                    break
                await trio.sleep(POLL_S)
        return owners

    async def _ask(self, path: str, otherwise: Any) -> Any:
        try:
            return await self._admin.get(path)
        except httpx.HTTPError:  # whoever was to answer has just died
            return otherwise

    def signal(self, worker: str, number: signal.Signals) -> None:
        """Send a signal to one of them, as its last life that became ready."""
        ready = [
            line.fields["pid"]
            for line in self.lines()
            if line.event == "worker ready" and line.fields["worker"] == worker
        ]
        pidfd = os.pidfd_open(ready[-1])
        try:
            signal_process(pidfd, number)
        finally:
            os.close(pidfd)

    # What they say

    def lines(self) -> list[Line]:
        """Return the log so far."""
        return [*read_log(self._log_path)]

    async def logged(self, event: str, since_ms: int, *, count: int = 1, **fields: str) -> list[Line]:
        """Wait until so many lines of an event have come, and return those that have come in time."""
        found: list[Line] = []
        with trio.move_on_after(RECOVERY_S):
            while len(found) < count:
                await trio.sleep(POLL_S)
                found = [
                    line
                    for line in self.lines()
                    if line.event == event and line.at_ms >= since_ms and fields.items() <= line.fields.items()
                ]
        return found
