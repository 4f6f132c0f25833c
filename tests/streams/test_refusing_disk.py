"""The disk refuses while streams begin, end and are revoked: none is lost by it, and what is to go goes."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.commands import Verdict
from rtmsd.errors import StorageError
from rtmsd.recording import opening as opening_module
from rtmsd.recording.disk.paths import EVENTS
from rtmsd.recording.library import revoke as revoke_module
from rtmsd.recording.recovery.resume import load_resume_state
from rtmsd.streams.managed_stream import ManagedStream
from tests.streams.harness import STREAM, Bench, HastyDisk, open_bench
from tests.streams.zoom import OTHER_HOST, zoom_ms

REVOKED = 8
IN_TIME_S = 10


class FullDisk(HastyDisk):
    """Has no room for anything while it is full, or until something was deleted."""

    is_full = False
    is_read_only = False

    def open(self, path: Path, *, create: bool = False) -> int:
        if self.is_read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return super().open(path, create=create)

    def _check(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        self._check()
        super().write(descriptor, data, offset)

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        self._check()
        super().write_pieces(descriptor, pieces, offset)

    def frees_with(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be full until this is deleted."""
        self.is_full = True
        real = os.unlink

        def unlink(doomed: str, *, dir_fd: int | None = None) -> None:
            real(doomed, dir_fd=dir_fd)
            self.is_full = self.is_full and path.exists()

        monkeypatch.setattr(os, "unlink", unlink)


async def talk(bench: Bench, rtms_stream_id: str = STREAM, for_s: float = 2.0) -> None:
    [peer] = [each for each in bench.zoom.open("audio") if each.rtms_stream_id == rtms_stream_id]
    for _ in range(int(for_s * 10)):
        await peer.audio(zoom_ms())
        await trio.sleep(0.1)


def names(bench: Bench) -> list[str]:
    return sorted(path.name for path in bench.recording().rglob("*"))


async def is_revoked_in_time(bench: Bench) -> None:
    await bench.until(lambda: STREAM not in bench.supervisor.streams, within_s=IN_TIME_S)
    assert bench.manifest()["state"] == "revoked"
    assert names(bench) == ["stream.json"]
    assert STREAM not in [row.rtms_stream_id for row in await bench.journal.unfinished()]


# Revoked


async def test_a_revocation_that_the_disk_refuses_holds_up_nobody_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.up()
    await bench.start("other", host=OTHER_HOST)
    await bench.until_up(rtms_stream_id="other")
    await talk(bench)
    await talk(bench, "other")
    wav = bench.recording("other") / "audio" / "7.wav"
    with monkeypatch.context() as patch:

        def refuse(*args: Any, **options: Any) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        patch.setattr(revoke_module, "delete_all", refuse)
        await bench.stop(REVOKED)
        size_bytes = wav.stat().st_size
        await talk(bench, "other", for_s=5)
        assert wav.stat().st_size > size_bytes + 4 * 32_000
        assert bench.writer.error is not None
        assert [line["rtms_stream_id"] for line in bench.logged("disk access failed; retrying")] == [STREAM]
    await is_revoked_in_time(bench)
    assert bench.writer.error is None


async def test_a_revocation_on_a_full_disk_makes_its_own_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk()
    async with open_bench(tmp_path, monkeypatch, disk=disk) as bench:
        await bench.up()
        await talk(bench)
        disk.frees_with(bench.recording() / "audio", monkeypatch)
        await bench.stop(REVOKED)
        await is_revoked_in_time(bench)


async def test_a_revocation_does_not_wait_for_a_finish_that_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk()
    async with open_bench(tmp_path, monkeypatch, disk=disk) as bench:
        await bench.up()
        await talk(bench)
        disk.frees_with(bench.recording() / "audio", monkeypatch)
        await talk(bench)
        await bench.stop()
        await bench.until(lambda: bench.supervisor.streams[STREAM].outcome is not None)
        await trio.sleep(20)
        assert await bench.start() is Verdict.NEW  # nor for a stream that waits behind it
        assert await bench.stop(REVOKED) is Verdict.NEW
        await is_revoked_in_time(bench)
        assert bench.writer.pending_bytes == 0


