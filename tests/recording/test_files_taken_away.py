"""Files of a live recording that others remove, replace, cut or lead elsewhere: named, and the recording continues."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from rtmsd.protocol.media_data import ChatData, TranscriptData
from rtmsd.recording.recovery.repair import repair
from rtmsd.recording.verify.verify import verify

MEDIA = frozenset({"audio", "video", "transcript", "chat"})


class Scene:
    """A recording that goes on, of which everybody said something each 20 ms."""

    def __init__(self, studio: Any, tools: Any) -> None:
        self.studio, self.tools, self.T = studio, tools, tools.T
        self.number = 0

    async def begin(self) -> "Scene":
        self.recorder = await self.studio.open()
        self.recorder.connected("signaling", frozenset())
        self.recorder.connected("media", MEDIA)
        await self.go_on(10)
        return self

    async def go_on(self, packets: int) -> None:
        for _ in range(packets):
            n, time_ms = self.number, self.T + 20 * self.number
            for user_id, name in ((5, "Ana"), (6, "Bo")):
                self.recorder.media.audio(user_id, name, time_ms, self.tools.packet(n))
            self.recorder.media.video(5, "Ana", time_ms, b"picture %d" % n)
            self.recorder.media.text(
                TranscriptData(
                    user_id=5,
                    user_name="Ana",
                    text=f"word {n}",
                    timestamp_ms=time_ms,
                    start_ms=time_ms,
                    end_ms=time_ms + 19,
                    language=9,
                    attribute=None,
                )
            )
            self.recorder.media.text(
                ChatData(user_id=6, user_name="Bo", timestamp_ms=time_ms, text=f"text {n}", details=None)
            )
            self.number += 1
        await self.recorder.flusher.flush()

    async def end(self) -> None:
        self.recorder.ended(6, self.T + 20 * self.number)
        await self.recorder.finish()

    @property
    def directory(self) -> Path:
        directory: Path = self.recorder.directory
        return directory

    @property
    def manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = self.tools.manifest(self.recorder)
        return manifest

    def damaged(self) -> list[tuple[Any, ...]]:
        return [
            (gap["media"], gap["user_id"], gap["from_ms"] - self.T, gap["to_ms"] - self.T)
            for gap in self.manifest["gaps"]
            if gap["cause"] == "damaged"
        ]

    def events(self) -> list[dict[str, Any]]:
        lines = (self.directory / "events.jsonl").read_bytes().splitlines()
        return [event for line in lines if (event := json.loads(line))["kind"] == "file_damaged"]

    def files(self) -> dict[str, dict[str, Any]]:
        return {entry["path"]: entry for entry in self.manifest["files"]}


@pytest.fixture
async def scene(studio: Any, tools: Any) -> Scene:
    return await Scene(studio, tools).begin()


def sound(scene: Scene, numbers: range) -> bytes:
    return b"".join(scene.tools.packet(number) for number in numbers)


async def test_a_removed_wav_is_continued_in_another(scene: Scene) -> None:
    (scene.directory / "audio/5.wav").unlink()
    with structlog.testing.capture_logs() as logs:
        await scene.go_on(10)
        await scene.go_on(10)
    assert [entry["event"] for entry in logs] == ["files of a recording were damaged by others"]
    assert not (scene.directory / "audio/5.wav").exists()
    assert scene.damaged() == [("audio", 5, 0, 200)]
    assert scene.files()["audio/5-2.wav"]["start_ms"] == scene.T + 200
    [event] = scene.events()
    assert (event["path"], event["user_id"], event["from_ms"], event["to_ms"], event["what"]) == (
        "audio/5.wav",
        5,
        scene.T,
        scene.T + 200,
        "gone",
    )
    await scene.end()
    assert scene.tools.samples(scene.directory / "audio/5-2.wav") == sound(scene, range(10, 30))
    assert scene.tools.samples(scene.directory / "audio/6.wav") == sound(scene, range(30))
    assert verify(scene.directory) == []
    assert repair(scene.directory) == []


async def test_a_wav_without_new_audio_is_missed_too(scene: Scene) -> None:
    (scene.directory / "audio/6.wav").unlink()
    await scene.end()
    assert scene.damaged() == [("audio", 6, 0, 200)]
    assert verify(scene.directory) == []


async def test_a_wav_that_is_cut_keeps_the_rest_and_is_continued_in_another(scene: Scene) -> None:
    path = scene.directory / "audio/5.wav"
    os.truncate(path, path.stat().st_size - 32 * 50 - 1)
    await scene.go_on(10)
    assert verify(scene.directory) == []
    assert scene.damaged() == [("audio", 5, 149, 200)]
    await scene.end()
    assert scene.tools.samples(path) == sound(scene, range(10))[: -32 * 50 - 2]
    assert scene.tools.samples(scene.directory / "audio/5-2.wav") == sound(scene, range(10, 20))
    assert verify(scene.directory) == []


@pytest.mark.parametrize("taken", ["audio/5.wav", "audio/5.wav cut", "video/5.jpg", "video/5.jpg cut"])
async def test_what_was_counted_of_a_damaged_file_is_counted_once(scene: Scene, taken: str) -> None:
    packet = scene.tools.packet(99)
    for extra in range(3):  # of a clock with coarse steps
        scene.recorder.media.audio(5, "Ana", scene.T + 180, packet[:-2] + bytes([extra, 0]))
    await scene.recorder.flusher.flush()
    before = scene.recorder.media.media_bytes
    path, _, is_cut = taken.partition(" ")
    target = next(scene.directory.glob(path.replace(".jpg", ".*[!l]")))
    if is_cut:
        os.truncate(target, target.stat().st_size - 1)
    else:
        target.unlink()
    scene.number += 3
    await scene.go_on(1)
    await scene.recorder.flusher.flush()
    assert scene.recorder.manifest()["counters"]["same_time"] == 3
    grown = scene.recorder.media.media_bytes
    assert grown["audio"] - before["audio"] == 2 * len(packet)
    assert grown["video"] - before["video"] == len(b"picture 13")


async def test_a_wav_that_is_emptied_is_as_good_as_removed(scene: Scene) -> None:
    os.truncate(scene.directory / "audio/5.wav", 0)
    await scene.go_on(10)
    await scene.end()
    assert scene.damaged() == [("audio", 5, 0, 200)]
    assert verify(scene.directory) == []


async def test_another_file_in_the_place_of_a_wav_is_not_written_to(scene: Scene) -> None:
    path = scene.directory / "audio/5.wav"
    replacement = b"?" * 100_000
    (scene.directory / "new").write_bytes(replacement)
    (scene.directory / "new").replace(path)
    await scene.go_on(10)
    await scene.end()
    assert path.read_bytes() == replacement
    assert scene.damaged() == [("audio", 5, 0, 200)]
    assert scene.tools.samples(scene.directory / "audio/5-2.wav") == sound(scene, range(10, 20))
    assert [problem.kind for problem in verify(scene.directory)] == ["stray"]


@pytest.mark.parametrize("name", ["audio", "."])
async def test_a_link_in_the_place_of_a_directory_is_not_followed(scene: Scene, name: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    place = scene.directory / name
    shutil.move(place.resolve(), elsewhere)
    place.resolve().symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    await scene.go_on(10)
    await scene.end()
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before
    assert not place.is_symlink()
    assert {("audio", 5, 0, 200), ("audio", 6, 0, 200)} <= set(scene.damaged())
    assert scene.tools.samples(scene.directory / "audio/5-2.wav") == sound(scene, range(10, 20))
    assert verify(scene.directory) == []


@pytest.mark.parametrize("take", [lambda path, away: shutil.rmtree(path), Path.rename])
@pytest.mark.parametrize("name", [".", "audio", "..", "../.."])
async def test_a_directory_that_is_taken_away_is_made_again(
    scene: Scene, name: str, take: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    place = (scene.directory / name).resolve()
    take(place, tmp_path.with_name(f"{tmp_path.name}-away"))
    with structlog.testing.capture_logs() as logs:
        await scene.go_on(10)
    assert len(logs) == 1
    assert {("audio", 5, 0, 200), ("audio", 6, 0, 200)} <= set(scene.damaged())
    if name != "audio":
        assert {gap[0] for gap in scene.damaged()} == {"audio", "video", "transcript", "chat"}
    await scene.end()
    for lines in ("events.jsonl", "transcript.jsonl", "chat.jsonl", "transcript.vtt"):
        assert b"\0" not in (scene.directory / lines).read_bytes()
    assert scene.tools.samples(scene.directory / "audio/6-2.wav") == sound(scene, range(10, 20))
    assert verify(scene.directory) == []


@pytest.mark.parametrize("name", ["transcript.jsonl", "chat.jsonl", "events.jsonl", "transcript.vtt"])
@pytest.mark.parametrize("how", ["remove", "empty", "cut", "replace"])
async def test_a_file_of_lines_begins_again_without_a_hole(scene: Scene, name: str, how: str) -> None:
    path = scene.directory / name
    size_bytes = path.stat().st_size
    match how:
        case "remove":
            path.unlink()
        case "replace":
            shutil.copy(path, scene.directory / "copy")
            (scene.directory / "copy").replace(path)
        case _:
            os.truncate(path, 0 if how == "empty" else size_bytes // 2 + 3)
    await scene.go_on(10)
    await scene.end()
    assert verify(scene.directory) == []
    assert [event["path"] for event in scene.events()] == [name]
    content = path.read_bytes()
    assert b"\0" not in content
    if name in {"transcript.jsonl", "chat.jsonl"}:
        numbers = [int(json.loads(line)["text"].split()[1]) for line in content.splitlines()]
        assert numbers[-10:] == list(range(10, 20))
        [(media, user_id, from_ms, to_ms)] = scene.damaged()
        assert (f"{media}.jsonl", user_id) == (name, None)
        if name == "transcript.jsonl":
            assert (from_ms, to_ms) == (20 * len(numbers) - 201 if how == "cut" else 0, 199)
            captions = (scene.directory / "transcript.vtt").read_text()
            assert [f"word {n}<" in captions.replace("\n", "<") for n in range(20)] == [True] * 20
    else:
        assert scene.damaged() == []
    if how == "replace":
        assert (scene.directory / f"{name}.damaged").stat().st_size == size_bytes


async def test_lines_that_were_sent_after_what_they_say_are_missing_when_they_were_sent(scene: Scene) -> None:
    said_ms, sent_ms = scene.T + 300, scene.T + 1500
    scene.recorder.media.text(
        TranscriptData(
            user_id=5,
            user_name="Ana",
            text="word 10",
            timestamp_ms=sent_ms,
            start_ms=said_ms,
            end_ms=said_ms + 100,
            language=9,
            attribute=None,
        )
    )
    await scene.recorder.flusher.flush()
    (scene.directory / "transcript.jsonl").unlink()
    scene.number = 100
    await scene.go_on(1)
    await scene.end()
    assert scene.damaged() == [("transcript", None, 0, 1500)]
    assert verify(scene.directory) == []


@pytest.mark.parametrize("lost", [["5.mjpeg"], ["5.mjpeg.jsonl"], ["5.mjpeg", "5.mjpeg.jsonl"]])
@pytest.mark.parametrize("how", ["remove", "cut"])
async def test_pictures_go_on_in_another_pair(scene: Scene, lost: list[str], how: str) -> None:
    for name in lost:
        path = scene.directory / "video" / name
        if how == "remove":
            path.unlink()
        else:
            os.truncate(path, path.stat().st_size - 10)
    await scene.go_on(10)
    await scene.end()
    assert scene.damaged() == [("video", 5, 0, 181)]
    name = "5.mjpeg" if lost == ["5.mjpeg.jsonl"] else "5-2.mjpeg"
    pictures = (scene.directory / "video" / name).read_bytes()
    assert pictures.endswith(b"".join(b"picture %d" % n for n in range(10, 20)))
    if how == "remove" or "5.mjpeg" in lost:
        index = [json.loads(line) for line in (scene.directory / f"video/{name}.jsonl").read_bytes().splitlines()]
        assert [line["timestamp_ms"] for line in index][-10:] == [scene.T + 20 * n for n in range(10, 20)]
        assert len(index) == (11 if lost == ["5.mjpeg.jsonl"] else 10)
    if how == "cut":
        assert verify(scene.directory) != []
        repair(scene.directory)
        assert scene.damaged()[0][:3] == ("video", 5, 0)
    assert verify(scene.directory) == []


async def test_a_loss_that_a_killed_daemon_could_not_report_is_reported_by_its_successor(
    scene: Scene, studio: Any
) -> None:
    (scene.directory / "audio/5.wav").unlink()
    studio.events.clear()
    again = await studio.open()
    assert [event["path"] for event in studio.events if event["kind"] == "file_damaged"] == ["audio/5.wav"]
    scene.recorder = again
    again.connected("signaling", frozenset())
    again.connected("media", MEDIA)
    await scene.go_on(10)
    await scene.end()
    assert scene.damaged() == [("audio", 5, 0, 200)]
    assert [event["path"] for event in scene.events()] == ["audio/5.wav"]
    assert verify(scene.directory) == []


async def test_a_failing_disk_is_no_damage(scene: Scene, studio: Any) -> None:
    studio.disk.error = 5
    scene.recorder.media.audio(5, "Ana", scene.T + 200, scene.tools.packet(10))
    await studio.writer.flush()
    studio.disk.error = None
    scene.number = 11
    await scene.go_on(1)
    assert scene.damaged() == []
    assert scene.events() == []
