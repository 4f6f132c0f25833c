"""A worker that refuses the configuration: started again, or the end of all, as the parent decides."""

import sys
from collections.abc import Sequence

import attrs
import pytest
import trio

from rtmsd.daemon.root import EXIT_BAD_CONFIG
from rtmsd.workers import process
from rtmsd.workers.messages import Begin, Message
from rtmsd.workers.process import Stage, WorkerProcess
from rtmsd.workers.pulse import Backoff
from tests.workers.test_entry import BEGIN


@attrs.define
class House:
    """Gives up at the last of these lives."""

    lives: int
    lived: int = 0

    def begin(self, worker: WorkerProcess) -> tuple[Begin, Sequence[int]]:
        return BEGIN, []

    def changed(self) -> None: ...

    def received(self, worker: WorkerProcess, message: Message) -> None: ...

    def died(self, worker: WorkerProcess) -> None:
        self.lived += 1

    def gives_up(self, worker: WorkerProcess) -> bool:
        return self.lived == self.lives


async def exit_with(status: int) -> trio.Process:
    return await trio.lowlevel.open_process([sys.executable, "-c", f"raise SystemExit({status})"])


@pytest.mark.parametrize("lives", [1, 2])
async def test_it_is_started_again_unless_all_give_up(monkeypatch: pytest.MonkeyPatch, lives: int) -> None:
    async def spawn(*_: object) -> trio.Process:
        return await exit_with(EXIT_BAD_CONFIG)

    monkeypatch.setattr(process, "_spawn", spawn)
    house = House(lives)
    worker = WorkerProcess("1", house, 30, Backoff(first_s=0.01))
    await worker.keep()
    assert (house.lived, worker.stage, worker.is_clean) == (lives, Stage.ENDED, False)
