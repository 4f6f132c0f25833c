"""Data promised by a manifest and gone from disk: reported by verify, made a gap by repair and by the next start."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.protocol.media_data import ChatData, TranscriptData
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.media.wav.header import HEADER_BYTES
from rtmsd.recording.recovery.repair import repair
from rtmsd.recording.verify.verify import verify

MEDIA = frozenset({"audio", "video", "share", "transcript", "chat"})
SPOKEN = 50  # packets of 20 ms
PER_MS = 32


async def record(studio: Any, tools: Any, *, ends: bool) -> Path:
    T = tools.T
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    recorder.connected("media", MEDIA)
    for n in range(SPOKEN):
        time_ms = T + 20 * n
        recorder.media.audio(5, "Ana", time_ms, tools.packet(n))
        recorder.media.audio(6, "Bo", time_ms, tools.packet(n))
        recorder.media.video(5, "Ana", time_ms, b"picture %02d" % n)
        recorder.media.text(ChatData(user_id=6, user_name="Bo", timestamp_ms=time_ms, text=f"text {n}", details=None))
        utterance = TranscriptData(
            user_id=5,
            user_name="Ana",
            text=f"word {n}",
            timestamp_ms=time_ms,
            start_ms=time_ms,
            end_ms=time_ms + 19,
            language=9,
            attribute=None,
        )
        recorder.media.text(utterance)
    if ends:
        recorder.ended(6, T + 1000)
        await recorder.finish()
    else:
        recorder.heard(T + 1000)
        await recorder.flusher.flush()
    directory: Path = recorder.directory
    return directory


@pytest.fixture(params=[True, False], ids=["over", "killed"])
def directory(request: pytest.FixtureRequest, studio: Any, tools: Any) -> Path:
    return trio.run(lambda: record(studio, tools, ends=request.param))


def manifest_of(directory: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((directory / "stream.json").read_bytes())
    return manifest


def damaged(directory: Path) -> list[tuple[Any, ...]]:
    manifest = manifest_of(directory)
    start_ms = manifest["started_ms"]
    return [
        (gap["media"], gap["user_id"], gap["from_ms"] - start_ms, gap["to_ms"] - start_ms)
        for gap in (*manifest["gaps"], *manifest.get("gaps_within", []))
        if gap["cause"] == "damaged"
    ]


def events(directory: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (directory / "events.jsonl").read_bytes().splitlines())
    return [line for line in lines if line["kind"] == "file_damaged"]


def cut(name: str, size_bytes: int) -> Callable[[Path], None]:
    return lambda directory: os.truncate(directory / name, size_bytes)


def remove(*names: str) -> Callable[[Path], None]:
    def work(directory: Path) -> None:
        for name in names:
            path = directory / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return work


def zero(name: str, first: int, size_bytes: int) -> Callable[[Path], None]:
    def work(directory: Path) -> None:
        with (directory / name).open("r+b") as file:
            file.seek(first)
            file.write(bytes(size_bytes))

    return work


def link(name: str) -> Callable[[Path], None]:
    def work(directory: Path) -> None:
        elsewhere = directory.parents[1] / "elsewhere"
        shutil.move(directory / name, elsewhere)
        (directory / name).symlink_to(elsewhere)

    return work


WAV, VIDEO, INDEX = "audio/5.wav", "video/5.mjpeg", "video/5.mjpeg.jsonl"
FIRST_HALF = HEADER_BYTES + PER_MS * 500
WAYS = {
    "a WAV cut": (cut(WAV, FIRST_HALF), [("audio", 5, 500, 1000)], [WAV]),
    "a WAV cut within a sample": (cut(WAV, FIRST_HALF + 1), [("audio", 5, 500, 1000)], [WAV]),
    "a WAV cut within its header": (cut(WAV, 100), [("audio", 5, 0, 1000)], [WAV]),
    "a WAV emptied": (cut(WAV, 0), [("audio", 5, 0, 1000)], [WAV]),
    "a WAV removed": (remove(WAV), [("audio", 5, 0, 1000)], [WAV]),
    "a WAV overwritten with zeros": (
        zero(WAV, 0, HEADER_BYTES + PER_MS * 1000),
        [("audio", 5, 0, 1000)],
        [WAV],
    ),
    "the beginning of a WAV overwritten with zeros": (zero(WAV, 0, FIRST_HALF), [("audio", 5, 0, 500)], [WAV]),
    "the header of a WAV overwritten": (zero(WAV, 0, 12), [], []),
    "all audio removed": (
        remove("audio"),
        [("audio", 5, 0, 1000), ("audio", 6, 0, 1000)],
        ["audio/5.wav", "audio/6.wav"],
    ),
    "a link in the place of audio": (
        link("audio"),
        [("audio", 5, 0, 1000), ("audio", 6, 0, 1000)],
        ["audio/5.wav", "audio/6.wav"],
    ),
    "a link in the place of a WAV": (link(WAV), [("audio", 5, 0, 1000)], [WAV]),
    "pictures cut": (cut(VIDEO, 10 * 25), [("video", 5, 500, 981)], [VIDEO]),
    "pictures removed": (remove(VIDEO), [("video", 5, 0, 981)], [VIDEO]),
    "an index cut": (cut(INDEX, 1000), [("video", 5, 221, 981)], [VIDEO]),
    "an index removed": (remove(INDEX), [("video", 5, 0, 981)], [VIDEO]),
    "pictures and index removed": (remove(VIDEO, INDEX), [("video", 5, 0, 981)], [VIDEO]),
    "a transcript removed": (remove("transcript.jsonl"), [("transcript", None, 0, 999)], ["transcript.jsonl"]),
    "a transcript emptied": (cut("transcript.jsonl", 0), [("transcript", None, 0, 999)], ["transcript.jsonl"]),
    "captions removed": (remove("transcript.vtt"), [], []),
    "chat removed": (remove("chat.jsonl"), [("chat", None, 0, 980)], ["chat.jsonl"]),
    "events removed": (remove("events.jsonl"), [], ["events.jsonl"]),
    "events cut": (cut("events.jsonl", 200), [], ["events.jsonl"]),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Any:
    return WAYS[request.param]


def test_repair_makes_a_gap_of_what_is_missing(directory: Path, way: Any, request: pytest.FixtureRequest) -> None:
    damage, gaps, paths = way
    assert verify(directory) == []
    damage(directory)
    if "captions" not in request.node.name:  # they are made again whenever somebody asks
        assert verify(directory) != []
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    notes = repair(directory, dry_run=True)
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
    assert repair(directory) == notes
    assert damaged(directory) == gaps
    assert [event["path"] for event in events(directory)] == paths
    for path in paths:
        assert any(line.startswith(f"{path}: ") for line in notes)
    assert verify(directory) == []
    assert repair(directory) == []
    assert damaged(directory) == gaps


def test_a_daemon_that_is_started_again_makes_the_same_gap(studio: Any, tools: Any, way: Any) -> None:
    damage, gaps, paths = way

    async def run() -> Path:
        directory = await record(studio, tools, ends=False)
        damage(directory)
        studio.events.clear()
        recorder = await studio.open()
        assert [event["path"] for event in studio.events if event["kind"] == "file_damaged"] == paths
        recorder.connected("signaling", frozenset())
        recorder.connected("media", MEDIA)
        for n in range(SPOKEN, SPOKEN + 10):
            recorder.media.audio(5, "Ana", tools.T + 20 * n, tools.packet(n))
            recorder.media.audio(6, "Bo", tools.T + 20 * n, tools.packet(n))
            recorder.media.video(5, "Ana", tools.T + 20 * n, b"picture")
        recorder.ended(6, tools.T + 20 * (SPOKEN + 10))
        await recorder.finish()
        return directory

    directory = trio.run(run)
    assert damaged(directory) == gaps
    assert [event["path"] for event in events(directory)] == paths
    assert [problem for problem in verify(directory) if problem.kind != "stray"] == []


def test_silence_in_the_middle_cannot_be_distinguished_from_zeros(directory: Path) -> None:
    zero(WAV, FIRST_HALF, PER_MS * 100)(directory)
    assert verify(directory) == []
    assert repair(directory) == []


def test_what_a_kill_left_beyond_the_manifest_was_never_promised(directory: Path) -> None:
    """And what is cut off of it is no damage."""
    for name in (WAV, VIDEO, "transcript.jsonl", "chat.jsonl", "events.jsonl"):
        with (directory / name).open("ab") as file:
            file.write(b"{torn " * 7)
    repair(directory)
    assert damaged(directory) == []
    assert events(directory) == []


async def test_a_manifest_promises_only_what_was_synced(studio: Any, tools: Any) -> None:
    """A power failure takes away what no sync brought to the disk: everything that the manifest promises had one."""
    synced: dict[int, int] = {}
    checked: set[str] = set()

    class Noting(Disk):
        def sync(self, descriptor: int) -> None:
            super().sync(descriptor)
            known = os.fstat(descriptor)
            synced[known.st_ino] = known.st_size

        def replace_all(self, files: Sequence[tuple[Path, bytes]]) -> list[Exception | None]:
            for path, content in files:
                if path.name == "stream.json":
                    manifest = json.loads(content)
                    for entry in manifest["files"]:
                        inode = (path.parent / entry["path"]).stat().st_ino
                        assert synced.get(inode, 0) >= entry["bytes"], entry
                        checked.add(entry["path"])
            return super().replace_all(files)

    studio.disk = Noting()
    directory = await record(studio, tools, ends=False)
    synced.clear()  # a killed daemon's last flush may have come to the page cache only, and not to its manifest
    manifest = manifest_of(directory)
    for entry in manifest["files"]:
        inode = (directory / entry["path"]).stat().st_ino
        synced[inode] = entry["bytes"] = entry["bytes"] // 2 if entry["media"] == "audio" else entry["bytes"]
        entry["duration_ms"] = entry["duration_ms"] // 2 if entry["media"] == "audio" else entry["duration_ms"]
    (directory / "stream.json").write_text(json.dumps(manifest))
    recorder = await studio.open()
    await recorder.flusher.flush()
    assert damaged(directory) == []
    assert checked


def test_a_manifest_that_is_cut_is_made_again_and_reported(directory: Path) -> None:
    os.truncate(directory / "stream.json", 100)
    repair(directory)
    assert [event["path"] for event in events(directory)] == ["stream.json"]
    assert {entry["path"] for entry in manifest_of(directory)["files"]} == {
        "audio/5.wav",
        "audio/6.wav",
        "video/5.mjpeg",
        "transcript.jsonl",
        "chat.jsonl",
    }
    assert verify(directory) == []
    assert repair(directory) == []


def test_nul_bytes_at_the_start_of_lines_cost_none_of_them(directory: Path) -> None:
    path = directory / "events.jsonl"
    content = path.read_bytes()
    path.write_bytes(bytes(500) + content)
    assert [problem.kind for problem in verify(directory)] == ["line"]
    repair(directory)
    assert path.read_bytes() == content
    assert verify(directory) == []
