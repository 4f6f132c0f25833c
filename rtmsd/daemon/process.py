"""One process of the daemon: its streams, and the doors through which it is reached. Start order and two-phase stop.

The writers are started first and stopped last: streams need them to the end.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import structlog
import trio

from rtmsd.admin.server import Answer
from rtmsd.commands import Intake
from rtmsd.config import Config
from rtmsd.daemon.admin_sockets import open_admin_sockets
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Health, Phase
from rtmsd.daemon.holdings import Holdings
from rtmsd.daemon.shutdown_deadline import ShutdownDeadline
from rtmsd.recording.writers import Writers
from rtmsd.sinks.hub import LiveHub
from rtmsd.state.journal import Journal
from rtmsd.state.rows import StreamRow
from rtmsd.streams.restart import Restarter
from rtmsd.streams.resting import let_rest
from rtmsd.streams.supervisor import Supervisor
from rtmsd.webhook.server import serve
from rtmsd.zoom_api import ZoomApi

if TYPE_CHECKING:
    from rtmsd.webhook.whole_request import WholeRequestApp

log = structlog.get_logger()

WEBHOOK_GRACE_S: Final = 4.0  # for requests that are being answered when we stop
STOP_MARGIN_S: Final = 5.0  # for all that has no time of its own at a stop
LEAST_BUFFER_BYTES: Final = 65536  # of a process, however many share


@attrs.frozen
class Doors:
    """Who answers at the doors of a process.

    Attributes:
        intake: takes the webhooks.
        admin: answers at the admin socket.
        metrics: renders them for Prometheus.
    """

    intake: Intake
    admin: Answer
    metrics: Callable[[], bytes | Awaitable[bytes]]


@attrs.frozen
class SupervisorNeeds:
    """What the supervisor of a process is made with, whatever its role.

    Attributes:
        config: as it holds for this process.
        on_event: publishes the events of all streams.
    """

    config: Config
    journal: Journal
    writers: Writers
    restarter: Restarter
    on_event: Callable[[dict[str, Any]], None]


class Role(Protocol):
    """What a process is beside others: the only one, or a worker.

    Attributes:
        processes: how many share `buffer_bytes` and `max_connections`.
        to_resume: returns the streams that this process takes up when it starts; None: all that are unfinished.
    """

    @property
    def processes(self) -> int: ...

    @property
    def to_resume(self) -> Callable[[], Awaitable[Sequence[StreamRow]]] | None: ...

    def derive(self, config: Config) -> Config:
        """Return what holds for this process, of what the file says."""

    def make_supervisor(self, needs: SupervisorNeeds) -> Supervisor:
        """Return the supervisor of this process, connected with those of the others."""

    async def accompany(self, backend: Backend, *, task_status: trio.TaskStatus[Doors]) -> None:
        """Do what this process does beside its streams, from when those of earlier processes are resumed, until
        cancelled, after the last file is written. Started with who answers at the doors.
        """

    def serving(self, backend: Backend) -> None:
        """All doors are open."""

    def stopping(self, limit_s: float) -> None:
        """The stop begins, and may take so long."""

    async def hand_over(self) -> None:
        """Give streams to others that go on with them, before those that are left are suspended."""

    def stop(self, *, end_streams: bool) -> None:
        """An operator wants the daemon to stop: all of it."""


class Process:
    """What lives as long as the process.

    Attributes:
        backend: of the admin socket; None until there is one.
    """

    def __init__(
        self,
        config_path: Path,
        config: Config,
        role: Role,
        *,
        sockets: Mapping[str, Sequence[int]],
        end_streams: bool,
    ) -> None:
        """
        Args:
            config: as the file has it.
            sockets: listening ones that were inherited, by the name of their door.
        """
        self._config_path = config_path
        self._in_file = config
        self._config = role.derive(config)
        self._role = role
        self._sockets = sockets
        self._end_streams = end_streams
        self._stopping = trio.Event()
        self._closing = trio.Event()  # webhooks are not taken any more
        self._deadline = ShutdownDeadline()
        self._events = LiveHub()
        self.backend: Backend | None = None

    async def run(
        self, holdings: Holdings, *, task_status: trio.TaskStatus[Backend] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start, serve until `stop`, stop. Started, with the admin backend, when all doors are open.

        Raises:
            AlreadyRunningError: another daemon holds the admin socket.
            RtmsdError: something could not be opened.
        """
        config = self._config
        async with trio.open_nursery() as base:
            share = max(LEAST_BUFFER_BYTES, config.recording.buffer_bytes // self._role.processes)
            writers = Writers.open(attrs.evolve(config.recording, buffer_bytes=share), holdings.directories)
            api = ZoomApi()
            restarter = Restarter(api, lambda: supervisor.config)
            needs = SupervisorNeeds(config, holdings.journal, writers, restarter, self._events.publish)
            supervisor = self._role.make_supervisor(needs)
            let_rest(self._events, lambda: supervisor.config)
            await base.start(writers.run)
            health, path = Health(config, supervisor, writers), self._config_path
            backend = Backend(
                path,
                supervisor,
                health,
                api,
                events=self._events,
                stop=self._role.stop,
                in_file=self._in_file,
                derive=self._role.derive,
            )
            self.backend = backend
            await self._serve(supervisor, backend, base, task_status)
            with self._deadline.limit(trio.CancelScope(), config.streams.drain_s):
                async with trio.open_nursery() as last:
                    last.start_soon(supervisor.suspend_files)
                    if self._end_streams:
                        last.start_soon(supervisor.deliveries.until_idle)
            base.cancel_scope.cancel()
        log.info("stopped", streams_left=len(supervisor.streams))

    async def _serve(
        self, supervisor: Supervisor, backend: Backend, base: trio.Nursery, task_status: trio.TaskStatus[Backend]
    ) -> None:
        """Run the streams and all that serves them; the caller flushes their files afterwards."""
        health, sockets = backend.health, self._sockets
        admin = open_admin_sockets(self._config.admin, sockets.get("admin", []), sockets.get("metrics", []))
        async with admin as admin_sockets, trio.open_nursery() as streams:
            await streams.start(supervisor.run, self._role.to_resume)
            await streams.start(health.watch)
            streams.start_soon(backend.metrics_source.loop_lag.measure)
            doors: Doors = await base.start(self._role.accompany, backend)
            backend.listening |= await admin_sockets.serve(doors.admin, doors.metrics, streams)
            async with trio.open_nursery() as requests:
                await self._open_webhook(backend, doors.intake, requests)
                health.phase = Phase.SERVING
                self._role.serving(backend)
                task_status.started(backend)
                await self._stopping.wait()
                log.info("stopping", streams=len(supervisor.streams), end_streams=self._end_streams)
                health.phase = Phase.STOPPING
                supervisor.deliveries.stop()
                self._role.stopping(stop_limit_s(self._config) + STOP_MARGIN_S)
                if not self._end_streams:  # a stream that is left to be resumed must not wait for programs
                    with self._deadline.limit(trio.CancelScope(), hand_over_s(self._config)):
                        await self._role.hand_over()
                    with self._deadline.limit(trio.CancelScope(), self._config.streams.drain_s):
                        await supervisor.deliveries.until_idle()
                self._closing.set()
                self._deadline.limit(requests.cancel_scope, WEBHOOK_GRACE_S)
            if self._end_streams:
                await self._end_all(supervisor)
            supervisor.suspend()
            streams.cancel_scope.cancel()

    async def _end_all(self, supervisor: Supervisor) -> None:
        with self._deadline.limit(trio.CancelScope(), self._config.streams.drain_s) as step:
            await supervisor.end_all()
        if step.cancelled_caught:
            log.warning("streams not ended in time; the next start resumes them", streams=sorted(supervisor.streams))

    async def _open_webhook(self, backend: Backend, intake: Intake, nursery: trio.Nursery) -> None:
        settings, health = self._config.webhook, backend.health
        settings = attrs.evolve(settings, max_connections=math.ceil(settings.max_connections / self._role.processes))
        make_app = await trio.to_thread.run_sync(_import_make_app)
        app = make_app(settings, lambda: health.config.apps, intake, nursery, health.is_ready, stats=health.webhooks)
        fds = self._sockets.get("webhook", [])
        backend.listening["webhook"] = await nursery.start(
            partial(serve, app, settings, stats=health.webhooks, fds=fds, shutdown=self._closing)
        )

    async def wait_stopping(self) -> None:
        """Return when it is to stop."""
        await self._stopping.wait()

    async def wait_expired(self) -> None:
        """Return when a stop has taken longer than all its steps together may."""
        await self._stopping.wait()
        await self._deadline.wait_deadline(stop_limit_s(self._config))

    def stop(self, *, end_streams: bool = False) -> None:
        """Begin to stop; a second call shortens what is left."""
        self._end_streams = self._end_streams or end_streams
        if self._stopping.is_set():
            self._deadline.hurry()
        self._stopping.set()


def stop_limit_s(config: Config) -> float:
    """Programs, or ending streams, may take `drain_s`, and files as long again when the disk is slow."""
    return WEBHOOK_GRACE_S + 2 * config.streams.drain_s + hand_over_s(config) + STOP_MARGIN_S


def hand_over_s(config: Config) -> float:
    """Other members of a cluster may take so long to take over the streams."""
    cluster = config.cluster
    return cluster.hand_over_s if cluster is not None and cluster.on_stop == "hand_over" else 0.0


def _import_make_app() -> "Callable[..., WholeRequestApp]":
    """Import Quart, which takes a third of the time of all imports: streams of an earlier process are connecting
    meanwhile, and a webhook waits at its socket.
    """
    from rtmsd.webhook.app import make_app  # noqa: PLC0415 - 0.3 s in which streams are resumed

    return make_app
