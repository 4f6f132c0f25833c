"""The members that live, with their loads, and word of those that die."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from rtmsd.cluster.liveness import Liveness
from rtmsd.cluster.records import Own

GIVEN_S: Final = 2.0  # loads come every second, of which the news may be a second old


@attrs.frozen(kw_only=True)
class Member:
    """A member, as it describes itself.

    Attributes:
        streams: that it has now.
        capacity: with so many streams it gets no new ones while another has room.
        is_ready: it has started, and answers.
    """

    node: str
    incarnation: str
    streams: int = 0
    capacity: int = 1000
    is_draining: bool = False
    is_ready: bool = True


class Members:
    """The table of the living, myself among them, whatever others say.

    Args:
        me: as this process knows itself; the rest follows from the table once that has it.
        streams: returns how many this process has now, which the table knows late.
        liveness: where members beat: an owner that was not heard yet is taken for living until that says otherwise.
            None: the table is exact.

    Attributes:
        deaths: of incarnations, counted, so that nobody who waits for one misses any.
    """

    def __init__(self, me: Member, streams: Callable[[], int], liveness: Liveness | None = None) -> None:
        self.deaths = 0
        self._streams, self._liveness = streams, liveness
        self._node, self._incarnation = me.node, me.incarnation
        self._living = {me.node: me}
        self._dealings: dict[trio.CancelScope, str] = {}  # with members that live, by incarnation
        self._given_s: dict[str, list[float]] = {}
        self._expected = 0
        self._died = trio.Event()

    @property
    def me(self) -> Member:
        return self._with_given(self._living[self._node])

    def living(self) -> Mapping[str, Member]:
        """Return the living by node; their loads include what was given to them just now, mine what I expect."""
        living = {node: self._with_given(member) for node, member in self._living.items()}
        me = living[self._node]
        return living | {me.node: attrs.evolve(me, streams=me.streams + self._expected)}

    def is_me(self, own: Own | None) -> bool:
        return own is not None and own.incarnation == self._incarnation

    def owner(self, own: Own | None) -> Member | None:
        """Return the living member that wrote this record; None: there is none, or an earlier life of it did."""
        if own is None:
            return None
        member = self._living.get(own.node)
        return member if member is not None and member.incarnation == own.incarnation else self._unheard(own)

    def _unheard(self, own: Own) -> Member | None:
        """Return the owner as it is expected, if it may live all the same. It has room for nothing."""
        if self._liveness is None:
            return None
        if own.node != self._node:  # an earlier life of mine is over, unless it is heard
            self._liveness.expect(own.node, own.incarnation)
        if own.incarnation not in self._liveness.incarnations:
            return None
        return Member(node=own.node, incarnation=own.incarnation, capacity=0, is_ready=False)

    def incarnations(self) -> frozenset[str]:
        """Return those that live, as far as is known."""
        expected = frozenset[str]() if self._liveness is None else self._liveness.incarnations
        return self._heard() | expected

    def _heard(self) -> frozenset[str]:
        return frozenset(member.incarnation for member in self._living.values())

    def update(self, members: Iterable[Member]) -> None:
        """Replace the table. Who is not in it any more, or lives another life, died."""
        living = {member.node: member for member in members}
        if self._node not in living or living[self._node].incarnation != self._incarnation:
            living[self._node] = self._living[self._node]
        before, self._living = self._heard(), living
        self._count_deaths(len(before - self._heard()))

    def died(self, incarnation: str) -> None:
        """Take a member for dead, until a table has it again, or one that was expected and not heard. I am not dead."""
        if incarnation == self._incarnation:
            return
        is_heard = incarnation in self._heard()
        self._living = {node: member for node, member in self._living.items() if member.incarnation != incarnation}
        self._count_deaths(1 if is_heard or self._liveness is not None else 0)

    def doubt(self, own: Own) -> None:
        """Take the owner of a stream for living again, unless it goes on being silent, if anybody beats here."""
        if self._liveness is not None and own.node != self._node:
            self._liveness.doubt(own.node, own.incarnation)

    def give(self, node: str) -> None:
        """Count a stream that is being given to another member, before that one's figures show it."""
        now_s = trio.current_time()
        recent_s = [at_s for at_s in self._given_s.get(node, ()) if at_s > now_s - GIVEN_S]
        self._given_s[node] = [*recent_s, now_s]

    @contextmanager
    def expect(self) -> Iterator[None]:
        """Count a stream that I am about to begin, until it is here: others get what comes meanwhile."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1

    async def wait_death(self, seen: int) -> int:
        """Return the number of deaths so far, as soon as it is not `seen`."""
        while self.deaths == seen:
            await self._died.wait()
        return self.deaths

    @contextmanager
    def while_living(self, node: str) -> Iterator[None]:
        """Cancel what is done with a member when it dies, or at once if it does not live."""
        member = self._living.get(node)
        with trio.CancelScope() as scope:
            if member is None:
                scope.cancel()
            else:
                self._dealings[scope] = member.incarnation
            try:
                yield
            finally:
                self._dealings.pop(scope, None)

    def _with_given(self, member: Member) -> Member:
        if member.node == self._node:
            return attrs.evolve(member, streams=self._streams())
        since_s = trio.current_time() - GIVEN_S
        given = sum(at_s > since_s for at_s in self._given_s.get(member.node, ()))
        return attrs.evolve(member, streams=member.streams + given) if given else member

    def _count_deaths(self, number: int) -> None:
        if number:
            heard = self._heard()
            for scope, incarnation in self._dealings.items():
                if incarnation not in heard:
                    scope.cancel()
            self.deaths += number
            self._died.set()
            self._died = trio.Event()
