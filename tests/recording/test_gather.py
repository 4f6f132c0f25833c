"""Parts of a stream, recorded by several members, joined to one recording."""

import functools
import itertools
import json
import math
import shutil
from array import array
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_data import TranscriptData
from rtmsd.protocol.messages import Participant, SessionRef
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.paths import aside_of, building_of
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.gather import gather as gathering
from rtmsd.recording.gather.errors import GatherError
from rtmsd.recording.gather.gather import gather, join, put_in_place
from rtmsd.recording.gather.lines import Logged
from rtmsd.recording.gather.sources import NO_LOG, EngineLog
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.manifest.lines import json_line
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.media.wav.track import REACH_MS
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.parts import Inherited, PartSummary, summarize
from rtmsd.recording.recorder import Recorder
from rtmsd.recording.verify.verify import verify

STREAM: Final = "stream/1"
MEDIA: Final = frozenset({"audio", "transcript"})


@attrs.define
class Cluster:
    """Members that record one stream in turn. Times are packets of 20 ms since the start."""

    root: Path
    tools: Any
    codec: PayloadType = PayloadType.L16
    epoch: int = 0
    links: dict[Recorder, int] = attrs.field(factory=dict)  # the numbers of their media connections
    latest: tuple[str, PartSummary] | None = None
    clock: Iterator[int] = attrs.field(factory=partial(itertools.count, 7))
    logged: list[Logged] = attrs.field(factory=list)  # what the engine would have, each line in an append of its own

    async def take(self, node: str, *, over: bool = True) -> Recorder:
        recorder = await self.open(node, over=over)
        if self.epoch > 1:
            recorder.interrupted(GapCause.NODE_TAKEOVER, MEDIA)
        recorder.connected("signaling", frozenset())
        self.links[recorder] = recorder.connected("media", MEDIA)
        return recorder

    async def open(self, node: str, *, over: bool = True) -> Recorder:
        self.epoch += 1
        writer = Writer(self._settings(node), run_sync=at_once)
        inherited = None
        if over and self.latest is not None and self.latest[0] != node:
            shared = attrs.asdict(self.latest[1])
            known = {name: shared[name] for name in shared.keys() - {"files", "bytes", "gaps"}}
            inherited = Inherited.read(node=self.latest[0], epoch=self.epoch - 1, **known)
        info = StreamInfo(
            rtms_stream_id=STREAM,
            product="session",
            session=SessionRef("session_id", "a"),
            app="main",
            started_ms=self.tools.T,
        )
        recorder = await open_recorder(
            info,
            writer,
            local_ms=self.clock.__next__,
            cause=GapCause.NODE_TAKEOVER,
            tenure=PartTenure(node=node, epoch=self.epoch, token=self.epoch),
            inherited=inherited,
            on_event=partial(self._on_event, self.epoch),
        )
        recorder.media.context.copy_line = partial(self._log, self.epoch)
        recorder.flusher.on_saved = lambda manifest: self._saved(node, summarize(manifest))
        recorder.media.audio_format(self.tools.audio_format(codec=self.codec))
        recorder.terms.asked_now = MEDIA
        return recorder

    def _on_event(self, token: int, event: dict[str, Any]) -> None:
        self._log(token, "events", json_line({key: event[key] for key in event if key != "rtms_stream_id"}))

    def _log(self, token: int, stem: str, line: bytes) -> None:
        n = sum(each.token == token for each in self.logged)
        self.logged.append(Logged(len(self.logged) + 1, token, n, {stem: (line.decode(),)}))

    def log(self) -> EngineLog:
        path = self.root / "log.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in self.logged))
        return EngineLog(path)

    def _settings(self, node: str) -> Any:
        return Settings(self.root / node)

    def _saved(self, node: str, summary: PartSummary) -> None:
        self.latest = node, summary

    def say(self, recorder: Recorder, numbers: Iterable[int], user_id: int = 5) -> None:
        for number in numbers:
            recorder.media.audio(user_id, "Ana", self.tools.T + 20 * number, self.packet(number))

    def packet(self, number: int) -> bytes:
        """Samples that no other packet has."""
        if self.codec is PayloadType.OPUS:
            return bytes([0b1111_1000]) + number.to_bytes(2, "little") + b"speech"
        return _samples(number)

    def text(self, recorder: Recorder, number: int) -> None:
        at_ms = self.tools.T + 20 * number
        recorder.media.text(
            TranscriptData(
                user_id=5,
                user_name="Ana",
                timestamp_ms=at_ms,
                text=f"said {number}",
                start_ms=at_ms - 100,
                end_ms=at_ms,
                language=1,
                attribute=0,
            )
        )

    def heard(self, recorder: Recorder, number: int) -> None:
        recorder.heard(self.tools.T + 20 * number)

    async def end(self, recorder: Recorder, number: int) -> None:
        recorder.ended(6, self.tools.T + 20 * number, is_zooms=True)
        await recorder.finish()

    def gather(self, *nodes: str, to: str = "joined", log: EngineLog = NO_LOG) -> dict[str, Any]:
        (self.root / to).mkdir(exist_ok=True)
        found = join(STREAM, [self.root / node for node in nodes], Disk(self.root / to), log=log)
        put_in_place(found)
        assert verify(found.directory) == []
        manifest: dict[str, Any] = json.loads((found.directory / "stream.json").read_bytes())
        return manifest

    def texts(self, node: str = "joined") -> list[int]:
        """Return the numbers of what was said, by a transcript."""
        lines = map(json.loads, (self.directory(node) / "transcript.jsonl").read_text().splitlines())
        return [int(line["text"].removeprefix("said ")) for line in lines]

    def directory(self, node: str) -> Path:
        (found,) = (self.root / node).glob("*/stream%2F1")
        return found

    def gaps(self, manifest: dict[str, Any], media: str = "audio") -> list[tuple[Any, ...]]:
        return [
            (gap["cause"], gap["user_id"], (gap["from_ms"] - self.tools.T) / 20, (gap["to_ms"] - self.tools.T) / 20)
            for gap in manifest["gaps"]
            if gap["media"] == media
        ]


