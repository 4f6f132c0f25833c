"""Parts of a stream that ended are joined by who has its end: at once, later, after a restart, or without the lost."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.cluster.engine import PAGE, Away, EngineError
from rtmsd.cluster.engines.memory import Fault, MemoryMember
from rtmsd.cluster.parts.joining import StoppableDisk
from rtmsd.cluster.parts.questions import PART, PIECE_BYTES, ReadPiece, decode_question
from rtmsd.recording.disk.paths import building_of, staging_of
from rtmsd.recording.gather import gather
from rtmsd.recording.gather.errors import GatherError
from rtmsd.recording.library.librarian import RecordingInUse
from rtmsd.recording.manifest.schema import read_manifest
from rtmsd.recording.verify.verify import missing, verify
from rtmsd.state import parts
from tests.cluster.parts.gathering import STREAM, Cluster, packet, record


async def two(cluster: Cluster) -> None:
    """Member a has two seconds, and b the next two and the end."""
    first = await record(cluster.root, "a", 1, range(100))
    cluster.engine.tables.put_part(first)
    cluster.engine.tables.put_part(await record(cluster.root, "b", 2, range(100, 200), first, ends=True))


def samples(directory: Path) -> bytes:
    return (directory / "audio" / "5.wav").read_bytes()[-200 * 640 :]


def whole() -> bytes:
    return b"".join(map(packet, range(200)))


def joined_from(directory: Path) -> list[str]:
    manifest: dict[str, Any] = json.loads((directory / "stream.json").read_bytes())
    assert verify(directory) == []
    return [part["node"] for part in manifest.get("parts", [])]


def said(directory: Path) -> list[int]:
    lines = map(json.loads, (directory / "transcript.jsonl").read_text().splitlines())
    return [int(line["text"].removeprefix("said at ")) for line in lines]


async def test_parts_are_joined(autojump_clock: MockClock, cluster: Cluster) -> None:
    await two(cluster)
    async with cluster.live("a") as a, cluster.live("b") as b:
        directory = b.directory
        found = await b.gathered()
        assert found.directory == directory
        assert joined_from(directory) == ["a", "b"]
        assert samples(directory) == whole()
        assert missing(directory).elsewhere_ms == {}
        await b.teller.wait_told(STREAM)
        await a.teller.wait_told(STREAM)
        assert cluster.states() == {"a": "gathered", "b": "gathered"}
        assert set(await a.bench.journal.transact(parts.gathered)) == {STREAM}
        assert not staging_of(directory).exists()
        assert (a.directory / "audio" / "5.wav").is_file()  # others' parts are theirs to delete
        assert await b.gathered() is None


async def test_who_is_away_is_asked_again_also_after_a_restart(autojump_clock: MockClock, cluster: Cluster) -> None:
    await two(cluster)
    async with cluster.live("b") as b:
        b.tasks.start_soon(b.gatherer.run)
        await trio.sleep(70)
        assert b.gatherer.ungathered == [STREAM]
        assert joined_from(b.directory) == []
        with pytest.raises(GatherError, match="node a"):
            await b.gathered()
    async with cluster.live("b") as b:
        b.tasks.start_soon(b.gatherer.run)
        await trio.sleep(70)
        assert b.gatherer.ungathered == [STREAM]
        async with cluster.live("a"):
            await b.bench.until(lambda: b.gatherer.ungathered == [], within_s=130)
            assert joined_from(b.directory) == ["a", "b"]


async def test_what_is_left_to_be_gathered_by_hand_is_known_and_not_done(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    await two(cluster)
    async with cluster.live("a"), cluster.live("b") as b:
        b.tasks.start_soon(b.gatherer.watch)
        await trio.sleep(70)
        assert b.gatherer.ungathered == [STREAM]
        assert joined_from(b.directory) == []
        await b.gathered()
        assert b.gatherer.ungathered == []
        assert joined_from(b.directory) == ["a", "b"]


async def test_after_a_week_there_is_nobody_to_wait_for(autojump_clock: MockClock, cluster: Cluster) -> None:
    first = await record(cluster.root, "a", 1, range(60))
    second = await record(cluster.root, "c", 2, range(60, 100), first)
    await record(cluster.root, "b", 3, range(100, 200), second, ends=True)
    async with cluster.live("b") as b, cluster.live("c"):
        for part in (first, second):
            cluster.engine.tables.put_part(part)
        cluster.days = 6.9
        with pytest.raises(GatherError, match="node a: it is away"):
            await b.gathered()
        assert joined_from(b.directory) == []
        cluster.days = 7.1
        assert await b.gathered() is not None
        assert joined_from(b.directory) == ["c", "b"]
        assert missing(b.directory).elsewhere_ms == {"a": 1200}


async def test_what_the_engine_kept_is_in_the_joined_recording(autojump_clock: MockClock, cluster: Cluster) -> None:
    await two(cluster)
    for n in (0, 1, 1, 2):
        cluster.keep(1, n, n)
    cluster.keep(2, 0, 2, 3)
    async with cluster.live("a"), cluster.live("b") as b:
        assert (await b.gathered()).manifest.counters.others["from_log"] == {"transcript": 4}
        assert joined_from(b.directory) == ["a", "b"]
        assert said(b.directory) == [0, 1, 2, 3]


async def test_lines_of_who_is_gone_are_kept_longer_than_by_the_engine(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    await two(cluster)
    cluster.keep(1, 0, 0, 1)
    async with cluster.live("b") as b:
        with pytest.raises(GatherError, match="node a: it is away"):
            await b.gathered()
    cluster.engine.tables.purge(STREAM)
    cluster.days = 7.1
    async with cluster.live("b") as b:
        assert await b.gathered() is not None
        assert joined_from(b.directory) == ["b"]
        assert said(b.directory) == [0, 1]
        assert missing(b.directory).elsewhere_ms == {"a": 2000}
        assert await b.gathered() is None


async def test_a_log_is_read_on_where_the_engine_went_away(autojump_clock: MockClock, cluster: Cluster) -> None:
    engines = await long(cluster)
    for n in range(2 * PAGE):
        cluster.keep(1, n, n)
    async with cluster.live("a"), cluster.live("b") as b:
        bus = engines["b"]
        bus.log_fails_at = 2
        with pytest.raises(Away, match="connection is lost"):
            await b.gathered()
        with (staging_of(b.directory) / "log.jsonl").open("ab") as file:
            file.write(b'{"place": 9')  # this process died while it wrote
        await b.gathered()
        assert bus.pages == [0, PAGE, 2 * PAGE]
        assert said(b.directory) == list(range(2 * PAGE))


async def test_it_begins_when_a_stream_ends_here(autojump_clock: MockClock, cluster: Cluster) -> None:
    async with cluster.live("a"), cluster.live("b") as b:
        b.tasks.start_soon(b.gatherer.run)
        await trio.sleep(1)
        await two(cluster)
        ended = read_manifest(b.directory)
        assert ended is not None
        b.teller.saved(ended)
        await b.bench.until(lambda: b.gatherer.ungathered == [], within_s=5)
        assert joined_from(b.directory) == ["a", "b"]


async def test_only_who_has_the_end_gathers(autojump_clock: MockClock, cluster: Cluster) -> None:
    await two(cluster)
    async with cluster.live("a") as a, cluster.live("b") as b:
        assert await a.gathered() is None
        cluster.engine.tables.put_part(await record(cluster.root, "c", 3, range(200, 210)))
        assert await b.gathered() is None  # it was started again, there


async def test_what_was_copied_for_a_stream_that_went_on_elsewhere_is_removed(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    first = await record(cluster.root, "a", 1, range(100), ends=True)
    cluster.engine.tables.put_part(attrs.evolve(first, node="b", epoch=2))
    async with cluster.live("a") as a:
        copy = staging_of(a.directory) / "b"
        copy.mkdir(parents=True)
        assert await a.gathered() is None
        assert not copy.parent.exists()


async def test_a_start_removes_copies_that_no_gathering_will_continue(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    """An earlier life was killed after it had joined the parts, or while it copied them."""
    await two(cluster)
    async with cluster.live("b") as b:
        mine = staging_of(b.directory)
        others = mine.with_name("another%2Fstream")
        for copies in (mine, others):
            (copies / "a").mkdir(parents=True)
        await b.gatherer._scan()
        assert not others.exists()
        assert (mine / "a").is_dir()
        with pytest.raises(GatherError, match="node a: it is away"):
            await b.gathered()
        assert (mine / "a").is_dir()
        async with cluster.live("a"):
            await b.gathered()
        assert not mine.exists()
        mine.mkdir()
        await b.gatherer._scan()  # the manifest says that it was joined
        assert b.gatherer.ungathered == []
        assert not mine.exists()


async def test_a_start_keeps_copies_while_it_does_not_know_all_recordings(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    await two(cluster)
    async with cluster.live("b") as b:
        copies = staging_of(b.directory).with_name("another%2Fstream")
        copies.mkdir(parents=True)
        b.bench.supervisor.librarian.unread[Path("elsewhere")] = "no answer"
        await b.gatherer._scan()
        assert copies.is_dir()


async def test_without_the_engine_nothing_is_done(autojump_clock: MockClock, cluster: Cluster) -> None:
    await two(cluster)
    async with cluster.live("a"), cluster.live("b") as b:
        with cluster.engine.failing(Fault.AWAY), pytest.raises(Away):
            await b.gathered()
        assert joined_from((await b.gathered()).directory) == ["a", "b"]


class Tampered:
    """An engine that does something to the pieces that are copied."""

    def __init__(self, member: MemoryMember) -> None:
        self.member = member
        self.asked: list[ReadPiece] = []
        self.fails_at: int | None = None
        self.damages_at: int | None = None
        self.pages: list[int] = []  # how many records were known when the next were read
        self.log_fails_at: int | None = None
        self.before: Any = None

    async def ask(self, node: str, what: str, data: bytes, *, timeout_s: float) -> bytes:
        question = decode_question(data)
        if isinstance(question, ReadPiece):
            self.asked.append(question)
            if self.before is not None:
                await self.before()
            if len(self.asked) == self.fails_at:
                raise Away("the connection is lost")
        answer = await self.member.ask(node, what, data, timeout_s=timeout_s)
        if isinstance(question, ReadPiece) and len(self.asked) == self.damages_at:
            return bytes([answer[0] ^ 1]) + answer[1:]
        return answer

    async def parts(self, rtms_stream_id: str) -> Any:
        return await self.member.parts(rtms_stream_id)

    async def read_log(self, rtms_stream_id: str, *, after: int = 0) -> Any:
        if len(self.pages) + 1 == self.log_fails_at:
            self.log_fails_at = None
            raise Away("the connection is lost")
        records = await self.member.read_log(rtms_stream_id)
        page = await self.member.read_log(rtms_stream_id, after=after)
        self.pages.append(after - records[0].place + 1 if after else 0)
        return page


async def long(cluster: Cluster) -> dict[str, Tampered]:
    """Member a has ten seconds, which are more than one piece, and b two."""
    first = await record(cluster.root, "a", 1, range(500))
    cluster.engine.tables.put_part(first)
    cluster.engine.tables.put_part(await record(cluster.root, "b", 2, range(500, 600), first, ends=True))
    engines: dict[str, Tampered] = {}

    def wrap(member: MemoryMember) -> Tampered:
        engines[member.node] = Tampered(member)
        return engines[member.node]

    cluster.wrap = wrap
    return engines


async def test_a_copy_is_continued_where_it_stopped(autojump_clock: MockClock, cluster: Cluster) -> None:
    engines = await long(cluster)
    async with cluster.live("a"), cluster.live("b") as b:
        bus = engines["b"]
        bus.fails_at = 2
        with pytest.raises(GatherError, match="connection is lost"):
            await b.gathered()
        assert [(each.path, each.offset) for each in bus.asked] == [("audio/5.wav", 0), ("audio/5.wav", PIECE_BYTES)]
        assert joined_from((await b.gathered()).directory) == ["a", "b"]
        assert [each.offset for each in bus.asked if each.path == "audio/5.wav"] == [0, PIECE_BYTES, PIECE_BYTES]


async def test_what_was_damaged_on_the_way_is_copied_again(autojump_clock: MockClock, cluster: Cluster) -> None:
    engines = await long(cluster)
    async with cluster.live("a"), cluster.live("b") as b:
        engines["b"].damages_at = 2
        with pytest.raises(GatherError, match="was damaged on the way"):
            await b.gathered()
        assert joined_from((await b.gathered()).directory) == ["a", "b"]


async def test_it_is_not_copied_faster_than_allowed(autojump_clock: MockClock, cluster: Cluster) -> None:
    cluster.bytes_per_s = 10_000
    await two(cluster)
    async with cluster.live("a"), cluster.live("b") as b:
        assert await b.gathered() is not None
        assert 64_000 / 10_000 <= trio.current_time() <= 70_000 / 10_000 + 2


async def test_what_is_revoked_meanwhile_is_not_gathered(autojump_clock: MockClock, cluster: Cluster) -> None:
    engines = await long(cluster)
    async with cluster.live("a"), cluster.live("b") as b:
        engines["b"].before = trio.sleep_forever
        cluster.keep(1, 0, 1)
        b.tasks.start_soon(b.gatherer.run)
        await b.bench.until(lambda: engines["b"].asked)
        assert b"said at 1" in (staging_of(b.directory) / "log.jsonl").read_bytes()
        await b.gatherer.forget(STREAM)
        assert b.gatherer.ungathered == []
        directory = b.directory
        await b.bench.stop(reason=8, rtms_stream_id=STREAM)
        await b.bench.until(lambda: STREAM not in b.bench.supervisor.streams)
        await trio.sleep(70)
        assert [path.name for path in directory.iterdir()] == ["stream.json"]
        assert not staging_of(directory).exists()
        assert not building_of(directory).exists()


async def test_a_join_that_is_stopped_leaves_nothing(
    autojump_clock: MockClock, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two(cluster)
    async with cluster.live("a"), cluster.live("b") as b:
        before = sorted(b.bench.directory.rglob("*"))

        def join(rtms_stream_id: str, below: Any, disk: StoppableDisk, **given: Any) -> Any:
            assert not disk.is_stopped
            disk.is_stopped = True
            return gather.join(rtms_stream_id, below, disk, **given)

        monkeypatch.setattr("rtmsd.cluster.parts.joining.join", join)
        with pytest.raises(GatherError, match="not wanted any more"):
            await b.gathered()
        left = {path for path in b.bench.directory.rglob("*") if ".parts" not in path.parts} - set(before)
        assert {path.name for path in left} <= {".rtmsd.gather", ".rtmsd.gather.file"}


async def test_a_stream_that_comes_back_keeps_its_files(
    autojump_clock: MockClock, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two(cluster)
    async with cluster.live("a"), cluster.live("b") as b:
        streams: Any = b.bench.supervisor.streams

        def join(*args: Any, **given: Any) -> Any:
            streams[STREAM] = "back again"
            return gather.join(*args, **given)

        monkeypatch.setattr("rtmsd.cluster.parts.joining.join", join)
        before = (b.directory / "stream.json").read_bytes()
        with pytest.raises(RecordingInUse):
            await b.gathered()
        del streams[STREAM]
        monkeypatch.undo()
        assert (b.directory / "stream.json").read_bytes() == before
        assert not building_of(b.directory).exists()
        assert await b.gathered() is not None


async def test_members_that_know_nothing_of_parts_are_no_hindrance(autojump_clock: MockClock, cluster: Cluster) -> None:
    await two(cluster)
    async with cluster.live("a"), cluster.live("c", serves=False) as c, cluster.live("b") as b:
        with pytest.raises(EngineError):
            await b.member.ask(c.name, PART, b"", timeout_s=1)
        assert joined_from((await b.gathered()).directory) == ["a", "b"]


async def test_an_answer_that_is_none_is_counted_and_keeps_the_parts_apart(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    async def nonsense(_data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return b'{"readiness": "perhaps"}'

    await two(cluster)
    async with cluster.live("a", serves=False) as a, cluster.live("b") as b:
        a.member.serve(PART, nonsense)
        with pytest.raises(GatherError, match="node a: a message about a part cannot be read"):
            await b.gathered()
        assert b.garbage.counts["part_files"] == 1


async def test_who_is_frozen_holds_up_nobody_once_it_is_taken_for_dead(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    await two(cluster)
    async with cluster.live("a"), cluster.live("c"), cluster.live("b") as b:
        cluster.engine.fail(Fault.FROZEN, "c")
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.gathered)
            await trio.sleep(4)
            assert joined_from(b.directory) == []  # it may have a part that nobody knows of
            cluster.tell(silent=["c"])
        assert trio.current_time() - began_s < 5
        assert joined_from(b.directory) == ["a", "b"]
        cluster.engine.recover("c")


async def test_who_is_not_heard_is_away_and_not_asked(autojump_clock: MockClock, cluster: Cluster) -> None:
    await two(cluster)
    async with cluster.live("a"), cluster.live("b") as b:
        cluster.engine.fail(Fault.FROZEN, "a")
        cluster.tell(silent=["a"])
        with trio.fail_after(1), pytest.raises(GatherError, match="node a: it is away"):
            await b.gathered()
        cluster.engine.recover("a")
        cluster.tell()
        await b.gathered()
        assert joined_from(b.directory) == ["a", "b"]
