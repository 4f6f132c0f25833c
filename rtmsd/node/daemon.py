"""A process as a member of a cluster: what it opens and joins, and the daemon that is one process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import structlog
import trio

from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.engines.nats.layout import Mismatch
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.cluster.keeping.spool import Spool
from rtmsd.commands import Intake
from rtmsd.config import Config
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.process import SupervisorNeeds
from rtmsd.daemon.root import Daemon
from rtmsd.errors import ConfigError, leaves
from rtmsd.node.draining import KeepOrder, keep_nothing
from rtmsd.node.membership import Membership
from rtmsd.node.operating import operate
from rtmsd.state.rows import StreamRow
from rtmsd.streams.supervisor import Supervisor
from rtmsd.system.worker_thread import WorkerThread

log = structlog.get_logger(__name__)


class Node:
    """This process as a member. A `Role` with one settles with the other members what concerns streams."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._engine: NatsEngine | None = None
        self._membership: Membership | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config) -> AsyncIterator[Self]:
        """Open what a member has on disk beside what a process has that is alone."""
        assert config.cluster is not None
        thread = WorkerThread("spool")
        path = config.state.file
        spool = await Spool.open(
            path.with_name(f"{path.name}.spool"), thread.run_sync, limit_bytes=config.cluster.spool_bytes
        )
        try:
            yield cls(spool)
        finally:
            with trio.CancelScope(shield=True):
                await spool.aclose()
            thread.close()

    def make_supervisor(self, needs: SupervisorNeeds) -> Supervisor:
        """See `Role`."""
        cluster = needs.config.cluster
        assert cluster is not None
        settings = NatsSettings.of(cluster, cluster.node_name)
        self._membership = Membership(
            needs,
            cluster,
            node=settings.node,
            open_engine=partial(self._open_engine, settings),
            spool=self._spool,
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

    async def join(
        self,
        backend: Backend,
        nursery: trio.Nursery,
        *,
        wait_stopping: Callable[[], Awaitable[None]],
        give_way: Callable[[], None],
        keep_order: KeepOrder = keep_nothing,
    ) -> Intake:
        """Take part, in tasks of `nursery`. Returns who takes the webhooks, when what an earlier life had is resumed.

        Args:
            wait_stopping: returns when this process is to stop.
            give_way: stops it, as another one turns out to be this member.
            keep_order: see there.
        """
        membership = self._membership
        assert membership is not None  # made with the supervisor
        membership.webhook_ms = backend.last_webhook_ms
        operate(membership, backend, nursery, engine=lambda: self._engine, spool=self._spool, keep_order=keep_order)

        async def give_up() -> None:
            """Do not wait for the engine any more: no stream is resumed yet."""
            await wait_stopping()
            if self._engine is None:
                starting.cancel_scope.cancel()

        async with trio.open_nursery() as starting:
            starting.start_soon(give_up)
            await nursery.start(membership.run)
            starting.cancel_scope.cancel()
        nursery.start_soon(_yield_name, membership, give_way)
        return membership.router

    def leave(self) -> None:
        """See `Membership`. Nothing is left before there is one."""
        if self._membership is not None:
            self._membership.leave()

    async def hand_over(self) -> None:
        """See `Membership`."""
        if self._membership is not None:
            await self._membership.hand_over()


async def _yield_name(member: Membership, give_way: Callable[[], None]) -> None:
    """Give way to another process that is this member: nobody could tell the two apart."""
    await member.heart.has_elder.wait()
    why = "another process has this member's name: give each machine a cluster.node of its own, or stop that one"
    log.error("cannot run", errors=[why], node=member.describe().node)
    give_way()


class MemberDaemon(Daemon):
    """The only process on its machine."""

    _node: Node

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        async with Node.open(self._config) as self._node:
            yield

    def make_supervisor(self, needs: SupervisorNeeds) -> Supervisor:
        return self._node.make_supervisor(needs)

    async def to_resume(self) -> list[StreamRow]:
        """Return nothing: what an earlier life had is claimed first."""
        return []

    async def join(self, backend: Backend, nursery: trio.Nursery) -> Intake:
        return await self._node.join(
            backend, nursery, wait_stopping=self._process.wait_stopping, give_way=self._give_way
        )

    def _give_way(self) -> None:
        self.is_clean = False
        self.stop()

    def stopping(self, limit_s: float) -> None:
        self._node.leave()
        super().stopping(limit_s)

    async def hand_over(self) -> None:
        await self._node.hand_over()
