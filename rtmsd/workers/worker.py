"""A worker: one process of streams, beside others that take over when it dies. What all have, whatever they share."""

import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import NoReturn

import structlog
import trio

from rtmsd.admin.fleet.fleet import Fleet
from rtmsd.admin.fleet.kept import APART, SHARED
from rtmsd.admin.fleet.peers import Peers as FleetPeers
from rtmsd.admin.fleet.status import ParentProcess
from rtmsd.admin.server import SERVER
from rtmsd.cluster.engines.sockets import SocketBus, open_socket
from rtmsd.commands import Intake
from rtmsd.config import Config
from rtmsd.config.model import worker_socket
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Phase
from rtmsd.daemon.holdings import Holdings
from rtmsd.daemon.process import Doors, Process, SupervisorNeeds
from rtmsd.state.rows import StreamRow
from rtmsd.streams.supervisor import Supervisor
from rtmsd.workers.channel import Channel
from rtmsd.workers.messages import (
    Applied,
    Apply,
    Begin,
    Drain,
    Message,
    Ping,
    Pong,
    Ready,
    Reload,
    Stop,
    ToParent,
)

log = structlog.get_logger()


class Worker(ABC):
    """See `Role` and `Runnable`."""

    is_clean = True

    def __init__(self, given: Begin, end: socket.socket) -> None:
        self._given = given
        self.processes = given.workers
        self._bus = SocketBus(partial(worker_socket, given.config.admin.socket))
        self._process = Process(Path(given.config_path), given.config, self, sockets=given.sockets, end_streams=False)
        self.wait_expired = self._process.wait_expired
        self._channel = Channel(end)
        self._is_draining = given.is_draining
        self._was_draining = False
        self._newer: Config | None = None

    async def run(self) -> None:
        """Run until the parent says `Stop`, or is gone.

        Raises:
            RtmsdError: what the parent gave cannot be used.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._channel.send_posted)
            nursery.start_soon(self._listen)
            nursery.start_soon(self._handle_signals)
            async with self.open_disk() as holdings:
                await self._process.run(holdings)
            nursery.cancel_scope.cancel()

    # What differs

    @abstractmethod
    def open_disk(self) -> AbstractAsyncContextManager[Holdings]:
        """Open the state file and the directories of recordings."""

    @abstractmethod
    def derive(self, config: Config) -> Config:
        """See `Role`, as the others."""

    @abstractmethod
    def make_supervisor(self, needs: SupervisorNeeds) -> Supervisor: ...

    @abstractmethod
    async def join(self, backend: Backend, nursery: trio.Nursery) -> Intake:
        """Begin to work with the others, in tasks of `nursery`. Returns who takes the webhooks."""

    @abstractmethod
    def leave(self) -> None:
        """Begin with no more streams of others, as this worker stops."""

    @abstractmethod
    async def hand_over(self) -> None: ...

    @abstractmethod
    def hear(self, message: Message) -> None:
        """The parent said something that does not concern all kinds of workers."""

    # The role

    async def to_resume(self) -> Sequence[StreamRow]:
        """Return nothing: what earlier processes left is claimed first, so that each stream is resumed once."""
        return ()

    async def accompany(self, backend: Backend, *, task_status: trio.TaskStatus[Doors]) -> None:
        given, sockets = self._given, self._given.config.admin.socket
        others = [str(number) for number in range(1, given.workers + 1) if str(number) != given.node]
        peers = FleetPeers({node: worker_socket(sockets, node) for node in others})
        with open_socket(worker_socket(sockets, given.node)) as listener:  # closed when nobody accepts on it any more
            disks = APART if given.disk is None else SHARED
            async with trio.open_nursery() as nursery:
                fleet = Fleet(given.node, peers, backend, self, nursery, disks=disks)
                answer = partial(self._bus.run, listener, lambda _stream: fleet.local.respond, server=SERVER)
                await nursery.start(answer)
                intake = await self.join(backend, nursery)
                self._apply(backend)
                task_status.started(Doors(intake, fleet.answer, fleet.metrics))
                await trio.sleep_forever()

    def serving(self, backend: Backend) -> None:
        log.info("worker serves", streams=len(backend.supervisor.streams))
        self._post(Ready(dict(backend.listening)))

    def stopping(self, limit_s: float) -> None:
        """Tell nobody but the others: the service manager hears it from the parent."""
        self.leave()

    def stop(self, *, end_streams: bool) -> None:
        self._post(Stop(end_streams))

    # Orders of operators that concern all. See `admin.fleet.fleet.Parent`

    @property
    def process(self) -> ParentProcess:
        return ParentProcess(self._given.parent_pid, self._given.parent_began_s)

    def drain(self, on: bool) -> None:
        self._post(Drain(on))

    def reload(self) -> None:
        self._post(Reload())

    # The parent

    def _post(self, message: ToParent) -> None:
        if not self._channel.post(message):
            log.error("parent does not read; message lost", what=type(message).__name__)

    async def _listen(self) -> None:
        async for message in self._channel:
            try:
                self._obey(message)
            except Exception:
                log.exception("handling a message from the parent crashed", what=type(message).__name__)
        log.error("parent is gone; stopping, streams are left to be resumed")
        self.leave()
        self._process.stop()

    def _obey(self, message: Message) -> None:
        backend = self._process.backend
        match message:
            case Ping():
                self._answer(message.number, backend)
            case Stop():
                self.leave()
                self._process.stop(end_streams=message.end_streams)
            case Apply():
                self._newer = message.config
                if backend is not None:
                    self._apply(backend)
                self._post(Applied())
            case Drain():
                self._is_draining = message.on
                if backend is not None:
                    self._apply(backend)
            case _:
                self.hear(message)

    def _unexpected(self, message: Message) -> None:
        log.error("unexpected message from the parent; ignored", what=type(message).__name__)

    def _apply(self, backend: Backend) -> None:
        """Bring into force what the parent ordered, perhaps before there was a backend. A drain that is in force is not
        ordered again: this worker alone may have been told otherwise since.
        """
        if self._is_draining != self._was_draining:
            self._was_draining = self._is_draining
            backend.health.drain(self._is_draining)
        newer, self._newer = self._newer, None
        if newer is not None and newer != backend.in_force:
            backend.apply(newer)

    def _answer(self, number: int, backend: Backend | None) -> None:
        if backend is None:
            self._post(Pong(number=number, streams=0, pending_bytes=0, is_draining=False, troubles=[]))
        elif backend.health.writers.is_alive or backend.health.phase is Phase.STARTING:
            health = backend.health
            self._post(
                Pong(
                    number=number,
                    streams=len(backend.supervisor.streams),
                    pending_bytes=health.writers.pending_bytes,
                    is_draining=health.is_draining,
                    troubles=[trouble.code.value for trouble in health.troubles],
                )
            )

    async def _handle_signals(self) -> NoReturn:
        """Stop when somebody wants this worker to; the parent starts another. Terminals are the parent's."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                log.info("signal", signal=signal.Signals(number).name)
                self._process.stop()
        raise AssertionError("the receiver never ends")
