"""Members that place, take over, drain and die by the rules, while answers of the engine are late or lost."""

from random import Random
from typing import Final

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtmsd.cluster.engine import Lost
from rtmsd.cluster.engines.memory_tables import Tables
from rtmsd.cluster.records import Held, MemberState, Own, Why
from rtmsd.cluster.rules import has_room, place, rank
from rtmsd.state.rows import Known
from rtmsd.state.verdicts import judge
from tests.cluster.crew import start

STREAMS: Final = ("s1", "s2", "s3", "s4")
CAPACITY: Final = 3


@attrs.define(eq=False)
class Member:
    """Attributes:
    holds: tokens that it believes to own, by stream.
    unanswered: claims of which it does not know whether they were carried out.
    """

    node: str
    life: int = 1
    is_alive: bool = True
    state: MemberState = MemberState.UP
    holds: dict[str, int] = attrs.field(factory=dict)
    unanswered: list[Own] = attrs.field(factory=list)
    capacity: int = CAPACITY

    @property
    def incarnation(self) -> str:
        return f"{self.node}-{self.life}"

    @property
    def streams(self) -> int:
        return len(self.holds) + len(self.unanswered)

    @property
    def is_draining(self) -> bool:
        return self.state is MemberState.DRAINING

    @property
    def is_ready(self) -> bool:
        return self.state is not MemberState.STARTING


class OwnershipMachine(RuleBasedStateMachine):
    """No token has two holders, no drained member claims, and when all is calm each stream has one owner.

    Deaths may be declared wrongly: then, too, only the engine decides.
    """

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.random = Random(seed)
        self.tables = Tables()
        self.members = [Member(node) for node in "abc"]
        self.late: list[tuple[Member, Own, int]] = []  # claims on their way
        self.tokens: dict[int, tuple[str, str]] = {}  # every token that was given, and to whom
        self.started: set[str] = set()
        self.claims = 0

    @property
    def living(self) -> list[Member]:
        return [member for member in self.members if member.is_alive]

    def claim(self, member: Member, stream: str, held: Held, why: Why, outcome: str) -> None:
        assert member.state is MemberState.UP
        assert member.streams < CAPACITY
        self.claims += 1
        own = Own(
            rtms_stream_id=stream,
            node=member.node,
            incarnation=member.incarnation,
            epoch=(held.own.epoch if held.own else 0) + 1,
            nonce=f"n{self.claims}",
            why=why,
            known=judge(Known(), start(stream), received_ms=1)[1],
        )
        match outcome:
            case "answered":
                self.carry_out(member, own, held.token, is_answered=True)
            case "answer lost":
                member.unanswered.append(own)
                self.carry_out(member, own, held.token, is_answered=False)
            case "late":
                member.unanswered.append(own)
                self.late.append((member, own, held.token))

    def carry_out(self, member: Member, own: Own, seen: int, *, is_answered: bool) -> None:
        newest = self.tables.read(own.rtms_stream_id).token
        try:
            token = self.tables.claim(own, seen)
        except Lost as loss:
            assert loss.winner.token != seen
            assert loss.winner.own is None or loss.winner.own.nonce != own.nonce
            return
        assert newest == seen
        assert self.tokens.setdefault(token, (own.incarnation, own.rtms_stream_id)) == (
            own.incarnation,
            own.rtms_stream_id,
        )
        assert token == max(self.tokens)
        if is_answered and member.incarnation == own.incarnation and member.is_alive:
            member.holds[own.rtms_stream_id] = token

    outcomes = st.sampled_from(["answered", "answered", "answer lost", "late"])

    @rule(stream=st.sampled_from(STREAMS), outcome=outcomes)
    def stream_starts(self, stream: str, outcome: str) -> None:
        held = self.tables.read(stream)
        node = place(self.living, self.random)
        if held.own is None and node is not None:
            self.started.add(stream)
            member = next(each for each in self.living if each.node == node)
            self.claim(member, stream, held, Why.STARTED, outcome)

    @rule(taker=st.integers(0, 2), accused=st.integers(0, 2), outcome=outcomes)
    def orphans_are_taken(self, taker: int, accused: int, outcome: str) -> None:
        """Whether the accused is dead or not."""
        member = self.members[taker]
        if not member.is_alive or taker == accused:
            return
        dead = self.members[accused].incarnation
        for held in self.tables.orphans({each.incarnation for each in self.living} - {dead}):
            assert held.own is not None
            if has_room(member) and not held.own.is_newer:
                self.claim(member, held.own.rtms_stream_id, held, Why.DIED, outcome)

    @rule()
    def late_claims_are_carried_out(self) -> None:
        self.random.shuffle(self.late)
        while self.late:
            member, own, seen = self.late.pop()
            self.carry_out(member, own, seen, is_answered=False)

    @rule(number=st.integers(0, 2))
    def unanswered_claims_are_read_back(self, number: int) -> None:
        """It is mine only if my nonce is in it."""
        member = self.members[number]
        for own in [*member.unanswered]:
            held = self.tables.read(own.rtms_stream_id)
            if held.own is not None and held.own.nonce == own.nonce:
                member.holds[own.rtms_stream_id] = held.token
            if not any(late is own for _, late, _ in self.late):
                member.unanswered.remove(own)

    @rule(number=st.integers(0, 2))
    def gate_is_asked(self, number: int) -> None:
        member = self.members[number]
        member.holds = {
            stream: token for stream, token in member.holds.items() if self.tables.read(stream).token == token
        }

    @rule(number=st.integers(0, 2))
    def member_dies(self, number: int) -> None:
        self.members[number].is_alive = False
        self.members[number].holds.clear()
        self.members[number].unanswered.clear()

    @rule(number=st.integers(0, 2))
    def member_starts(self, number: int) -> None:
        member = self.members[number]
        if not member.is_alive:
            member.life, member.is_alive, member.state = member.life + 1, True, MemberState.UP

    @rule(number=st.integers(0, 2), state=st.sampled_from(MemberState))
    def member_drains_or_not(self, number: int, state: MemberState) -> None:
        self.members[number].state = state

    @rule()
    def all_is_calm(self) -> None:
        """Everybody learns what became of its claims, and the first in rank takes each orphan."""
        self.late_claims_are_carried_out()
        for number in range(3):
            self.unanswered_claims_are_read_back(number)
            self.gate_is_asked(number)
        living = {each.incarnation for each in self.living}
        for held in self.tables.orphans(living):
            assert held.own is not None
            stream = held.own.rtms_stream_id
            takers = {each.node: each for each in self.living if has_room(each)}
            if takers:
                self.claim(takers[rank(takers, stream)[0]], stream, held, Why.DIED, "answered")
        for stream in STREAMS:
            owners = [member for member in self.living if stream in member.holds]
            held = self.tables.read(stream)
            assert len(owners) <= 1
            if owners:
                assert held.own is not None
                assert held.own.incarnation == owners[0].incarnation
                assert owners[0].holds[stream] == held.token
            elif held.own is not None:  # nobody has room, or its claim is known only now
                assert not any(has_room(member) for member in self.living)

    @invariant()
    def no_token_has_two_holders(self) -> None:
        held = [(token, member.node) for member in getattr(self, "members", []) for token in member.holds.values()]
        assert len({token for token, _ in held}) == len(held)
        for member in getattr(self, "members", []):
            for stream, token in member.holds.items():
                assert self.tokens[token] == (member.incarnation, stream)


TestOwnership = OwnershipMachine.TestCase
TestOwnership.settings = settings(max_examples=100, stateful_step_count=30)
