"""The threads that a stuck disk may occupy."""

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.library.librarian import Librarian
from tests.recording.conftest import Settings

Stick = Callable[[], Any]
Ask = Callable[[Stick], Awaitable[Any]]


def flushes(root: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    return Writer(Settings(root)).run_sync


def retried_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    writer = Writer(Settings(root))
    return lambda stick: writer.retrier.run(stick, "stream")


def deletions(root: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    librarian = Librarian([root], lambda: ())

    def ask(stick: Stick) -> Awaitable[Any]:
        monkeypatch.setattr("rtmsd.recording.library.librarian.find_recordings", lambda root: stick() and [])
        return librarian.recordings()

    return ask


@pytest.mark.parametrize("who", [flushes, retried_work, deletions])
async def test_a_stuck_disk_keeps_no_thread_that_dns_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: Callable[[Path, pytest.MonkeyPatch], Ask]
) -> None:
    ask, answers = who(tmp_path, monkeypatch), threading.Event()
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask, answers.wait)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            answers.set()
    finally:
        answers.set()


async def test_stuck_retried_work_holds_up_no_flush(tmp_path: Path) -> None:
    writer, answers = Writer(Settings(tmp_path)), threading.Event()
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(writer.retrier.run, answers.wait, "stream")
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(60):  # not for ever, should it have none
                assert await writer.run_sync(answers.is_set) is False
            answers.set()
    finally:
        answers.set()
