"""Whatever comes over the bus: no stream ends by it, it is counted, and it is not obeyed."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import trio

from rtmsd.cluster.codec import encode
from rtmsd.cluster.engines.memory import MemoryEngine, MemoryMember
from rtmsd.cluster.handover.offers import Offer, encode_offer
from rtmsd.cluster.hooks import encode_command
from rtmsd.cluster.records import Beat, Log, Own, Part, PartState, Revoked, Row, Why
from rtmsd.config.cluster import ClusterConfig
from rtmsd.node.answering import Answering
from rtmsd.node.draining import Draining
from rtmsd.simulator import open_simulator
from rtmsd.state.rows import Known
from tests.admin.fleet.crew import Backend
from tests.cluster.crew import start, stop
from tests.faults.process import until
from tests.faults.test_changing_hands import more_audio
from tests.faults.test_handing_over import SETTINGS, Node, open_node
from tests.node.nodes import ModelHealth

MESSAGES: Final = 100_000
SEED: Final = 12
WRONG: Final[tuple[Any, ...]] = (None, True, -1, 2**70, 1.5, "", [], [[1]])
QUESTIONS: Final[dict[str, Callable[[str], list[bytes]]]] = {
    "hook": lambda name: [encode_command(start(name)), encode_command(stop(name))],
    "stored": lambda name: [encode_command(start(name)), encode_command(stop(name))],
    "take": lambda name: [encode_offer(Offer(rtms_stream_id=name, node="b", incarnation="i", token=1, is_let_go=True))],
    "ctl": lambda name: [
        json.dumps({"kind": "act", "command": "stop", "rtms_stream_id": name}).encode(),
        json.dumps({"kind": "move", "rtms_stream_id": name, "node": "b"}).encode(),
    ],
    "part": lambda name: [json.dumps({"ask": "piece", "rtms_stream_id": name, "path": "a.wav", "offset": 0}).encode()],
}
NEEDED: Final = {
    "hook": ("kind", "command"),
    "stored": ("kind", "command"),
    "take": ("rtms_stream_id", "node", "incarnation", "token"),
    "ctl": ("kind", "rtms_stream_id"),
    "part": ("ask", "rtms_stream_id", "path", "offset"),
    "record": ("v",),
}


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="rtmsd"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def garbage(random: Random, right: bytes, needed: tuple[str, ...]) -> bytes:
    """Return what is like a message, and none."""
    match random.randrange(6):
        case 0:
            return random.randbytes(random.randrange(200))
        case 1:
            return right[: random.randrange(len(right))]
        case 2:
            return b"[" * random.randrange(1, 5000)
        case 3:
            return b"\xff" + right
    plain: dict[str, Any] = json.loads(right)
    key = random.choice(needed)
    if random.randrange(2):
        del plain[key]
    else:
        plain[key] = random.choice(WRONG)
    return json.dumps(plain).encode()


def records(name: str) -> dict[str, bytes]:
    row = Row(rtms_stream_id=name, token=1, known=Known())
    return {
        "own": encode(Own(rtms_stream_id=name, node="b", incarnation="i", epoch=1, nonce="n", why=Why.STARTED)),
        "row": encode(row),
        "part": encode(Part(rtms_stream_id=name, node="b", token=1, epoch=1, state=PartState.RECORDING)),
        "log": encode(Log(rtms_stream_id=name, token=1, n=1, lines={"events": ("{}",)})),
        "revoked": encode(Revoked(rtms_stream_id=name, at_ms=1)),
        "beat": encode(Beat(node="b", incarnation="i", n=1)),
    }


def _answer(node: Node, nursery: trio.Nursery) -> None:
    member = node.membership
    draining = Draining(member.handover, take_none=lambda _on: None, for_s=60, nursery=nursery)

    async def gather(rtms_stream_id: str) -> dict[str, Any]:
        raise AssertionError(rtms_stream_id)

    Answering(
        Backend(),
        ModelHealth(),
        ownership=member.ownership,
        draining=draining,
        ungathered=tuple,
        gather=gather,
        garbage=member.garbage,
    ).serve(member.engine)


async def ask(member: MemoryMember, random: Random, what: str, name: str, count: int) -> Counter[str]:
    """Ask nonsense, and return how often each answer came."""
    answers: Counter[str] = Counter()
    rights = QUESTIONS[what](name)
    for _ in range(count):
        answer = await member._answer(what, garbage(random, random.choice(rights), NEEDED[what]))
        answers[str(answer)] += 1
    return answers


async def write(engine: MemoryEngine, random: Random, kind: str, name: str, count: int) -> None:
    """Put nonsense where records are, in place of each other."""
    tables, right = engine.tables, records(name)[kind]
    for number in range(count):
        data = garbage(random, right, NEEDED["record"])
        match kind:
            case "own":
                tables.put_own(name, data)
            case "row":
                tables._streams[name].row = data
            case "part":
                tables.put_garbage(name, "b", data)
            case "log":
                tables.put_log(name, data)
            case "revoked":
                tables.put_revoked(data)
            case "beat":
                engine.publish(data)
        if number % 100 == 0:
            engine.changed()
            await trio.lowlevel.checkpoint()


@pytest.mark.long
async def test_garbage_ends_no_stream_and_is_not_obeyed(place: Path) -> None:
    engine, random = MemoryEngine(), Random(SEED)
    settings = ClusterConfig(beat_s=0.1, gather="manual")
    async with (
        open_node(engine, place / "a", "a", settings) as node,
        open_node(engine, place / "b", "b", settings) as other,
        open_simulator(SETTINGS) as simulator,
        trio.open_nursery() as nursery,
    ):
        _answer(node, nursery)
        session = await simulator.start_session(["Ana"])
        await node.begin(session)
        await more_audio(session)
        name, member = session.rtms_stream_id, engine.member("a")
        assert member is not None
        life, count = node.streams[name], MESSAGES // (len(QUESTIONS) + len(records("s")))
        refused = {}
        for what in QUESTIONS:
            refused[what] = await ask(member, random, what, name, count)
        for answers in refused.values():
            assert not any("internal error" in answer for answer in answers)
            assert all(answer.startswith(("the ", "a message")) for answer in answers), answers
        kinds = {"command": 2, "offer": 1, "question": 1, "part_question": 1}
        assert {kind: node.membership.garbage.counts[kind] for kind in kinds} == {
            kind: times * count for kind, times in kinds.items()
        }
        for kind in records(name):
            await write(engine, random, kind, name, count)
        node.membership.appender.write(name, "events", "{}")
        await until(lambda: node.membership.members.is_me(engine.tables.read(name).own))
        assert engine.tables.unreadable > count
        assert node.streams[name] is life
        assert not other.streams
        await more_audio(session)
        assert [each.kind for each in session.record.handshakes].count("signaling") == 1
        await until(lambda: len(node.membership.members.living()) == 2)
        nursery.cancel_scope.cancel()
