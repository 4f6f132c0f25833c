"""The rules and the statements side by side: what the file has is what the rules say, in any order of events."""

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand, Verdict
from rtmsd.protocol.messages import SessionRef
from rtmsd.state import ledger, verdicts
from rtmsd.state.rows import Known
from tests.state.commands import open_memory

STREAMS = ("one", "two")
APPS = frozenset({"main", "other"})
TIMES = st.integers(0, 5)
IDENTITY = {
    "rtms_stream_id": st.sampled_from(STREAMS),
    "product": st.sampled_from(["session", "meeting"]),
    "session": st.builds(SessionRef, st.just("session_id"), st.sampled_from(["", "a"])),
    "app": st.sampled_from(sorted(APPS)),
}
COMMANDS: st.SearchStrategy[StreamCommand] = st.one_of(
    st.builds(
        StartStream,
        **IDENTITY,
        event_ts=TIMES,
        server_urls=st.sampled_from(["wss://one", "wss://two"]),
        details=st.sampled_from([{}, {"topic": "Budget"}]),
    ),
    st.builds(StopStream, **IDENTITY, event_ts=st.none() | TIMES, stop_reason=st.sampled_from([0, 6, 8])),
    st.builds(InterruptStream, **IDENTITY, event_ts=TIMES, server_urls=st.none() | st.just("wss://three")),
)


class Both(RuleBasedStateMachine):
    """The same events for the rules, with what is known in memory, and for a state file."""

    def __init__(self) -> None:
        super().__init__()
        self.db = open_memory()
        self.known = dict.fromkeys(STREAMS, Known())
        self.now_ms = 1000

    def teardown(self) -> None:
        self.db.close()

    @rule(command=COMMANDS, is_configured=st.booleans())
    def webhook(self, command: StreamCommand, is_configured: bool) -> None:
        self.now_ms += 1
        others = APPS - {command.app} if is_configured else frozenset()
        before = self.known[command.rtms_stream_id]
        verdict, after = verdicts.judge(before, command, other_apps=others, received_ms=self.now_ms)
        assert ledger.record(self.db, command, self.now_ms, others) is verdict
        self.known[command.rtms_stream_id] = after
        assert (after is before) == (verdict in {Verdict.DUPLICATE, Verdict.FOREIGN})
        if verdict is not Verdict.NEW:
            assert after.row == before.row
        elif isinstance(command, StartStream):
            row = before.row
            assert row is None or command.event_ts > max(row.event_ts, row.stopped_ms or 0), "time runs backwards"
        again, unchanged = verdicts.judge(after, command, received_ms=self.now_ms + 1)
        if verdict is not Verdict.FOREIGN and (command.event_ts is not None or after.row is not None):
            assert (again, unchanged) == (Verdict.DUPLICATE, after), "a repeated delivery changes nothing"

    @rule(stream=st.sampled_from(STREAMS), reason=st.sampled_from([6, 8, 19]), ended_ms=TIMES, of=st.none() | TIMES)
    def finished(self, stream: str, reason: int, ended_ms: int, of: int | None) -> None:
        known = self.known[stream]
        closed = None
        if known.row is not None:
            closed = verdicts.close(known.row, reason=reason, ended_ms=ended_ms, event_ts=of)
        was_closed = ledger.close_stream(
            self.db, stream, reason=reason, ended_ms=ended_ms, event_ts=of, closed_ms=self.now_ms
        )
        assert was_closed == (closed is not None)
        if closed is not None:
            self.known[stream] = attrs.evolve(known, row=closed)

    @rule(stream=st.sampled_from(STREAMS), stopped_ms=TIMES, event_ts=TIMES)
    def revoked(self, stream: str, stopped_ms: int, event_ts: int) -> None:
        known = self.known[stream]
        ledger.revoke(self.db, stream, stopped_ms=stopped_ms, event_ts=event_ts)
        row = None if known.row is None else verdicts.revoke(known.row, stopped_ms=stopped_ms, event_ts=event_ts)
        if row is not None:
            assert (row.stop_reason, row.closed, row.details) == (8, False, {})
            self.known[stream] = attrs.evolve(known, row=row)

    @invariant()
    def the_file_has_what_the_rules_say(self) -> None:
        for stream, known in self.known.items():
            assert ledger.known(self.db, stream) == known
            row = known.row
            if row is not None and row.started_ms is not None:
                assert row.started_ms <= row.event_ts


TestBoth = Both.TestCase
TestBoth.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(COMMANDS, max_size=12), st.integers(0, 11))
def test_a_claim_stored_at_once_leaves_what_single_records_do(commands: list[StreamCommand], split: int) -> None:
    """An engine stores what several commands made known in one step."""
    one, other = open_memory(), open_memory()
    try:
        known = Known()
        for number, each in enumerate(commands):
            command = attrs.evolve(each, rtms_stream_id="one")
            ledger.record(one, command, 1000 + number)
            before, (_, known) = known, verdicts.judge(known, command, received_ms=1000 + number)
            if number < split:
                ledger.store(other, "one", before, known, 1000 + number)
        ledger.store(other, "one", ledger.known(other, "one"), known, 2000)
        assert ledger.known(other, "one").row == ledger.known(one, "one").row == known.row
        assert set(ledger.known(other, "one").delivered) == set(known.delivered)
    finally:
        one.close()
        other.close()
