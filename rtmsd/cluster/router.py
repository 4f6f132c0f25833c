"""The router of webhooks: whichever member receives one, its stream's owner acts on it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import structlog
import trio

from rtmsd.cluster.engine import Away, Bus, Elsewhere, EngineError, Lost, Nobody, Refused, TooNew
from rtmsd.cluster.hooks import BadHook, decode_command, decode_verdict, encode_command, encode_verdict
from rtmsd.cluster.lives import Lives
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.ownership import Ownership
from rtmsd.cluster.records import Held
from rtmsd.cluster.rules import has_room
from rtmsd.commands import StartStream, StreamCommand, Verdict
from rtmsd.errors import RtmsdError
from rtmsd.streams.finalizer import contained
from rtmsd.system.garbage import Garbage

log = structlog.get_logger(__name__)

BUDGET_S: Final = 2.2  # of the 2.5 s after which the webhook's endpoint answers by itself
ASK_S: Final = 0.8
CLAIM_S: Final = 1.0  # of the budget, for a claim of this member: others are not asked meanwhile whether they take it
LOOK_AGAIN_S: Final = 0.05
DELIVER_AGAIN_S: Final = 1.0
REFUSED_FOR_S: Final = 3600.0  # after which a kept command is given up that its owner does not take, as it may never
MAX_KEPT: Final = 1000  # commands for owners that do not answer; past that they are not safe

HOOK: Final = "hook"  # asks to judge a command and act on it
STORED: Final = "stored"  # asks to act on a command that is judged, and stored where its owner has what it knows

RESULTS: Final = ("answered", "moved", "nobody", "silent", "failed", "kept")
"""What becomes of a command that is forwarded."""


async def _as_it_seems(_member: Member) -> bool:
    return True


async def _no_more(_command: StreamCommand) -> None:
    pass


class Router:
    """The `Intake` of a member. No command is forwarded twice: who gets it from another acts on it or says no.

    Args:
        choose: of members that take streams, the one to which a new one is given; None: there is none.
        keep: makes a command safe whose owner does not answer in time; an exception means that it is not.
        deliver_as: how a command that was kept, and was new, is handed to its owner later: `HOOK` or `STORED`.
        on_delivered: called with each command that was kept and is now with its owner.
        can_begin_alone: whether a start is begun here, unclaimed, while the engine is away, and another command
            is kept. Where it is not, Zoom is to send it again.
        is_dead: whether a member is dead at whose place nobody listens; by default, always. Where members share a disk,
            one that lives must keep its streams whatever happened to its address.

    Attributes:
        forwarded: counts, by `RESULTS`.
    """

    def __init__(
        self,
        members: Members,
        bus: Bus,
        ownership: Ownership,
        lives: Lives,
        *,
        choose: Callable[[Sequence[Member]], str | None],
        keep: Callable[[StreamCommand], Awaitable[Verdict]],
        deliver_as: str,
        garbage: Garbage,
        on_delivered: Callable[[StreamCommand], Awaitable[None]] = _no_more,
        can_begin_alone: bool = False,
        is_dead: Callable[[Member], Awaitable[bool]] = _as_it_seems,
    ) -> None:
        self.forwarded = Counter(dict.fromkeys(RESULTS, 0))
        self._members, self._bus, self._ownership, self._lives = members, bus, ownership, lives
        self._choose, self._keep, self._deliver_as = choose, keep, deliver_as
        self._on_delivered = on_delivered
        self._can_begin_alone, self._is_dead = can_begin_alone, is_dead
        self._kept: dict[str, list[tuple[str, StreamCommand]]] = {}  # by stream, in order
        self._nursery: trio.Nursery
        self._read_command = garbage.reader("command", decode_command)
        self._read_verdict = garbage.reader("verdict", decode_verdict)
        bus.serve(HOOK, self._serve_hook)
        bus.serve(STORED, self._serve_stored)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver what was kept, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    # From Zoom

    async def accept(self, command: StreamCommand) -> Verdict:
        """See `Intake`. The owner's verdict is the answer.

        Raises:
            EngineError, StorageError: the command is not safe. A stop is perhaps carried out all the same.
        """
        try:
            if command.rtms_stream_id in self._kept:  # it must not overtake what came before
                return await self._later(command)
            return await self._route(command)
        except RtmsdError as error:
            if not isinstance(command, StartStream):  # Zoom's next try would come too late
                if self._has_room and not isinstance(error, TooNew):
                    self.deliver(command)
            elif isinstance(error, EngineError):
                self._lives.refuse(command, str(error))
            raise

    async def _route(self, command: StreamCommand) -> Verdict:
        deadline_s, gone = trio.current_time() + BUDGET_S, None
        while True:
            if self._ownership.has(command.rtms_stream_id):
                return await self._ownership.accept(command)
            try:
                held = await self._ownership.read(command.rtms_stream_id)
            except Away:
                if isinstance(command, StartStream) and self._can_begin_alone:
                    return await self._ownership.begin_unclaimed(command)
                return await self._whoever_has_it(command)
            owner = self._members.owner(held.own)
            try:
                if owner is None or owner.incarnation == gone or self._members.is_me(held.own):
                    return await self._nobodys(command, held, gone, deadline_s - CLAIM_S)
                verdict = await self._ask_owner(owner, command, held)
            except Elsewhere:
                await trio.sleep(LOOK_AGAIN_S)
            else:
                if verdict is not None:
                    return verdict
                gone = owner.incarnation
            if trio.current_time() >= deadline_s:
                raise Away("the owner of the stream changed again and again")

    async def _ask_owner(self, owner: Member, command: StreamCommand, held: Held) -> Verdict | None:
        """Forward a command to its stream's owner; None: it is gone, or has no use for a stream that it had once."""
        try:
            verdict = await self._ask(owner.node, HOOK, command)
        except (Nobody, Away) as silent:
            is_dead = isinstance(silent, Nobody) and await self._is_dead(owner)
            is_dead = is_dead or self._members.owner(held.own) is None
            return None if is_dead or not held.is_unfinished else await self._later(command)
        return None if verdict is Verdict.REFUSED and not held.is_unfinished else verdict

    async def _nobodys(self, command: StreamCommand, held: Held, gone: str | None, until_s: float) -> Verdict:
        """Have a member act on a command to a stream that none who lives owns.

        Args:
            until_s: after which no other member is asked: several may be frozen.

        Raises:
            Elsewhere: one does by now.
        """
        for node in self._takers(command, held):
            if node == self._members.me.node:
                with self._members.expect() if isinstance(command, StartStream) else nullcontext():
                    verdict = await self._act(command, gone)
            elif (left_s := until_s - trio.current_time()) > 0:
                try:
                    verdict = await self._ask(node, HOOK, command, timeout_s=min(ASK_S, left_s))
                except (Nobody, Away, Refused):
                    continue
            else:
                continue
            if verdict is not Verdict.REFUSED:
                return verdict
        if isinstance(command, StartStream):
            self._lives.refuse(command, self._lives.refusal(command) or "no member takes another stream")
        return Verdict.REFUSED

    async def _act(self, command: StreamCommand, gone: str | None) -> Verdict:
        """Act on a command here. A start is begun also while the engine takes no claim, as one whose disk is full."""
        try:
            return await self._ownership.accept(command, gone=gone)
        except Away:
            if not (isinstance(command, StartStream) and self._can_begin_alone):
                raise
            return await self._ownership.begin_unclaimed(command)

    def _takers(self, command: StreamCommand, held: Held) -> list[str]:
        """Return who is to act, the best first: for a new stream the members with room, else me if I take streams."""
        me = self._members.me
        is_new = isinstance(command, StartStream) and not held.is_unfinished
        if not is_new and (has_room(me) or not held.is_unfinished):
            return [me.node]
        left = {node: member for node, member in self._members.living().items() if has_room(member)}
        order = []
        while (node := self._choose([*left.values()])) is not None:
            order.append(node)
            del left[node]
        return order if me.node in order else [*order, me.node]

    async def _ask(self, node: str, what: str, command: StreamCommand, *, timeout_s: float = ASK_S) -> Verdict:
        """Forward a command, once.

        Raises:
            Nobody, Away, Refused: see `Bus.ask`.
            Elsewhere: the stream is not that member's.
        """
        if isinstance(command, StartStream):
            self._members.give(node)
        result = "failed"
        try:
            answer = await self._bus.ask(node, what, encode_command(command), timeout_s=timeout_s)
            verdict = self._read_verdict(answer)
            result = "moved" if verdict is None else "answered"
        except Nobody:
            result = "nobody"
            raise
        except Away:
            result = "silent"
            raise
        except BadHook as bad:
            raise Refused(f"member {node} answered with something that is not a verdict") from bad
        finally:
            self.forwarded[result] += 1
        if verdict is None:
            raise Elsewhere("another")
        return verdict

    async def _whoever_has_it(self, command: StreamCommand) -> Verdict:
        """The engine does not say who owns the stream: ask all, unless it is a start, which Zoom sends again."""
        verdicts: list[Verdict] = []

        async def ask(node: str) -> None:
            try:
                verdicts.append(await self._ask(node, HOOK, command))
            except EngineError:
                return
            nursery.cancel_scope.cancel()

        if not isinstance(command, StartStream):
            async with trio.open_nursery() as nursery:
                for node in self._members.living():
                    if node != self._members.me.node:
                        nursery.start_soon(ask, node)
        if not verdicts and self._can_begin_alone:  # Zoom's next try would come minutes later
            return await self._later(command)
        if not verdicts:
            raise Away("the engine does not say who owns the stream")
        return verdicts[0]

    # For owners that do not answer now

    async def _later(self, command: StreamCommand) -> Verdict:
        """Make a command safe here, and have it carried out when its owner answers."""
        if not self._has_room:
            raise Away("too many commands wait for members that do not answer")
        verdict = await self._keep(command)
        if verdict is Verdict.NEW:
            self._deliver_later(self._deliver_as, command)
            self.forwarded["kept"] += 1
        return verdict

    @property
    def _has_room(self) -> bool:
        return sum(map(len, self._kept.values())) < MAX_KEPT

    def deliver(self, command: StreamCommand) -> None:
        """Have a command carried out that was kept, unless it waits for that already."""
        if (HOOK, command) not in self._kept.get(command.rtms_stream_id, ()):
            self._deliver_later(HOOK, command)

    def redirect(self, command: StreamCommand) -> None:
        """Have a command carried out that is stored, and came for a stream that was just let go here."""
        self._deliver_later(STORED, command)

    def _deliver_later(self, what: str, command: StreamCommand) -> None:
        if command.rtms_stream_id in self._kept:
            self._kept[command.rtms_stream_id].append((what, command))
        else:
            self._kept[command.rtms_stream_id] = [(what, command)]
            self._nursery.start_soon(self._deliver, command.rtms_stream_id)

    async def _deliver(self, rtms_stream_id: str) -> None:
        kept = self._kept[rtms_stream_id]
        try:
            since_s = trio.current_time()
            while kept:
                await trio.sleep(DELIVER_AGAIN_S)
                if await self._is_delivered(*kept[0], since_s):
                    _, command = kept.pop(0)
                    since_s = trio.current_time()
                    with contained("webhook is delivered, and may be again", rtms_stream_id=rtms_stream_id):
                        await self._on_delivered(command)
        finally:
            del self._kept[rtms_stream_id]

    async def _is_delivered(self, what: str, command: StreamCommand, since_s: float) -> bool:
        """Try to have a command carried out, and say whether that is done with. Zoom was told that it is safe, so what
        goes wrong is tried again: disks and members recover.
        """
        rtms_stream_id = command.rtms_stream_id
        try:
            verdict = await self._hand_on(what, command)
        except Refused as refused:
            if trio.current_time() < since_s + REFUSED_FOR_S:
                return False
            log.error("webhook not delivered", rtms_stream_id=rtms_stream_id, why=str(refused))  # noqa: TRY400 foreseen
        except RtmsdError:
            return False
        except Exception:
            log.exception("webhook not delivered", rtms_stream_id=rtms_stream_id)
        else:
            return verdict is not Verdict.REFUSED
        return True

    async def _hand_on(self, what: str, command: StreamCommand) -> Verdict | None:
        held = await self._ownership.read(command.rtms_stream_id)
        owner = self._members.owner(held.own)
        if owner is not None and not self._members.is_me(held.own) and held.is_unfinished:
            return await self._ask(owner.node, what, command)
        if what == HOOK:
            return await self._ownership.accept(command)
        await self._carry_out(command)
        return None

    async def _carry_out(self, command: StreamCommand) -> None:
        """Act on a command that is stored: whoever begins the stream's life now, has read it."""
        if self._ownership.has(command.rtms_stream_id):
            self._lives.streams[command.rtms_stream_id].submit(command)
        else:
            await self._ownership.revive(command.rtms_stream_id)

    # From other members

    async def _serve_hook(self, data: bytes) -> bytes:
        command = self._read_command(data)
        try:
            with _logged(command):
                return encode_verdict(await self._ownership.accept(command))
        except Elsewhere:
            return encode_verdict(None)
        except RtmsdError as error:
            raise EngineError(str(error)) from error

    async def _serve_stored(self, data: bytes) -> bytes:
        command = self._read_command(data)
        try:
            with _logged(command):
                await self._carry_out(command)
        except (Elsewhere, Lost):
            return encode_verdict(None)
        return encode_verdict(Verdict.NEW)


def _logged(command: StreamCommand) -> AbstractContextManager[None]:
    """Have log lines name the stream, as where a webhook arrives."""
    return structlog.contextvars.bound_contextvars(app=command.app, rtms_stream_id=command.rtms_stream_id)