@functools.cache
def _samples(number: int) -> bytes:
    return array("H", (1 + (number * 320 + each) % 65_535 for each in range(320))).tobytes()


@attrs.frozen
class Settings:
    directory: Path
    sync_interval_s: float = 0.5
    buffer_bytes: int = 2**24


async def at_once(work: Any, *args: Any) -> Any:
    return work(*args)


@pytest.fixture
def cluster(tmp_path: Path, tools: Any) -> Cluster:
    return Cluster(tmp_path, tools)


async def test_two_parts_that_overlap_are_one(cluster: Cluster, tools: Any) -> None:
    first = await cluster.take("a")
    first.participants_joined([Participant(user_id=5, user_name="Ana")], tools.T)
    cluster.say(first, range(100))
    cluster.text(first, 50)
    cluster.text(first, 90)
    cluster.heard(first, 100)
    await first.suspend()
    second = await cluster.take("b")
    cluster.heard(second, 150)
    cluster.say(second, range(80, 200))
    cluster.text(second, 90)
    cluster.text(second, 160)
    await cluster.end(second, 200)
    found = cluster.gather("b", "a")
    assert cluster.gaps(found) == []
    assert cluster.gaps(found, "transcript") == [("node_takeover", None, 100, 150)]
    assert tools.samples(cluster.directory("joined") / "audio/5.wav") == b"".join(map(cluster.packet, range(200)))
    lines = (cluster.directory("joined") / "transcript.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["said 50", "said 90", "said 160"]
    assert [(part["node"], part["tenures"][0]["epoch"]) for part in found["parts"]] == [("a", 1), ("b", 2)]
    assert "part" not in found
    assert (found["state"], found["stop_reason"], found["ended_ms"]) == ("ended", 6, tools.T + 4000)
    assert found["counters"]["messages"]["audio"] == 220
    assert cluster.directory("a").is_dir()
    assert cluster.directory("b").is_dir()


async def test_what_begins_with_silence_behind_a_hole_is_not_moved(cluster: Cluster, tools: Any) -> None:
    for node, numbers in (("a", range(50)), ("b", range(50, 100))):
        recorder = await cluster.take(node)
        cluster.say(recorder, numbers)
        cluster.heard(recorder, numbers.stop)
        await recorder.suspend()
    third = await cluster.take("a")
    begins = bytes(2 * 32) + cluster.packet(100)[2 * 32 :]  # 2 ms, behind what b has
    third.media.audio(5, "Ana", tools.T + 2000, begins)
    cluster.say(third, range(101, 200))
    await cluster.end(third, 200)
    cluster.gather("a", "b")
    parts = [*map(cluster.packet, range(100)), begins, *map(cluster.packet, range(101, 200))]
    assert tools.samples(cluster.directory("joined") / "audio/5.wav") == b"".join(parts)


async def test_what_no_part_has_is_a_gap(cluster: Cluster, tools: Any) -> None:
    first = await cluster.take("a")
    cluster.say(first, range(100))
    cluster.heard(first, 100)
    await first.suspend()
    second = await cluster.take("b")
    cluster.heard(second, 150)
    cluster.say(second, range(130, 200))
    await cluster.end(second, 200)
    found = cluster.gather("a", "b")
    assert cluster.gaps(found) == [("node_takeover", None, 100, 130)]
    samples = tools.samples(cluster.directory("joined") / "audio/5.wav")
    assert samples == b"".join(bytes(640) if 100 <= n < 130 else cluster.packet(n) for n in range(200))


async def test_members_that_throw_each_other_out_lose_nothing(cluster: Cluster, tools: Any) -> None:
    """Two believe that they own the stream, and Zoom lets the newer connection evict the older one, again and again."""
    one, two = await cluster.take("a"), await cluster.take("b", over=False)
    for turn in range(80):
        recorder, numbers = (two, one)[turn % 2 == 0], range(turn * 10, turn * 10 + 10)
        if turn > 1:
            cluster.heard(recorder, numbers[0])
            cluster.links[recorder] = recorder.connected("media", MEDIA)
        cluster.say(recorder, numbers)
        cluster.heard(recorder, numbers[-1] + 1)
        recorder.lost(cluster.links[recorder], GapCause.MEDIA_RECONNECT, "evicted")
    await one.suspend()
    await cluster.end(two, 800)
    found = cluster.gather("a", "b")
    assert cluster.gaps(found) == []
    assert tools.samples(cluster.directory("joined") / "audio/5.wav") == b"".join(map(cluster.packet, range(800)))


async def test_only_one_of_two_that_began_a_stream_had_its_beginning(cluster: Cluster, tools: Any) -> None:
    """Neither knows of the other, and the newer one at Zoom evicts the older."""
    recorders = [await cluster.open(node, over=False) for node in ("b", "a")]
    for recorder, since, until in zip(recorders, (20, 150), (100, 200), strict=True):
        recorder.connected("signaling", frozenset())
        number = recorder.connected("media", MEDIA)
        recorder.event("stream_state_update", tools.T + 20 * since, zoom_state="active")
        cluster.heard(recorder, since)
        cluster.say(recorder, range(0 if since == 20 else 120, until))
        cluster.text(recorder, until - 5)
        cluster.heard(recorder, until)
        if recorder is recorders[0]:
            recorder.lost(number, GapCause.SIGNALING_RECONNECT, "evicted")
    await recorders[0].suspend()
    await cluster.end(recorders[1], 200)
    found = cluster.gather("a", "b")
    assert cluster.gaps(found) == [("signaling_reconnect", None, 100, 120)]
    assert cluster.gaps(found, "transcript") == [("signaling_reconnect", None, 100, 150)]


async def test_a_stream_that_came_back(cluster: Cluster, tools: Any) -> None:
    first = await cluster.take("a")
    cluster.say(first, range(100))
    cluster.heard(first, 100)
    await first.suspend()
    second = await cluster.take("b")
    cluster.heard(second, 110)
    cluster.say(second, range(100, 200))
    cluster.say(second, range(150, 200), user_id=6)
    cluster.heard(second, 200)
    await second.suspend()
    third = await cluster.take("a")
    cluster.heard(third, 210)
    cluster.say(third, range(195, 300))
    await cluster.end(third, 300)
    found = cluster.gather("a", "b")
    assert cluster.gaps(found) == []
    joined = cluster.directory("joined")
    assert tools.samples(joined / "audio/5.wav") == b"".join(map(cluster.packet, range(300)))
    assert tools.samples(joined / "audio/6.wav") == b"".join(map(cluster.packet, range(150, 200)))
    assert [tenure["epoch"] for part in found["parts"] for tenure in part["tenures"]] == [1, 3, 2]


async def test_opus_is_joined_packet_by_packet(cluster: Cluster) -> None:
    cluster.codec = PayloadType.OPUS
    first = await cluster.take("a")
    cluster.say(first, range(100))
    cluster.heard(first, 100)
    await first.suspend()
    second = await cluster.take("b")
    cluster.heard(second, 150)
    cluster.say(second, range(90, 140))
    cluster.say(second, range(150, 200))
    await cluster.end(second, 200)
    found = cluster.gather("a", "b")
    assert cluster.gaps(found) == [("node_takeover", None, 140, 150)]
    content = (cluster.directory("joined") / "audio/5.opus").read_bytes()
    said = [n for n in range(200) if not 140 <= n < 150]
    places = [content.find(cluster.packet(n)) for n in said]
    assert -1 not in places
    assert places == sorted(places)
    assert all(content.count(cluster.packet(n)) == 1 for n in said)
    assert found["files"][0]["duration_ms"] == 4000


@pytest.mark.parametrize("codec", [PayloadType.L16, PayloadType.OPUS])
async def test_a_single_packet_that_was_lost_is_taken_from_another_part(cluster: Cluster, codec: PayloadType) -> None:
    cluster.codec = codec
    first = await cluster.take("a")
    cluster.say(first, range(50))
    await first.flusher.flush()  # and it is killed, before it has written what comes next
    second = await cluster.take("b")
    cluster.heard(second, 55)
    cluster.say(second, range(50, 60))
    await second.suspend()
    again = await cluster.take("a")
    cluster.heard(again, 60)
    cluster.say(again, range(51, 100))
    await cluster.end(again, 100)
    found = cluster.gather("a", "b")
    assert cluster.gaps(found) == []
    (path,) = (cluster.directory("joined") / "audio").iterdir()
    places = [path.read_bytes().find(cluster.packet(number)) for number in range(100)]
    assert -1 not in places
    assert places == sorted(places)
    assert found["files"][0]["duration_ms"] == 2000


async def test_what_comes_late_for_the_time_of_a_member_that_got_nothing_is_kept(cluster: Cluster, tools: Any) -> None:
    first = await cluster.take("a")
    cluster.say(first, range(50))
    await first.suspend()
    idle = await cluster.take("b")
    cluster.heard(idle, 100)
    await idle.suspend()
    for numbers in (range(99, 110), range(60, 120)):  # live first, and after a restart out of Zoom's buffer
        again = await cluster.take("a")
        cluster.heard(again, 100)
        cluster.say(again, numbers)
        await again.suspend()
    last = await cluster.take("a")
    cluster.heard(last, 120)
    await cluster.end(last, 120)
    found = cluster.gather("a", "b")
    samples = tools.samples(cluster.directory("joined") / "audio/5.wav")
    assert samples == b"".join(
        cluster.packet(number) if number not in range(50, 60) else bytes(640) for number in range(120)
    )
    assert cluster.gaps(found) == [("node_takeover", None, 50, 60)]


async def test_a_part_that_is_not_at_hand_is_elsewhere(cluster: Cluster, tools: Any) -> None:
    for node, numbers in (("a", range(100)), ("b", range(100, 200))):
        recorder = await cluster.take(node)
        cluster.heard(recorder, numbers[0] + 5)
        cluster.say(recorder, numbers)
        cluster.heard(recorder, numbers[-1] + 1)
        await recorder.suspend()
    last = await cluster.take("c")
    cluster.heard(last, 205)
    cluster.say(last, range(200, 300))
    await cluster.end(last, 300)
    found = cluster.gather("b", "c")
    assert cluster.gaps(found) == []
    assert found["part"]["elsewhere"] == [{"node": "a", "from_ms": tools.T, "to_ms": tools.T + 2000, "epoch": 1}]
    whole = gather(STREAM, [cluster.directory("joined"), cluster.root / "a"], cluster.root / "whole")
    assert [gap for gap in whole.manifest.gaps if gap.media == "audio"] == []
    assert whole.manifest.part is UNSET
    assert verify(whole.directory) == []
    samples = tools.samples(whole.directory / "audio/5.wav")
    assert samples == b"".join(map(cluster.packet, range(300)))


async def two_parts(cluster: Cluster) -> None:
    first = await cluster.take("a")
    cluster.say(first, range(50))
    cluster.heard(first, 50)
    await first.suspend()
    second = await cluster.take("b")
    cluster.heard(second, 60)
    cluster.say(second, range(50, 100))
    await cluster.end(second, 100)


async def test_a_part_gives_its_place_to_the_joined_recording(cluster: Cluster, tools: Any) -> None:
    await two_parts(cluster)
    found = cluster.gather("a", "b", to="b")
    assert [part["node"] for part in found["parts"]] == ["a", "b"]
    assert tools.samples(cluster.directory("b") / "audio/5.wav") == b"".join(map(cluster.packet, range(100)))
    assert not aside_of(cluster.directory("b")).exists()
    assert not building_of(cluster.directory("b")).exists()


@pytest.mark.parametrize("at", ["verify", "erase", "_build"])
async def test_it_can_be_interrupted_and_run_again(
    cluster: Cluster, tools: Any, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    await two_parts(cluster)

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(gathering, at, interrupted)
        with pytest.raises(KeyboardInterrupt):
            cluster.gather("a", "b", to="b")
    if at != "erase":
        assert "parts" not in json.loads((cluster.directory("b") / "stream.json").read_bytes())
        cluster.gather("a", "b", to="b")
    else:
        with pytest.raises(GatherError, match="only one of them"):  # it is joined already, and says of which nodes
            cluster.gather("a", "b", to="b")
    assert tools.samples(cluster.directory("b") / "audio/5.wav") == b"".join(map(cluster.packet, range(100)))
    assert not aside_of(cluster.directory("b")).exists()


async def test_a_part_that_was_set_aside_comes_back(cluster: Cluster) -> None:
    await two_parts(cluster)
    target = cluster.directory("b")
    target.rename(aside_of(target))  # killed between two names
    building_of(target).mkdir()
    cluster.gather("a", "b", to="b")


async def test_nothing_is_put_in_place_that_is_not_right(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    await two_parts(cluster)
    before = {path: path.read_bytes() for path in cluster.root.rglob("*.wav")}
    monkeypatch.setattr(gathering, "verify", lambda directory: ["broken"])
    with pytest.raises(GatherError, match="is not right"):
        cluster.gather("a", "b", to="b")
    assert {path: path.read_bytes() for path in before} == before
    assert "parts" not in json.loads((cluster.directory("b") / "stream.json").read_bytes())


async def test_a_part_of_a_killed_member_is_read_as_it_would_be_repaired(cluster: Cluster, tools: Any) -> None:
    await two_parts(cluster)
    wav = cluster.directory("a") / "audio/5.wav"
    for path, torn in ((wav, b"\1\2\3"), (cluster.directory("a") / "events.jsonl", b'{"at_ms":')):
        with path.open("ab") as file:
            file.write(torn)  # of a flush that did not come to an end
    before = {path: path.read_bytes() for path in cluster.directory("a").rglob("*") if path.is_file()}
    cluster.gather("a", "b")
    assert {path: path.read_bytes() for path in before} == before


async def test_rtmsctl_joins_parts_without_a_daemon(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    await two_parts(cluster)
    ask = ["recordings", "gather", "stre", "--from", str(cluster.root / "a"), str(cluster.root / "b"), "--to"]
    joined = str(cluster.root / "joined")
    assert main([*ask, joined]) == Exit.OK
    assert capsys.readouterr().out == (
        f"{cluster.directory('joined')}: joined from 2 parts and verified, missing in all of them: "
        "transcript 0.2s (node_takeover)\n"
    )
    assert main([*ask, joined]) == Exit.FAILED
    assert "is there already" in capsys.readouterr().err
    assert main(["recordings", "gather", "x", *ask[3:], joined]) == Exit.NO_SUCH_STREAM
    each = [*ask[:5], "--from", *ask[5:]]
    assert main(["--json", *each, str(cluster.root / "again")]) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert (len(found["parts"]), found["gaps"], found["missing_ms"]) == (2, 1, {"node_takeover": 200})
    assert main([*ask[:4], str(cluster.root / "none"), "--to", joined]) == Exit.FAILED


async def test_what_cannot_be_joined_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    first = await cluster.take("a")
    cluster.say(first, range(50))
    await first.suspend()
    with pytest.raises(GatherError, match="no part knows the end"):
        cluster.gather("a")
    found = gather(STREAM, [cluster.root / "a"], cluster.root / "open", without_end=True)
    assert (found.manifest.state, found.manifest.ended_ms) == ("ended", cluster.tools.T + 1000)
    assert verify(found.directory) == []
    with pytest.raises(GatherError, match="is there already"):
        gather(STREAM, [cluster.root / "a"], cluster.root / "open", without_end=True)
    with pytest.raises(GatherError, match="no part of 'other'"):
        gather("other", [cluster.root / "a"], tmp_path / "joined")
    shutil.copytree(cluster.root / "a", cluster.root / "copy")
    with pytest.raises(GatherError, match="only one of them"):
        gather(STREAM, [cluster.root / "a", cluster.root / "copy"], cluster.root / "twice", without_end=True)
    manifest = json.loads((cluster.directory("a") / "stream.json").read_bytes())
    (cluster.directory("a") / "stream.json").write_text(json.dumps({**manifest, "state": "revoked"}))
    with pytest.raises(GatherError, match="revoked"):
        cluster.gather("a")


packets = st.integers(0, 60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turns=st.lists(
        st.fixed_dictionaries(
            {
                "node": st.sampled_from("abc"),
                "away": packets,  # between the owners
                "buffered": packets,  # so much from before the handshake comes
                "said": st.integers(0, 100),
                "lost": packets,  # of what was said, when it is killed
                "is_killed": st.booleans(),
            }
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_the_course_all_that_any_part_has_is_in_the_joined_recording(
    tmp_path_factory: pytest.TempPathFactory, tools: Any, turns: list[dict[str, Any]]
) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("course"), tools)
    kept: set[int] = set()

    async def course() -> int:
        now = 0
        for number, turn in enumerate(turns):
            recorder = await cluster.take(turn["node"])
            now += turn["away"] if number else 0
            if number:
                cluster.heard(recorder, now)
            said = range(max(0, now - turn["buffered"]) if number else now, now + turn["said"])
            now = said.stop
            is_last = number + 1 == len(turns)
            safe = len(said) - turn["lost"] if turn["is_killed"] and not is_last else len(said)
            cluster.say(recorder, said[: max(0, safe)])
            kept.update(said[: max(0, safe)])
            if is_last:
                await cluster.end(recorder, now)
            elif turn["is_killed"]:
                await recorder.flusher.flush()
                cluster.say(recorder, said[max(0, safe) :])
            else:
                cluster.heard(recorder, now)
                await recorder.suspend()
        return now

    end = trio.run(course)
    nodes = {turn["node"] for turn in turns}
    found = cluster.gather(*nodes)
    missing_at = {
        number
        for _, _, from_number, to_number in cluster.gaps(found)
        for number in range(math.ceil(from_number), math.floor(to_number))
    }
    astray = REACH_MS // 20 * len(turns)  # so far beside its time each of them may have been stored
    assert len(missing_at & kept) <= astray
    assert len(set(range(end)) - kept - missing_at) <= astray
    if kept:
        samples = tools.samples(cluster.directory("joined") / "audio/5.wav")
        spoken = (samples[at : at + 640] for at in range(0, len(samples), 640))
        voice = b"".join(each for each in spoken if each.strip(b"\0"))
        assert voice == b"".join(map(cluster.packet, sorted(kept)))


async def test_what_a_killed_member_lost_while_it_had_the_stream_was_lost_by_the_takeover(
    cluster: Cluster, tools: Any
) -> None:
    """Its part was never finished: it says only how far each of its connections was heard."""
    first = await cluster.take("a")
    first.lost(cluster.links[first], GapCause.MEDIA_RECONNECT, "split")
    first.connected("media", frozenset({"transcript"}))
    first.connected("media", frozenset({"audio"}))
    cluster.say(first, range(100))
    cluster.text(first, 90)
    cluster.say(first, range(100, 110))
    await first.flusher.flush()
    second = await cluster.take("b")
    cluster.heard(second, 120)
    cluster.say(second, range(110, 200))
    await cluster.end(second, 200)
    found = cluster.gather("a", "b")
    causes = {cause for cause, *_ in cluster.gaps(found, "transcript")}
    assert causes == {"media_reconnect", "node_takeover"}  # the first of them for the split
    assert cluster.gaps(found) == []


async def test_what_a_killed_member_lost_is_taken_from_the_log(cluster: Cluster, tools: Any) -> None:
    first = await cluster.take("a")
    for number in (10, 50):
        cluster.text(first, number)
    cluster.say(first, range(60))
    await first.flusher.flush()
    first.event("gone", tools.T + 20 * 65)
    for number in (70, 90):
        cluster.text(first, number)
    second = await cluster.take("b")
    cluster.heard(second, 120)
    for number in (130, 150):
        cluster.text(second, number)
    await cluster.end(second, 200)
    without = cluster.gather("a", "b", to="without")
    assert cluster.texts("without") == [10, 50, 130, 150]
    assert cluster.gaps(without, "transcript") == [("node_takeover", None, 60, 120)]
    found = cluster.gather("a", "b", log=cluster.log())
    assert cluster.texts() == [10, 50, 70, 90, 130, 150]
    assert cluster.gaps(found, "transcript") == [("node_takeover", None, 90, 120)]
    assert cluster.gaps(found) == cluster.gaps(without)  # of audio nothing is there
    assert found["counters"]["from_log"] == {"events": 1, "transcript": 2}
    events = (cluster.directory("joined") / "events.jsonl").read_bytes()
    assert events.count(b'"kind":"gone"') == 1
    assert (
        len(events.splitlines()) == len((cluster.directory("without") / "events.jsonl").read_bytes().splitlines()) + 1
    )
    captions = (cluster.directory("joined") / "transcript.vtt").read_text()
    assert [captions.count(f"said {number}") for number in (50, 70, 90, 130)] == [1, 1, 1, 1]
    assert "from_log" not in without["counters"]


async def test_what_only_a_member_had_that_is_gone_is_taken_from_the_log(cluster: Cluster, tools: Any) -> None:
    first = await cluster.take("a")
    cluster.heard(first, 0)
    for number in (10, 50, 90):
        cluster.text(first, number)
    cluster.say(first, range(100))
    await first.suspend()
    second = await cluster.take("b")
    cluster.heard(second, 110)
    cluster.text(second, 130)
    await cluster.end(second, 200)
    found = cluster.gather("b", log=cluster.log())
    assert cluster.texts() == [10, 50, 90, 130]
    assert found["counters"]["from_log"]["transcript"] == 3
    assert [each["node"] for each in found["part"]["elsewhere"]] == ["a"]  # its audio
    again = gather(STREAM, [cluster.directory("joined"), cluster.root / "a"], cluster.root / "whole")
    assert cluster.texts("whole") == [10, 50, 90, 130]
    assert verify(again.directory) == []
    events = (again.directory / "events.jsonl").read_bytes().splitlines()
    said = [line for each in cluster.logged for line in each.lines.get("events", ())]
    assert len(events) == len(said)


@pytest.mark.parametrize("is_back", [False, True])
async def test_what_a_killed_member_had_written_of_others_only_is_missing_of_who_talked(
    cluster: Cluster, tools: Any, is_back: bool
) -> None:
    first = await cluster.take("a")
    cluster.say(first, range(100))
    cluster.say(first, range(105), user_id=6)
    cluster.say(first, range(50), user_id=7)
    await first.flusher.flush()
    second = await cluster.take("b")
    cluster.heard(second, 105)
    cluster.say(second, range(105, 200))
    cluster.say(second, range(105, 200), user_id=6)
    await cluster.end(second, 200)
    if is_back:  # it puts its files in order, and finds that the stream is another's
        await (await cluster.open("a")).suspend()
    assert cluster.gaps(cluster.gather("a", "b")) == [("node_takeover", 5, 100, 105)]


@pytest.mark.parametrize("left", ["let go", "let go while it connected again", "killed", "thrown out"])
async def test_what_was_on_its_way_when_a_member_was_cut_off_is_missing_of_who_talked(
    cluster: Cluster, left: str
) -> None:
    """Of 5 less had come than of 6; 7 had been silent for long. Nothing is on its way where Zoom closes in order."""
    first = await cluster.take("a")
    cluster.say(first, range(100))
    cluster.say(first, range(105), user_id=6)
    cluster.say(first, range(50), user_id=7)
    is_cut = left != "thrown out"
    first.lost(cluster.links[first], GapCause.SIGNALING_RECONNECT, "no frame for 2 s", in_order=not is_cut)
    if left == "let go while it connected again":
        first.connected("media", MEDIA)
    await (first.flusher.flush() if left == "killed" else first.suspend(GapCause.NODE_TAKEOVER))
    second = await cluster.take("b")
    cluster.heard(second, 110)
    for user_id in (5, 6):
        cluster.say(second, range(110, 200), user_id)
    await cluster.end(second, 200)
    everybodys = ("node_takeover", None, 105, 110)
    expected = [("node_takeover", 5, 100, 105), everybodys] if is_cut else [everybodys]
    assert cluster.gaps(cluster.gather("a", "b")) == expected


async def test_what_was_on_its_way_to_one_member_and_came_to_another_is_not_missing(cluster: Cluster) -> None:
    first = await cluster.take("a")
    cluster.say(first, range(100))
    cluster.say(first, range(105), user_id=6)
    first.lost(cluster.links[first], GapCause.SIGNALING_RECONNECT, "no frame for 2 s")
    await first.suspend(GapCause.NODE_TAKEOVER)
    second = await cluster.take("b")
    cluster.heard(second, 110)
    cluster.say(second, range(100, 200))
    cluster.say(second, range(105, 200), user_id=6)
    await cluster.end(second, 200)
    assert cluster.gaps(cluster.gather("a", "b")) == []


async def test_what_zoom_had_given_to_a_dead_connection_is_missing_of_who_talked(cluster: Cluster, tools: Any) -> None:
    """Its buffer begins for 5 a packet later than for 6; 7 begins to talk, and 8 goes on, well behind that."""
    first = await cluster.take("a")
    for user_id in (5, 6, 8):
        cluster.say(first, range(100), user_id)
    first.lost(cluster.links[first], GapCause.SIGNALING_RECONNECT, "no frame for 2 s")
    await first.suspend(GapCause.NODE_TAKEOVER)
    second = await cluster.take("b")
    cluster.heard(second, 150)
    for user_id in (6, 5):
        cluster.say(second, range(150, 152), user_id)  # what is live comes first
    for user_id, numbers in ((6, range(110, 150)), (5, range(111, 150)), (7, range(125, 150)), (8, range(120, 150))):
        cluster.say(second, numbers, user_id)
    await cluster.end(second, 152)
    found = cluster.gaps(cluster.gather("a", "b"))
    assert found == [("node_takeover", None, 100, 110), ("node_takeover", 5, 110, 111)]
