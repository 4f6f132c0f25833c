"""A supervisor with real files and a real journal, without threads, beside a Zoom of memory streams."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import structlog
import trio

from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand, Verdict
from rtmsd.config import (
    AppConfig,
    Config,
    MediaConfig,
    RecordingConfig,
    StateConfig,
    StreamsConfig,
    ZoomConfig,
)
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.recorder import Recorder
from rtmsd.recording.verify.verify import verify
from rtmsd.recording.writers import Writers
from rtmsd.state.journal import LocalJournal
from rtmsd.state.rows import StreamRow
from rtmsd.streams.drivers.stream import Stream
from rtmsd.streams.drivers.tenure import Tenure
from rtmsd.streams.supervisor import Supervisor
from tests.streams.zoom import HOST, LOOK_EVERY_S, T0, FakeZoom, zoom_ms

if TYPE_CHECKING:
    from rtmsd.streams.restart import Restarter

LONGEST_S = 3600.0  # of virtual time, in which a test that waits in vain would wait for ever
STREAM: str = "stream-1"
SESSION = SessionRef("session_id", "session 1")


async def at_once(work: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """A thread runner for a clock that jumps while a real thread works."""
    await trio.lowlevel.checkpoint()
    return work(*args)


class HastyDisk(Disk):
    """Does not wait for the platters."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass


class NoRestarter:
    """Writes down what it is asked to consider."""

    def __init__(self) -> None:
        self.considered: list[tuple[str, int]] = []

    async def consider(self, row: Any, reason: int) -> None:
        self.considered.append((row.rtms_stream_id, reason))


def config(directory: Path, **sections: Any) -> Config:
    """The delays and windows of the contract, which take no time here."""
    base: dict[str, Any] = {
        "apps": (AppConfig(client_id="id", client_secret="client secret", webhook_secrets=("webhook secret",)),),
        "zoom": ZoomConfig(allowed_hosts=("*.zoom.test",), allow_plain_ws=True),
        "streams": StreamsConfig(),
        "media": MediaConfig(),
        "recording": RecordingConfig(directory=directory / "recordings", min_free_bytes=0),
        "state": StateConfig(file=directory / "state.sqlite"),
    }
    return Config(**(base | sections))


@attrs.define(eq=False)
class Bench:
    """The daemon of a test, and the Zoom that it talks to.

    Attributes:
        logs: what was logged so far, as structlog's event dicts.
        let_go: what `on_let_go` got.
        events: what `on_event` got.
    """

    directory: Path
    zoom: FakeZoom
    journal: LocalJournal
    writer: Writer
    writers: Writers
    supervisor: Supervisor
    restarter: NoRestarter
    logs: list[dict[str, Any]]
    let_go: list[tuple[str, str]]
    events: list[dict[str, Any]] = attrs.field(factory=list)

    # Webhooks

    async def start(
        self, rtms_stream_id: str = STREAM, *, host: str = HOST, event_ts: int | None = None, app: str = "main"
    ) -> Verdict:
        return await self.supervisor.accept(
            StartStream(
                product="session",
                session=SESSION,
                rtms_stream_id=rtms_stream_id,
                server_urls=f"ws://{host}/signaling",
                app=app,
                event_ts=zoom_ms() if event_ts is None else event_ts,
            )
        )

    async def stop(self, reason: int = 6, rtms_stream_id: str = STREAM, event_ts: int | None = None) -> Verdict:
        return await self.supervisor.accept(
            StopStream(
                product="session",
                session=SESSION,
                rtms_stream_id=rtms_stream_id,
                app="main",
                event_ts=zoom_ms() if event_ts is None else event_ts,
                stop_reason=reason,
            )
        )

    async def interrupt(self, event_ts: int | None = None, server_urls: str | None = None) -> Verdict:
        return await self.supervisor.accept(
            InterruptStream(
                product="session",
                session=SESSION,
                rtms_stream_id=STREAM,
                app="main",
                event_ts=zoom_ms() if event_ts is None else event_ts,
                server_urls=server_urls,
            )
        )

    # Looking

    def stream(self, rtms_stream_id: str = STREAM) -> Stream:
        stream = self.supervisor.streams[rtms_stream_id].stream
        assert stream is not None
        return stream

    def state(self, rtms_stream_id: str = STREAM) -> str:
        life = self.supervisor.streams.get(rtms_stream_id)
        if life is None:
            return str(self.manifest(rtms_stream_id)["state"])
        return "connecting" if life.recorder is None else life.recorder.state_name

    def manifest(self, rtms_stream_id: str = STREAM) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.recording(rtms_stream_id) / "stream.json").read_bytes())
        return found

    def recording(self, rtms_stream_id: str = STREAM) -> Path:
        (found,) = self.directory.glob(f"recordings/*/{rtms_stream_id}")
        return found

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.logs if line["event"] == event]

    # Waiting

    async def until(self, condition: Callable[[], object], within_s: float = 300.0) -> float:
        """Wait until `condition` holds. Returns the time."""
        with trio.fail_after(within_s):
            while not condition():  # noqa: ASYNC110 there are many conditions, and it costs no time
                await trio.sleep(LOOK_EVERY_S)
        return round(trio.current_time(), 1)

    async def until_up(self, links: int = 2, rtms_stream_id: str = STREAM) -> None:
        """Wait until signaling and all media connections are up."""

        def is_up() -> bool:
            life = self.supervisor.streams.get(rtms_stream_id)
            if life is None or life.stream is None or not life.stream.situation.uplink.is_up:
                return False
            return sum(link.state.value == "streaming" for link in life.stream.situation.links) == links

        await self.until(is_up)

    async def until_gone(self, rtms_stream_id: str = STREAM) -> float:
        """Wait for the stream's end and its last file; then nothing may be unexplained."""
        at_s = await self.until(lambda: rtms_stream_id not in self.supervisor.streams)
        if self.manifest(rtms_stream_id)["state"] != "revoked":
            problems = [str(problem) for problem in verify(self.recording(rtms_stream_id))]
            assert not problems, (problems, self.manifest(rtms_stream_id))
        return at_s

    async def up(self) -> Stream:
        """Start a stream and wait until it is connected."""
        assert await self.start() is Verdict.NEW
        await self.until_up()
        return self.stream()


