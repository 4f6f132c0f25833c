"""A worker as a member: whose each stream is, who acts on a webhook, and what becomes of the streams of the dead."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio

from rtmsd.cluster.engines.sockets import SocketBus
from rtmsd.cluster.engines.sqlite import SqliteStore
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.ownership import Ownership
from rtmsd.cluster.router import STORED, Router
from rtmsd.cluster.rules import least_loaded
from rtmsd.cluster.takeover import Takeover
from rtmsd.commands import StreamCommand, Verdict
from rtmsd.daemon.process import SupervisorNeeds
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.library.sharing import SharedRecordings
from rtmsd.streams.drivers.tenure import Permission
from rtmsd.streams.resuming import longest_out_first
from rtmsd.streams.running import local_ms
from rtmsd.streams.supervisor import Supervisor
from rtmsd.system.garbage import Garbage
from rtmsd.workers.messages import Begin, Peer

CAPACITY: Final = 2**31  # a worker refuses what one process would: see `Supervisor.refusal`
DEATH_S: Final = 0.5  # for the parent to tell that a worker died where nobody listens any more
HANDSHAKES: Final = 128
"""So many streams of a dead worker are connected at a time. Those that are at the same step share passes of the event
loop, and transactions: the fewer at a time, the more CPU each takes, of which there is little just then.
"""
TOGETHER_S: Final = 5.0
"""So long a worker waits for the others before it takes over streams, and opens its doors: when all start together, the
quickest would have all that an earlier daemon left, and all that webhooks start meanwhile."""


class Membership:
    """Connects the streams of this process with those of the others. Also the `Tenure` that each handshake asks.

    Args:
        bus: on which members ask each other.

    Attributes:
        members: who lives.
        router: takes webhooks.
        supervisor: of the streams of this process.
    """

    takeover_cause = GapCause.DAEMON_RESTART

    def __init__(self, given: Begin, bus: SocketBus, needs: SupervisorNeeds) -> None:
        journal = needs.journal
        self._given = given
        self._all_there = trio.Event()
        self._taking_over = trio.CancelScope()
        me = Member(node=given.node, incarnation=given.incarnation, capacity=CAPACITY)
        self.members = Members(me, lambda: len(self.supervisor.streams))
        self.update(given.members)
        self.supervisor = supervisor = Supervisor(
            needs.config,
            journal,
            needs.writers,
            restarter=needs.restarter,
            on_event=needs.on_event,
            tenure=self,
            on_let_go=self._let_go,
            redirect=self._redirect,
            sharing=SharedRecordings(journal, given.incarnation),
        )
        store = SqliteStore(journal)
        self._ownership = Ownership(
            self.members,
            store,
            supervisor,
            apps=lambda: [app.name for app in supervisor.config.apps],
            cause=lambda _why: self.takeover_cause,
            patience_s=0.0,  # see `may_connect`
            clock_ms=local_ms,
        )
        self.router = Router(
            self.members,
            bus,
            self._ownership,
            supervisor,
            choose=partial(least_loaded, here=given.node),
            keep=self._keep,
            garbage=Garbage(),
            deliver_as=STORED,
            is_dead=self._is_dead,
        )
        roots, writers = needs.writers.directories, needs.writers
        self._takeover = Takeover(
            self.members,
            store,
            self._ownership,
            supervisor,
            in_order=lambda rows: longest_out_first(roots, rows, writers[roots[0]].run_sync),
            handshakes=HANDSHAKES,
        )

    async def may_connect(self, rtms_stream_id: str) -> Permission:
        """See `Tenure`. Only the dead lose their streams, so that no disk need be asked, which may be stuck."""
        return Permission.GRANTED if self._ownership.has(rtms_stream_id) else Permission.LOST

    def _let_go(self, rtms_stream_id: str, _why: str) -> None:
        self._ownership.let_go(rtms_stream_id)

    async def _keep(self, command: StreamCommand) -> Verdict:
        """Make a command safe that is another's to carry out: all have the same state file."""
        others = {app.name for app in self.supervisor.config.apps} - {command.app}
        return await self.supervisor.journal.record(command, others)

    async def _is_dead(self, member: Member) -> bool:
        """Wait for the parent's word. Somebody may have removed the socket of a worker that goes on writing."""
        with trio.move_on_after(DEATH_S):
            seen = self.members.deaths
            while member.incarnation in self.members.incarnations():
                seen = await self.members.wait_death(seen)
            return True
        return False

    def _redirect(self, command: StreamCommand) -> None:
        self.router.redirect(command)

    async def run(
        self, joined: Callable[[], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Settle what is unsure, and take over what has no owner, until cancelled. Started when the share of this
        process in what was there before is claimed, or is long in coming.

        Args:
            joined: called when this member answers the others.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ownership.run)
            await nursery.start(self.router.run)
            joined()
            with trio.move_on_after(TOGETHER_S):
                await self._all_there.wait()
            nursery.start_soon(self._take_over)
            with trio.move_on_after(TOGETHER_S):
                await self._takeover.swept.wait()
            task_status.started()

    async def _take_over(self) -> None:
        with self._taking_over:
            await self._takeover.run()

    def leave(self) -> None:
        """Take over nothing more, as this process stops: who dies now is stopping as well, or others see to it."""
        self._taking_over.cancel()

    def update(self, peers: Sequence[Peer]) -> None:
        """Replace the table of who lives."""
        self.members.update(
            Member(
                node=peer.node,
                incarnation=peer.incarnation,
                streams=peer.streams,
                capacity=CAPACITY,
                is_draining=peer.is_draining,
                is_ready=peer.is_ready,
            )
            for peer in peers
        )
        others = [peer for peer in peers if peer.node != self._given.node]
        if len(others) == self._given.workers - 1 and all(peer.is_ready for peer in others):
            self._all_there.set()