async def test_a_revocation_reads_nothing_of_what_it_deletes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.up()
    await talk(bench)
    await bench.stop()
    await bench.until_gone()

    def crash(*args: object) -> None:
        raise KeyError

    monkeypatch.setattr(opening_module, "load_resume_state", crash)
    await bench.stop(REVOKED)
    await is_revoked_in_time(bench)
    assert not bench.logged("stream crashed")


async def test_a_revocation_while_the_files_cannot_be_opened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.up()
    await talk(bench)
    await bench.stop()
    await bench.until_gone()

    def refuse(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(opening_module, "load_resume_state", refuse)
    await bench.start()
    await trio.sleep(20)
    await bench.stop(REVOKED)
    await is_revoked_in_time(bench)


async def test_a_revocation_that_only_signaling_reported_outlives_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        async with open_bench(tmp_path, patch) as bench:
            await bench.up()
            await talk(bench)
            patch.setattr(revoke_module, "delete_all", refuse)
            await bench.zoom.last("signaling").stream_state(4, REVOKED)
            await trio.sleep(3)
            patch.setattr(bench.supervisor, "suspend_files", trio.lowlevel.checkpoint)  # as if it was killed
            assert "7.wav" in names(bench)
    async with open_bench(tmp_path, monkeypatch) as bench:
        await is_revoked_in_time(bench)
        assert not bench.zoom.dialled


async def test_a_revocation_that_cannot_be_journalled_is_applied_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*args: object, **options: object) -> None:
        raise StorageError("no space")

    await bench.up()
    await talk(bench)
    with monkeypatch.context() as patch:
        for name in ("record", "revoke", "close_stream"):
            patch.setattr(bench.journal, name, refuse)
        with pytest.raises(StorageError):
            await bench.stop(REVOKED)
        await trio.sleep(5)
        assert names(bench) == ["stream.json"]
    await is_revoked_in_time(bench)


async def test_a_bug_in_the_end_keeps_nothing_of_a_stream_that_was_revoked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.up()
    await talk(bench)
    recorder = bench.supervisor.streams[STREAM].recorder
    monkeypatch.setattr(recorder, "ended", None)
    await bench.stop(REVOKED)
    await bench.until(lambda: STREAM not in bench.supervisor.streams, within_s=IN_TIME_S)
    assert bench.logged("stream could not be finished")
    assert bench.manifest()["state"] == "revoked"
    assert names(bench) == ["stream.json"]


@pytest.mark.parametrize("teller", ["webhook", "signaling"])
async def test_a_bug_while_the_stream_comes_down_keeps_nothing_of_what_was_revoked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, teller: str
) -> None:
    await bench.up()
    await talk(bench)
    monkeypatch.setattr(bench.supervisor.streams[STREAM].recorder, "lost", None)
    if teller == "webhook":
        await bench.stop(REVOKED)
    else:
        await bench.zoom.last("signaling").stream_state(4, REVOKED)
    await is_revoked_in_time(bench)
    assert bench.logged("stream crashed")


async def test_a_bug_in_writing_down_a_revocation_keeps_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.up()
    await talk(bench)
    monkeypatch.setattr(ManagedStream, "record_webhook", None)
    await bench.stop(REVOKED)
    await is_revoked_in_time(bench)
    assert bench.logged("stream crashed")


async def test_no_name_is_shown_of_a_stream_that_was_revoked_after_its_end(bench: Bench) -> None:
    await bench.up()
    await bench.zoom.last("signaling").event(3, participants=[{"user_id": 7, "user_name": "Ana Secret"}])
    await talk(bench)
    await bench.stop()
    await bench.until_gone()
    assert "Ana Secret" in str(bench.supervisor.ended)
    await trio.sleep(30)
    await bench.stop(REVOKED)
    await is_revoked_in_time(bench)
    assert [each["state"] for each in bench.supervisor.ended] == ["revoked"]
    assert bench.supervisor.ended[0]["ended_ms"] is not None
    assert "Ana Secret" not in str(bench.supervisor.ended)


# Begun and ended


