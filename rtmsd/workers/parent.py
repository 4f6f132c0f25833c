"""The parent of all workers: what it holds for them, signals, and the service manager."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

import structlog
import trio

from rtmsd import __version__
from rtmsd import config as configuration
from rtmsd import log as logging
from rtmsd.config import Config
from rtmsd.daemon.process import STOP_MARGIN_S, stop_limit_s
from rtmsd.daemon.root import STATUS_EVERY_S, sockets_of_service_manager
from rtmsd.daemon.shutdown_deadline import HURRIED_WHOLE_S, ShutdownDeadline
from rtmsd.errors import ConfigError
from rtmsd.system.notify import Notifier
from rtmsd.workers.holdings import open_disk, open_sockets
from rtmsd.workers.messages import Applied, Apply, Begin, Died, Drain, Message, Peer, Peers, Reload, Stop, ToWorker
from rtmsd.workers.process import Stage, WorkerProcess
from rtmsd.workers.pulse import DEFAULT_LIMIT_S

log = structlog.get_logger()

PEERS_EVERY_S: Final = 1.0
APPLY_S: Final = 5.0  # a reload waits so long for workers


class Parent:
    """The workers, and what they share. See `daemon.root.Runnable`."""

    def __init__(self, config_path: Path, config: Config, *, end_streams: bool) -> None:
        self._config_path = config_path.absolute()
        self._config = config
        self._secrets = configuration.secrets_of(config)  # and earlier ones: live streams keep them
        self._end_streams = end_streams
        self._draining: set[str] = set()  # workers that take no new streams, by order of an operator
        self._inherited = sockets_of_service_manager()
        self._notifier = Notifier()
        self._began_s = time.monotonic()
        interval_s = self._notifier.watchdog_interval_s
        limit_s = DEFAULT_LIMIT_S if interval_s is None else 2 * interval_s
        numbers = range(1, config.daemon.processes + 1)
        self.workers = [WorkerProcess(str(number), self, limit_s) for number in numbers]
        self._stopping = trio.Event()
        self._deadline = ShutdownDeadline()
        self._news = trio.lowlevel.ParkingLot()
        self._applied: set[str] = set()
        self._was_ready = False
        self._refused: list[str] = []  # workers that ended with EXIT_BAD_CONFIG before that

    @property
    def is_clean(self) -> bool:
        return all(worker.is_clean for worker in self.workers)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start, run until `stop`, stop. Started when all workers are ready.

        Raises:
            AlreadyRunningError: another daemon holds the state file, the recordings or the admin socket.
            RtmsdError: something could not be opened.
        """
        opening = open_disk(lambda: self._config, self._secrets)
        async with (
            opening as self._disk,
            open_sockets(self._config, self._inherited) as self._sockets,
            trio.open_nursery() as self._base,
        ):
            self._base.start_soon(self._handle_signals)
            async with trio.open_nursery() as talk:
                talk.start_soon(self._tell_peers)
                async with trio.open_nursery() as workers:
                    for worker in self.workers:
                        workers.start_soon(worker.keep)
                    workers.start_soon(self._stop_when_asked)
                    talk.start_soon(self._speak, task_status)
                talk.cancel_scope.cancel()
            if self._end_streams:  # what runs of deliveries may end; what is due since is the next start's
                with self._deadline.limit(trio.CancelScope(), self._config.streams.drain_s):
                    await self._disk.until_idle()
            self._base.cancel_scope.cancel()
        log.info("stopped", workers=len(self.workers), clean=self.is_clean)
        if self._refused:
            raise ConfigError([f"worker {node} refuses it, and its log says why" for node in self._refused])

    # The stop

    def stop(self, *, end_streams: bool = False) -> None:
        """Begin to stop; a second call shortens what is left."""
        self._end_streams = self._end_streams or end_streams
        if self._stopping.is_set():
            self._deadline.hurry()
            for worker in self.workers:
                worker.stop(end_streams=self._end_streams)
        self._stopping.set()

    async def _stop_when_asked(self) -> None:
        await self._stopping.wait()
        drain_s = self._config.streams.drain_s
        log.info("stopping", workers=len(self.workers), end_streams=self._end_streams)
        self._notifier.stopping()
        self._notifier.extend_timeout(self._limit_s + STOP_MARGIN_S)
        self._disk.stop()
        if not self._end_streams:  # streams go on meanwhile: one that is left to be resumed must not wait for programs
            with self._deadline.limit(trio.CancelScope(), drain_s):
                await self._disk.until_idle()
        for worker in self.workers:
            worker.stop(end_streams=self._end_streams)

    @property
    def _limit_s(self) -> float:
        """Programs may take `drain_s`, and workers what one process may."""
        return self._config.streams.drain_s + stop_limit_s(self._config) + STOP_MARGIN_S

    async def wait_expired(self) -> None:
        """Return when a stop has taken longer than all its steps together may. Workers that are left are killed."""
        await self._stopping.wait()
        await self._deadline.wait_deadline(self._limit_s)
        left = [worker for worker in self.workers if worker.is_running]
        for worker in left:
            worker.kill()
        if left:
            await trio.sleep(HURRIED_WHOLE_S)

    # What workers need, and say

    def begin(self, worker: WorkerProcess) -> tuple[Begin, Sequence[int]]:
        """See `House`, as the others."""
        sockets, disk = self._sockets.descriptors, self._disk.inherited
        begin = Begin(
            version=__version__,
            node=worker.node,
            incarnation=worker.incarnation,
            config_path=str(self._config_path),
            config=self._config,
            workers=len(self.workers),
            sockets=sockets,
            disk=disk,
            members=self._peers(),
            is_draining=worker.node in self._draining,
            parent_pid=os.getpid(),
            parent_began_s=self._began_s,
        )
        inherited = [number for numbers in sockets.values() for number in numbers]
        return begin, [*inherited, *(disk.descriptors if disk is not None else ())]

    def changed(self) -> None:
        self._news.unpark_all()

    def died(self, worker: WorkerProcess) -> None:
        self._disk.died(worker)
        self._tell_all(Died(worker.incarnation))
        self._news.unpark_all()

    def gives_up(self, worker: WorkerProcess) -> bool:
        if not self._was_ready:
            self._refused.append(worker.node)
            self.stop()
        return not self._was_ready

    def received(self, worker: WorkerProcess, message: Message) -> None:
        match message:
            case Stop():
                self.stop(end_streams=message.end_streams)
            case Drain():
                self._drain(message)
            case Reload():
                self._base.start_soon(self._reload)
            case Applied():
                self._applied.add(worker.incarnation)
                self._news.unpark_all()
            case _:
                self._disk.received(worker, message)

    def _drain(self, order: Drain) -> None:
        for worker in self.workers:
            if order.node in (None, worker.node):
                (self._draining.add if order.on else self._draining.discard)(worker.node)
                worker.post(order)

    def _peers(self) -> tuple[Peer, ...]:
        return tuple(worker.peer for worker in self.workers if worker.is_running)

    def _tell_all(self, message: ToWorker) -> None:
        for worker in self.workers:
            worker.post(message)

    async def _tell_peers(self) -> NoReturn:
        """Tell all who lives, and what else they have to know."""
        while True:
            self._tell_all(Peers(self._peers()))
            self._disk.tell(self.workers)
            with trio.move_on_after(PEERS_EVERY_S):
                await self._news.park()

    # Operators and the service manager

    async def _handle_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                log.info("signal", signal=signal.Signals(number).name)
                if number != signal.SIGHUP:
                    self.stop()
                    continue
                self._notifier.reloading()
                await self._reload()
                self._notifier.ready()

    async def _reload(self) -> None:
        """Read the file again, and have all use it: or none, if anything is wrong with it."""
        old = self._config
        try:
            new = configuration.load(self._config_path)
        except ConfigError as error:
            log.error("reload refused; nothing changed", mistakes=error.mistakes)  # noqa: TRY400 foreseen
            return
        changes = configuration.describe_changes(old, new)
        self._config = configuration.until_restart(old, new)
        self._secrets |= configuration.secrets_of(new)
        self._disk.configure(new, self._secrets)
        logging.configure(new.log, secrets=self._secrets)
        log.info(
            "configuration reloaded",
            changed=[change.path for change in changes],
            needs_restart=[change.path for change in changes if change.needs_restart],
        )
        self._applied.clear()
        asked = {worker.incarnation for worker in self.workers if worker.stage is Stage.READY}
        self._tell_all(Apply(self._config))
        with trio.move_on_after(APPLY_S):
            await self._until(lambda: asked & {worker.incarnation for worker in self.workers} <= self._applied)

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that only messages of workers, or their deaths, change."""
        while not condition():
            await self._news.park()

    async def _speak(self, task_status: trio.TaskStatus[None]) -> NoReturn:
        """Tell the service manager when all are ready, and from then on that all answer."""
        await self._until(lambda: all(worker.stage is Stage.READY for worker in self.workers))
        log.info("webhook listening", address=self._sockets.webhook, path=self._config.webhook.path)
        log.info("ready", workers=len(self.workers))
        self._was_ready = True
        self._notifier.ready(self._summary())
        task_status.started()
        every_s = self._notifier.watchdog_interval_s or STATUS_EVERY_S
        while True:
            self._notifier.status(self._summary())
            # More often than it has to be, so that who hangs is killed alone, before the service manager kills all.
            for _ in range(4):
                await trio.sleep(every_s / 4)
                if all(worker.is_steady for worker in self.workers):
                    self._notifier.watchdog()

    def _summary(self) -> str:
        """One line for `systemctl status`."""
        pongs = [worker.pong for worker in self.workers if worker.pong is not None]
        streams, pending = sum(pong.streams for pong in pongs), sum(pong.pending_bytes for pong in pongs)
        ready = sum(worker.stage is Stage.READY for worker in self.workers)
        troubles = "".join(f", {code}" for code in dict.fromkeys(code for pong in pongs for code in pong.troubles))
        return (
            f"{ready} of {len(self.workers)} workers, {streams} stream{'s' * (streams != 1)}, "
            f"{pending} bytes to write{troubles}"
        )
