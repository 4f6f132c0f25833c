"""The only process on its machine, as a member of a cluster."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
import trio

from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.engines.nats.layout import Mismatch
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.cluster.keeping.spool import Spool
from rtmsd.commands import Intake
from rtmsd.config import Config
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.root import Daemon
from rtmsd.errors import ConfigError, leaves
from rtmsd.node.membership import Membership
from rtmsd.node.operating import operate
from rtmsd.recording.writers import Writers
from rtmsd.state.journal import Journal
from rtmsd.state.rows import StreamRow
from rtmsd.streams.restart import Restarter
from rtmsd.streams.supervisor import Supervisor
from rtmsd.system.worker_thread import WorkerThread

log = structlog.get_logger(__name__)


class MemberDaemon(Daemon):
    """See `Role`: what concerns streams is settled with the other members."""

    _engine: NatsEngine | None = None
    _spool: Spool
    _membership: Membership

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        cluster = self._config.cluster
        assert cluster is not None  # see `rtmsd.node.run`
        thread = WorkerThread("spool")
        path = self._config.state.file
        self._spool = await Spool.open(
            path.with_name(f"{path.name}.spool"), thread.run_sync, limit_bytes=cluster.spool_bytes
        )
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await self._spool.aclose()
            thread.close()

    def make_supervisor(
        self,
        config: Config,
        journal: Journal,
        writers: Writers,
        restarter: Restarter,
        on_event: Callable[[dict[str, Any]], None],
    ) -> Supervisor:
        cluster = config.cluster
        assert cluster is not None
        settings = NatsSettings.of(cluster, cluster.node_name)
        self._membership = Membership(
            config,
            cluster,
            node=settings.node,
            open_engine=partial(self._open_engine, settings),
            spool=self._spool,
            journal=journal,
            writers=writers,
            restarter=restarter,
            on_event=on_event,
        )
        return self._membership.supervisor

    @asynccontextmanager
    async def _open_engine(self, settings: NatsSettings) -> AsyncIterator[NatsEngine]:
        try:
            async with NatsEngine.open(settings) as engine:
                self._engine = engine
                try:
                    yield engine
                finally:
                    self._engine = None
        except* Mismatch as group:
            raise ConfigError([f"cluster: {error}" for error in leaves(group)]) from group

    async def to_resume(self) -> list[StreamRow]:
        """Return nothing: what an earlier life had is claimed first."""
        return []

    async def join(self, backend: Backend, nursery: trio.Nursery) -> Intake:
        self._membership.webhook_ms = backend.last_webhook_ms
        operate(self._membership, backend, nursery, engine=lambda: self._engine, spool=self._spool)
        async with trio.open_nursery() as starting:
            starting.start_soon(self._give_up, starting.cancel_scope)
            await nursery.start(self._membership.run)
            starting.cancel_scope.cancel()
        nursery.start_soon(self._yield_name)
        return self._membership.router

    async def _give_up(self, starting: trio.CancelScope) -> None:
        """Do not wait for the engine any more when this process is stopped: no stream is resumed yet."""
        await self._process.wait_stopping()
        if self._engine is None:
            starting.cancel()

    async def _yield_name(self) -> None:
        """Stop when another process turns out to be this member: none could tell the two apart."""
        await self._membership.heart.has_elder.wait()
        why = "another process has this member's name: give each machine a cluster.node of its own, or stop that one"
        log.error("cannot run", errors=[why], node=self._membership.describe().node)
        self.is_clean = False
        self.stop()

    def stopping(self, limit_s: float) -> None:
        self._membership.leave()
        super().stopping(limit_s)

    async def hand_over(self) -> None:
        await self._membership.hand_over()
