"""Several directories of recordings: a writer for each, as no disk may hold up another, and those left from before."""

import errno
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio
from trio.testing import MockClock

from rtmsd.errors import AlreadyRunningError, StorageError
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording import directories as directories_module
from rtmsd.recording.directories import Directories
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.library import librarian as librarian_module
from rtmsd.recording.library.catalog import find_recordings
from rtmsd.recording.library.librarian import Librarian
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.verify.verify import verify
from rtmsd.recording.writers import Writers
from rtmsd.state import directories as remembered
from rtmsd.state.journal import LocalJournal
from rtmsd.system.lock import LockFile
from tests.recording.conftest import STARTED_MS, FailingDisk, Settings, audio_format, packet


async def at_once(work: Callable[..., Any], *args: Any, **_: Any) -> Any:
    return work(*args)


def info(name: str) -> StreamInfo:
    return StreamInfo(
        rtms_stream_id=name,
        product="session",
        session=SessionRef("session_id", "a"),
        app="main",
        started_ms=STARTED_MS,
        started_again_ms=STARTED_MS,
    )


@attrs.frozen
class Pair:
    """Two directories, of which the second one's disk can be made to fail."""

    writers: Writers
    disk: FailingDisk
    first: Path
    second: Path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    first, second, disk = tmp_path / "first", tmp_path / "second", FailingDisk()
    sound = Writer(Settings(first), run_sync=at_once)
    failing = Writer(Settings(first), directory=second, buffer=sound.buffer, run_sync=at_once, disk=disk)
    return Pair(Writers([sound, failing]), disk, first, second)


async def recorded(pair: Pair, directory: Path, name: str) -> Any:
    recorder = await open_recorder(info(name), pair.writers[directory], local_ms=lambda: 7)
    recorder.media.audio_format(audio_format())
    return recorder


async def test_a_disk_that_refuses_holds_up_its_own_directory_alone(pair: Pair) -> None:
    recorders = {root: await recorded(pair, root, root.name) for root in (pair.first, pair.second)}
    pair.disk.error = errno.EIO
    for number in range(10):
        for recorder in recorders.values():
            recorder.media.audio(1, "Ana", STARTED_MS + 20 * number, packet(number))
    for root in recorders:
        await pair.writers[root].flush()
    assert (pair.writers[pair.first].error, pair.writers.error) == (None, pair.writers[pair.second].error)
    assert pair.writers.error is not None
    assert list(pair.first.glob("*/first/audio/1.wav"))
    assert not list(pair.second.glob("*/second/audio/*"))
    assert pair.writers.pending_bytes > 0
    pair.disk.error = None
    for root, recorder in recorders.items():
        await pair.writers[root].flush()
        recorder.ended(6, STARTED_MS + 200)
        await recorder.finish()
        assert [str(problem) for problem in verify(recorder.directory)] == []
        assert recorder.directory.parent.parent == root
    assert not pair.writers.error
    assert pair.writers.pending_bytes == 0


async def test_all_writers_share_the_memory(tmp_path: Path) -> None:
    writers = Writers.open(Settings(tmp_path / "a"), [tmp_path / "a", tmp_path / "b"])
    assert writers[tmp_path / "a"].buffer is writers[tmp_path / "b"].buffer is writers.buffer
    assert [writers[each].disk.root for each in writers.directories] == [tmp_path / "a", tmp_path / "b"]


async def test_a_stream_is_looked_for_where_it_may_be(pair: Pair) -> None:
    recorder = await recorded(pair, pair.second, "moved")
    await recorder.suspend()
    for own in (pair.first, pair.second):
        assert (await pair.writers.of_stream(own, info("moved"))).directory == pair.second
        assert (await pair.writers.of_stream(own, info("new"))).directory == own


@pytest.mark.parametrize("is_stuck", [True, False])
async def test_another_disk_that_does_not_answer_delays_a_start_for_a_moment(
    pair: Pair, is_stuck: bool, autojump_clock: MockClock
) -> None:
    async def other_disk(work: Callable[..., Any], *args: Any, **_: Any) -> Any:
        if is_stuck:
            await trio.sleep_forever()
        raise OSError(errno.EIO, "refused")

    pair.writers[pair.second].run_sync = other_disk
    began_s = trio.current_time()
    assert (await pair.writers.of_stream(pair.first, info("new"))).directory == pair.first
    assert trio.current_time() - began_s <= 2


# Left from an earlier configuration


def recording_in(root: Path) -> Path:
    directory = root / "2026-09-21" / "stream"
    directory.mkdir(parents=True)
    return directory


