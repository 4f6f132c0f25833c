"""A stream that several members of a cluster record, one after the other: what each part says of itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from msgspec import UNSET

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.messages import Participant, SessionRef
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.manifest.schema import manifest_from_json
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.parts import Inherited, PartSummary, summarize
from rtmsd.recording.recorder import Recorder
from rtmsd.recording.verify.times import check_part
from rtmsd.recording.verify.verify import missing, verify

AUDIO: Final = frozenset({"audio"})


@attrs.frozen
class Nodes:
    """The members, each with a directory of its own; `epoch` counts the tenures of the one stream."""

    root: Path
    tools: Any
    studio: Any
    epochs: list[str] = attrs.field(factory=list)
    saved: list[PartSummary] = attrs.field(factory=list)

    async def take(
        self, node: str, inherited: Inherited | None = None, *, started_again_ms: int | None = None
    ) -> Recorder:
        self.epochs.append(node)
        settings = attrs.evolve(self.studio.settings, directory=self.root / node)
        writer = Writer(settings, run_sync=at_once)
        tenure = PartTenure(node=node, epoch=len(self.epochs), token=100 + len(self.epochs))
        info = StreamInfo(
            rtms_stream_id="stream/1",
            product="session",
            session=SessionRef("session_id", "a"),
            app="main",
            started_ms=self.tools.T,
            started_again_ms=started_again_ms or self.tools.T,
        )
        recorder = await open_recorder(
            info,
            writer,
            local_ms=lambda: 7,
            cause=GapCause.NODE_TAKEOVER,
            tenure=tenure,
            inherited=inherited,
        )
        recorder.flusher.on_saved = lambda manifest: self.saved.append(summarize(manifest))
        recorder.media.audio_format(self.tools.audio_format())
        recorder.terms.asked_now = AUDIO
        return recorder

    def inherited(self, summary: PartSummary) -> Inherited:
        """What goes over the bus, and comes from it."""
        shared = attrs.asdict(summary)
        for own in ("files", "bytes", "gaps"):
            del shared[own]
        return Inherited.read(node=self.epochs[-1], epoch=len(self.epochs), **shared)

    def say(self, recorder: Recorder, numbers: Sequence[int], user_id: int = 5) -> None:
        for number in numbers:
            recorder.media.audio(user_id, "Ana", self.tools.T + 20 * number, self.tools.packet(number))


async def at_once(work: Any, *args: Any) -> Any:
    return work(*args)


@pytest.fixture
def nodes(tmp_path: Path, tools: Any, studio: Any) -> Nodes:
    return Nodes(tmp_path, tools, studio)


def gaps(recorder: Recorder, tools: Any) -> list[tuple[str, int, int]]:
    return [
        (gap["cause"], gap["from_ms"] - tools.T, gap["to_ms"] - tools.T) for gap in tools.manifest(recorder)["gaps"]
    ]


async def test_a_part_begins_where_the_one_before_has_come(nodes: Nodes, tools: Any) -> None:
    T = tools.T
    first = await nodes.take("a")
    first.first_packet(T)
    first.participants_joined([Participant(user_id=5, user_name="Ana")], T)
    first.connected("media", AUDIO)
    nodes.say(first, range(50))
    await first.suspend()
    assert tools.manifest(first)["part"]["tenures"] == [{"epoch": 1, "token": 101, "from_ms": T, "to_ms": T + 1000}]
    summary = nodes.saved[-1]
    assert (summary.clock_ms, summary.first_packet_ms, summary.paused_since_ms) == (T + 1000, T, None)
    assert summary.bytes >= 50 * 640

    second = await nodes.take("b", nodes.inherited(summary))
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.connected("media", AUDIO)
    second.heard(T + 3000)
    assert second.manifest()["gaps"][0]["from_ms"] == T + 1000
    nodes.say(second, range(45, 150))  # Zoom's buffer reaches back behind what the first one has
    second.ended(6, T + 3000)
    await second.finish()
    found = tools.manifest(second)
    assert gaps(second, tools) == []
    assert found["participants"] == tools.manifest(first)["participants"]
    assert found["first_packet_ms"] == T
    assert found["part"] == {
        "node": "b",
        "tenures": [{"epoch": 2, "token": 102, "from_ms": T + 1000, "to_ms": T + 3000}],
        "elsewhere": [{"node": "a", "from_ms": T, "to_ms": T + 1000, "epoch": 1}],
    }
    assert [(file["start_ms"] - T, file["duration_ms"]) for file in found["files"]] == [(900, 2100)]
    assert verify(second.directory) == []
    assert missing(second.directory) == (0, {}, {"a": 1000}, {})


async def test_what_zoom_did_not_buffer_is_the_gap_of_the_takeover(nodes: Nodes, tools: Any) -> None:
    first = await nodes.take("a")
    first.connected("media", AUDIO)
    nodes.say(first, range(50))
    await first.suspend()
    second = await nodes.take("b", nodes.inherited(nodes.saved[-1]))
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.connected("media", AUDIO)
    second.heard(tools.T + 5000)
    nodes.say(second, range(100, 300))
    second.ended(6, tools.T + 6000)
    await second.finish()
    assert gaps(second, tools) == [("node_takeover", 1000, 2000)]
    assert verify(second.directory) == []


async def test_a_stream_that_comes_back_goes_on_in_its_files(nodes: Nodes, tools: Any) -> None:
    T = tools.T
    first = await nodes.take("a")
    first.connected("media", AUDIO)
    nodes.say(first, range(50))
    await first.suspend()
    second = await nodes.take("b", nodes.inherited(nodes.saved[-1]))
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.connected("media", AUDIO)
    nodes.say(second, range(50, 100))
    nodes.say(second, range(60, 100), user_id=6)
    second.heard(T + 2000)
    await second.suspend()
    third = await nodes.take("a", nodes.inherited(nodes.saved[-1]))
    third.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    third.connected("media", AUDIO)
    third.heard(T + 2500)
    nodes.say(third, range(120, 150))
    third.ended(6, T + 3000)
    await third.finish()
    found = tools.manifest(third)
    assert gaps(third, tools) == [("node_takeover", 2000, 2400)]
    assert found["part"]["elsewhere"] == [{"node": "b", "from_ms": T + 1000, "to_ms": T + 2000, "epoch": 2}]
    assert [(each["epoch"], each["from_ms"] - T, each["to_ms"] - T) for each in found["part"]["tenures"]] == [
        (1, 0, 1000),
        (3, 2000, 3000),
    ]
    assert [person["user_id"] for person in found["participants"]] == [5, 6]
    assert [file["path"] for file in found["files"]] == ["audio/5.wav"]
    samples = tools.samples(third.directory / "audio/5.wav")
    said = [tools.packet(number) if number < 50 or number >= 120 else bytes(640) for number in range(150)]
    assert samples == b"".join(said)
    assert verify(third.directory) == []


@pytest.mark.parametrize("has_saved", [True, False])  # what the one between heard of the stream
@pytest.mark.parametrize("has_come", [True, False])
async def test_what_another_said_in_the_first_packets_time_went_to_who_had_it_before(
    nodes: Nodes, tools: Any, has_saved: bool, has_come: bool
) -> None:
    first = await nodes.take("a")
    first.connected("media", AUDIO)
    nodes.say(first, range(100))
    nodes.say(first, range(20), user_id=6)  # silent when it is killed
    await first.flusher.flush()
    second = await nodes.take("b", nodes.inherited(nodes.saved[-1]))
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.connected("media", AUDIO)
    if has_saved:
        nodes.say(second, range(100, 200))
        nodes.say(second, range(150, 200), user_id=6)
    await second.flusher.flush()
    third = await nodes.take("a", nodes.inherited(nodes.saved[-1]))
    third.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    third.connected("media", AUDIO)
    third.heard(tools.T + 4500)
    nodes.say(third, [220])
    nodes.say(third, range(221, 250), user_id=6)
    nodes.say(third, range(221, 250))
    if has_come:  # it was only overtaken
        nodes.say(third, [220], user_id=6)
    third.ended(6, tools.T + 5000)
    await third.finish()
    found = [
        (gap["user_id"], gap["from_ms"] - tools.T, gap["to_ms"] - tools.T) for gap in tools.manifest(third)["gaps"]
    ]
    missing = [] if has_come else [(6, 4400, 4420)]
    assert found == [(None, 4000 if has_saved else 2000, 4400), *missing]
    assert verify(third.directory) == []


async def test_who_is_first_heard_later_lost_nothing_before(nodes: Nodes, tools: Any) -> None:
    first = await nodes.take("a")
    first.connected("media", AUDIO)
    nodes.say(first, range(100))
    nodes.say(first, range(20), user_id=6)
    await first.suspend()
    second = await nodes.take("b", nodes.inherited(nodes.saved[-1]))
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.connected("media", AUDIO)
    nodes.say(second, range(100, 200))
    await second.suspend()
    third = await nodes.take("a", nodes.inherited(nodes.saved[-1]))
    third.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    third.connected("media", AUDIO)
    nodes.say(third, range(200, 300))
    nodes.say(third, range(210, 300), user_id=6)
    third.ended(6, tools.T + 6000)
    await third.finish()
    assert gaps(third, tools) == []
    assert verify(third.directory) == []


async def test_a_predecessor_that_heard_nothing_leaves_all_missing(nodes: Nodes, tools: Any) -> None:
    first = await nodes.take("a")
    await first.suspend()
    assert nodes.saved[-1].clock_ms is None
    second = await nodes.take("b", nodes.inherited(nodes.saved[-1]))
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.connected("media", AUDIO)
    second.heard(tools.T + 1000)
    nodes.say(second, range(25, 100))
    second.ended(6, tools.T + 2000)
    await second.finish()
    assert gaps(second, tools) == [("node_takeover", 0, 500)]
    assert tools.manifest(second)["part"]["elsewhere"] == []
    assert verify(second.directory) == []


async def test_a_pause_goes_on_over_the_takeover(nodes: Nodes, tools: Any) -> None:
    T = tools.T
    first = await nodes.take("a")
    signaling = first.connected("signaling", frozenset())
    first.connected("media", AUDIO)
    nodes.say(first, range(50))
    first.paused(T + 1000)
    first.heard(T + 2000)
    first.lost(signaling, GapCause.SIGNALING_RECONNECT, "let go")
    await first.suspend()
    second = await nodes.take("b", nodes.inherited(nodes.saved[-1]))
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.connected("signaling", frozenset())
    second.connected("media", AUDIO)
    second.paused(T + 1000)  # Zoom says it again
    second.heard(T + 3000)
    second.resumed(T + 4000)
    nodes.say(second, range(200, 250))
    second.ended(6, T + 5000)
    await second.finish()
    assert [(pause["from_ms"] - T, pause["to_ms"] - T) for pause in tools.manifest(second)["pauses"]] == [(1000, 4000)]
    assert gaps(second, tools) == []
    assert verify(second.directory) == []


async def test_what_is_missing_before_the_next_member_began_is_a_gap_however_short(nodes: Nodes, tools: Any) -> None:
    """A packet that was lost then reaches into the other's gap, and is in none without it."""
    T = tools.T
    first = await nodes.take("a")
    first.connected("media", AUDIO)
    nodes.say(first, range(50))
    first.heard(T + 1001)
    await first.flusher.flush()  # and it is killed
    second = await nodes.take("b", nodes.inherited(nodes.saved[-1]))
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.connected("media", AUDIO)
    nodes.say(second, range(60, 100))
    await second.suspend(GapCause.NODE_TAKEOVER, "handed over")
    again = await nodes.take("a", nodes.inherited(nodes.saved[-1]))
    again.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    again.connected("media", AUDIO)
    nodes.say(again, range(110, 150))
    again.ended(6, T + 3000)
    await again.finish()
    assert tools.manifest(second)["gaps"][0]["from_ms"] == T + 1001
    assert gaps(again, tools) == [("node_takeover", 1000, 1001), ("node_takeover", 2000, 2200)]
    assert verify(again.directory) == []


