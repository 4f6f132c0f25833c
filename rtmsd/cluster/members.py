"""The members that live, with their loads, and word of those that die."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import attrs
import trio

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
        me: as this process knows itself; its load follows from the table once that has it.

    Attributes:
        deaths: of incarnations, counted, so that nobody who waits for one misses any.
    """

    def __init__(self, me: Member) -> None:
        self.deaths = 0
        self._node, self._incarnation = me.node, me.incarnation
        self._living = {me.node: me}
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
        member = None if own is None else self._living.get(own.node)
        return member if member is not None and own is not None and member.incarnation == own.incarnation else None

    def incarnations(self) -> frozenset[str]:
        return frozenset(member.incarnation for member in self._living.values())

    def update(self, members: Iterable[Member]) -> None:
        """Replace the table. Who is not in it any more, or lives another life, died."""
        living = {member.node: member for member in members}
        if self._node not in living or living[self._node].incarnation != self._incarnation:
            living[self._node] = self._living[self._node]
        before, self._living = self.incarnations(), living
        self._count_deaths(len(before - self.incarnations()))

    def died(self, incarnation: str) -> None:
        """Take a member for dead, until a table has it again. I am not dead."""
        dead = [
            node for node, member in self._living.items() if member.incarnation == incarnation and node != self._node
        ]
        for node in dead:
            del self._living[node]
        self._count_deaths(len(dead))

    def give(self, node: str) -> None:
        """Count a stream that is being given to a member, before the member's own figures show it."""
        now_s = trio.current_time()
        recent_s = [at_s for at_s in self._given_s.get(node, ()) if at_s > now_s - GIVEN_S]
        self._given_s[node] = [*recent_s, now_s]

    @contextmanager
    def expect(self) -> Iterator[None]:
        """Count a stream that I am about to begin, until it counts as given: others get what comes meanwhile."""
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

    def _with_given(self, member: Member) -> Member:
        since_s = trio.current_time() - GIVEN_S
        given = sum(at_s > since_s for at_s in self._given_s.get(member.node, ()))
        return attrs.evolve(member, streams=member.streams + given) if given else member

    def _count_deaths(self, number: int) -> None:
        if number:
            self.deaths += number
            self._died.set()
            self._died = trio.Event()
