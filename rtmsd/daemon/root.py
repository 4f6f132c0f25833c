"""The root nursery: start order, signals, and the two-phase stop.

The journal and the writer are opened first and closed last: streams need them to the end.
"""

import contextlib
import gc
import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
import trio

from rtmsd import config as configuration
from rtmsd import log as logging
from rtmsd.config import Config
from rtmsd.daemon.admin_sockets import open_admin_sockets
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Health, Phase
from rtmsd.daemon.resting import let_rest
from rtmsd.daemon.shutdown_deadline import ShutdownDeadline
from rtmsd.daemon.state_recovery import rows_from_recordings
from rtmsd.errors import ConfigError, RtmsdError, StorageError, leaves
from rtmsd.recording.directories import Directories
from rtmsd.recording.library.librarian import keep_tidy
from rtmsd.recording.writers import Writers
from rtmsd.sinks.hub import LiveHub
from rtmsd.state import directories as remembered
from rtmsd.state.journal import LocalJournal
from rtmsd.streams.descriptors import raise_limit
from rtmsd.streams.restart import Restarter
from rtmsd.streams.running import local_ms
from rtmsd.streams.supervisor import Supervisor
from rtmsd.system.notify import Notifier, listen_fds
from rtmsd.terminal import complain
from rtmsd.webhook.server import serve
from rtmsd.zoom_api import ZoomApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rtmsd.state.rows import StreamRow
    from rtmsd.webhook.whole_request import WholeRequestApp

log = structlog.get_logger()

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 78

SOCKET_NAMES: Final = frozenset({"webhook", "admin"})  # FileDescriptorName= of the socket units
_COLLECT_AT: Final = (10_000, 20, 20)
WEBHOOK_GRACE_S: Final = 4.0  # for requests that are being answered when we stop
STOP_MARGIN_S: Final = 5.0  # for all that has no time of its own at a stop


def run(config_path: Path, *, end_streams: bool = False) -> int:
    """Run the daemon until a signal ends it. Returns the exit status of the contract."""
    try:
        config = configuration.load(config_path)
    except ConfigError as error:
        complain("\n".join(error.mistakes))
        return EXIT_CONFIG
    logging.configure(config.log, secrets=configuration.secrets_of(config))
    for warning in config.warnings:
        log.warning("configuration", warning=warning)
    raise_limit()
    # Imports made most objects, and packets make no cycles: the collector would stop the process and find little.
    gc.freeze()
    gc.set_threshold(*_COLLECT_AT)
    status = EXIT_OK
    try:
        trio.run(_run, Daemon(config_path, config, end_streams=end_streams))
    except* RtmsdError as group:  # of the machine, not of the configuration: the next start may succeed
        log.error("cannot run", errors=[str(error) for error in leaves(group)])  # noqa: TRY400 foreseen: no traceback
        status = EXIT_FAILED
    except* Exception:
        log.exception("crashed")
        status = EXIT_FAILED
    return status


async def _run(daemon: "Daemon") -> None:
    """Run the daemon. Exit by force when a stop hangs: a thread that waits for a dead disk cannot be cancelled."""
    async with trio.open_nursery() as nursery:

        async def force_exit() -> None:
            await daemon.wait_expired()
            log.error("disk does not answer; exiting without it, unwritten media are lost")
            os._exit(EXIT_FAILED)

        nursery.start_soon(force_exit)
        await daemon.run()
        nursery.cancel_scope.cancel()