@asynccontextmanager
async def open_bench(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    disk: Disk | None = None,
    tenure: Tenure | None = None,
    redirect: Callable[[StreamCommand], None] | None = None,
    to_resume: Callable[[], Awaitable[Sequence[StreamRow]]] | None = None,
    on_recorder: Callable[[Recorder], None] = lambda recorder: None,
    **sections: Any,
) -> AsyncIterator[Bench]:
    """Everything running, with a Zoom that nobody else reaches. `sections` replace those of the configuration."""
    settings = config(directory, **sections)
    settings.recording.directory.mkdir(parents=True, exist_ok=True)
    events: list[dict[str, Any]] = []
    let_go: list[tuple[str, str]] = []
    with structlog.testing.capture_logs() as logs, trio.fail_after(LONGEST_S):
        opened = await LocalJournal.open(settings.state.file, run_sync=at_once, clock_ms=zoom_ms)
        async with aclosing(opened) as journal, trio.open_nursery() as nursery:
            zoom = FakeZoom(nursery)
            monkeypatch.setattr(trio, "open_tcp_stream", zoom.open_tcp_stream)
            monkeypatch.setattr("rtmsd.transport.websocket.socket_set", lambda: None)  # as where there is no epoll
            writer = Writer(settings.recording, run_sync=at_once, disk=disk or HastyDisk())
            writers = Writers([writer])
            restarter = NoRestarter()
            supervisor = Supervisor(
                settings,
                journal,
                writers,
                restarter=cast("Restarter", restarter),
                on_event=events.append,
                tenure=tenure,
                on_let_go=lambda *told: let_go.append(told),
                redirect=redirect,
                on_recorder=on_recorder,
            )
            await nursery.start(writers.run)
            stopped = trio.Event()
            streams = await nursery.start(_cancellable, partial(supervisor.run, to_resume), stopped)
            yield Bench(
                directory,
                zoom,
                journal,
                writer,
                writers,
                supervisor,
                restarter,
                cast("list[dict[str, Any]]", logs),
                let_go,
                events,
            )
            supervisor.suspend()
            streams.cancel()
            await stopped.wait()
            await supervisor.suspend_files()
            nursery.cancel_scope.cancel()
    assert not zoom.violations


async def _cancellable(run: Any, stopped: trio.Event, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        task_status.started(nursery.cancel_scope)
    stopped.set()


__all__ = ["STREAM", "T0", "Bench", "open_bench"]