async def test_a_member_that_took_over_is_killed_and_resumes(nodes: Nodes, tools: Any) -> None:
    T = tools.T
    first = await nodes.take("a")
    first.connected("media", AUDIO)
    nodes.say(first, range(50))
    await first.suspend()
    killed = await nodes.take("b", nodes.inherited(nodes.saved[-1]))
    killed.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    await killed.flusher.flush()
    again = await nodes.take("b")
    again.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    again.connected("media", AUDIO)
    again.heard(T + 2000)
    nodes.say(again, range(80, 100))
    again.ended(6, T + 2000)
    await again.finish()
    assert gaps(again, tools) == [("node_takeover", 1000, 1600)]
    part = tools.manifest(again)["part"]
    assert [(each["epoch"], each["from_ms"] - T, each["to_ms"] - T) for each in part["tenures"]] == [
        (2, 1000, 1000),
        (3, 1000, 2000),
    ]
    assert verify(again.directory) == []


async def test_a_stream_that_ends_before_it_is_connected_here(nodes: Nodes, tools: Any) -> None:
    first = await nodes.take("a")
    first.connected("media", AUDIO)
    nodes.say(first, range(50))
    await first.suspend()
    second = await nodes.take("b", nodes.inherited(nodes.saved[-1]))
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.ended(6, tools.T + 990, is_zooms=True)
    await second.finish()
    assert tools.manifest(second)["ended_ms"] == tools.T + 1000
    assert gaps(second, tools) == []
    assert verify(second.directory) == []


