"""The whole daemon in this process, with a simulated Zoom, whose record is compared with the files."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from rtmsd.config import (
    AdminConfig,
    AppConfig,
    Config,
    MediaConfig,
    RecordingConfig,
    StateConfig,
    StreamsConfig,
    WebhookConfig,
    ZoomConfig,
)
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.root import Daemon
from rtmsd.recording.verify.verify import verify
from rtmsd.simulator import (
    ARRIVED,
    Fate,
    Record,
    SimSession,
    Simulator,
    SimulatorSettings,
    Timing,
    Tone,
    built_in,
    open_simulator,
    play,
)
from rtmsd.simulator.media.marks import find_marks
from rtmsd.simulator.wire.wire import WireState

HEADER_END = b"data"
LIMIT_S: Final = 60.0
PACKET_MS: Final = 20
SIMULATED: Final = SimulatorSettings()
# Fast, but it waits for the daemon ten times as long as Zoom does, which a busy machine may need.
HURRIED: Final = attrs.evolve(
    SIMULATED,
    speed=24,
    tone=Tone.MARKED,
    webhook_timeout_s=LIMIT_S,
    close_s=10,
    timing=Timing(keep_alive_misses=30, signaling_window_s=600, media_window_s=650, attach_window_s=600, buffer_s=600),
)


def config(directory: Path, **sections: Any) -> Config:
    """A configuration for the simulator, with short delays."""
    base: dict[str, Any] = {
        "webhook": WebhookConfig(listen="127.0.0.1:0"),
        "apps": (
            AppConfig(
                client_id=SIMULATED.client_id,
                client_secret=SIMULATED.client_secret,
                webhook_secrets=(SIMULATED.webhook_secret,),
            ),
        ),
        "zoom": ZoomConfig(allowed_hosts=("127.0.0.1", "localhost"), allow_plain_ws=True),
        "streams": StreamsConfig(reconnect_delay_s=0.05, stop_grace_s=1),
        "media": MediaConfig(),
        "recording": RecordingConfig(directory=directory / "recordings", sync_interval_s=0.1, min_free_bytes=0),
        "state": StateConfig(file=directory / "state.sqlite"),
        "admin": AdminConfig(socket=directory / "admin.sock"),
    }
    return Config(**(base | sections))


@asynccontextmanager
async def running_daemon(settings: Config) -> AsyncIterator[Backend]:
    """Run a daemon until the block ends, then stop it as SIGTERM would."""
    daemon = Daemon(settings.state.file.with_name("config.toml"), settings, end_streams=False)
    async with trio.open_nursery() as nursery:
        backend: Backend = await nursery.start(daemon.run)
        yield backend
        daemon.stop()


@asynccontextmanager
async def zoom_and_daemon(
    directory: Path, *, simulator: dict[str, Any] | None = None, **sections: Any
) -> AsyncIterator[tuple[Simulator, Backend]]:
    """Both, connected: the simulator knows the daemon's webhook; `simulator` and `sections` change their settings.

    Raises:
        trio.TooSlowError: it is not done with in any time that a busy machine may need.
    """
    with trio.fail_after(2 * LIMIT_S):
        async with running_daemon(config(directory, **sections)) as backend:
            url = f"http://{backend.listening['webhook'][0]}/webhook"
            async with open_simulator(attrs.evolve(HURRIED, webhook_url=url, **(simulator or {}))) as sim:
                yield sim, backend


async def play_whole(sim: Simulator, name: str) -> SimSession:
    """Play a scenario that the simulator ships."""
    return await play(sim, built_in()[name], until_connected)


async def until_connected(session: SimSession, _step: object) -> None:
    """Play each step of a scenario to a connected client, however long a busy machine needs to connect."""
    with trio.fail_after(LIMIT_S):
        while (await session.wait_reconnected()).wire.state is WireState.DEAD:  # noqa: ASYNC110 nothing signals it
            await trio.sleep(0.01)


async def until_ended(backend: Backend, rtms_stream_id: str) -> dict[str, Any]:
    """Wait for the end of a stream and of its files, and return its directory's manifest."""
    with trio.fail_after(LIMIT_S):
        while True:
            streams = {each["rtms_stream_id"]: each for each in backend.streams(include_ended=True)}
            if rtms_stream_id in streams and not any(
                each["rtms_stream_id"] == rtms_stream_id for each in backend.streams(include_ended=False)
            ):
                break
            await trio.sleep(0.01)
    return manifest(backend, rtms_stream_id)