async def test_directories_that_hold_recordings_are_taken_up(tmp_path: Path) -> None:
    for name in ("now", "left"):
        recording_in(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("now")
    known = [tmp_path / name for name in ("empty", "gone", "left", "link", "now")]
    with Directories.locked({tmp_path / "now": "recording.directory"}) as directories:
        assert await directories.take_up(known) == [tmp_path / "left"]
        assert directories.left == {tmp_path / "left": 1}
        assert list(directories) == [tmp_path / "now", tmp_path / "left"]
        with pytest.raises(AlreadyRunningError):
            LockFile.acquire(tmp_path / "left" / ".rtmsd.lock", "it")
    LockFile.acquire(tmp_path / "left" / ".rtmsd.lock", "it").release()
    assert not (tmp_path / "gone").exists()


async def test_what_cannot_be_had_now_is_remembered_and_said(tmp_path: Path) -> None:
    recording_in(tmp_path / "left")
    lock = LockFile.acquire(tmp_path / "left" / ".rtmsd.lock", "it")
    with structlog.testing.capture_logs() as logs, Directories.locked({tmp_path / "now": "r"}) as directories:
        assert await directories.take_up([tmp_path / "left"]) == [tmp_path / "left"]
        assert list(directories) == [tmp_path / "now"]
    lock.release()
    assert "not to be had" in logs[-1]["event"]


async def test_the_state_file_knows_the_directories(tmp_path: Path) -> None:
    journal = await LocalJournal.open(tmp_path / "state.sqlite", run_sync=at_once)
    try:
        assert await journal.transact(remembered.known) == []
        for paths in (["/b", "/a"], ["/c", "/c"]):
            found = [Path(path) for path in paths]
            await journal.transact(partial(remembered.remember, directories=found))
            assert await journal.transact(remembered.known) == sorted(set(found))
    finally:
        await journal.aclose()


async def test_a_disk_of_before_that_does_not_answer_holds_up_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(directories_module, "count_recordings", lambda root: answers.wait() and 1)
    monkeypatch.setattr(directories_module, "_LOOK_S", 0.01)
    with Directories.locked({tmp_path / "now": "r"}) as directories:
        assert await directories.take_up([tmp_path / "left"]) == [tmp_path / "left"]
        assert list(directories) == [tmp_path / "now"]
        answers.set()


# Lists and deletion


async def test_a_directory_that_is_stuck_holds_up_no_deletion_elsewhere(tmp_path: Path) -> None:
    (recording_in(tmp_path / "a") / "audio.wav").write_bytes(bytes(8192))
    stuck = trio.Event()

    async def run_sync(work: Callable[..., Any], root: Path, *args: Any, **_: Any) -> Any:
        if root == tmp_path / "b":
            await stuck.wait()
        return work(root, *args)

    librarian = Librarian([tmp_path / "a", tmp_path / "b"], lambda: (), run_sync=run_sync)

    class Rules:
        keep_days, keep_bytes = 0, 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(librarian.tidy, tmp_path / "b", Rules)
        await trio.testing.wait_all_tasks_blocked()
        await librarian.tidy(tmp_path / "a", Rules)
        assert not (tmp_path / "a" / "2026-09-21" / "stream").exists()
        stuck.set()


async def test_a_directory_that_cannot_be_listed_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Whether its disk refuses or does not answer: what is elsewhere is listed and removed."""
    readable = recording_in(tmp_path / "a")
    roots = [tmp_path / name for name in ("stuck", "refused", "a")]

    def found(root: Path) -> Any:
        if root == tmp_path / "refused":
            raise OSError(errno.EIO, "Input/output error")
        return find_recordings(root)

    async def run_sync(work: Callable[..., Any], path: Path, *args: Any, **_: Any) -> Any:
        if path == tmp_path / "stuck":
            await trio.sleep_forever()
        return work(path, *args)

    monkeypatch.setattr(librarian_module, "find_recordings", found)
    librarian = Librarian(roots, lambda: (), run_sync=run_sync)
    assert [each.directory for each in await librarian.recordings()] == [readable]
    assert librarian.unread == {
        tmp_path / "stuck": f"{tmp_path / 'stuck'}: no answer within 8 s",
        tmp_path / "refused": f"{tmp_path / 'refused'}: Input/output error",
    }
    await librarian.remove("stream")
    assert not readable.exists()
    with pytest.raises(StorageError, match=r"'stream' is not found, but .*Input/output error"):
        await librarian.remove("stream")
    monkeypatch.undo()
    assert await Librarian(roots[1:], lambda: (), run_sync=run_sync).recordings() == []


class Week:
    keep_days, keep_bytes = 7, 0


async def test_a_stuck_disk_takes_the_threads_of_no_other_for_its_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(
        librarian_module, "find_recordings", lambda root: [] if root == tmp_path / "a" else answers.wait() and []
    )
    librarian = Librarian([tmp_path / "b", tmp_path / "a"], lambda: ())
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(librarian.recordings)
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(60):
                await librarian.tidy(tmp_path / "a", Week())
            answers.set()
    finally:
        answers.set()


async def test_stuck_disks_of_other_apps_hold_up_a_start_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def stuck(*_: Any, **__: Any) -> Any:
        await trio.sleep_forever()

    mine, *others = (tmp_path / name for name in "abcdef")
    writers = Writers(
        [Writer(Settings(mine), run_sync=at_once), *(Writer(Settings(each), run_sync=stuck) for each in others)]
    )
    began_s = trio.current_time()
    assert (await writers.of_stream(mine, info("new"))).directory == mine
    assert trio.current_time() - began_s == pytest.approx(2.0)