async def test_a_stream_that_had_ended_elsewhere_is_started_again_here(nodes: Nodes, tools: Any) -> None:
    T = tools.T
    first = await nodes.take("a")
    first.connected("media", AUDIO)
    nodes.say(first, range(50))
    first.ended(6, T + 1000)
    await first.finish()
    inherited = attrs.evolve(nodes.inherited(nodes.saved[-1]), has_ended=True)
    second = await nodes.take("b", inherited, started_again_ms=T + 5000)
    second.interrupted(GapCause.NODE_TAKEOVER, AUDIO)
    second.connected("media", AUDIO)
    second.heard(T + 5500)
    nodes.say(second, range(260, 300))
    second.ended(6, T + 6000)
    await second.finish()
    found = tools.manifest(second)
    assert [(each["from_ms"] - T, each["to_ms"] - T, each["why"]) for each in found["pauses"]] == [
        (1000, 5000, "ended")
    ]
    assert gaps(second, tools) == [("node_takeover", 5000, 5200)]
    assert [(each["from_ms"] - T, each["to_ms"] - T) for each in found["part"]["tenures"]] == [(5000, 6000)]
    assert verify(second.directory) == []


async def test_without_a_cluster_there_is_no_part(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.ended(6, tools.T)
    await recorder.finish()
    assert tools.manifest(recorder).keys().isdisjoint({"part", "parts"})


def test_unknown_keys_of_a_part_are_kept(tools: Any) -> None:
    plain = {
        "version": 1,
        "rtms_stream_id": "s",
        "state": "ended",
        "started_ms": tools.T,
        "ended_ms": tools.T,
        "participants": [],
        "files": [],
        "gaps": [],
        "connections": [],
        "counters": {"messages": {}},
        "part": {"node": "a", "new": 1, "tenures": [{"epoch": 1, "token": 2, "from_ms": 3, "to_ms": 4, "new": 5}]},
    }
    part = manifest_from_json(plain).part
    assert part is not UNSET
    assert (part.others, part.tenures[0].others) == ({"new": 1}, {"new": 5})


def test_a_record_of_others_is_read_as_far_as_it_can_be() -> None:
    inherited = Inherited.read(
        node="a",
        epoch=1,
        clock_ms=2**60,
        first_packet_ms=None,
        paused_since_ms=-5,
        participants=[{"user_id": 1, "user_name": "Ana", "new": 2}, {"user_id": []}],
        media={"audio": {"asked": {}, "granted": 7}, "video": {"asked": {}}},
    )
    assert (inherited.clock_ms, inherited.paused_since_ms) == (None, None)
    assert [(person.user_id, person.others) for person in inherited.participants] == [(1, {"new": 2})]
    assert list(inherited.media) == ["video"]


@pytest.mark.parametrize(
    ("part", "gap", "wrong"),
    [
        ({"elsewhere": [{"node": "a", "from_ms": 0, "to_ms": 10}]}, (5, 20), "is recorded elsewhere, in part"),
        ({"tenures": [{"epoch": 1, "token": 1, "from_ms": 0, "to_ms": None}]}, (5, 20), "open although"),
        ({"tenures": [{"epoch": 1, "token": 1, "from_ms": 9, "to_ms": 8}]}, (5, 20), "ends before it begins"),
        (
            {"elsewhere": [{"node": "a", "from_ms": 0, "to_ms": 5}, {"node": "b", "from_ms": 4, "to_ms": 5}]},
            (5, 20),
            "begins before the one before",
        ),
    ],
)
def test_verify_names_what_is_wrong_with_a_part(part: dict[str, Any], gap: tuple[int, int], wrong: str) -> None:
    manifest = {
        "state": "ended",
        "ended_ms": 100,
        "part": part,
        "gaps": [{"media": "audio", "from_ms": gap[0], "to_ms": gap[1]}],
    }
    assert [problem for problem in check_part(manifest) if wrong in problem.detail]
