"""Recordings on disk: listed, deleted when due, and never deleted while a stream writes them."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from rtmsd.config.model import RecordingConfig
from rtmsd.errors import StorageError
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.paths import DAY_MS, date_of, safe_name, stream_directory
from rtmsd.recording.library.catalog import DAMAGED, Recording, erase, find_recordings, leftovers, set_aside
from rtmsd.recording.library.librarian import TIDY_EVERY_S, Librarian, NoSuchRecording, RecordingInUse, keep_tidy
from rtmsd.recording.library.retention import overdue
from rtmsd.recording.library.revoke import revoke

NOW_MS = 1_790_000_000_000
KEEP_ALL = RecordingConfig()
WEEK = RecordingConfig(keep_days=7)


def record(root: Path, name: str, *, age_days: float = 0, size_bytes: int = 8192, **changes: Any) -> Path:
    """Write a finished recording that ended so long before `NOW_MS`."""
    ended_ms = NOW_MS - int(age_days * DAY_MS)
    directory = stream_directory(root, ended_ms, name)
    (directory / "audio").mkdir(parents=True)
    (directory / "audio" / "1.wav").write_bytes(os.urandom(size_bytes))
    manifest = {
        "version": 1,
        "rtms_stream_id": name,
        "product": "session",
        "id": "s+/==",
        "app": "main",
        "state": "ended",
        "started_ms": ended_ms - 60_000,
        "ended_ms": ended_ms,
        "stop_reason": 6,
        "participants": [],
        "files": [],
        "gaps": [{"media": "audio", "user_id": None, "from_ms": ended_ms - 9, "to_ms": ended_ms, "cause": "dropped"}],
        "connections": [],
        "counters": {"messages": {}},
    }
    path = directory / "stream.json"
    path.write_text(json.dumps(manifest | changes))
    os.utime(path, (ended_ms / 1000, ended_ms / 1000))
    return directory


def names(root: Path) -> list[str]:
    return [recording.rtms_stream_id for recording in find_recordings(root)]


def librarian(root: Path, *live: str) -> Librarian:
    return Librarian([root], lambda: live, now_ms=lambda: NOW_MS)


async def at_once(work: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """In place of a worker thread, whose work takes no time on a mock clock."""
    await trio.lowlevel.checkpoint()
    return work(*args)


# What there is


def test_a_recording_is_listed_as_in_its_manifest(tmp_path: Path) -> None:
    directory = record(tmp_path, "a/b+c==", age_days=1, why="stopped webhook")
    [recording] = find_recordings(tmp_path)
    listed = recording.to_json()
    assert listed == json.loads(json.dumps(listed))
    assert listed["rtms_stream_id"] == "a/b+c=="
    assert listed["directory"] == str(directory)
    assert (listed["state"], listed["app"], listed["product"], listed["gaps"]) == ("ended", "main", "session", 1)
    assert listed["why"] == "stopped webhook"
    assert listed["ended_ms"] - listed["started_ms"] == 60_000
    assert listed["bytes"] >= 8192


def test_silence_that_was_never_written_costs_nothing(tmp_path: Path) -> None:
    directory = record(tmp_path, "s", size_bytes=0)
    with (directory / "audio" / "1.wav").open("wb") as file:
        file.truncate(10**9)
    assert find_recordings(tmp_path)[0].bytes < 10**6


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"state": "ended"}', b"\xff"])
def test_a_recording_without_a_usable_manifest_is_listed_as_damaged(tmp_path: Path, content: bytes | None) -> None:
    path = record(tmp_path, "x", age_days=3) / "stream.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    [recording] = find_recordings(tmp_path)
    assert (recording.rtms_stream_id, recording.state, recording.ended_ms) == ("x", DAMAGED, None)


def test_a_manifest_of_another_stream_does_not_lend_its_name(tmp_path: Path) -> None:
    record(tmp_path, "x", rtms_stream_id="../../etc")
    assert names(tmp_path) == ["x"]


def test_the_oldest_comes_first_and_strange_directories_do_not_come(tmp_path: Path) -> None:
    for name, age_days in [("new", 1), ("old", 30), ("middle", 3)]:
        record(tmp_path, name, age_days=age_days)
    (tmp_path / "lost+found" / "x").mkdir(parents=True)
    (tmp_path / ".rtmsd.lock").touch()
    (tmp_path / date_of(NOW_MS) / "note.txt").parent.mkdir(exist_ok=True)
    (tmp_path / date_of(NOW_MS) / "note.txt").touch()
    assert names(tmp_path) == ["old", "middle", "new"]
    assert find_recordings(tmp_path / "nowhere") == []


async def test_a_directory_that_cannot_be_read_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(root: Path) -> list[Recording]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("rtmsd.recording.library.librarian.find_recordings", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        await librarian(tmp_path).recordings()


# Removing one


async def test_a_recording_is_removed_and_no_other(tmp_path: Path) -> None:
    directory = record(tmp_path, "one")
    record(tmp_path, "one-more")
    await librarian(tmp_path).remove("one")
    assert names(tmp_path) == ["one-more"]
    assert not directory.exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("text", ["", ".", "..", "../outside", "/etc", "on", "one/", "one\0", "%6Fne", "\ud800"])
async def test_an_unchecked_id_never_leads_out_of_the_library(tmp_path: Path, text: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    record(root, "one")
    outside.mkdir()
    with pytest.raises(NoSuchRecording):
        await librarian(root).remove(text)
    assert names(root) == ["one"]
    assert outside.is_dir()


async def test_a_symbolic_link_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    elsewhere = record(tmp_path / "elsewhere", "one")
    day = tmp_path / "root" / date_of(NOW_MS)
    day.mkdir(parents=True)
    (day / "one").symlink_to(elsewhere)
    await librarian(tmp_path / "root").remove("one")
    assert names(tmp_path / "root") == []
    assert (elsewhere / "stream.json").exists()


async def test_the_recording_of_a_live_stream_stays(tmp_path: Path) -> None:
    record(tmp_path, "a/b")
    with pytest.raises(RecordingInUse):
        await librarian(tmp_path, "a/b").remove("a/b")
    assert names(tmp_path) == ["a/b"]


async def test_a_stream_that_comes_back_waits_for_the_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path, "one")
    live: list[str] = []
    keeper = Librarian([tmp_path], lambda: live)
    there: list[bool] = []

    def set_aside_late(directory: Path) -> Path:
        trio.from_thread.run_sync(live.append, "one")
        trio.from_thread.run_sync(nursery.start_soon, comes_back)
        trio.from_thread.run(wait_all_tasks_blocked)
        assert there == []
        return set_aside(directory)

    async def comes_back() -> None:
        await keeper.wait_free("one")
        there.append(stream_directory(tmp_path, NOW_MS, "one").exists())

    monkeypatch.setattr("rtmsd.recording.library.librarian.set_aside", set_aside_late)
    async with trio.open_nursery() as nursery:
        await keeper.remove("one")
    assert there == [False]
    await keeper.wait_free("one")


# Interrupted deletions


@pytest.mark.parametrize("left", ["everything", "no manifest", "an empty directory"])
async def test_a_deletion_that_a_crash_interrupted_is_finished(tmp_path: Path, left: str) -> None:
    leftover = set_aside(record(tmp_path, "one"))
    if left != "everything":
        (leftover / "stream.json").unlink()
    if left == "an empty directory":
        shutil.rmtree(leftover / "audio")
    assert names(tmp_path) == []
    assert leftovers(tmp_path) == [leftover]
    await librarian(tmp_path).tidy(tmp_path, KEEP_ALL)
    assert leftovers(tmp_path) == []
    assert not leftover.exists()


def test_a_recording_is_deleted_beside_what_is_left_of_an_earlier_one(tmp_path: Path) -> None:
    first = set_aside(record(tmp_path, "one"))
    second = set_aside(record(tmp_path, "one"))
    assert first == second
    erase(second)
    assert leftovers(tmp_path) == []


def test_nothing_half_deleted_has_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leftover = set_aside(record(tmp_path, "one"))

    def fail(path: str, *, dir_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "rmtree", fail)
    with pytest.raises(OSError, match="Input/output"):
        erase(leftover)
    assert list(tmp_path.rglob("stream.json")) == []
    assert leftovers(tmp_path) == [leftover]


async def test_one_recording_that_cannot_be_deleted_does_not_save_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bad", "good"):
        record(tmp_path, name, age_days=30)

    def set_aside_or_fail(directory: Path) -> Path:
        if directory.name == "bad":
            raise OSError(30, "Read-only file system")
        return set_aside(directory)

    monkeypatch.setattr("rtmsd.recording.library.librarian.set_aside", set_aside_or_fail)
    with capture_logs() as logs:
        await librarian(tmp_path).tidy(tmp_path, WEEK)
    assert names(tmp_path) == ["bad"]
    assert {entry["log_level"] for entry in logs} == {"warning", "info"}


# Retention


def test_a_revoked_recording_grows_old_but_frees_no_space(tmp_path: Path) -> None:
    directory = record(tmp_path, "revoked", age_days=8)
    revoke(Disk(), directory, json.loads((directory / "stream.json").read_bytes()))
    os.utime(directory / "stream.json", (NOW_MS / 1000, NOW_MS / 1000))
    record(tmp_path, "other", age_days=1)
    recordings = find_recordings(tmp_path)
    assert [recording.is_receipt for recording in recordings] == [True, False]
    by_size = overdue(recordings, (), keep_days=0, keep_bytes=1, now_ms=NOW_MS)
    assert [recording.name for recording in by_size] == ["other"]
    by_age = overdue(recordings, (), keep_days=7, keep_bytes=0, now_ms=NOW_MS)
    assert [recording.name for recording in by_age] == ["revoked"]


async def test_retention_deletes_the_old_and_leaves_the_live(tmp_path: Path) -> None:
    for name, age_days in [("ancient", 400), ("old", 7.1), ("live", 30), ("young", 6.9)]:
        record(tmp_path, name, age_days=age_days)
    await librarian(tmp_path, "live").tidy(tmp_path, WEEK)
    assert names(tmp_path) == ["live", "young"]
    assert not (tmp_path / date_of(NOW_MS - 400 * DAY_MS)).exists()


TENURES = [{"epoch": 2, "token": 5, "from_ms": NOW_MS - 90_000, "to_ms": NOW_MS - 60_000}]
ELSEWHERE = [{"node": "b", "from_ms": NOW_MS - 95_000, "to_ms": NOW_MS - 90_000}]


def test_a_part_that_was_let_go_is_listed_as_such(tmp_path: Path) -> None:
    lasting = {**TENURES[0], "epoch": 4, "to_ms": None}
    for name, state, tenures in (
        ("let go", "recovering", TENURES),
        ("has it again", "recovering", [*TENURES, lasting]),
        ("had the end", "ended", TENURES),
        ("without the cluster since", "active", TENURES),
    ):
        record(tmp_path, name, state=state, part={"node": "a", "tenures": tenures})
    record(tmp_path, "no cluster", state="recovering")
    assert [each.rtms_stream_id for each in find_recordings(tmp_path) if each.is_let_go] == ["let go"]


@pytest.mark.parametrize(
    ("manifest", "is_part"),
    [
        ({}, False),
        ({"part": {"node": "a", "tenures": [{**TENURES[0], "epoch": 1}]}}, False),
        ({"part": {"node": "a", "tenures": TENURES}}, True),  # somebody had the first tenure
        ({"part": {"node": "a", "tenures": [], "elsewhere": ELSEWHERE}}, True),
        ({"part": {"node": "a", "tenures": [{**TENURES[0], "epoch": 1}]}, "state": "recovering"}, True),  # let go
        ({"part": {"node": "a", "elsewhere": ELSEWHERE}, "parts": []}, False),  # joined, without what was lost
    ],
)
async def test_a_part_that_is_not_gathered_stays_for_a_week(
    tmp_path: Path, manifest: dict[str, Any], is_part: bool
) -> None:
    for name, age_days in [("a", 2), ("b", 8), ("gathered", 2), ("again", 2)]:
        record(tmp_path, name, age_days=age_days, **manifest)
    assert [recording.is_part for recording in find_recordings(tmp_path)] == [is_part] * 4

    async def gathered() -> dict[str, int]:
        await trio.lowlevel.checkpoint()
        return {"gathered": NOW_MS - DAY_MS, "again": NOW_MS - 3 * DAY_MS}  # and one came back since

    keeper = Librarian([tmp_path], list, gathered=gathered, now_ms=lambda: NOW_MS)
    await keeper.tidy(tmp_path, RecordingConfig(keep_days=1))
    assert sorted(names(tmp_path)) == (["a", "again"] if is_part else [])


async def test_a_stream_that_comes_back_waits_until_its_recording_is_replaced(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    directory, live = record(tmp_path, "s"), list[str]()
    keeper = Librarian([tmp_path], lambda: live, now_ms=lambda: NOW_MS)
    async with trio.open_nursery() as nursery:
        async with keeper.replacing(directory, "s"):
            nursery.start_soon(keeper.remove, "s")
            with trio.move_on_after(10) as waiting:
                await keeper.wait_free("s")
            assert waiting.cancelled_caught
            assert directory.is_dir()
        await keeper.wait_free("s")
    assert not directory.exists()
    live.append("s")
    with pytest.raises(RecordingInUse):
        async with keeper.replacing(directory, "s"):
            pass


async def test_retention_is_off_by_default(tmp_path: Path) -> None:
    record(tmp_path, "ancient", age_days=4000)
    await librarian(tmp_path).tidy(tmp_path, KEEP_ALL)
    assert names(tmp_path) == ["ancient"]


def test_an_abandoned_recording_grows_old_from_its_last_change(tmp_path: Path) -> None:
    record(tmp_path, "abandoned", age_days=8, state="recovering", ended_ms=None)
    [recording] = find_recordings(tmp_path)
    assert recording.last_ms == NOW_MS - 8 * DAY_MS


def test_a_copy_made_today_does_not_make_a_recording_young(tmp_path: Path) -> None:
    directory = record(tmp_path, "copied", age_days=8)
    os.utime(directory / "stream.json")
    assert find_recordings(tmp_path)[0].last_ms == NOW_MS - 8 * DAY_MS


PLAIN = Recording(
    rtms_stream_id="",
    directory=Path(),
    state="ended",
    product="session",
    id="s",
    app="main",
    started_ms=0,
    ended_ms=0,
    stop_reason=6,
    changed_ms=0,
    bytes=0,
    gaps=0,
)


@st.composite
def shelves(draw: st.DrawFn) -> list[Recording]:
    return [
        attrs.evolve(
            PLAIN,
            directory=Path(f"/recordings/day/{number}"),
            state=draw(st.sampled_from(["ended", "failed", "revoked", "recovering", DAMAGED])),
            ended_ms=draw(st.none() | st.integers(0, 40 * DAY_MS)),
            changed_ms=draw(st.integers(0, 40 * DAY_MS)),
            bytes=draw(st.integers(0, 1000)),
        )
        for number in range(draw(st.integers(0, 12)))
    ]


@given(shelves(), st.sets(st.integers(0, 11)), st.integers(0, 50), st.integers(0, 3000))
def test_what_is_overdue(shelf: list[Recording], live: set[int], keep_days: int, keep_bytes: int) -> None:
    live_names = {str(number) for number in live}
    now_ms = 45 * DAY_MS
    doomed = overdue(shelf, live_names, keep_days=keep_days, keep_bytes=keep_bytes, now_ms=now_ms)
    kept = [recording for recording in shelf if recording not in doomed]
    assert [recording.last_ms for recording in doomed] == sorted(recording.last_ms for recording in doomed)
    assert not live_names & {recording.name for recording in doomed}
    deletable = [recording for recording in kept if recording.name not in live_names]
    if keep_days:
        assert all(now_ms - recording.last_ms <= keep_days * DAY_MS for recording in deletable)
    if keep_bytes and any(not recording.is_receipt for recording in deletable):
        assert sum(recording.bytes for recording in kept) <= keep_bytes
    if not keep_days:
        assert not any(recording.is_receipt for recording in doomed)
        assert keep_bytes or not doomed
        if doomed:  # and not one more than needed
            assert sum(recording.bytes for recording in [*kept, doomed[-1]]) > keep_bytes


# Every hour


async def test_the_library_is_tidied_after_the_start_and_every_hour(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    start_ms = NOW_MS - int(trio.current_time() * 1000)
    rules = [WEEK]
    keeper = Librarian(
        [tmp_path], lambda: (), run_sync=at_once, now_ms=lambda: start_ms + int(trio.current_time() * 1000)
    )
    record(tmp_path, "old", age_days=8)
    record(tmp_path, "almost", age_days=6.97)
    record(tmp_path, "young", age_days=3)
    nursery.start_soon(keep_tidy, keeper, tmp_path, lambda root: rules[0])
    await trio.sleep(1)
    assert names(tmp_path) == ["almost", "young"]
    await trio.sleep(TIDY_EVERY_S)
    assert names(tmp_path) == ["young"]
    rules[0] = RecordingConfig(keep_days=1)  # a reload
    await trio.sleep(TIDY_EVERY_S)
    assert names(tmp_path) == []


def test_names_of_leftovers_are_nobodys() -> None:
    assert "." not in safe_name(".one.deleted")
