"""A rolling upgrade: what members of the version before and of the one after write, read by members of this version.

Version 1 is the first. Its messages stand here as they are sent, and are read by all that come after.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import pytest
import structlog
import trio
from hypothesis import given

from rtmsd.cluster.codec import NewerRecord, decode, encode
from rtmsd.cluster.engine import EngineError
from rtmsd.cluster.engines.memory import MemoryEngine
from rtmsd.cluster.engines.nats.layout import Reader
from rtmsd.cluster.handover.offers import Offer, decode_offer
from rtmsd.cluster.hooks import decode_command, decode_verdict
from rtmsd.cluster.parts import questions as parts
from rtmsd.cluster.parts.inheriting import Inheritance
from rtmsd.cluster.records import Beat, Log, MemberState, Own, Part, PartState, Revoked, Row, Why
from rtmsd.cluster.rules import has_room
from rtmsd.commands import Verdict
from rtmsd.node import questions as ctl
from rtmsd.protocol.messages import SessionRef
from rtmsd.state.rows import Delivery, Known, StreamRow
from tests.cluster.crew import T0_MS, Crew, a_crew, start, stop
from tests.cluster.strategies import MORE, PARTS, ROWS

ROW: Final = (
    '"row":{"rtms_stream_id":"s","product":"session","session":{"key":"session_id","id":"of s"},"app":"main",'
    '"server_urls":"wss://rtms.zoom.test","started_ms":1790000000000,"event_ts":1790000000000,"stop_reason":null,'
    '"stopped_ms":null,"closed":false,"details":{"account_id":"a"}},'
    '"delivered":[{"event":"session.rtms_started","event_ts":1790000000000,"session_id":"of s"}]'
)
KNOWN: Final = Known(
    StreamRow(
        rtms_stream_id="s",
        product="session",
        session=SessionRef("session_id", "of s"),
        app="main",
        server_urls="wss://rtms.zoom.test",
        started_ms=T0_MS,
        event_ts=T0_MS,
        stop_reason=None,
        stopped_ms=None,
        closed=False,
        details={"account_id": "a"},
    ),
    (Delivery("session.rtms_started", T0_MS, "of s"),),
)
OWN: Final = (
    '{"v":1,"rtms_stream_id":"s","node":"x","incarnation":"dead","epoch":3,"nonce":"n","why":"died","state":"live",'
    + ROW
    + "}"
)

# Version 1


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (
            OWN,
            Own(rtms_stream_id="s", node="x", incarnation="dead", epoch=3, nonce="n", why=Why.DIED, known=KNOWN),
        ),
        ('{"v":1,"rtms_stream_id":"s","token":7,' + ROW + "}", Row(rtms_stream_id="s", token=7, known=KNOWN)),
        (
            '{"v":1,"rtms_stream_id":"s","node":"x.2","token":7,"epoch":3,"state":"let_go","clock_ms":1790000000900,'
            '"first_packet_ms":null,"paused_since_ms":null,"participants":[{"user_id":5,"user_name":"Ana"}],'
            '"media":{"audio":{"asked":{"codec":"L16"}}},"files":[{"path":"audio/5.wav"}],"bytes":64,'
            '"gaps":[{"media":"audio","from_ms":1,"to_ms":2,"cause":"dropped"}]}',
            Part(
                rtms_stream_id="s",
                node="x.2",
                token=7,
                epoch=3,
                state=PartState.LET_GO,
                clock_ms=1_790_000_000_900,
                participants=({"user_id": 5, "user_name": "Ana"},),
                media={"audio": {"asked": {"codec": "L16"}}},
                files=({"path": "audio/5.wav"},),
                bytes=64,
                gaps=({"media": "audio", "from_ms": 1, "to_ms": 2, "cause": "dropped"},),
            ),
        ),
        (
            '{"v":1,"rtms_stream_id":"s","token":7,"n":2,"lines":{"events":["{}"],"transcript":["{}","{}"]}}',
            Log(rtms_stream_id="s", token=7, n=2, lines={"events": ("{}",), "transcript": ("{}", "{}")}),
        ),
        ('{"v":1,"rtms_stream_id":"s","at_ms":1790000000000}', Revoked(rtms_stream_id="s", at_ms=T0_MS)),
        (
            '{"v":1,"node":"x.2","incarnation":"i","n":9,"state":"draining","streams":3,"capacity":1000,"at_ms":5,'
            '"webhook_ms":4,"zone":"z","release":"1.0"}',
            Beat(
                node="x.2",
                incarnation="i",
                n=9,
                state=MemberState.DRAINING,
                streams=3,
                capacity=1000,
                at_ms=5,
                webhook_ms=4,
                zone="z",
                release="1.0",
            ),
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_records_of_version_1(sent: str, read: Any) -> None:
    assert decode(type(read), sent.encode()) == read


START: Final = (
    '{"kind":"start","command":{"product":"session","session":{"key":"session_id","id":"of s"},"rtms_stream_id":"s",'
    '"server_urls":"wss://rtms.zoom.test","app":"main","event_ts":1790000000000,"details":{"account_id":"a"}}}'
)
STOP: Final = (
    '{"kind":"stop","command":{"product":"session","session":{"key":"session_id","id":"of s"},"rtms_stream_id":"s",'
    '"app":"main","event_ts":1790000001000,"stop_reason":6}}'
)
OFFER: Final = '{"rtms_stream_id":"s","node":"x","incarnation":"i","token":7,"is_let_go":true}'


@pytest.mark.parametrize(
    ("read", "sent", "expected"),
    [
        (decode_command, START, start()),
        (decode_command, STOP, stop()),
        (decode_verdict, "new", Verdict.NEW),
        (decode_verdict, "not_mine", None),
        (decode_offer, OFFER, Offer(rtms_stream_id="s", node="x", incarnation="i", token=7, is_let_go=True)),
        (parts.decode_question, '{"ask":"list","rtms_stream_id":"s"}', parts.ListFiles(rtms_stream_id="s")),
        (
            parts.decode_question,
            '{"ask":"piece","rtms_stream_id":"s","path":"audio/5.wav","offset":262144}',
            parts.ReadPiece(rtms_stream_id="s", path="audio/5.wav", offset=262_144),
        ),
        (parts.decode_question, '{"ask":"gathered","rtms_stream_id":"s"}', parts.NoteGathered(rtms_stream_id="s")),
        (
            parts.decode_files,
            '{"readiness":"ready","nodes":["x"],"files":[],"is_all":true}',
            parts.Files(parts.Readiness.READY, ("x",)),
        ),
        (ctl.decode_question, '{"kind":"streams","include_ended":true}', ctl.AskStreams(include_ended=True)),
        (ctl.decode_question, '{"kind":"move","rtms_stream_id":"s","node":"x"}', ctl.Move("s", "x")),
    ],
)
def test_questions_and_answers_of_version_1(read: Callable[[bytes], object], sent: str, expected: object) -> None:
    assert read(sent.encode()) == expected


# The version after, which says more


@given(more=MORE, record=ROWS | PARTS)
def test_what_rows_and_parts_say_more_is_handed_on(more: Mapping[str, Any], record: Row | Part) -> None:
    data = json.dumps(json.loads(encode(record)) | more).encode()
    assert more.items() <= json.loads(encode(decode(type(record), data))).items()


@pytest.mark.parametrize(
    ("read", "sent"),
    [
        (decode_command, START),
        (decode_command, STOP),
        (decode_offer, OFFER),
        (parts.decode_files, '{"readiness":"nothing"}'),
        (ctl.decode_question, '{"kind":"report"}'),
    ],
)
def test_what_messages_say_more_does_no_harm(read: Callable[[bytes], object], sent: str) -> None:
    plain = json.loads(sent)
    inner = plain.get("command", plain)
    for each in (plain, inner):
        each["new"] = {"a": [1]}
        assert read(json.dumps(plain).encode()) == read(sent.encode())


@pytest.mark.parametrize(
    ("read", "sent"),
    [
        (decode_command, '{"kind":"pause","command":{}}'),
        (decode_verdict, "postponed"),
        (parts.decode_question, '{"ask":"list","rtms_stream_id":"s","since_ms":5}'),  # who ignored it answers wrongly
        (parts.decode_question, '{"ask":"delete","rtms_stream_id":"s"}'),
        (ctl.decode_question, '{"kind":"shut_down"}'),
    ],
)
def test_what_only_a_newer_version_knows_is_refused(read: Callable[[bytes], object], sent: str) -> None:
    with pytest.raises(EngineError):
        read(sent.encode())


# Members


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    async with a_crew("1", "2") as crew:
        yield crew


def put(engine: MemoryEngine, **changes: Any) -> int:
    return engine.tables.put_own("s", json.dumps(json.loads(OWN) | changes).encode())


def owner(engine: MemoryEngine) -> dict[str, Any]:
    data = engine.tables._streams["s"].own
    assert data is not None
    found: dict[str, Any] = json.loads(data)
    return found


async def test_what_a_record_says_more_is_handed_on_by_who_takes_the_stream_over(crew: Crew) -> None:
    put(crew.engine, new={"a": [1]})
    await trio.sleep(15)
    assert owner(crew.engine)["node"] in {"1", "2"}
    assert (owner(crew.engine)["epoch"], owner(crew.engine)["new"]) == (4, {"a": [1]})


async def test_the_stream_of_a_newer_version_is_left_alone_and_named_once(crew: Crew) -> None:
    """Its owner is dead: members of its version take it over."""
    with structlog.testing.capture_logs() as logs:
        token = put(crew.engine, v=2, why="of tomorrow")
        crew.engine.tables._streams["s"].row = encode(Row(rtms_stream_id="s", token=token, known=KNOWN))
        await trio.sleep(60)
        for mate in crew.mates.values():
            with pytest.raises(EngineError, match="update rtmsd"):
                await mate.router.accept(stop())
    assert crew.engine.tables.read("s").token == token
    assert not any(mate.streams for mate in crew.mates.values())
    named = [each for each in logs if each.get("rtms_stream_id") == "s" and "newer" in each["event"]]
    assert len(named) == len(crew.mates)


async def test_a_newer_part_is_not_inherited_and_a_newer_row_not_believed(autojump_clock: object) -> None:
    engine = MemoryEngine()
    part = Part(rtms_stream_id="s", node="x", token=1, epoch=3, state=PartState.LET_GO, clock_ms=T0_MS + 5)
    newer = json.loads(encode(part)) | {"v": 2}
    engine.tables.put_garbage("s", "x", json.dumps(newer).encode())
    own = decode(Own, OWN.encode())
    token = put(engine)
    row = json.loads(encode(Row(rtms_stream_id="s", token=token, known=Known())))
    engine.tables._streams["s"].row = json.dumps(row | {"v": 2}).encode()
    engine.tables.put_log(
        "s", json.dumps({"v": 2, "rtms_stream_id": "s", "token": token, "n": 0, "lines": {}}).encode()
    )
    async with engine.join("a", "i") as a:
        assert (await Inheritance(a, lambda: T0_MS).prepare(own, token))["inherited"] is None
        assert (await a.read("s")).known == KNOWN  # as the owner's record had it
        assert await a.parts("s") == []
        assert await a.read_log("s") == []


async def test_an_order_to_delete_is_one_in_all_versions(autojump_clock: object) -> None:
    """Who left it to others would keep, and later pass over, what Zoom wants to have deleted everywhere."""
    engine = MemoryEngine()
    engine.tables.put_revoked(b'{"v":2,"rtms_stream_id":"s","at_ms":1790000000000,"reason":"of tomorrow"}')
    async with engine.join("a", "i") as a:
        assert [each.record for each in await a.revocations()] == [Revoked(rtms_stream_id="s", at_ms=T0_MS, version=2)]


def test_who_beats_in_a_newer_version_lives_and_is_given_nothing() -> None:
    beat = decode(Beat, b'{"v":2,"node":"x","incarnation":"i","n":1,"state":"of tomorrow","capacity":1000}')
    assert not has_room(beat)


def test_the_log_names_a_newer_version_once_for_each_kind() -> None:
    reader = Reader()
    newer = json.dumps(json.loads(encode(Log(rtms_stream_id="s", token=1, n=1, lines={}))) | {"v": 2}).encode()
    with structlog.testing.capture_logs() as logs:
        for data in (b"garbage", newer, newer, b"garbage"):
            assert reader.record(Log, data, "rtms.00.log.s") is None
        for _ in range(2):
            with pytest.raises(NewerRecord):
                reader.record(Own, b'{"v":2}', "rtms.00.own.s")
    assert [(each["kind"], "update rtmsd" in each["event"]) for each in logs] == [
        ("log", False),
        ("log", True),
        ("own", True),
    ]
    assert {kind: count for kind, count in reader.unreadable.items() if count} == {"log": 4, "own": 2}
