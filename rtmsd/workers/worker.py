"""A worker: one process of streams on what its parent holds, beside others that take over when it dies."""

import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
import structlog
import trio

from rtmsd import __version__
from rtmsd.admin.fleet.fleet import Fleet
from rtmsd.admin.fleet.peers import Peers as FleetPeers
from rtmsd.admin.fleet.status import ParentProcess
from rtmsd.admin.server import SERVER
from rtmsd.cluster.engines.sockets import open_socket
from rtmsd.config import Config
from rtmsd.config.model import worker_socket
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Phase
from rtmsd.daemon.holdings import Holdings
from rtmsd.daemon.process import Doors, Process
from rtmsd.daemon.root import EXIT_FAILED, prepare, run_prepared
from rtmsd.errors import StorageError
from rtmsd.recording.writers import Writers
from rtmsd.state.journal import Journal
from rtmsd.state.rows import StreamRow
from rtmsd.streams.restart import Restarter
from rtmsd.streams.supervisor import Supervisor
from rtmsd.terminal import complain
from rtmsd.workers.channel import Channel
from rtmsd.workers.membership import Membership
from rtmsd.workers.messages import (
    MAX_LINE_BYTES,
    Applied,
    Apply,
    Begin,
    Delivered,
    Died,
    Drain,
    Due,
    Held,
    Hold,
    Joined,
    Message,
    Peers,
    Ping,
    Pong,
    Ready,
    Release,
    Reload,
    Stop,
    ToParent,
    Unreadable,
    decode,
)

log = structlog.get_logger()

BEGIN_S: Final = 30.0
HOLD_AGAIN_S: Final = 5.0  # a program may take as long to die


def begin(channel: int) -> int:
    """Run a worker until its parent ends it. Returns its exit status.

    Args:
        channel: descriptor of its end of the channel.
    """
    try:
        end = socket.socket(fileno=channel)
        end.set_inheritable(False)
        given = _first_message(end)
    except (OSError, Unreadable):
        complain("rtmsd: only `rtmsd run` starts workers")
        return EXIT_FAILED
    structlog.contextvars.bind_contextvars(worker=given.node)
    prepare(given.config)
    if given.version != __version__:
        log.error("rtmsd was upgraded while it was running; restart it", parent=given.version, this=__version__)
        return EXIT_FAILED
    return run_prepared(Worker(given, end))


def _first_message(end: socket.socket) -> Begin:
    """Read what the worker is. Byte by byte: what follows is not for here.

    Raises:
        OSError: the parent is gone, or says nothing.
        Unreadable: it said something else.
    """
    end.settimeout(BEGIN_S)
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
        if not (byte := end.recv(1)):
            raise OSError("it is gone")
        line += byte
    message = decode(bytes(line))
    if not isinstance(message, Begin):
        raise Unreadable(f"not what a worker is: {type(message).__name__}")
    return message


class Worker:
    """See `Role` and `Runnable`."""

    is_clean = True

    def __init__(self, given: Begin, end: socket.socket) -> None:
        self.processes = given.workers
        self._given = given
        self._channel = Channel(end)
        self._process = Process(Path(given.config_path), given.config, self, sockets=given.sockets, end_streams=False)
        self.wait_expired = self._process.wait_expired
        self._membership: Membership | None = None
        self._peers = given.members
        self._is_draining = given.is_draining
        self._newer: Config | None = None
        self._holds: dict[str, trio.Event] = {}

    async def run(self) -> None:
        """Run until the parent says `Stop`, or is gone.

        Raises:
            RtmsdError: what the parent gave cannot be used.
        """
        given = self._given
        directories = {Path(path): numbers for path, numbers in given.directories.items()}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._channel.send_posted)
            nursery.start_soon(self._listen)
            nursery.start_soon(self._handle_signals)
            with only_life(given.config.state.file, given.node, given.incarnation):
                async with (
                    Holdings.join(
                        given.config,
                        given.state_lock,
                        directories,
                        set_aside=None if given.set_aside is None else Path(given.set_aside),
                        salvaged=given.salvaged,
                    ) as holdings,
                    trio.open_nursery() as looking,
                ):
                    looking.start_soon(holdings.journal.look_after_file)
                    await self._process.run(holdings)
                    looking.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    # The role

    def make_supervisor(
        self,
        config: Config,
        journal: Journal,
        writers: Writers,
        restarter: Restarter,
        on_event: Callable[[dict[str, Any]], None],
    ) -> Supervisor:
        """See `Role`, as the others."""
        membership = self._membership = Membership(
            attrs.evolve(self._given, config=config, members=self._peers), journal, writers, restarter, on_event
        )
        membership.supervisor.deliveries.elsewhere = self
        return membership.supervisor

    async def to_resume(self) -> Sequence[StreamRow]:
        """Return nothing: what earlier processes left is claimed first, so that each stream is resumed once."""
        return ()

    async def accompany(self, backend: Backend, *, task_status: trio.TaskStatus[Doors]) -> None:
        assert self._membership is not None  # made with the supervisor
        given, sockets = self._given, self._given.config.admin.socket
        others = [str(number) for number in range(1, given.workers + 1) if str(number) != given.node]
        peers = FleetPeers({node: worker_socket(sockets, node) for node in others})
        async with trio.open_nursery() as nursery:
            fleet = Fleet(given.node, peers, backend, self, nursery)
            with open_socket(worker_socket(sockets, given.node)) as listener:
                answer = partial(self._membership.bus.run, listener, lambda _stream: fleet.local.respond, server=SERVER)
                await nursery.start(answer)
                await nursery.start(self._membership.run, lambda: self._post(Joined()))
                self._apply(backend)
                task_status.started(Doors(self._membership.router, fleet.answer, fleet.metrics))
                await trio.sleep_forever()

    def serving(self, backend: Backend) -> None:
        log.info("worker serves", streams=len(backend.supervisor.streams))
        self._post(Ready(dict(backend.listening)))

    def stopping(self, limit_s: float) -> None:
        """Begin with no more streams of others. The parent tells the service manager."""
        self._leave()

    async def hand_over(self) -> None:
        """Keep all streams for the next start: the other workers stop as well."""

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
        self._leave()
        self._process.stop()

    def _obey(self, message: Message) -> None:
        backend = self._process.backend
        match message:
            case Ping():
                self._answer(message.number, backend)
            case Stop():
                self._leave()
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
                if backend is not None:  # a worker that was frozen hears commands late, and in any order
                    backend.health.drain(self._is_draining)
                self._peers = message.members
                if self._membership is not None:
                    self._membership.update(message.members)
            case _:
                log.error("unexpected message from the parent; ignored", what=type(message).__name__)

    def _leave(self) -> None:
        """Take over nothing more, as this worker stops."""
        if self._membership is not None:
            self._membership.leave()

    def _apply(self, backend: Backend) -> None:
        """Bring into force what the parent ordered, perhaps before there was a backend."""
        backend.health.drain(self._is_draining)
        newer, self._newer = self._newer, None
        if newer is not None and newer != backend.supervisor.config:
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

    # Deliveries: the parent runs them. See `Elsewhere`

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
