"""The daemon as one process: configuration, signals, and the service manager."""

import gc
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, Protocol

import structlog
import trio

from rtmsd import config as configuration
from rtmsd import log as logging
from rtmsd.admin.server import answer
from rtmsd.commands import Intake
from rtmsd.config import Config
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.holdings import Holdings
from rtmsd.daemon.process import Doors, Process, SupervisorNeeds
from rtmsd.errors import ConfigError, RtmsdError, leaves
from rtmsd.state.rows import StreamRow
from rtmsd.streams.descriptors import raise_limit
from rtmsd.streams.supervisor import Supervisor
from rtmsd.system.notify import Notifier, listen_fds

log = structlog.get_logger()

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_BAD_CONFIG: Final = 78  # EX_CONFIG of sysexits.h

SOCKET_NAMES: Final = frozenset({"webhook", "admin"})  # FileDescriptorName= of the socket units
_COLLECT_AT: Final = (10_000, 20, 20)
STATUS_EVERY_S: Final = 10.0  # unless the watchdog is fed more often


class Runnable(Protocol):
    """The daemon, its parent, or a worker.

    Attributes:
        is_clean: all that ended has ended as it should.
    """

    @property
    def is_clean(self) -> bool: ...

    async def run(self) -> object:
        """Run until it is stopped."""

    async def wait_expired(self) -> None:
        """Return when a stop has taken longer than all its steps together may."""


def run(config_path: Path, config: Config, *, end_streams: bool = False) -> int:
    """Run the daemon, in this one process, until a signal ends it. Returns the exit status of the contract."""
    prepare(config)
    warn(config)
    return run_prepared(Daemon(config_path, config, end_streams=end_streams))


def warn(config: Config) -> None:
    for warning in (*config.warnings, *configuration.left_behind(config)):
        log.warning("configuration", warning=warning)


def prepare(config: Config) -> None:
    """Set up what all of the process shares: log, limits, garbage collection."""
    logging.configure(config.log, secrets=configuration.secrets_of(config))
    raise_limit()
    # Imports made most objects, and packets make no cycles: the collector would stop the process and find little.
    gc.freeze()
    gc.set_threshold(*_COLLECT_AT)


def run_prepared(daemon: Runnable) -> int:
    """Run until the end. Returns the exit status of the contract."""
    try:
        trio.run(_run, daemon)
        status = EXIT_OK if daemon.is_clean else EXIT_FAILED
    except* ConfigError as group:  # found out with what it names
        log.error("cannot run with this configuration", errors=[str(error) for error in leaves(group)])  # noqa: TRY400
        status = EXIT_BAD_CONFIG
    except* RtmsdError as group:  # of the machine, not of the configuration: the next start may succeed
        log.error("cannot run", errors=[str(error) for error in leaves(group)])  # noqa: TRY400 foreseen: no traceback
        status = EXIT_FAILED
    except* Exception:
        log.exception("crashed")
        status = EXIT_FAILED
    return status


async def _run(daemon: Runnable) -> None:
    """Run the daemon. Exit by force when a stop hangs: a thread that waits for a dead disk cannot be cancelled."""
    async with trio.open_nursery() as nursery:

        async def force_exit() -> None:
            await daemon.wait_expired()
            log.error("disk does not answer; exiting without it, unwritten media are lost")
            os._exit(EXIT_FAILED)

        nursery.start_soon(force_exit)
        await daemon.run()
        nursery.cancel_scope.cancel()


def sockets_of_service_manager() -> dict[str, list[int]]:
    """Return the listening sockets that were passed to this process, by the name of their door."""
    found = listen_fds()
    for name in found.keys() - SOCKET_NAMES:
        log.warning("inherited socket not used", name=name, known=sorted(SOCKET_NAMES))
    return {name: fds for name, fds in found.items() if name in SOCKET_NAMES}


class Daemon:
    """The only process: it holds what it needs, and looks after that. See `Role`."""

    is_clean = True
    processes = 1
    derive: Callable[[Config], Config] = staticmethod(lambda config: config)
    to_resume: Callable[[], Awaitable[Sequence[StreamRow]]] | None = None

    def __init__(self, config_path: Path, config: Config, *, end_streams: bool) -> None:
        self._config = config
        self._process = Process(
            config_path.absolute(),  # status shows it to clients in other directories
            config,
            self,
            sockets=sockets_of_service_manager(),
            end_streams=end_streams,
        )
        self._notifier = Notifier()
        self._is_serving = trio.Event()
        self.wait_expired = self._process.wait_expired
        self.stop = self._process.stop

    async def run(self, *, task_status: trio.TaskStatus[Backend] = trio.TASK_STATUS_IGNORED) -> None:
        """Start, serve until `stop`, stop. Started, with the admin backend, when all sockets answer.

        Raises:
            AlreadyRunningError: another daemon holds the state file, the recordings or the admin socket.
            RtmsdError: something could not be opened.
        """
        async with Holdings.open(self._config) as self._holdings, self.beside(), trio.open_nursery() as nursery:
            nursery.start_soon(self._handle_signals)
            await self._process.run(self._holdings, task_status=task_status)
            nursery.cancel_scope.cancel()

    def beside(self) -> AbstractAsyncContextManager[None]:
        """Open what is needed besides, for as long as the process runs."""
        return nullcontext()

    def make_supervisor(self, needs: SupervisorNeeds) -> Supervisor:
        return Supervisor(
            needs.config, needs.journal, needs.writers, restarter=needs.restarter, on_event=needs.on_event
        )

    async def accompany(self, backend: Backend, *, task_status: trio.TaskStatus[Doors]) -> None:
        supervisor = backend.supervisor
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                self._holdings.look_after, supervisor.librarian, supervisor.deliveries, lambda: supervisor.config
            )
            nursery.start_soon(self._notify_service_manager, backend)
            intake = await self.join(backend, nursery)
            task_status.started(Doors(intake, partial(answer, backend), backend.metrics))

    async def join(self, backend: Backend, nursery: trio.Nursery) -> Intake:
        """Begin to work with other processes, in tasks of `nursery`. Returns who takes the webhooks."""
        return backend.supervisor

    def serving(self, backend: Backend) -> None:
        log.info("webhook listening", address=", ".join(backend.listening["webhook"]), path=self._config.webhook.path)
        log.info("ready", streams=len(backend.supervisor.streams))
        self._notifier.ready(backend.health.summary())
        self._is_serving.set()

    def stopping(self, limit_s: float) -> None:
        self._notifier.stopping()
        self._notifier.extend_timeout(limit_s)

    async def hand_over(self) -> None:
        """Keep all streams for the next start."""

    async def _handle_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                log.info("signal", signal=signal.Signals(number).name)
                if number != signal.SIGHUP:
                    self.stop()
                elif self._process.backend is not None:
                    await self._reload(self._process.backend)

    async def _reload(self, backend: Backend) -> None:
        self._notifier.reloading()
        try:
            await backend.reload()
        except ConfigError as error:
            log.error("reload refused; nothing changed", mistakes=error.mistakes)  # noqa: TRY400 foreseen
        self._notifier.ready()

    async def _notify_service_manager(self, backend: Backend) -> NoReturn:
        """Refresh the status line, and feed the watchdog from a task that the scheduler has to run."""
        await self._is_serving.wait()
        while True:
            await trio.sleep(self._notifier.watchdog_interval_s or STATUS_EVERY_S)
            self._notifier.status(backend.health.summary())
            if backend.health.writers.is_alive:
                self._notifier.watchdog()