def directory_of(backend: Backend, rtms_stream_id: str) -> Path:
    root = Path(backend.config()["recording"]["directory"])
    (found,) = root.glob(f"*/{rtms_stream_id}")
    return found


def manifest(backend: Backend, rtms_stream_id: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((directory_of(backend, rtms_stream_id) / "stream.json").read_bytes())
    return loaded


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def assert_all_of_it_once(record: Record, directory: Path, *, jitter_ms: int = 0) -> None:
    """Assert that each packet and transcript that arrived is in the files, once, whole, in order and in its place."""
    manifest = json.loads((directory / "stream.json").read_bytes())
    files = {str(entry["user_id"]): entry for entry in manifest["files"] if entry["media"] == "audio"}
    for user_id, log in record.audio.items():
        packets = {packet.number: packet for packet in log if packet.fate in ARRIVED | {Fate.IN_FLIGHT}}
        must = {packet.number for packet in log.arrived()}
        if not must:
            continue
        entry = files[str(user_id)]  # of a channel it is a text
        track = pcm(directory / entry["path"])
        bytes_per_ms = entry["sample_rate_hz"] * entry["channels"] * 2 // 1000
        marks = list(find_marks(track, len(next(iter(packets.values())).data)))
        found = Counter(mark.number for mark in marks)
        assert must <= set(found), f"{user_id}: lost {sorted(must - set(found))}"
        assert set(found) <= set(packets), f"{user_id}: never sent {sorted(set(found) - set(packets))}"
        assert max(found.values()) == 1, f"{user_id}: doubled {[n for n, count in found.items() if count > 1]}"
        assert [mark.number for mark in marks] == sorted(found), f"{user_id}: out of order"
        assert all(mark.whole for mark in marks), f"{user_id}: damaged"
        for mark in marks:
            placed_ms = entry["start_ms"] + mark.offset_bytes / bytes_per_ms
            assert abs(placed_ms - packets[mark.number].timestamp_ms) <= jitter_ms, (
                f"{user_id}: packet {mark} misplaced"
            )
    sent = [item.content.get("data", "") for item in record.transcripts if item.fate in ARRIVED]
    written = [line["text"] for line in lines(directory / "transcript.jsonl")]
    assert written == sent
    assert [str(problem) for problem in verify(directory)] == []


def audio_gaps(record: Record, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the gaps in which packets arrived.

    A simulator that a busy machine keeps waiting stamps packets late: what none of them covers is a gap, rightly. And
    what a busy daemon has not taken from Zoom yet, a cut discards.
    """
    spans = {user_id: log.intervals() for user_id, log in record.audio.items()}

    def covered_ms(gap: Mapping[str, Any]) -> int:
        whose = spans if gap["user_id"] is None else {gap["user_id"]}
        each_ms = (
            sum(max(0, min(to, gap["to_ms"]) - max(since, gap["from_ms"])) for since, to in spans[user_id])
            for user_id in whose
        )
        return max(each_ms, default=0)

    return [gap for gap in manifest["gaps"] if gap["media"] == "audio" and covered_ms(gap) > 2 * PACKET_MS]


def assert_well_behaved(record: Record) -> None:
    """Assert that the client broke no rule, and answered every keep-alive that it could."""
    assert not record.violations
    open_for_good = {span.connection for span in record.connections if span.why in {"ended", "the stream ended"}}
    unanswered = [ask for ask in record.keep_alives if ask.answered_s is None and ask.connection in open_for_good]
    assert not unanswered


def pcm(path: Path) -> bytes:
    """The samples of a WAV file, found by an independent reader: any chunks, then `data`."""
    raw = path.read_bytes()
    assert raw[:4] in {b"RIFF", b"RF64"}
    position = 12
    while raw[position : position + 4] != HEADER_END:
        position += 8 + int.from_bytes(raw[position + 4 : position + 8], "little")
    size = int.from_bytes(raw[position + 4 : position + 8], "little")
    return raw[position + 8 : position + 8 + size]