@pytest.mark.parametrize("is_new", [True, False])
async def test_a_disk_that_cannot_be_read_ends_no_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    if not is_new:
        async with open_bench(tmp_path, monkeypatch) as bench:
            await bench.up()
            await talk(bench)

    def refuse(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(opening_module, "load_resume_state", refuse)
    async with open_bench(tmp_path, monkeypatch) as bench:
        if is_new:
            await bench.start()
        await trio.sleep(20)
        errors = [bench.writer.error]
        assert len(bench.logged("disk access failed; retrying")) == 1
        monkeypatch.setattr(opening_module, "load_resume_state", load_resume_state)
        await bench.until_up()
        assert [*errors, bench.writer.error] == [f"{os.strerror(errno.EIO)}: recording", None]
        await bench.stop()
        await bench.until_gone()


@pytest.mark.parametrize("trouble", ["is_full", "is_read_only"])
async def test_a_disk_that_refuses_at_the_start_costs_a_live_stream_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.up()
        await talk(bench)
    for name, torn in ((EVENTS, b'{"torn'), ("audio/7.wav", b"\0")):  # which is to be repaired
        with (bench.recording() / name).open("ab") as file:
            file.write(torn)
    before = {path: path.read_bytes() for path in bench.recording().rglob("*") if path.is_file()}
    disk = FullDisk()
    setattr(disk, trouble, True)
    async with open_bench(tmp_path, monkeypatch, disk=disk) as bench:
        await bench.until_up()
        for second in range(30):
            await bench.zoom.last("audio").audio(zoom_ms() + 1000 * second, data=b"\1\0" * 16_000)
            await trio.sleep(1)
        errors = [bench.writer.error]
        assert trouble == "is_full" or {path: path.read_bytes() for path in before} == before
        setattr(disk, trouble, False)
        await trio.sleep(3)
        assert [error is None for error in (*errors, bench.writer.error)] == [False, True]
        assert (bench.recording() / "audio" / "7.wav").stat().st_size > 30 * 32_000
        await bench.stop()
        await bench.until_gone()
        assert bench.manifest()["state"] == "ended"
        assert {gap["cause"] for gap in bench.manifest()["gaps"]} <= {"daemon_restart"}


async def test_a_gap_of_a_second_life_outlives_an_end_that_is_reported_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk()
    async with open_bench(tmp_path, monkeypatch, disk=disk) as bench:
        await bench.up()
        await talk(bench)
        await bench.stop()
        await bench.until_gone()
        await trio.sleep(10)
        await bench.start()
        await bench.until_up()
        await talk(bench)
        bench.zoom.always["audio"] = 45
        await bench.zoom.last("audio").cut()
        await trio.sleep(20)
        disk.is_full = True
        await bench.stop()
        await trio.sleep(10)
        recorder = bench.supervisor.streams[STREAM].recorder
        assert recorder is not None
        before = recorder.manifest()
        assert {gap["cause"] for gap in before["gaps"]} == {"media_reconnect"}
        disk.is_full = False
    for name in ("gaps", "pauses", "ended_ms"):
        assert bench.manifest()[name] == before[name]


async def test_a_revocation_is_applied_although_a_bug_keeps_the_files_from_being_finished(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.up()
    await talk(bench)
    life = bench.supervisor.streams[STREAM]
    assert life.recorder is not None

    async def finish() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        raise ZeroDivisionError

    monkeypatch.setattr(life.recorder, "finish", finish)
    await bench.stop(6)
    await bench.until(lambda: life.outcome is not None)
    await bench.stop(REVOKED)
    await bench.until_gone()
    assert names(bench) == ["stream.json"]
    assert await bench.journal.unfinished() == []


async def test_a_bug_at_the_end_leaves_no_recorder_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.up()
    life = bench.supervisor.streams[STREAM]
    assert life.recorder is not None

    def ended(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(life.recorder, "ended", ended)
    await talk(bench)
    messages = bench.supervisor.tally().messages
    await bench.stop(6)
    await bench.until(lambda: STREAM not in bench.supervisor.streams)
    assert not bench.writer.holds(life.recorder.flusher)
    assert bench.supervisor.tally().messages == messages
