"""Segments of files of pictures: after reconnections, restarts, changes of size, kills, damage, and of before."""

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import PayloadType
from rtmsd.recording.recovery.repair import repair
from rtmsd.recording.verify.verify import verify

VIDEO = frozenset({"video"})


def png(width: int, height: int = 10, number: int = 0) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\0\0\0\0" + b"%06d" % number


SIZE_BYTES = len(png(1))


async def begin(studio: Any) -> Any:
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    recorder.media.video_format(PayloadType.PNG)
    return recorder


def entry_of(directory: Path) -> dict[str, Any]:
    manifest = json.loads((directory / "stream.json").read_bytes())
    [entry] = [entry for entry in manifest["files"] if entry["media"] == "video"]
    return dict(entry)


def segments(directory: Path) -> list[tuple[Any, ...]]:
    return [tuple(each.values()) for each in entry_of(directory)["segments"]]


async def test_a_segment_begins_with_each_connection_and_change_of_size(studio: Any, tools: Any) -> None:
    recorder, T = await begin(studio), tools.T
    number = recorder.connected("media", VIDEO)
    for n, width in enumerate([640, 640, 800]):
        recorder.media.video(5, "Ana", T + 100 * n, png(width, number=n))
    recorder.lost(number, GapCause.MEDIA_RECONNECT, "closed")
    again = recorder.connected("media", VIDEO)
    recorder.media.video(5, "Ana", T + 900, b"neither JPEG nor PNG")
    recorder.media.video(5, "Ana", T + 1000, png(800, number=4))
    recorder.media.video(5, "Ana", T + 1050, b"")
    recorder.ended(6, T + 1100)
    await recorder.finish()
    directory = recorder.directory
    at = SIZE_BYTES
    assert segments(directory) == [
        (T, 0, 640, 10, number),
        (T + 200, 2 * at, 800, 10, number),
        (T + 900, 3 * at, 800, 10, again),
    ]
    entry = entry_of(directory)
    assert (entry["path"], entry["codec"], entry["width"], entry["height"]) == ("video/5.pngs", "PNG", 800, 10)
    lines = [json.loads(line) for line in (directory / entry["index"]).read_text().splitlines()]
    assert [line["key"] for line in lines] == [True, True, True, False, True]
    assert [line["connection"] for line in lines] == [number] * 3 + [again] * 2
    assert tools.manifest(recorder)["counters"]["corrupt_kinds"] == {"empty": 1, "image": 1}
    assert (verify(directory), repair(directory)) == ([], [])


async def test_pictures_without_a_size_have_one_as_soon_as_a_message_says_so(studio: Any, tools: Any) -> None:
    recorder, T = await begin(studio), tools.T
    recorder.media.video_format(PayloadType.H264)
    number = recorder.connected("media", VIDEO)
    recorder.media.video(5, "Ana", T, b"\0\0\0\x01\x41 not a key frame")
    recorder.ended(6, T + 1100)
    await recorder.finish()
    assert segments(recorder.directory) == [(T, 0, None, None, number)]
    assert "width" not in entry_of(recorder.directory)
    assert (verify(recorder.directory), repair(recorder.directory)) == ([], [])


@pytest.mark.parametrize("how", ["suspended", "killed"])
async def test_a_restart_keeps_segments_and_begins_another(studio: Any, tools: Any, how: str) -> None:
    recorder, T = await begin(studio), tools.T
    recorder.connected("media", VIDEO)
    recorder.media.video(5, "Ana", T, png(640))
    await recorder.flusher.flush()
    manifest = (recorder.directory / "stream.json").read_bytes()
    for n in range(1, 4):  # of which the manifest does not know
        recorder.media.video(5, "Ana", T + 100 * n, png(640 if n < 3 else 800, number=n))
    recorder.heard(T + 400)
    await (recorder.suspend() if how == "suspended" else recorder.flusher.flush())
    if how == "killed":
        (recorder.directory / "stream.json").write_bytes(manifest)
    recorder = await begin(studio)
    number = recorder.connected("media", VIDEO)
    recorder.media.video(5, "Ana", T + 1000, png(800, number=5))
    recorder.ended(6, T + 1100)
    await recorder.finish()
    expected = [(T, 0, 640), (T + 300, 3 * SIZE_BYTES, 800), (T + 1000, 4 * SIZE_BYTES, 800)]
    assert [each[:3] for each in segments(recorder.directory)] == expected
    assert segments(recorder.directory)[-1][4] == number > segments(recorder.directory)[-2][4]
    assert (verify(recorder.directory), repair(recorder.directory)) == ([], [])


async def record(studio: Any, tools: Any, widths: list[int], *, ends: bool = True) -> Path:
    recorder, T = await begin(studio), tools.T
    recorder.connected("media", VIDEO)
    for n, width in enumerate(widths):
        recorder.media.video(5, "Ana", T + 100 * n, png(width, number=n))
    if ends:
        recorder.ended(6, T + 100 * len(widths))
        await recorder.finish()
    else:
        await recorder.flusher.flush()
    directory: Path = recorder.directory
    return directory


async def test_a_lost_manifest_is_made_again_with_its_segments(studio: Any, tools: Any) -> None:
    directory = await record(studio, tools, [640, 640, 800, 640])
    before = entry_of(directory)
    (directory / "stream.json").unlink()
    repair(directory)
    assert entry_of(directory) == before
    assert verify(directory) == []


