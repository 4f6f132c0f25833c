"""A worker that is a member of a cluster, called "<node>.<number>": it shares nothing with the others but sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio

from rtmsd.commands import Intake
from rtmsd.config import Config, machine_of, of_worker
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.holdings import Holdings
from rtmsd.daemon.process import SupervisorNeeds
from rtmsd.errors import StorageError
from rtmsd.node.daemon import Node
from rtmsd.state.deliveries import number_from
from rtmsd.streams.supervisor import Supervisor
from rtmsd.workers.messages import Died, Drain, Message, Peers
from rtmsd.workers.worker import Worker

log = structlog.get_logger()


class MemberWorker(Worker):
    """See `Worker`. It looks after its own disk, and settles with all members what concerns streams."""

    _node: Node | None = None
    _holdings: Holdings

    @asynccontextmanager
    async def open_disk(self) -> AsyncIterator[Holdings]:
        config = self.derive(self._given.config)
        async with Holdings.open(config) as self._holdings, Node.open(config) as node:
            self._node = node
            await self._number_deliveries()
            yield self._holdings

    async def _number_deliveries(self) -> None:
        try:
            await self._holdings.journal.transact(partial(number_from, worker=int(self._given.node)))
        except StorageError as error:  # reported by health, too
            log.error("deliveries cannot be numbered apart", error=str(error))  # noqa: TRY400 foreseen

    def derive(self, config: Config) -> Config:
        return of_worker(config, int(self._given.node), self._given.workers)

    def make_supervisor(self, needs: SupervisorNeeds) -> Supervisor:
        assert self._node is not None  # open by now
        return self._node.make_supervisor(needs)

    async def join(self, backend: Backend, nursery: trio.Nursery) -> Intake:
        assert self._node is not None
        supervisor = backend.supervisor
        nursery.start_soon(
            self._holdings.look_after, supervisor.librarian, supervisor.deliveries, lambda: supervisor.config
        )
        return await self._node.join(
            backend,
            nursery,
            wait_stopping=self._process.wait_stopping,
            give_way=self._give_way,
            keep_order=self._keep_order,
        )

    def _keep_order(self, on: bool, node: str | None) -> None:
        """Have the parent keep an order of the cluster's: for later lives of this worker, or for all workers."""
        is_of_machine = node is not None and node == machine_of(node)
        self._post(Drain(on, None if is_of_machine else self._given.node))

    def _give_way(self) -> None:
        """Have all workers stop: the machine's name is another's."""
        self.is_clean = False
        self.stop(end_streams=False)

    def leave(self) -> None:
        if self._node is not None:
            self._node.leave()

    async def hand_over(self) -> None:
        """Give streams to other members: to workers here, too, but when all stop they refuse them."""
        assert self._node is not None
        await self._node.hand_over()

    def hear(self, message: Message) -> None:
        match message:
            case Peers() | Died():
                pass  # beats say who lives
            case _:
                self._unexpected(message)
