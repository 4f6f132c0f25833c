"""Files of a real recording, broken in every way: reported, repaired once, and continued; no audio is lost by it."""

import contextlib
import copy
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.protocol.media_data import ChatData, TranscriptData
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.media.wav.header import HEADER_BYTES
from rtmsd.recording.recovery.repair import repair
from rtmsd.recording.timeline.intervals import IntervalSet
from rtmsd.recording.verify.verify import verify
from rtmsd.recording.verify.wave_reader import read_wave

AUDIO, OTHERS = frozenset({"audio"}), frozenset({"video", "share", "transcript", "chat"})
EXAMPLES = settings(max_examples=100, deadline=None)
ABSURD = (0, -1, 2**31, 2**53, 2**63, 10**30, -(10**30), 1e300, float("inf"), float("nan"), True)
ANYTHING: Any = st.recursive(
    st.none()
    | st.sampled_from(ABSURD)
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["audio", "ended", "revoked", "audio/5.wav", "transcript.jsonl", "a" * 300, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


class QuickDisk(Disk):
    """Nobody pulls the plug here."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_all(self, files: Any) -> Any:
        return [None for _ in files]

    def sync_directory(self, path: Path) -> None:
        pass


def utterance(time_ms: int) -> TranscriptData:
    return TranscriptData(
        user_id=5,
        user_name="Ana",
        text=f"word {time_ms}",
        timestamp_ms=time_ms,
        start_ms=time_ms,
        end_ms=time_ms + 19,
        language=9,
        attribute=None,
    )


async def record(studio: Any, tools: Any, *, ends: bool) -> None:
    """With something of everything."""
    T = tools.T
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    number = recorder.connected("media", AUDIO)
    recorder.connected("media", OTHERS)
    for n in range(10):
        recorder.media.audio(5, "Ana", T + 20 * n, tools.packet(n))
        recorder.media.audio(6, "Bo", T + 20 * n, tools.packet(n))
        recorder.media.video(5, "Ana", T + 20 * n, b"picture %d" % n)
        recorder.media.share(6, "Bo", T + 20 * n, b"screen %d" % n)
        recorder.media.text(utterance(T + 20 * n))
        recorder.media.text(ChatData(user_id=6, user_name="Bo", timestamp_ms=T + 20 * n, text="hello", details=None))
    recorder.lost(number, "media_reconnect", "reset")
    recorder.connected("media", AUDIO)
    recorder.heard(T + 400)
    recorder.media.audio(5, "Ana", T + 400, tools.packet(20))
    recorder.paused(T + 500)
    recorder.resumed(T + 600)
    if ends:
        recorder.ended(6, T + 700)
        await recorder.finish()
    else:
        await recorder.flusher.flush()


# Ways to break files


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where there is anything, at whatever depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def break_json(draw: Any, content: bytes) -> bytes:
    """Take out, replace or add something."""
    value = json.loads(content)
    *path, last = draw(st.sampled_from(list(places(value))))
    owner: Any = value
    for key in path:
        owner = owner[key]
    match draw(st.sampled_from(["drop", "replace", "add"])):
        case "drop":
            del owner[last]
        case "replace":
            owner[last] = draw(ANYTHING)
        case "add" if isinstance(owner, dict):
            owner[draw(st.text(max_size=5))] = draw(ANYTHING)
        case "add":
            owner.append(copy.deepcopy(owner[last]))
    return json.dumps(value).encode()


def break_line(draw: Any, content: bytes) -> bytes:
    lines = content.split(b"\n")[:-1]
    at = draw(st.integers(0, max(0, len(lines) - 1)))
    match draw(st.sampled_from(["drop", "twice", "break", "garbage", "deep"])):
        case "drop":
            del lines[at]
        case "twice":
            lines.insert(at, lines[at])
        case "break":
            lines[at] = break_json(draw, lines[at])
        case "garbage":
            lines[at] = draw(st.binary(max_size=20))
        case "deep":
            lines[at] = b"[" * 100_000
    return b"".join(line + b"\n" for line in lines)


def break_header(draw: Any, content: bytes) -> bytes:
    at = draw(st.integers(0, HEADER_BYTES - 1))
    garbage: bytes = draw(st.binary(min_size=1, max_size=min(8, HEADER_BYTES - at)))
    return content[:at] + garbage + content[at + len(garbage) :]


def cut_off(draw: Any, content: bytes) -> bytes:
    size_bytes: int = draw(st.integers(0, len(content) - 1))
    return content[:size_bytes]


def add_garbage(draw: Any, content: bytes) -> bytes:
    garbage: bytes = draw(st.binary(min_size=1, max_size=20) | st.just(bytes(4096)))
    return content + garbage


WAYS: dict[str, tuple[Callable[[Any, bytes], bytes], ...]] = {
    ".json": (break_json, cut_off),
    ".jsonl": (break_line, cut_off, add_garbage),
    ".wav": (break_header, cut_off, add_garbage),
    ".mjpeg": (cut_off, add_garbage),
    ".vtt": (cut_off, add_garbage),
}


def break_some(draw: Any, directory: Path) -> None:
    files = sorted(path for path in directory.rglob("*") if path.suffix in WAYS)
    for path in draw(st.lists(st.sampled_from(files), min_size=1, max_size=3, unique=True)):
        if draw(st.integers(0, 9)) == 9:
            path.unlink()
        else:
            path.write_bytes(draw(st.sampled_from(WAYS[path.suffix]))(draw, path.read_bytes()))


def contents(directory: Path) -> dict[str, bytes]:
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def meanings(directory: Path) -> dict[str, Any]:
    """Of a WAV, what its header says: much of it is only there to be as long as it is."""
    found: dict[str, Any] = contents(directory)
    for name in found:
        if name.endswith(".wav"):
            with contextlib.suppress(ValueError):
                found[name] = read_wave(directory / name)
    return found


def samples(directory: Path) -> dict[str, bytes]:
    found = contents(directory)
    return {name: content[HEADER_BYTES:] for name, content in found.items() if name.endswith(".wav")}


def cannot(notes: list[str]) -> list[str]:
    return [line for line in notes if "cannot be repaired" in line]


# What holds all the same


@pytest.fixture(params=[True, False], ids=["ended", "cut off"])
def sound(request: pytest.FixtureRequest, studio: Any, tools: Any) -> Path:
    """A recording that nothing is wrong with, and where it is."""
    trio.run(lambda: record(studio, tools, ends=request.param))
    [directory] = studio.settings.directory.glob("*/*")
    assert verify(directory) == []
    recordings: Path = studio.settings.directory
    return recordings


def has_ended(recordings: Path) -> bool:
    [manifest] = recordings.glob("*/*/stream.json")
    return bool(json.loads(manifest.read_bytes())["state"] == "ended")


def missing_audio(sound: Path, directory: Path) -> list[tuple[Any, int, int]] | None:
    """Return whose audio is missing of what was recorded, less the gaps there are; None where the manifest, which has
    to say what was promised, or a header, which says when it begins, are broken themselves.
    """
    [whole] = sound.glob("*/*")
    promise = directory / "stream.json"
    if not promise.exists() or (whole / "stream.json").read_bytes() != promise.read_bytes():
        return None
    manifest = json.loads((whole / "stream.json").read_bytes())
    found = []
    for user_id in (5, 6):
        path = directory / f"audio/{user_id}.wav"
        there = path.read_bytes() if path.exists() else b""
        head = (whole / path.relative_to(directory)).read_bytes()
        if len(there) >= HEADER_BYTES and there[:HEADER_BYTES] != head[:HEADER_BYTES]:
            return None
        kept_ms = max(0, (len(there) - HEADER_BYTES) // 2 * 2 // 32)
        known = IntervalSet(
            (gap["from_ms"] - manifest["started_ms"], gap["to_ms"] - manifest["started_ms"])
            for gap in manifest["gaps"]
            if gap["media"] == "audio" and gap["user_id"] in {None, user_id}
        )
        found += [
            (user_id, start, int(stop)) for start, stop in known.uncovered(kept_ms, (len(head) - HEADER_BYTES) // 32)
        ]
    return sorted(found, key=lambda gap: (gap[1], gap[0]))


class Copy:
    """Of a whole directory of recordings, of which one is broken by `draw`."""

    def __init__(self, sound: Path, elsewhere: str, draw: Any) -> None:
        self.root = Path(shutil.copytree(sound, Path(elsewhere) / "recordings"))
        [self.directory] = self.root.glob("*/*")
        break_some(draw, self.directory)


def is_kept(before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """No sample that was whole is gone."""
    return all(after[name].startswith(audio[: len(audio) // 2 * 2]) for name, audio in before.items() if audio)


def test_it_is_reported_and_repaired_once(sound: Path) -> None:
    @EXAMPLES
    @given(st.data())
    def try_out(data: Any) -> None:
        with tempfile.TemporaryDirectory() as elsewhere:
            directory = Copy(sound, elsewhere, data.draw).directory
            before, problems = meanings(directory), verify(directory)
            assert all(str(problem) for problem in problems)
            audio = samples(directory)
            expected = missing_audio(sound, directory)
            done = repair(directory, disk=QuickDisk())
            after = contents(directory)
            if expected is not None:
                assert lost(directory, "audio") == expected
            assert is_kept(audio, samples(directory))
            now = meanings(directory)
            changed = {name for name in before | now if before.get(name) != now.get(name)}
            assert done or changed <= {"transcript.vtt"}
            if has_ended(sound):  # of one that goes on, nobody knows yet how long a file has to be
                assert problems or changed <= {"transcript.vtt"}, done
            left = [problem for problem in verify(directory) if problem.kind != "unexplained"]
            assert [problem for problem in left if str(problem.path) not in str(cannot(done))] == []
            assert cannot(repair(directory, disk=QuickDisk())) == repair(directory, disk=QuickDisk())
            assert contents(directory) == after

    try_out()


def test_a_daemon_continues_it(sound: Path, studio: Any, tools: Any) -> None:
    @EXAMPLES
    @given(st.data())
    def try_out(data: Any) -> None:
        with tempfile.TemporaryDirectory() as elsewhere:
            copied = Copy(sound, elsewhere, data.draw)
            before = samples(copied.directory)
            again = type(studio)(copied.root)
            again.disk = QuickDisk()

            async def resume() -> None:
                recorder = await again.open()
                recorder.connected("signaling", frozenset())
                recorder.connected("media", AUDIO)
                recorder.connected("media", OTHERS)
                zoom_ms = recorder.zoom_ms + 60_000
                recorder.heard(zoom_ms)
                recorder.media.audio(5, "Ana", zoom_ms, tools.packet(1))
                recorder.media.video(5, "Ana", zoom_ms, b"picture")
                recorder.media.text(utterance(zoom_ms))
                recorder.ended(6, zoom_ms + 20)
                await recorder.finish()

            with structlog.testing.capture_logs():
                trio.run(resume)
            assert is_kept(before, samples(copied.directory))
            manifest = json.loads((copied.directory / "stream.json").read_bytes())
            assert manifest["state"] == "ended"
            assert manifest["counters"]["messages"]["audio"] >= 1
            verify(copied.directory)

    try_out()


# One by one


@pytest.fixture
def directory(sound: Path) -> Path:
    [directory] = sound.glob("*/*")
    return directory


def lost(directory: Path, media: str) -> list[tuple[Any, int, int]]:
    """Whose media the manifest calls damaged, from when to when since the start."""
    manifest = json.loads((directory / "stream.json").read_bytes())
    started_ms = manifest["started_ms"]
    return [
        (gap["user_id"], gap["from_ms"] - started_ms, gap["to_ms"] - started_ms)
        for gap in manifest["gaps"]
        if (gap["cause"], gap["media"]) == ("damaged", media)
    ]


def edited(directory: Path, edit: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    path = directory / "stream.json"
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    edit(manifest)
    path.write_text(json.dumps(manifest))
    return manifest


def with_more(manifest: dict[str, Any]) -> None:
    """As a later version may write it."""
    manifest["mood"] = {"of": "Ana"}
    for name in ("participants", "pauses", "connections", "files", "gaps"):
        for entry in manifest[name]:
            entry["more"] = [1]


def test_repair_keeps_the_keys_of_a_later_version(directory: Path) -> None:
    manifest = edited(directory, with_more)
    assert verify(directory) == []
    with (directory / "audio/5.wav").open("ab") as file:
        file.write(bytes(2 * 16 * 20))
    assert len(repair(directory)) == 2
    after = json.loads((directory / "stream.json").read_bytes())
    files = {entry["path"]: entry for entry in manifest.pop("files")}
    longer = files["audio/5.wav"]
    longer |= {"bytes": longer["bytes"] + 640, "duration_ms": longer["duration_ms"] + 20}
    assert {entry["path"]: entry for entry in after.pop("files")} == files
    assert after == manifest


def test_a_daemon_keeps_the_keys_of_a_later_version(directory: Path, studio: Any, tools: Any) -> None:
    before = edited(directory, with_more)

    async def resume() -> None:
        recorder = await studio.open()
        recorder.connected("media", AUDIO)
        recorder.participants_named([])
        await recorder.suspend()

    trio.run(resume)
    after = json.loads((directory / "stream.json").read_bytes())
    assert after["mood"] == {"of": "Ana"}
    assert after["participants"] == before["participants"]
    for name in ("pauses", "connections"):
        assert [entry["more"] for entry in after[name] if "more" in entry] == [[1]] * len(before[name])


def test_an_index_with_a_broken_line_is_reported_and_costs_no_picture(directory: Path) -> None:
    index, data = directory / "video/5.mjpeg.jsonl", directory / "video/5.mjpeg"
    pictures = data.read_bytes()
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join([lines[0], '{"offset": 9}\n', *lines[2:]]))
    [problem] = [problem for problem in verify(directory) if problem.kind == "index"]
    assert (problem.path, problem.detail.partition(": ")[0]) == ("video/5.mjpeg.jsonl", "broken at offset 9")
    repair(directory)
    assert data.read_bytes() == pictures
    repaired = [json.loads(line) for line in index.read_text().splitlines()]
    assert [line.pop("damaged", False) for line in repaired] == [False, True] + [False] * 8
    assert [line["offset"] for line in repaired] == [9 * number for number in range(10)]
    assert [problem for problem in verify(directory) if problem.path.startswith("video")] == []
    assert lost(directory, "video") == [(5, 1, 40)]


def test_an_index_that_lacks_its_last_byte_costs_no_picture(directory: Path) -> None:
    index = directory / "video/5.mjpeg.jsonl"
    whole = index.read_bytes()
    index.write_bytes(whole[:-1])
    [problem] = [problem for problem in verify(directory) if problem.kind == "index"]
    assert problem.detail == "last line is not whole, at offset 81"
    assert "video/5.mjpeg.jsonl: last line made whole" in repair(directory)
    assert index.read_bytes() == whole
    assert lost(directory, "video") == []


def test_a_line_of_an_empty_picture_is_replaced(directory: Path) -> None:
    index = directory / "video/5.mjpeg.jsonl"
    index.write_bytes(index.read_bytes().replace(b'"length":9', b'"length":0', 1))
    assert "broken at offset 0" in str(verify(directory))
    repair(directory)
    assert [problem for problem in verify(directory) if problem.path.startswith("video")] == []


@pytest.mark.parametrize("has_events", [True, False])
def test_a_start_that_is_in_no_file_is_that_of_the_date(directory: Path, *, has_events: bool) -> None:
    """The clock was wrong when the events were written."""
    shutil.rmtree(directory / "audio")
    (directory / "stream.json").unlink()
    if has_events:
        events = directory / "events.jsonl"
        events.write_bytes(re.sub(rb'"at_ms":[0-9]+', b'"at_ms":7', events.read_bytes()))
    else:
        (directory / "events.jsonl").unlink()
    repair(directory, disk=QuickDisk())
    assert json.loads((directory / "stream.json").read_bytes())["started_ms"] % 86_400_000 == 0
    assert [problem for problem in verify(directory) if problem.kind == "time"] == []


def test_an_utterance_without_its_text_is_reported_and_set_aside(directory: Path) -> None:
    path = directory / "transcript.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps({**json.loads(first), "text": None}) + "\n", *others]))
    assert [(problem.path, problem.detail) for problem in verify(directory) if problem.kind == "line"] == [
        ("transcript.jsonl", "line 1: Expected `str`, got `null` - at `$.text`")
    ]
    captions = (directory / "transcript.vtt").read_bytes()
    repair(directory)
    assert (directory / "transcript.jsonl.damaged").read_bytes().count(b"\n") == 1
    assert (directory / "transcript.vtt").read_bytes() == captions  # which still have what it said
    assert lost(directory, "transcript") == [(None, 0, 39)]
    assert verify(directory) == []


def test_a_file_that_the_manifest_does_not_know_is_not_written_over(directory: Path, studio: Any, tools: Any) -> None:
    unlisted = directory / "audio/7.wav"
    unlisted.write_bytes(b"?" * 10_000)

    async def resume() -> None:
        recorder = await studio.open()
        recorder.connected("media", AUDIO)
        recorder.media.audio(7, None, recorder.zoom_ms, tools.packet(7))
        await recorder.suspend()

    trio.run(resume)
    assert unlisted.read_bytes() == b"?" * 10_000
    assert tools.samples(directory / "audio/7-2.wav") == tools.packet(7)


@pytest.mark.parametrize("name", ["transcript.jsonl", "chat.jsonl", "audio/5.wav"])
def test_a_file_that_is_taken_out_of_the_manifest_is_reported(directory: Path, name: str) -> None:
    manifest = json.loads((directory / "stream.json").read_bytes())
    repair(directory, disk=QuickDisk())
    edited(
        directory,
        lambda manifest: manifest["files"].remove(next(each for each in manifest["files"] if each["path"] == name)),
    )
    named = [str(problem.path) for problem in verify(directory) if problem.kind == "stray"]
    assert named == ([name] if manifest["state"] == "ended" or name == "audio/5.wav" else [])


def test_a_gap_without_its_start_is_reported(directory: Path) -> None:
    manifest = edited(directory, lambda manifest: manifest["gaps"][0].pop("from_ms"))
    [problem] = verify(directory)
    assert (problem.path, problem.detail.partition(": ")[0]) == ("stream.json", "not a manifest of rtmsd")
    assert "`from_ms`" in problem.detail
    assert "$.gaps[0]" in problem.detail or "$.gaps[...]" in problem.detail
    done = repair(directory)
    assert done[0] == "stream.json: no manifest of rtmsd, set aside as stream.json.damaged"
    assert json.loads((directory / "stream.json.damaged").read_bytes()) == manifest
    assert verify(directory) == []


@given(ANYTHING)
def test_whatever_else_is_called_stream_json_is_reported_and_left_alone(content: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "stream.json"
        path.write_text(json.dumps(content))
        before = path.read_bytes()
        [problem] = verify(Path(place))
        assert problem.path == "stream.json"
        assert problem.detail.startswith("not a manifest of rtmsd: ")
        assert repair(Path(place)) == ["stream.json: no manifest of rtmsd, and nothing here to make one from"]
        assert path.read_bytes() == before
        assert len(list(Path(place).iterdir())) == 1


def test_json_too_deep_to_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "stream.json").write_text("[" * 100_000)
    [problem] = verify(tmp_path)
    assert problem.detail.startswith("not readable")
    assert repair(tmp_path)


def put(directory: Path, path: tuple[Any, ...], new: Any) -> None:
    """Replace something in the manifest; None: take it out."""

    def edit(value: Any) -> None:
        *outer, last = path
        for key in outer:
            value = value[key]
        if new is None:
            del value[last]
        else:
            value[last] = new

    edited(directory, edit)


def listed(directory: Path) -> dict[str, Any]:
    """Return the manifest's entries of files, by name."""
    return {entry["path"]: entry for entry in json.loads((directory / "stream.json").read_bytes())["files"]}


@pytest.mark.parametrize(
    ("name", "key", "new"),
    [
        ("audio/5.wav", "codec", None),
        ("audio/5.wav", "codec", "MP3"),
        ("audio/5.wav", "channels", None),
        ("audio/5.wav", "sample_rate_hz", None),
        ("transcript.jsonl", "media", ""),
    ],
)
def test_what_the_manifest_says_of_a_file_is_reported_and_repaired(
    directory: Path, name: str, key: str, new: str | None
) -> None:
    repair(directory, disk=QuickDisk())
    right = listed(directory)
    put(directory, ("files", list(right).index(name), key), new)
    assert {problem.path for problem in verify(directory)} == {name}
    [done] = repair(directory, disk=QuickDisk())
    assert done.startswith(f"{name}: ")
    assert listed(directory) == right


@pytest.mark.parametrize(
    ("path", "new", "wrong"),
    [
        (("state",), "finished", "unknown state 'finished'"),
        (("started_ms",), 0, "started_ms is 0, which no stream can be of"),
        (("participants", 0, "joined_ms"), 2**63, f"joined_ms of 5 is {2**63}, which no stream can be of"),
        (("gaps", 0, "cause"), "sunspots", "unknown cause 'sunspots'"),
    ],
)
def test_what_no_file_shows_is_said_and_left(directory: Path, path: tuple[Any, ...], new: Any, wrong: str) -> None:
    repair(directory, disk=QuickDisk())
    put(directory, path, new)
    assert any(wrong in problem.detail for problem in verify(directory))
    for _ in range(2):
        [line] = [line for line in cannot(repair(directory, disk=QuickDisk())) if wrong in line]
        assert line.startswith("stream.json: cannot be repaired: ")


def test_gaps_that_follow_each_other_are_left_as_they_are(directory: Path) -> None:
    repair(directory, disk=QuickDisk())
    one = {"media": "audio", "user_id": 6, "cause": "refused"}
    T = json.loads((directory / "stream.json").read_bytes())["started_ms"]
    put(directory, ("gaps",), [one | {"from_ms": T, "to_ms": T + 5}, one | {"from_ms": T + 5, "to_ms": T + 9}])
    before = (directory / "stream.json").read_bytes()
    assert not any("gap" in problem.kind for problem in verify(directory))
    assert repair(directory, disk=QuickDisk()) == []
    assert (directory / "stream.json").read_bytes() == before