@pytest.mark.parametrize("longer", ["index", "pictures"])
async def test_of_file_and_index_the_longer_one_is_cut(studio: Any, tools: Any, longer: str) -> None:
    directory = await record(studio, tools, [640, 640, 800, 900])
    name = "video/5.pngs.jsonl" if longer == "pictures" else "video/5.pngs"
    kept = (directory / name).read_bytes()
    if longer == "index":
        os.truncate(directory / name, 3 * SIZE_BYTES)
    else:
        os.truncate(directory / name, kept.rindex(b"\n", 0, -1) + 1)
        manifest = json.loads((directory / "stream.json").read_bytes())
        manifest["files"][0] |= {"bytes": 3 * SIZE_BYTES, "duration_ms": 200}  # written before the last one
        (directory / "stream.json").write_text(json.dumps(manifest))
    assert verify(directory) != []
    repair(directory)
    assert [each[:3] for each in segments(directory)] == [(tools.T, 0, 640), (tools.T + 200, 2 * SIZE_BYTES, 800)]
    assert entry_of(directory)["width"] == 800
    assert (verify(directory), repair(directory)) == ([], [])


async def test_an_index_that_is_gone_keeps_its_segments(studio: Any, tools: Any) -> None:
    directory = await record(studio, tools, [640, 800, 800])
    before = segments(directory)
    (directory / "video/5.pngs.jsonl").unlink()
    repair(directory)
    assert segments(directory) == before
    assert (verify(directory), repair(directory)) == ([], [])


def spoil(path: tuple[str | int, ...], value: Any) -> Any:
    def work(directory: Path) -> None:
        manifest = json.loads((directory / "stream.json").read_bytes())
        inner = manifest["files"][0]
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (directory / "stream.json").write_text(json.dumps(manifest))

    return work


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("codec",), "JPG", "codec"),
        (("width",), 77, "77x10"),
        (("segments", 1, "offset"), 3, "within a picture"),
        (("segments", 1, "offset"), 10**6, "behind the end"),
        (("segments", 1, "from_ms"), 5, "time of its picture"),
        (("segments", 1, "connection"), 9, "another connection"),
        (("segments", 0, "width"), 77, "another size"),
        (("segments", 1, "offset"), 0, "in order"),
        (("segments",), [], "640x10, not as"),
    ],
)
async def test_verify_finds_segments_that_do_not_agree(
    studio: Any, tools: Any, path: tuple[str | int, ...], value: Any, says: str
) -> None:
    directory = await record(studio, tools, [800, 640])
    assert verify(directory) == []
    spoil(path, value)(directory)
    [problem] = verify(directory)
    assert problem.kind == "segments"
    assert says in problem.detail


async def test_segments_without_end_are_counted(studio: Any, tools: Any) -> None:
    directory = await record(studio, tools, [640 + n % 2 for n in range(1500)])
    counters = json.loads((directory / "stream.json").read_bytes())["counters"]
    assert (len(segments(directory)), counters["unlisted_segments"]) == (1001, 499)
    assert (verify(directory), repair(directory)) == ([], [])
    (directory / "stream.json").unlink()
    repair(directory)
    assert len(segments(directory)) == 1001
    assert verify(directory) == []


@pytest.mark.parametrize("ends", [True, False])
async def test_recordings_of_before_are_read_repaired_and_continued(studio: Any, tools: Any, ends: bool) -> None:
    directory = await record(studio, tools, [640, 800], ends=ends)
    manifest = json.loads((directory / "stream.json").read_bytes())
    for key in ("codec", "width", "height", "segments"):
        del manifest["files"][0][key]
    manifest["files"][0] |= {"path": "video/5.png", "index": "video/5.png.jsonl"}
    (directory / "stream.json").write_text(json.dumps(manifest))
    shutil.move(directory / "video/5.pngs", directory / "video/5.png")
    lines = [json.loads(line) for line in (directory / "video/5.pngs.jsonl").read_text().splitlines()]
    (directory / "video/5.pngs.jsonl").unlink()
    index = directory / "video/5.png.jsonl"
    index.write_text("".join(json.dumps({key: line[key] for key in list(line)[:3]}) + "\n" for line in lines))
    assert verify(directory) == []
    if ends:
        assert repair(directory) == []
        return
    recorder = await begin(studio)
    number = recorder.connected("media", VIDEO)
    recorder.media.video(5, "Ana", tools.T + 1000, png(800, number=9))
    recorder.ended(6, tools.T + 1100)
    await recorder.finish()
    assert entry_of(directory)["path"] == "video/5.png"
    assert segments(directory) == [(tools.T + 1000, 2 * SIZE_BYTES, 800, 10, number)]
    assert (verify(directory), repair(directory)) == ([], [])


async def test_pictures_that_went_on_in_another_file_stay_listed_after_a_restart(studio: Any, tools: Any) -> None:
    recorder, T = await begin(studio), tools.T
    recorder.connected("media", VIDEO)
    for n in range(4):
        recorder.media.video(5, "Ana", T + 100 * n, png(640, number=n))
        await studio.writer.flush()
        if n == 1:
            os.truncate(recorder.directory / "video/5.pngs", SIZE_BYTES)
    await recorder.suspend()
    recorder = await begin(studio)
    recorder.connected("media", VIDEO)
    recorder.media.video(5, "Ana", T + 1000, png(640, number=9))
    recorder.ended(6, T + 1100)
    await recorder.finish()
    assert {entry["path"] for entry in tools.manifest(recorder)["files"]} == {"video/5.pngs", "video/5-2.pngs"}
    assert [problem for problem in verify(recorder.directory) if problem.kind != "times"] == []
