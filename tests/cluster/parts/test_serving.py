"""What a member gives of its parts, and to what questions: only files of a recording, and only when it is at rest."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rtmsd.cluster.engine import EngineError, Refused
from rtmsd.cluster.parts import serving
from rtmsd.cluster.parts.questions import (
    PIECE_BYTES,
    BadQuestion,
    Files,
    ListFiles,
    NoteGathered,
    Readiness,
    ReadPiece,
    decode_files,
    decode_question,
    encode,
)
from rtmsd.recording.library.revoke import revoke_stored
from rtmsd.state import parts
from tests.cluster.parts.gathering import STREAM, Cluster, Node, record
from tests.cluster.strategies import VALUES
from tests.streams.harness import STREAM as LIVE
from tests.streams.harness import HastyDisk


async def listed(node: Node, rtms_stream_id: str = STREAM, after: str | None = None) -> Files:
    return decode_files(await node.server.answer(encode(ListFiles(rtms_stream_id=rtms_stream_id, after=after))))


async def piece(node: Node, path: str, offset: int = 0) -> bytes:
    return await node.server.answer(encode(ReadPiece(rtms_stream_id=STREAM, path=path, offset=offset)))


async def test_the_files_of_a_part_are_listed_and_read(autojump_clock: MockClock, cluster: Cluster) -> None:
    await record(cluster.root, "a", 1, range(500))
    async with cluster.live("a") as a:
        (a.directory / "notes.txt").write_text("not of the recording")
        (a.directory / "export").mkdir()
        (a.directory / "export" / "mix.wav").write_bytes(b"made of it")
        files = await listed(a)
        assert (files.readiness, files.nodes, files.is_all) == (Readiness.READY, ("a",), True)
        assert [file.path for file in files.files] == ["audio/5.wav", "events.jsonl", "stream.json"]
        for file in files.files:
            content = (a.directory / file.path).read_bytes()
            assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            read = b""
            while part := await piece(a, file.path, len(read)):
                assert len(part) <= PIECE_BYTES
                read += part
            assert read == content


async def test_what_is_not_here_is_not_noted_as_gathered(autojump_clock: MockClock, cluster: Cluster) -> None:
    """Notes stay for weeks: whatever comes must not fill the state file."""
    await record(cluster.root, "a", 1, range(5))
    async with cluster.live("a") as a:
        for name in (STREAM, *(f"s{number}" for number in range(20))):
            assert await a.server.answer(encode(NoteGathered(rtms_stream_id=name))) == b""
        assert (await a.bench.journal.transact(parts.gathered)).keys() == {STREAM}


async def test_a_long_list_is_read_page_by_page(
    autojump_clock: MockClock, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "FILES", 1)
    await record(cluster.root, "a", 1, range(5))
    async with cluster.live("a") as a:
        names, after, is_all = [], None, False
        while not is_all:
            files = await listed(a, after=after)
            names += [file.path for file in files.files]
            after, is_all = names[-1], files.is_all
        assert names == ["audio/5.wav", "events.jsonl", "stream.json"]


@pytest.mark.parametrize("path", ["notes.txt", "audio/6.wav", "export/mix.wav", "audio/link.wav", "transcript.vtt"])
async def test_no_other_file_is_given(autojump_clock: MockClock, cluster: Cluster, path: str, tmp_path: Path) -> None:
    await record(cluster.root, "a", 1, range(5))
    (tmp_path / "secret").write_text("secret")
    async with cluster.live("a") as a:
        (a.directory / "export").mkdir()
        for name in ("notes.txt", "export/mix.wav"):
            (a.directory / name).write_text("not of the recording")
        (a.directory / "audio" / "link.wav").symlink_to(tmp_path / "secret")
        manifest = json.loads((a.directory / "stream.json").read_bytes())
        manifest["files"].append({**manifest["files"][0], "path": "audio/link.wav"})  # whoever changed it
        (a.directory / "stream.json").write_text(json.dumps(manifest))
        assert path not in [file.path for file in (await listed(a)).files]
        with pytest.raises(Refused):
            await piece(a, path)


async def test_a_file_that_becomes_a_link_is_not_followed(
    autojump_clock: MockClock, cluster: Cluster, tmp_path: Path
) -> None:
    await record(cluster.root, "a", 1, range(5))
    (tmp_path / "secret").write_text("secret")
    async with cluster.live("a") as a:
        await listed(a)
        file = a.directory / "audio" / "5.wav"
        file.unlink()
        file.symlink_to(tmp_path / "secret")
        with pytest.raises(Refused, match="cannot be read"):
            await piece(a, "audio/5.wav")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "audio/../../x", "audio/..", ".hidden", "a/b/c", "", "A/b\0"])
def test_no_question_leads_elsewhere(path: str) -> None:
    with pytest.raises(BadQuestion):
        decode_question(encode(ReadPiece(rtms_stream_id=STREAM, path=path, offset=0)))


async def test_what_is_live_revoked_or_unknown_is_not_given(autojump_clock: MockClock, cluster: Cluster) -> None:
    await record(cluster.root, "a", 1, range(5))
    async with cluster.live("a") as a:
        await a.bench.up()
        assert await listed(a, LIVE) == Files(Readiness.BUSY)
        with pytest.raises(Refused):
            await a.server.answer(encode(ReadPiece(rtms_stream_id=LIVE, path="stream.json", offset=0)))
        for unknown in ("nothing", "..", "stream%2F1", "../.."):
            assert await listed(a, unknown) == Files(Readiness.NOTHING)
        assert (await listed(a)).readiness is Readiness.READY
        identity = {"rtms_stream_id": STREAM, "started_ms": 0}
        revoke_stored(HastyDisk(a.bench.directory / "recordings"), a.bench.directory / "recordings", identity, 0)
        with pytest.raises(Refused):  # though it was listed before
            await piece(a, "audio/5.wav")
        assert await listed(a) == Files(Readiness.NOTHING)


async def test_a_note_for_what_is_not_here_does_no_harm(autojump_clock: MockClock, cluster: Cluster) -> None:
    async with cluster.live("a") as a:
        assert await a.server.answer(encode(NoteGathered(rtms_stream_id="other"))) == b""
        assert cluster.states() == {}


MESSAGES = st.binary(max_size=200) | st.builds(
    lambda known, more: json.dumps(known | more).encode(),
    st.fixed_dictionaries(
        {},
        optional={
            "ask": st.sampled_from(["list", "piece", "gathered", "x"]),
            "rtms_stream_id": VALUES | st.just(STREAM),
            "path": VALUES | st.sampled_from(["stream.json", "../x", "audio/5.wav"]),
            "offset": VALUES | st.integers(),
            "after": VALUES,
            "readiness": st.sampled_from(["nothing", "ready", "x"]),
            "nodes": VALUES | st.lists(st.text(max_size=5)),
            "files": st.lists(st.dictionaries(st.sampled_from(["path", "bytes", "sha256"]), VALUES)),
        },
    ),
    st.dictionaries(st.text(max_size=5), VALUES, max_size=2),
)


@given(data=MESSAGES)
def test_any_message_is_one_or_refused(data: bytes) -> None:
    for decode in (decode_question, decode_files):
        try:
            message: Any = decode(data)
        except BadQuestion:
            continue
        assert decode(encode(message)) == message


async def test_any_question_is_answered_or_refused(autojump_clock: MockClock, cluster: Cluster) -> None:
    await record(cluster.root, "a", 1, range(5))
    async with cluster.live("a") as a:

        @given(data=MESSAGES)
        def ask(data: bytes) -> None:
            questions.append(data)

        questions: list[bytes] = []
        ask()
        unreadable = 0
        for data in questions:
            try:
                await a.server.answer(data)
            except BadQuestion:
                unreadable += 1
            except EngineError:
                await trio.lowlevel.checkpoint()
        assert a.garbage.counts["part_question"] == unreadable > 0
