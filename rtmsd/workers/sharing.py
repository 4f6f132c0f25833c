"""A worker that shares a disk with the others: the state file says whose a stream is, and the parent delivers."""

import contextlib
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import structlog
import trio

from rtmsd.commands import Intake
from rtmsd.config import Config
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.holdings import Holdings
from rtmsd.daemon.process import SupervisorNeeds
from rtmsd.errors import StorageError
from rtmsd.streams.supervisor import Supervisor
from rtmsd.workers.membership import Membership
from rtmsd.workers.messages import Begin, Delivered, Died, Due, Held, Hold, Inherited, Joined, Message, Peers, Release
from rtmsd.workers.worker import Worker

log = structlog.get_logger()

HOLD_AGAIN_S: Final = 5.0  # a program may take as long to die


class SharingWorker(Worker):
    """See `Worker`, and `Elsewhere` of `sinks.deliveries`."""

    def __init__(self, given: Begin, disk: Inherited, end: socket.socket) -> None:
        super().__init__(given, end)
        self._disk = disk
        self._membership: Membership | None = None
        self._peers = given.members
        self._holds: dict[str, trio.Event] = {}

    @asynccontextmanager
    async def open_disk(self) -> AsyncIterator[Holdings]:
        given, disk = self._given, self._disk
        with only_life(given.config.state.file, given.node, given.incarnation):
            async with (
                Holdings.join(
                    given.config,
                    disk.state_lock,
                    {Path(path): numbers for path, numbers in disk.directories.items()},
                    set_aside=None if disk.set_aside is None else Path(disk.set_aside),
                    salvaged=disk.salvaged,
                ) as holdings,
                trio.open_nursery() as looking,
            ):
                looking.start_soon(holdings.journal.look_after_file)
                yield holdings
                looking.cancel_scope.cancel()

    def derive(self, config: Config) -> Config:
        return config

    def make_supervisor(self, needs: SupervisorNeeds) -> Supervisor:
        membership = self._membership = Membership(
            attrs.evolve(self._given, config=needs.config, members=self._peers), self._bus, needs
        )
        membership.supervisor.deliveries.elsewhere = self
        return membership.supervisor

    async def join(self, backend: Backend, nursery: trio.Nursery) -> Intake:
        assert self._membership is not None  # made with the supervisor
        await nursery.start(self._membership.run, lambda: self._post(Joined()))
        return self._membership.router

    def leave(self) -> None:
        if self._membership is not None:
            self._membership.leave()

    async def hand_over(self) -> None:
        """Keep all streams for the next start: the other workers stop as well."""

    def hear(self, message: Message) -> None:
        match message:
            case Held():
                if (held := self._holds.pop(message.rtms_stream_id, None)) is not None:
                    held.set()
            case Delivered():
                if self._membership is not None:
                    self._membership.supervisor.deliveries.learn(message.figures)
            case Died():
                log.info("another worker died", incarnation=message.incarnation)
                if self._membership is not None:
                    self._membership.members.died(message.incarnation)
            case Peers():
                if (backend := self._process.backend) is not None:
                    backend.health.drain(self._is_draining)  # who was frozen hears commands late, and in any order
                self._peers = message.members
                if self._membership is not None:
                    self._membership.update(message.members)
            case _:
                self._unexpected(message)

    # Deliveries: the parent runs them

    def due(self) -> None:
        self._post(Due())

    async def hold(self, rtms_stream_id: str) -> None:
        held = self._holds.setdefault(rtms_stream_id, trio.Event())
        while not held.is_set():
            self._post(Hold(rtms_stream_id))
            with trio.move_on_after(HOLD_AGAIN_S):
                await held.wait()

    def release(self, rtms_stream_id: str) -> None:
        self._post(Release(rtms_stream_id))


@contextlib.contextmanager
def only_life(state_file: Path, node: str, incarnation: str) -> Iterator[None]:
    """Hold the lock on a file of this worker's own, to the end of the process however it ends: as long as one life of a
    worker is not over, no other begins, which would answer on the same socket.

    Raises:
        StorageError: an earlier life holds it, or the disk refuses.
    """
    path = state_file.with_name(f"{state_file.name}.workers") / node
    with contextlib.ExitStack() as undo:
        try:
            path.parent.mkdir(mode=0o750, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
            undo.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(f"{path}: an earlier life of worker {node} is not over") from error
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds, its holder stays unnamed
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {incarnation}\n".encode(), 0)
        yield
