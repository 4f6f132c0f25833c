"""The ownership of streams: any order of claims, webhooks, ends and deaths, against a model in plain Python."""

from contextlib import closing

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from rtmsd.commands import StartStream, StopStream
from rtmsd.state import ledger, owners, verdicts
from rtmsd.state.owners import Owned, OwnRow
from rtmsd.state.rows import Known
from tests.state.commands import open_memory, start, stop

STREAMS = st.sampled_from([1, 2])
MEMBERS = st.sampled_from(["a", "b", "c"])


def own_row(number: int, member: str, nonce: int) -> OwnRow:
    return OwnRow(
        rtms_stream_id=f"stream-{number}",
        node="1",
        incarnation=member,
        epoch=1,
        nonce=str(nonce),
        why="started",
        state="live",
        version=1,
        more="{}",
    )


def test_a_row_comes_back_whole() -> None:
    with closing(open_memory()) as db:
        _, known = verdicts.judge(Known(), start(), received_ms=5)
        token = owners.claim(db, own_row(1, "a", 1), known, seen=0, now_ms=5)
        assert owners.read(db, "stream-1") == Owned(own_row(1, "a", 1), 1, known)
        assert token == 1
        assert owners.read(db, "stream-2") == Owned(None, 0, Known())


def test_many_living_members() -> None:
    with closing(open_memory()) as db:
        ledger.record(db, start(), 5)
        known = ledger.known(db, "stream-1")
        owners.claim(db, own_row(1, "b", 1), known, seen=0, now_ms=5)
        others = [f"m{number}" for number in range(256)]
        assert owners.orphans(db, [*others, "b"]) == []
        assert [owned.known for owned in owners.orphans(db, others)] == [known]


@attrs.define
class Seen:
    """A claim that is on its way: what its member read, when, and what it will write."""

    number: int
    changed: int
    pruned: int
    own: OwnRow
    token: int
    known: Known


class Claims(RuleBasedStateMachine):
    """Members that read, think, and claim on what they read, while webhooks come and owners die."""

    seen = Bundle("seen")

    def __init__(self) -> None:
        super().__init__()
        self.db = open_memory()
        self.now_ms = 1000
        self.nonce = 0
        self.model: dict[int, tuple[OwnRow, int]] = {}
        self.changed: dict[int, int] = {}  # how often a stream was claimed, or a webhook of it recorded
        self.greatest = 0
        self.pruned = 0

    def teardown(self) -> None:
        self.db.close()

    @rule(target=seen, number=STREAMS, member=MEMBERS, begins=st.booleans())
    def look(self, number: int, member: str, begins: bool) -> Seen:
        owned = owners.read(self.db, f"stream-{number}")
        known = owned.known
        if begins or known.row is None:
            self.now_ms += 1
            _, known = verdicts.judge(known, self.command(number, StartStream), received_ms=self.now_ms)
        self.nonce += 1
        own = own_row(number, member, self.nonce)
        return Seen(number, self.changed.get(number, 0), self.pruned, own, owned.token, known)

    @rule(mine=seen)
    def claim(self, mine: Seen) -> None:
        if mine.pruned < self.pruned:  # nobody thinks for 90 minutes
            return
        number = mine.number
        self.now_ms += 1
        held = self.model.get(number)
        before = owners.read(self.db, f"stream-{number}")
        result = owners.claim(self.db, mine.own, mine.known, seen=mine.token, now_ms=self.now_ms)
        if held is not None and held[0].nonce == mine.own.nonce:
            assert result == held[1]
            assert owners.read(self.db, f"stream-{number}") == before
        elif mine.changed == self.changed.get(number, 0):
            assert isinstance(result, int)
            assert result > self.greatest
            self.greatest = result
            self.model[number] = (mine.own, result)
            self.changed[number] = mine.changed + 1
            after = owners.read(self.db, f"stream-{number}")
            assert (after.own, after.token, after.known.row) == (mine.own, result, mine.known.row)
            assert set(after.known.delivered) == set(mine.known.delivered)
        else:
            assert result == before
            assert owners.read(self.db, f"stream-{number}") == before

    @rule(number=STREAMS, kind=st.sampled_from([StartStream, StopStream]))
    def webhook(self, number: int, kind: type) -> None:
        self.now_ms += 1
        ledger.record(self.db, self.command(number, kind), self.now_ms)
        self.changed[number] = self.changed.get(number, 0) + 1

    @rule(number=STREAMS)
    def end_and_prune(self, number: int) -> None:
        """Close a stream, and forget it, and all deliveries."""
        self.now_ms += 1
        ledger.close_stream(
            self.db, f"stream-{number}", reason=6, ended_ms=self.now_ms, event_ts=None, closed_ms=self.now_ms
        )
        self.now_ms += 1
        ledger.prune(self.db, self.now_ms)
        self.pruned += 1
        for each in (1, 2):
            if ledger.find(self.db, f"stream-{each}") is None:
                self.model.pop(each, None)

    @invariant()
    def the_file_is_as_the_model(self) -> None:
        for number in (1, 2):
            owned = owners.read(self.db, f"stream-{number}")
            assert (owned.own, owned.token) == self.model.get(number, (None, 0))

    @invariant()
    def orphans_are_unfinished_streams_of_none_of_the_living(self) -> None:
        rows = {row.rtms_stream_id for row in ledger.unfinished(self.db)}
        for living in (set(), {"a"}, {"a", "b"}, {"a", "b", "c"}):
            found = owners.orphans(self.db, living)
            owned = {f"stream-{each}" for each, (own, _) in self.model.items() if own.incarnation in living}
            assert {each.known.row.rtms_stream_id for each in found if each.known.row is not None} == rows - owned

    def command(self, number: int, kind: type) -> StartStream | StopStream:
        if kind is StartStream:
            return attrs.evolve(start(number), event_ts=self.now_ms)
        return attrs.evolve(stop(number), event_ts=self.now_ms)


TestClaims = Claims.TestCase