class Daemon:
    """Everything that lives as long as the process."""

    def __init__(self, config_path: Path, config: Config, *, end_streams: bool) -> None:
        self._config_path = config_path.absolute()  # status shows it to clients in other directories
        self._config = config
        self._end_streams = end_streams
        self._stopping = trio.Event()
        self._closing = trio.Event()  # webhooks are not taken any more
        self._deadline = ShutdownDeadline()
        self._sockets = listen_fds()
        for name in self._sockets.keys() - SOCKET_NAMES:
            log.warning("inherited socket not used", name=name, known=sorted(SOCKET_NAMES))
        self._notifier = Notifier()
        self._events = LiveHub()

    async def run(self, *, task_status: trio.TaskStatus[Backend] = trio.TASK_STATUS_IGNORED) -> None:
        """Start, serve until `stop`, stop. Started, with the admin backend, when all sockets answer.

        Raises:
            AlreadyRunningError: another daemon holds the state file, the recordings or the admin socket.
            RtmsdError: something could not be opened.
        """
        config = self._config
        keys = {directory: config.directory_key(directory) for directory in config.directories}
        with Directories.locked(keys) as directories:
            journal = await LocalJournal.open(config.state.file)
            async with contextlib.aclosing(journal), trio.open_nursery() as base:
                await _remember(directories, journal)
                await self._recover_streams(journal, directories)
                writers = Writers.open(config.recording, directories)
                api = ZoomApi()
                restarter = Restarter(api, lambda: supervisor.config)
                supervisor = Supervisor(config, journal, writers, restarter=restarter, on_event=self._events.publish)
                let_rest(self._events, lambda: supervisor.config)
                await _find_deliveries(supervisor, directories)
                await base.start(writers.run)
                base.start_soon(supervisor.deliveries.run)
                base.start_soon(directories.follow)
                health = Health(config, supervisor, writers)
                backend = Backend(self._config_path, supervisor, health, api, events=self._events, stop=self.stop)
                base.start_soon(self._handle_signals, backend)
                await self._serve(journal, supervisor, backend, task_status)
                with self._deadline.limit(trio.CancelScope(), config.streams.drain_s):
                    async with trio.open_nursery() as last:
                        last.start_soon(supervisor.suspend_files)
                        if self._end_streams:
                            last.start_soon(supervisor.deliveries.until_idle)
                base.cancel_scope.cancel()
        log.info("stopped", streams_left=len(supervisor.streams))

    async def _serve(
        self, journal: LocalJournal, supervisor: Supervisor, backend: Backend, task_status: trio.TaskStatus[Backend]
    ) -> None:
        """Run the streams and all that serves them; the caller flushes their files afterwards."""
        health = backend.health
        admin = open_admin_sockets(self._config.admin, self._sockets.get("admin", []))
        async with admin as admin_sockets, trio.open_nursery() as streams:
            await streams.start(supervisor.run)
            await streams.start(health.watch)
            streams.start_soon(backend.metrics_source.loop_lag.measure)
            streams.start_soon(journal.prune_regularly)
            streams.start_soon(journal.look_after_file)
            for directory in health.writers.directories:
                streams.start_soon(keep_tidy, supervisor.librarian, directory, health.limits)
            await admin_sockets.serve(backend, streams)
            async with trio.open_nursery() as intake:
                await self._open_webhook(backend, supervisor, intake)
                health.phase = Phase.SERVING
                log.info("ready", streams=len(supervisor.streams))
                self._notifier.ready(health.summary())
                task_status.started(backend)
                streams.start_soon(self._notify_service_manager, backend)
                await self._stopping.wait()
                log.info("stopping", streams=len(supervisor.streams), end_streams=self._end_streams)
                health.phase = Phase.STOPPING
                supervisor.deliveries.stop()
                self._notifier.stopping()
                self._notifier.extend_timeout(self._stop_limit_s + STOP_MARGIN_S)
                if not self._end_streams:  # a stream that is left to be resumed must not wait for programs
                    with self._deadline.limit(trio.CancelScope(), self._config.streams.drain_s):
                        await supervisor.deliveries.until_idle()
                self._closing.set()
                self._deadline.limit(intake.cancel_scope, WEBHOOK_GRACE_S)
            if self._end_streams:
                await self._end_all(supervisor)
            supervisor.suspend()
            streams.cancel_scope.cancel()

    async def _recover_streams(self, journal: LocalJournal, directories: Directories) -> None:
        """Rebuild a lost state file from the recordings."""
        database = journal.database
        if database.set_aside is None and not database.is_new:
            return
        rows: list[StreamRow] = []
        for directory in directories:
            find = partial(rows_from_recordings, directory, local_ms())
            try:
                rows += await trio.to_thread.run_sync(_listed, find)
            except OSError as error:
                log.error("recordings cannot be read", error=str(error))  # noqa: TRY400 foreseen
        await journal.adopt(rows)
        if database.set_aside is not None or rows:
            log.error(
                "the state file was damaged and is set aside" if database.set_aside else "the state file was missing",
                path=str(database.path),
                set_aside=None if database.set_aside is None else str(database.set_aside),
                salvaged=len(journal.salvaged),
                from_recordings=len(rows),
            )

    async def _end_all(self, supervisor: Supervisor) -> None:
        with self._deadline.limit(trio.CancelScope(), self._config.streams.drain_s) as step:
            await supervisor.end_all()
        if step.cancelled_caught:
            log.warning("streams not ended in time; the next start resumes them", streams=sorted(supervisor.streams))

    async def _open_webhook(self, backend: Backend, supervisor: Supervisor, nursery: trio.Nursery) -> None:
        settings, health = self._config.webhook, backend.health
        make_app = await trio.to_thread.run_sync(_import_make_app)
        app = make_app(
            settings, lambda: supervisor.config.apps, supervisor, nursery, health.is_ready, stats=health.webhooks
        )
        fds = self._sockets.get("webhook", [])
        backend.listening["webhook"] = await nursery.start(
            partial(serve, app, settings, stats=health.webhooks, fds=fds, shutdown=self._closing)
        )

    @property
    def _stop_limit_s(self) -> float:
        """Programs, or ending streams, may take `drain_s`, and files as long again when the disk is slow."""
        return WEBHOOK_GRACE_S + 2 * self._config.streams.drain_s + STOP_MARGIN_S

    async def wait_expired(self) -> None:
        """Return when a stop has taken longer than all its steps together may."""
        await self._stopping.wait()
        await self._deadline.wait_deadline(self._stop_limit_s)

    def stop(self, *, end_streams: bool = False) -> None:
        """Begin to stop; a second call shortens what is left."""
        self._end_streams = self._end_streams or end_streams
        if self._stopping.is_set():
            self._deadline.hurry()
        self._stopping.set()

    async def _handle_signals(self, backend: Backend) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                log.info("signal", signal=signal.Signals(number).name)
                if number != signal.SIGHUP:
                    self.stop()
                    continue
                self._notifier.reloading()
                try:
                    await backend.reload()
                except ConfigError as error:
                    log.error("reload refused; nothing changed", mistakes=error.mistakes)  # noqa: TRY400 foreseen
                self._notifier.ready()

    async def _notify_service_manager(self, backend: Backend) -> None:
        """Refresh the status line, and feed the watchdog from a task that the scheduler has to run."""
        while True:
            await trio.sleep(self._notifier.watchdog_interval_s or 10.0)
            self._notifier.status(backend.health.summary())
            if backend.health.writers.is_alive:
                self._notifier.watchdog()


def _import_make_app() -> "Callable[..., WholeRequestApp]":
    """Import Quart, which takes a third of the time of all imports: streams of an earlier process are connecting
    meanwhile, and a webhook waits at its socket.
    """
    from rtmsd.webhook.app import make_app  # noqa: PLC0415 - 0.3 s in which streams are resumed

    return make_app


def _listed(find: "Callable[[], Iterator[StreamRow]]") -> list["StreamRow"]:
    return list(find())


async def _remember(directories: Directories, journal: LocalJournal) -> None:
    """Take up the directories of earlier configurations, and write down those of this one."""
    try:
        known = await journal.transact(remembered.known)
        kept = await directories.take_up(known)
        now = dict.fromkeys([*directories, *kept])
        if sorted(now) != known:
            await journal.transact(partial(remembered.remember, directories=now))
    except StorageError as error:  # reported by health, too
        log.error("directories of recordings cannot be remembered", error=str(error))  # noqa: TRY400 foreseen


async def _find_deliveries(supervisor: Supervisor, directories: Directories) -> None:
    try:
        await supervisor.deliveries.locate(list(directories))
    except StorageError as error:  # reported by health, too
        log.error("deliveries cannot be located", error=str(error))  # noqa: TRY400 foreseen
